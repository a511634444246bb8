// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks of the BPF LSM that judge paths: what a sandbox's policy says under files.exec, files.read and files.write. They are on the
 * whole host once a policy speaks of paths. What cannot be judged is refused. An LSM hook allows with 0 and denies with a negative
 * error.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "lib/lsm.bpf.h"
#include "lib/path.bpf.h"
#include "lib/report.bpf.h"
#include "lib/verdict.bpf.h"

/* bpf_probe_read_kernel and bpf_get_current_task are for programs under the GPL alone. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define FMODE_READ 0x1
#define FMODE_WRITE 0x2
/* In f_flags, of what execve opens; no caller of open can set it. */
#define FMODE_EXEC 0x20
#define O_TRUNC 01000
#define RENAME_EXCHANGE 0x2

/* A policy is replaced between the look at it and the look at its rules; more often than this in a row it is not. */
#define POLICY_TRIES 3

/* One call that is judged. */
struct question {
	struct path_room *room;
	void *rules;
	__u64 epoch;
	__u32 slot;
	__u32 policy;
	__u8 flags; /* of META */
	__u8 action; /* enum corral_file_action */
};

/* Why a path is refused. */
struct refusal {
	__u64 epoch;
	__u64 path; /* address of its bytes; 0: none */
	__u32 slot;
	__u32 policy;
	__u32 rule;
	__u8 audits;
	__u8 action; /* enum corral_file_action */
	__u8 access; /* enum corral_access */
	__u8 reason; /* enum corral_reason */
	__u32 above;
};

