/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Maps of the trace. They exist only once a sandbox has been traced. */
#ifndef CORRAL_TRACE_MAPS_BPF_H
#define CORRAL_TRACE_MAPS_BPF_H

#include "lib/maps.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_MAX_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct corral_trace);
} traces SEC(".maps");

/*
 * Not 0: a traced cgroup may have an id whose low bits are the key. Most sandboxes of a host that are not traced go no further
 * than this, which costs them less than a look-up of their slot.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_TRACED_CGROUPS);
	__type(key, __u32);
	__type(value, __u32);
} traced_cgroups SEC(".maps");

struct corral_trace_rows_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_TRACE_ROWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct corral_trace_row));
};

/* One row for each call, for each sandbox that is traced. Kept for the next one: to replace one takes milliseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CORRAL_MAX_TRACED);
	__type(key, __u32);
	__array(values, struct corral_trace_rows_map);
} trace_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CORRAL_TRACE_ROWS);
	__type(key, __u32);
	__type(value, struct corral_plan);
} trace_plans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, CORRAL_TRACE_RING_BYTES);
} trace SEC(".maps");

/* What is known of a thread of a traced sandbox. The record is built here, from the call's beginning to its end. */
struct thread {
	__u32 session;
	__u8 pending;	 /* between the beginning of a call and its end */
	__u8 identified; /* the head of the record names the process */
	__u8 own;	 /* Corral's own code: pid 1, and its children until they execute */
	__u8 unreadable; /* some capture of the call at hand failed */
	/* A bit for each native call that has been told since the thread was identified. */
	__u64 told[CORRAL_SYSCALLS / 64];
	struct corral_syscall call;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

/* Processes whose end has been told: two threads may both see that they are the last. */
struct ended {
	__u64 start_ns;
	__u64 host_pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ended);
	__type(value, __u8);
} ended_processes SEC(".maps");

#endif
