/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What hooks of the BPF LSM have in common: who is judged, and how they answer. */
#ifndef CORRAL_LSM_BPF_H
#define CORRAL_LSM_BPF_H

#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "lib/cgroup.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/process.bpf.h"

#define LSM_ALLOW 0

/* Opaque to the compiler: the verifier of 6.12 must see a constant range, not the compiler's arithmetic on a condition. */
static __always_inline int denied(int number)
{
	int error = -number;

	asm volatile("" : "+r"(error));
	return error;
}

/* Whether it is corral-init, which mounts secrets and starts commands: first of its pid namespace, and its parent, or whoever took
 * that one's place, is outside. The first process of a namespace that the sandbox makes has its parent in the sandbox. */
static __always_inline int is_init(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	__u64 cgroup;

	if (pid_number(leader, pid_level(leader)) != 1)
		return 0;
	cgroup = BPF_CORE_READ(leader, real_parent, cgroups, dfl_cgrp, kn, id);
	return bpf_map_lookup_elem(&slot_by_cgroup, &cgroup) == NULL;
}

/* The sandbox whose policy is to be asked about the current process; NULL: there is none. Of cgroups that Corral did not make the
 * network alone is judged. */
static __always_inline struct corral_sandbox *fenced_sandbox(__u32 *slot)
{
	struct corral_sandbox *sandbox = current_sandbox(slot);

	if (!sandbox || !sandbox->ifindex || is_init())
		return NULL;
	return sandbox;
}

#endif
