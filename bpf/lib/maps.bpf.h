/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every map of an instance. Each object declares all of them; the controller creates them once, from whichever object it
 * opens first, and gives the same ones to the others.
 */
#ifndef CORRAL_MAPS_BPF_H
#define CORRAL_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/corral_abi.h"

/* Of the maps that this object knows; libbpf tells it as the object's "kernel version". */
const __u32 abi_version SEC("version") = CORRAL_ABI_VERSION;

/* What the other maps mean: CORRAL_ABI_VERSION, for a controller that finds them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} abi SEC(".maps");

/* slot -> compiled policy. Swapping the pointer is how a policy comes into force. */
struct corral_policy_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, CORRAL_MAX_POLICY_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	/* Sizes, not types: clang gives an inner map's types to BTF as forward declarations only. */
	__uint(key_size, sizeof(struct corral_policy_key));
	__uint(value_size, sizeof(struct corral_policy_value));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__type(key, __u32);
	__array(values, struct corral_policy_map);
} policies SEC(".maps");

struct corral_path_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, CORRAL_MAX_PATH_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct corral_path_key));
	__uint(value_size, sizeof(struct corral_path_value));
};

/* Number of a policy -> its rules on paths. They are there before the policy is in force, until it is so nowhere. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, CORRAL_MAX_PATH_POLICIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__array(values, struct corral_path_map);
} path_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct corral_sandbox);
} sandboxes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct corral_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct corral_budget);
} budgets SEC(".maps");

/* struct corral_bucket as the kernel's checker of locks must see it. */
struct bucket {
	struct bpf_spin_lock lock;
	__u32 zero;
	__u64 tokens;
	__u64 filled_ns;
};
_Static_assert(sizeof(struct bucket) == sizeof(struct corral_bucket), "one layout");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORRAL_MAX_PINS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct corral_pin_key);
	__type(value, struct corral_pin);
} pins SEC(".maps");

/* Value: unused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORRAL_MAX_PUBLISHED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct corral_port_key);
	__type(value, __u8);
} published SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct corral_resolver);
} resolver SEC(".maps");

/* Of enforced cgroups: where names are resolved, and by value 1 the ports of that. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORRAL_MAX_CGROUP_RESOLVERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct corral_cgroup_resolver_key);
	__type(value, struct corral_resolver);
} cgroup_resolver SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORRAL_MAX_CGROUP_RESOLVERS * 4);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct corral_port_key);
	__type(value, __u8);
} resolver_ports SEC(".maps");

/* Socket cookie -> the server whose name the resolver's answers bear. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CORRAL_MAX_ASKED);
	__type(key, __u64);
	__type(value, struct corral_asked);
} asked SEC(".maps");

/* cgroup id -> slot */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} slot_by_cgroup SEC(".maps");

/* ifindex of the veth's host side -> slot */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} slot_by_ifindex SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CORRAL_MAX_FLOWS);
	__type(key, struct corral_flow_key);
	__type(value, struct corral_flow);
} flows SEC(".maps");

/* Value: CLOCK_BOOTTIME of the report. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CORRAL_MAX_ANNOUNCED);
	__type(key, struct corral_announced_key);
	__type(value, __u64);
} announced SEC(".maps");

/* Verdicts by reason, and those that could be charged to no sandbox at index CORRAL_REASON_COUNT. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CORRAL_REASON_COUNT + 1);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

/* By enum corral_failure. Not pinned: each load of the programs begins anew. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CORRAL_FAILURE_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} failures SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, CORRAL_DECISION_RING_BYTES);
} decisions SEC(".maps");

#endif
