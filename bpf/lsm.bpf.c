// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks of the BPF LSM: what a sandbox's policy does not permit is refused here too, whichever system call asks for it, and of
 * processes that run already from the moment when a new policy is in force. They are on the whole host: who is in no sandbox of
 * this instance is left alone. An LSM hook allows with 0 and denies with a negative error.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "lib/lsm.bpf.h"
#include "lib/report.bpf.h"
#include "lib/verdict.bpf.h"

/* bpf_probe_read_kernel and bpf_get_current_task are for programs under the GPL alone. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PTRACE_MODE_ATTACH 0x02
#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* What corrald asks bpf(2) for, in the place of a command, to see that these programs run; the kernel has no such command. */
volatile const __u32 proof_command;

static __always_inline int refuse_operation(__u32 slot, __u64 epoch, __u8 operation, __u8 reason, __u32 policy)
{
	struct corral_counters *counter = bpf_map_lookup_elem(&counters, &slot);
	struct subject subject = { .protocol = operation };
	struct judgement judgement = refuse(reason);
	struct corral_event *event;

	judgement.policy = policy;
	count_verdict(reason);
	if (counter)
		count_sandbox(counter, CORRAL_DENY);
	event = reserve_event(slot, epoch, CORRAL_EVENT_OPERATION, CORRAL_HOOK_LSM, &subject, &judgement);
	if (event) {
		describe_process(event);
		bpf_ringbuf_submit(event, 0);
	}
	return denied(EPERM);
}

static __always_inline int judge_operation(__u8 operation)
{
	struct corral_policy_value *meta;
	struct corral_sandbox *sandbox;
	void *policy;
	__u32 slot;

	sandbox = fenced_sandbox(&slot);
	if (!sandbox)
		return LSM_ALLOW;
	meta = policy_meta(slot, &policy);
	if (!meta)
		return refuse_operation(slot, sandbox->epoch, operation, CORRAL_REASON_NO_POLICY, 0);
	if (meta->permitted & CORRAL_PERMITS(operation))
		return LSM_ALLOW;
	return refuse_operation(slot, sandbox->epoch, operation, CORRAL_REASON_SYSCALL_NOT_ALLOWED, meta->set);
}

SEC("lsm/sb_mount")
int sb_mount(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_MOUNT);
}

SEC("lsm/move_mount")
int move_mount(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_MOUNT);
}

SEC("lsm/sb_umount")
int sb_umount(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_MOUNT);
}

SEC("lsm/sb_pivotroot")
int sb_pivotroot(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_MOUNT);
}

/* Whoever merely looks, as ps does in /proc, is left to the kernel's own checks. */
SEC("lsm/ptrace_access_check")
int ptrace_access(__u64 *ctx)
{
	unsigned int mode = ctx[1];

	return mode & PTRACE_MODE_ATTACH ? judge_operation(CORRAL_OPERATION_PTRACE) : LSM_ALLOW;
}

SEC("lsm/ptrace_traceme")
int ptrace_traceme(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_PTRACE);
}

SEC("lsm/bpf")
int bpf_call(__u64 *ctx)
{
	__u32 command = ctx[0];

	if (proof_command && command == proof_command)
		return denied(EPERM);
	return judge_operation(CORRAL_OPERATION_BPF);
}

SEC("lsm/kernel_read_file")
int read_module(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_MODULE);
}

SEC("lsm/kernel_load_data")
int load_module(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_MODULE);
}

/* io_uring has no hook of its own before 6.15; each ring has such an inode. userfaultfd has one, too. */
SEC("lsm/inode_init_security_anon")
int make_ring(__u64 *ctx)
{
	struct qstr *name = (void *)ctx[1];
	const void *text = BPF_CORE_READ(name, name);
	char start[10] = {};

	bpf_probe_read_kernel(start, sizeof(start), text);
	if (__builtin_memcmp(start, "[io_uring]", sizeof(start)))
		return LSM_ALLOW;
	return judge_operation(CORRAL_OPERATION_IO_URING);
}

SEC("lsm/userns_create")
int make_userns(void *ctx)
{
	return judge_operation(CORRAL_OPERATION_USER_NAMESPACE);
}

/* A socket that was made elsewhere is under another's network policy, or none: no system call that uses it would be judged. */
SEC("lsm/file_receive")
int receive_file(__u64 *ctx)
{
	struct file *file = (void *)ctx[0];
	struct corral_policy_value *meta;
	struct corral_sandbox *sandbox;
	struct socket *socket;
	__u64 cgroup;
	void *policy;
	__u32 *born;
	__u32 slot;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return LSM_ALLOW;
	sandbox = fenced_sandbox(&slot);
	if (!sandbox)
		return LSM_ALLOW;
	socket = BPF_CORE_READ(file, private_data);
	cgroup = BPF_CORE_READ(socket, sk, sk_cgrp_data.cgroup, kn, id);
	born = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);
	if (born && *born == slot)
		return LSM_ALLOW;
	meta = policy_meta(slot, &policy);
	return refuse_operation(slot, sandbox->epoch, CORRAL_OPERATION_RECEIVE, CORRAL_REASON_FOREIGN_SOCKET,
				meta ? meta->set : 0);
}
