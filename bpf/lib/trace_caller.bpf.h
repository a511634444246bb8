/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose call it is, and whether anybody wants to know. */
#ifndef CORRAL_TRACE_CALLER_BPF_H
#define CORRAL_TRACE_CALLER_BPF_H

#include "lib/process.bpf.h"
#include "lib/trace_maps.bpf.h"

/* The current task and its sandbox. */
struct caller {
	__u32 slot;
	struct corral_trace *trace;
	struct task_struct *task;
};

/*
 * Of the unified hierarchy, as bpf_get_current_cgroup_id has it. This runs twice for each call of every process of the host; the
 * helper takes 23 ns, and these loads together less than two.
 */
static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn->id;
}

/* Cheaper than `find_caller`; what it lets through may be not traced all the same. */
static __always_inline int may_be_traced(struct task_struct *task)
{
	__u32 index = (__u32)cgroup_of(task) & (CORRAL_TRACED_CGROUPS - 1);
	__u32 *traced = bpf_map_lookup_elem(&traced_cgroups, &index);

	return traced && *traced;
}

static __always_inline int find_caller(struct caller *caller)
{
	__u64 cgroup;
	__u32 *slot;

	caller->task = (void *)bpf_get_current_task_btf();
	/* Processes of the host are in no pid namespace of a sandbox. This spares them the look-up. */
	if (!caller->task->thread_pid || !caller->task->thread_pid->level)
		return 0;
	cgroup = cgroup_of(caller->task);
	slot = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);
	if (!slot)
		return 0;
	caller->slot = *slot;
	caller->trace = bpf_map_lookup_elem(&traces, &caller->slot);
	return caller->trace && caller->trace->mode != CORRAL_TRACE_OFF;
}

static __always_inline __u64 epoch_of(__u32 slot)
{
	struct corral_sandbox *sandbox = bpf_map_lookup_elem(&sandboxes, &slot);

	return sandbox ? sandbox->epoch : 0;
}

static __always_inline int is_own(const struct caller *caller)
{
	struct task_struct *task = caller->task;
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct task_struct *parent = BPF_CORE_READ(leader, real_parent);
	__u32 init = caller->trace->init;

	return (__u32)BPF_CORE_READ(leader, tgid) == init ||
	       ((__u32)BPF_CORE_READ(parent, tgid) == init &&
		BPF_CORE_READ(parent, self_exec_id) == BPF_CORE_READ(leader, self_exec_id));
}

static __always_inline void describe(struct corral_trace_head *head, const struct caller *caller)
{
	struct task_struct *task = caller->task;
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	unsigned int level = pid_level(leader);
	__u64 ids = bpf_get_current_pid_tgid();

	head->version = CORRAL_RECORD_VERSION;
	head->slot = caller->slot;
	head->epoch = epoch_of(caller->slot);
	head->pid = pid_number(leader, level);
	head->ppid = pid_number(BPF_CORE_READ(leader, real_parent), level);
	head->tid = pid_number(task, level);
	head->host_pid = ids >> 32;
	head->host_tid = (__u32)ids;
	head->exec_count = BPF_CORE_READ(leader, self_exec_id);
	head->start_ns = BPF_CORE_READ(leader, start_boottime);
}

#endif
