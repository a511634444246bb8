/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose cgroup it is, and where names are resolved for one that has no veth. */
#ifndef CORRAL_CGROUP_BPF_H
#define CORRAL_CGROUP_BPF_H

#include "lib/maps.bpf.h"
#include "lib/verdict.bpf.h"

/* Deeper cgroups are charged to none. */
#define DEEPEST_CGROUP 24

static __always_inline struct corral_sandbox *sandbox_of_slot(const __u32 *found, __u32 *slot)
{
	struct corral_sandbox *sandbox;

	if (!found)
		return NULL;
	*slot = *found;
	sandbox = bpf_map_lookup_elem(&sandboxes, slot);
	return sandbox && sandbox->epoch ? sandbox : NULL;
}

/* What the current process's sandbox is; NULL when its cgroup is in none of ours, which denies. */
static __always_inline struct corral_sandbox *current_sandbox(__u32 *slot)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	__u32 *found = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);

	/* A cgroup below one that we hold; the nearest counts. */
	for (int level = 1; !found && level <= DEEPEST_CGROUP; level++) {
		cgroup = bpf_get_current_ancestor_cgroup_id(DEEPEST_CGROUP + 1 - level);
		if (cgroup)
			found = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);
	}
	return sandbox_of_slot(found, slot);
}

static __always_inline union address loopback_address(__u8 family)
{
	union address address = address_from_ipv4(bpf_htonl(0x7f000001));

	if (family == 4)
		return address;
	return (union address){ .words = { 0, 0, 0, bpf_htonl(1) } };
}

static __always_inline int same_address(const union address *a, const union address *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] &&
	       a->words[3] == b->words[3];
}

static __always_inline int is_ipv4(const union address *address)
{
	return address->words[0] == 0 && address->words[1] == 0 && address->words[2] == bpf_htonl(0xffff);
}

/* Whether @address and @port are where the resolver serves this cgroup. */
static __always_inline int is_cgroup_resolver(__u32 slot, __u64 epoch, const union address *address, __u16 port, __u8 protocol)
{
	struct corral_port_key key = { .slot = slot, .epoch = (__u32)epoch, .port = port, .protocol = protocol };
	union address loopback = loopback_address(is_ipv4(address) ? 4 : 6);

	return same_address(address, &loopback) && bpf_map_lookup_elem(&resolver_ports, &key) != NULL;
}

#endif