/* Counts and reports. Global: the verifier goes through it once, and not anew for each who calls it. */
__attribute__((noinline)) int report_refusal(const struct refusal *refusal)
{
	struct corral_counters *counter;
	struct corral_file_event *event;
	struct judgement judgement = {};
	__u32 slot;
	__u64 seq;

	if (!refusal)
		return 0;
	judgement.verdict = refusal->audits ? CORRAL_WOULD_DENY : CORRAL_DENY;
	judgement.reason = refusal->reason;
	judgement.rule = refusal->rule;
	judgement.policy = refusal->policy;
	count_verdict(refusal->reason);
	slot = refusal->slot;
	counter = bpf_map_lookup_elem(&counters, &slot);
	if (!counter)
		return 0;
	count_sandbox(counter, judgement.verdict);
	seq = __sync_fetch_and_add(&counter->seq, 1) + 1;
	event = bpf_ringbuf_reserve(&decisions, sizeof(*event), 0);
	if (!event) {
		lose_event(counter);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	begin_event(&event->event, seq, slot, refusal->epoch, CORRAL_EVENT_FILE, CORRAL_HOOK_LSM, &judgement);
	event->event.size = sizeof(*event);
	event->action = refusal->action;
	event->access = refusal->access;
	event->above = refusal->above;
	if (refusal->path)
		bpf_probe_read_kernel(event->path, sizeof(event->path), (void *)refusal->path);
	describe_process(&event->event);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline int refuse_path(const struct question *question, const struct corral_path_key *key, __u8 access,
				       __u8 reason, __u32 rule, __u8 above)
{
	struct refusal refusal = {
		.epoch = question->epoch,
		.path = key ? (__u64)key->path : 0,
		.slot = question->slot,
		.policy = question->policy,
		.rule = rule,
		.audits = reason != CORRAL_REASON_NO_POLICY && (question->flags & CORRAL_POLICY_AUDIT),
		.action = question->action,
		.access = access,
		.reason = reason,
		.above = above,
	};

	report_refusal(&refusal);
	return refusal.audits ? LSM_ALLOW : denied(EACCES);
}

/* Whether there is anything to judge: @question is then filled in. @wanted: flags of META, one of which has to be there. Where it
 * cannot be judged, @answer is a refusal. */
static __always_inline int begin(struct question *question, __u8 action, __u8 wanted, int *answer)
{
	struct corral_policy_value *meta;
	struct corral_sandbox *sandbox;
	void *policy;
	__u8 access;

	*answer = LSM_ALLOW;
	sandbox = fenced_sandbox(&question->slot);
	if (!sandbox)
		return 0;
	question->epoch = sandbox->epoch;
	question->action = action;
#pragma unroll
	for (int i = 0; i < POLICY_TRIES; i++) {
		meta = policy_meta(question->slot, &policy);
		if (!meta)
			break;
		question->policy = meta->set;
		question->flags = meta->flags;
		if (!(meta->flags & wanted))
			return 0;
		question->rules = bpf_map_lookup_elem(&path_rules, &question->policy);
		if (question->rules)
			break;
	}
	if (question->rules)
		question->room = bpf_task_storage_get(&path_rooms, bpf_get_current_task_btf(), NULL,
						      BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (question->room)
		return 1;
	access = wanted & CORRAL_POLICY_WRITE ? CORRAL_ACCESS_WRITE
		 : wanted & CORRAL_POLICY_READ ? CORRAL_ACCESS_READ
					       : CORRAL_ACCESS_EXEC;
	*answer = refuse_path(question, NULL, access, CORRAL_REASON_NO_POLICY, CORRAL_NO_RULE, 0);
	return 0;
}

static __always_inline struct corral_path_value *path_answer(const struct question *question, struct corral_path_key *key,
							     __u8 space)
{
	key->prefixlen = CORRAL_PATH_FULL_PREFIX;
	key->space = space;
	return bpf_map_lookup_elem(question->rules, key);
}

static __always_inline int is_judged(const struct question *question, __u8 access)
{
	return question->flags & CORRAL_POLICY_ACCESS(access);
}

static __always_inline int judge_access(const struct question *question, struct corral_path_key *key, __u8 access)
{
	struct corral_path_value *value;

	if (!is_judged(question, access))
		return LSM_ALLOW;
	value = path_answer(question, key, access);
	if (!value)
		return refuse_path(question, key, access, CORRAL_REASON_NO_POLICY, CORRAL_NO_RULE, 0);
	if (value->verdict == CORRAL_ALLOW)
		return LSM_ALLOW;
	return refuse_path(question, key, access,
			   value->rule == CORRAL_NO_RULE ? CORRAL_REASON_PATH_NOT_ALLOWED : CORRAL_REASON_DENIED_BY_RULE,
			   value->rule, 0);
}

/* Nothing is known of where it is. */
static __always_inline int refuse_unknown(const struct question *question, __u8 access)
{
	return refuse_path(question, NULL, access, CORRAL_REASON_PATH_NOT_ALLOWED, CORRAL_NO_RULE, 0);
}

SEC("lsm/file_open")
int file_open(__u64 *ctx)
{
	struct file *file = (void *)ctx[0];
	__u32 mode = BPF_CORE_READ(file, f_mode);
	__u32 flags = BPF_CORE_READ(file, f_flags);
	__u32 type = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
	struct question question = {};
	struct corral_path_key *key;
	__u8 wanted = 0;
	__u8 kind;
	int answer;

	/* Whether it may be executed is asked elsewhere. */
	if ((flags & FMODE_EXEC) || (type != S_IFREG && type != S_IFDIR))
		return LSM_ALLOW;
	if (mode & FMODE_READ)
		wanted |= CORRAL_POLICY_READ;
	if ((mode & FMODE_WRITE) || (flags & O_TRUNC))
		wanted |= CORRAL_POLICY_WRITE;
	if (!wanted || !begin(&question, CORRAL_FILE_OPEN, wanted, &answer))
		return wanted ? answer : LSM_ALLOW;
	key = &question.room->names[0];
	kind = find_path(question.room, key, BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry),
			 type == S_IFDIR);
	if (kind == PATH_NONE)
		return LSM_ALLOW;
	if (kind == PATH_UNKNOWN)
		return refuse_unknown(&question, wanted & CORRAL_POLICY_WRITE ? CORRAL_ACCESS_WRITE : CORRAL_ACCESS_READ);
	if (wanted & CORRAL_POLICY_READ) {
		answer = judge_access(&question, key, CORRAL_ACCESS_READ);
		if (answer)
			return answer;
	}
	return wanted & CORRAL_POLICY_WRITE ? judge_access(&question, key, CORRAL_ACCESS_WRITE) : LSM_ALLOW;
}

/* Comes once for a script and again for its interpreter. */
SEC("lsm/bprm_check_security")
int exec_check(__u64 *ctx)
{
	struct linux_binprm *program = (void *)ctx[0];
	struct question question = {};
	struct corral_path_key *key;
	struct file *file;
	__u8 kind;
	int answer;

	if (!begin(&question, CORRAL_FILE_EXEC, CORRAL_POLICY_EXEC, &answer))
		return answer;
	file = BPF_CORE_READ(program, file);
	key = &question.room->names[0];
	kind = find_path(question.room, key, BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry), 0);
	if (kind == PATH_UNKNOWN)
		return refuse_unknown(&question, CORRAL_ACCESS_EXEC);
	return judge_access(&question, key, CORRAL_ACCESS_EXEC);
}

/* A change of what is called @dentry, below @vfsmount. */
static __always_inline int judge_change(__u8 action, struct vfsmount *vfsmount, struct dentry *dentry)
{
	struct question question = {};
	struct corral_path_key *key;
	int answer;

	if (!begin(&question, action, CORRAL_POLICY_WRITE, &answer))
		return answer;
	key = &question.room->names[0];
	if (find_path(question.room, key, vfsmount, dentry, 0) != PATH_KNOWN)
		return refuse_unknown(&question, CORRAL_ACCESS_WRITE);
	return judge_access(&question, key, CORRAL_ACCESS_WRITE);
}

static __always_inline int judge_change_in(__u8 action, __u64 *ctx)
{
	struct path *directory = (void *)ctx[0];
	struct dentry *dentry = (void *)ctx[1];

	return judge_change(action, BPF_CORE_READ(directory, mnt), dentry);
}

static __always_inline int judge_change_of(__u8 action, __u64 *ctx)
{
	struct path *path = (void *)ctx[0];

	return judge_change(action, BPF_CORE_READ(path, mnt), BPF_CORE_READ(path, dentry));
}

SEC("lsm/path_mknod")
int path_mknod(__u64 *ctx)
{
	return judge_change_in(CORRAL_FILE_CREATE, ctx);
}

SEC("lsm/path_mkdir")
int path_mkdir(__u64 *ctx)
{
	return judge_change_in(CORRAL_FILE_MKDIR, ctx);
}

SEC("lsm/path_rmdir")
int path_rmdir(__u64 *ctx)
{
	return judge_change_in(CORRAL_FILE_RMDIR, ctx);
}

SEC("lsm/path_unlink")
int path_unlink(__u64 *ctx)
{
	return judge_change_in(CORRAL_FILE_UNLINK, ctx);
}

SEC("lsm/path_symlink")
int path_symlink(__u64 *ctx)
{
	return judge_change_in(CORRAL_FILE_SYMLINK, ctx);
}

SEC("lsm/path_truncate")
int path_truncate(__u64 *ctx)
{
	return judge_change_of(CORRAL_FILE_TRUNCATE, ctx);
}

SEC("lsm/path_chmod")
int path_chmod(__u64 *ctx)
{
	return judge_change_of(CORRAL_FILE_CHMOD, ctx);
}

SEC("lsm/path_chown")
int path_chown(__u64 *ctx)
{
	return judge_change_of(CORRAL_FILE_CHOWN, ctx);
}

static __always_inline int is_directory(struct dentry *dentry)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	return inode && (BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFDIR;
}

/* Whoever may not read or execute something as @from may not have it as @to either. */
static __always_inline int judge_widening(const struct question *question, struct corral_path_key *from,
					  struct corral_path_key *to, __u8 access)
{
	struct corral_path_value *value;

	if (!is_judged(question, access))
		return LSM_ALLOW;
	value = path_answer(question, to, access);
	if (value && value->verdict != CORRAL_ALLOW)
		return LSM_ALLOW;
	return judge_access(question, from, access);
}

static __always_inline int judge_above(const struct question *question, struct corral_path_key *key)
{
	struct corral_path_value *value = path_answer(question, key, CORRAL_PATHS_ABOVE);

	if (!value)
		return LSM_ALLOW;
	return refuse_path(question, key, (value->rule >> CORRAL_RULE_ACCESS_SHIFT) & 3, CORRAL_REASON_PATH_NOT_ALLOWED,
			   value->rule, 1);
}

/* What is called @old gets, or has from now on, the name @new. */
static __always_inline int judge_move(__u8 action, struct vfsmount *vfsmount, struct dentry *old, struct dentry *new, int exchange)
{
	struct question question = {};
	struct corral_path_key *from, *to;
	int answer;

	if (!begin(&question, action, CORRAL_POLICY_EXEC | CORRAL_POLICY_READ | CORRAL_POLICY_WRITE, &answer))
		return answer;
	from = &question.room->names[0];
	to = &question.room->names[1];
	if (find_path(question.room, from, vfsmount, old, 0) != PATH_KNOWN ||
	    find_path(question.room, to, vfsmount, new, 0) != PATH_KNOWN)
		return refuse_unknown(&question, CORRAL_ACCESS_WRITE);
	answer = judge_access(&question, from, CORRAL_ACCESS_WRITE);
	if (!answer)
		answer = judge_access(&question, to, CORRAL_ACCESS_WRITE);
	if (!answer)
		answer = judge_widening(&question, from, to, CORRAL_ACCESS_READ);
	if (!answer)
		answer = judge_widening(&question, from, to, CORRAL_ACCESS_EXEC);
	if (!answer && exchange)
		answer = judge_widening(&question, to, from, CORRAL_ACCESS_READ);
	if (!answer && exchange)
		answer = judge_widening(&question, to, from, CORRAL_ACCESS_EXEC);
	if (answer || !(is_directory(old) || is_directory(new)))
		return answer;
	answer = judge_above(&question, from);
	return answer ? answer : judge_above(&question, to);
}

SEC("lsm/path_link")
int path_link(__u64 *ctx)
{
	struct path *directory = (void *)ctx[1];

	/* Both are on one mount. */
	return judge_move(CORRAL_FILE_LINK, BPF_CORE_READ(directory, mnt), (void *)ctx[0], (void *)ctx[2], 0);
}

SEC("lsm/path_rename")
int path_rename(__u64 *ctx)
{
	struct path *directory = (void *)ctx[0];

	return judge_move(CORRAL_FILE_RENAME, BPF_CORE_READ(directory, mnt), (void *)ctx[1], (void *)ctx[3],
			  ctx[4] & RENAME_EXCHANGE);
}
