/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who asked: the current process, as its sandbox and as the host know it. */
#ifndef CORRAL_PROCESS_BPF_H
#define CORRAL_PROCESS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "abi/corral_abi.h"
#include "lib/kernel_types.bpf.h"

/* Path components and mount crossings read at most; a deeper path loses its front. */
#define EXE_STEPS 24
/* Bytes kept of one component, with its zero. */
#define EXE_COMPONENT 64

static __always_inline unsigned int pid_level(struct task_struct *task)
{
	return BPF_CORE_READ(task, thread_pid, level);
}

/* Number of a task in the pid namespace at @level, 0 when it has none there. */
static __always_inline __u32 pid_number(struct task_struct *task, unsigned int level)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 number = 0;

	if (!pid || level > BPF_CORE_READ(pid, level))
		return 0;
	bpf_probe_read_kernel(&number, sizeof(number),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr));
	return number;
}

/* Walks from a dentry up to the root of its mount namespace, the last component first. */
static __always_inline void read_path(struct vfsmount *vfsmount, struct dentry *dentry, __u8 path[CORRAL_EXE_BYTES])
{
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	__u32 used = 0;

	for (int step = 0; step < EXE_STEPS; step++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == parent || dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
			struct mount *outer = BPF_CORE_READ(mount, mnt_parent);

			if (!outer || outer == mount)
				return;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = outer;
			continue;
		}
		const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);

		/* Checked and used in one register: the verifier of 6.1 forgets what it learnt of one that went by the stack. */
		barrier_var(used);
		if (used > CORRAL_EXE_BYTES - EXE_COMPONENT)
			return;
		long length = bpf_probe_read_kernel_str(path + used, EXE_COMPONENT, name);

		if (length <= 0)
			return;
		used += (__u32)length & (2 * EXE_COMPONENT - 1);
		dentry = parent;
	}
}

static __always_inline void read_exe(struct task_struct *task, __u8 exe[CORRAL_EXE_BYTES])
{
	struct file *file = BPF_CORE_READ(task, mm, exe_file);

	if (file)
		read_path(BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry), exe);
}

static __always_inline void describe_process(struct corral_event *event)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	unsigned int level = pid_level(leader);

	event->pid = pid_number(leader, level);
	event->ppid = pid_number(BPF_CORE_READ(leader, real_parent), level);
	event->host_pid = bpf_get_current_pid_tgid() >> 32;
	event->host_uid = bpf_get_current_uid_gid();
	event->start_ns = BPF_CORE_READ(leader, start_boottime);
	event->exec_count = BPF_CORE_READ(leader, self_exec_id);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	read_exe(task, event->exe);
}

#endif
