// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The trace of system calls and processes. Attached only while some sandbox asks for it: the kernel takes every task of the
 * host through the slow path of system calls while a program is on sys_enter or sys_exit.
 *
 * seccomp answers before sys_enter. A call that it refuses has no beginning here and an end all the same, which is how the
 * two are told apart; see `end_call` for what else ends without having begun.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "lib/failure.bpf.h"
#include "lib/process.bpf.h"
#include "lib/trace_call.bpf.h"
#include "lib/trace_caller.bpf.h"
#include "lib/trace_maps.bpf.h"
#include "lib/trace_record.bpf.h"

/* include/linux/sched/signal.h */
#define SIGNAL_GROUP_EXIT 0x00000004

/* Largest error number; results of -1 to -4095 are errors. */
#define MAX_ERRNO 4095

static __always_inline int was_told(const struct thread *thread, __u32 abi, __u32 number)
{
	return abi == CORRAL_ABI_NATIVE && number < CORRAL_SYSCALLS && (thread->told[number / 64] >> (number % 64)) & 1;
}

static __always_inline void tell(struct thread *thread, __u32 abi, __u32 number)
{
	if (abi == CORRAL_ABI_NATIVE && number < CORRAL_SYSCALLS)
		thread->told[number / 64] |= 1ULL << (number % 64);
}

/* The controller reads by the clock, so that nothing here wakes it. */
static __always_inline void emit_call(const struct caller *caller, struct thread *thread)
{
	__u32 used = thread->call.used, size;

	if (used > CORRAL_TRACE_DATA)
		used = CORRAL_TRACE_DATA;
	size = __builtin_offsetof(struct corral_syscall, data) + used;
	thread->call.head.size = size;
	thread->call.head.type = CORRAL_TRACE_SYSCALL;
	tell(thread, thread->call.head.abi, thread->call.number);
	/* Either may have changed since the last call. The helpers for them take longer than the rest of this function. */
	thread->call.head.host_uid = caller->task->cred->uid.val;
	__builtin_memcpy(thread->call.head.comm, caller->task->comm, sizeof(thread->call.head.comm));
	if (!number_record(caller, &thread->call.head, ring_size(size)))
		return;
	if (bpf_ringbuf_output(&trace, &thread->call, size, BPF_RB_NO_WAKEUP)) {
		count_failure(CORRAL_FAILURE_TRACE);
		count_lost(caller->slot);
		return;
	}
	__sync_fetch_and_add(&caller->trace->produced, ring_size(size));
}

static __always_inline struct corral_trace_row *find_row(const struct caller *caller, __u32 index)
{
	void *rows = bpf_map_lookup_elem(&trace_rows, &caller->trace->rows);

	return rows ? bpf_map_lookup_elem(rows, &index) : NULL;
}

/* @thread: its record has the call's ABI, number and flags. */
static __always_inline int is_wanted(const struct caller *caller, const struct corral_trace_row *row,
				     const struct thread *thread)
{
	if (caller->trace->mode != CORRAL_TRACE_EVENTS)
		return 0;
	if (row->wanted != CORRAL_WANT_FIRST)
		return row->wanted != CORRAL_WANT_NONE;
	return (thread->call.head.flags & CORRAL_TRACE_REFUSED) ||
	       !was_told(thread, thread->call.head.abi, thread->call.number);
}

static __always_inline struct thread *near_thread(struct task_struct *task)
{
	__u32 index = (__u32)task->pid & (CORRAL_NEAR_THREADS - 1);

	return bpf_map_lookup_elem(&near_threads, &index);
}

static __always_inline struct thread *find_thread(struct task_struct *task)
{
	struct thread *thread = near_thread(task);

	if (thread && thread->owner == (__u64)task)
		return thread;
	return bpf_task_storage_get(&threads, task, 0, 0);
}

static __always_inline struct thread *make_thread(struct task_struct *task)
{
	struct thread *thread = near_thread(task);

	if (thread && (thread->owner == (__u64)task || !__sync_val_compare_and_swap(&thread->owner, 0, (__u64)task)))
		return thread;
	return bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* What the state of the current thread, `caller->task`, says of its sandbox; 0 when that is not this session's, or there is none. */
static __always_inline int recall_caller(struct caller *caller, struct thread **thread)
{
	struct thread *found;

	found = find_thread(caller->task);
	if (!found)
		return 0;
	caller->slot = found->call.head.slot;
	caller->trace = bpf_map_lookup_elem(&traces, &caller->slot);
	*thread = found;
	return caller->trace && caller->trace->mode != CORRAL_TRACE_OFF && found->session == caller->trace->session;
}

/* The state of the current thread, new or of an earlier session; NULL for want of memory. */
static __always_inline struct thread *meet_thread(const struct caller *caller)
{
	struct thread *thread = make_thread(caller->task);

	if (!thread) {
		count_failure(CORRAL_FAILURE_THREAD);
		return NULL;
	}
	thread->session = caller->trace->session;
	thread->pending = 0;
	thread->identified = 0;
	return thread;
}

static __always_inline void identify(const struct caller *caller, struct thread *thread)
{
	if (thread->identified)
		return;
	thread->own = is_own(caller);
	__builtin_memset(thread->told, 0, sizeof(thread->told));
	describe(&thread->call.head, caller);
	thread->identified = 1;
}

static __always_inline void begin_record(struct thread *thread, __u32 abi, __u32 number)
{
	thread->call.head.abi = abi;
	thread->call.head.flags = 0;
	thread->call.head.time_ns = bpf_ktime_get_boot_ns();
	thread->call.number = number;
	thread->call.used = 0;
	thread->call.result = 0;
	thread->call.duration_ns = 0;
	thread->unreadable = 0;
}

SEC("raw_tp/sys_enter")
int begin_call(struct bpf_raw_tracepoint_args *context)
{
	__u32 number = (__u32)context->args[1], abi, index;
	struct corral_trace_row *row;
	struct caller caller;
	struct corral_plan *plan;
	struct thread *thread;
	struct pt_regs *regs;

	caller.task = (void *)bpf_get_current_task_btf();
	if (!may_be_traced(caller.task))
		return 0;
	if (!recall_caller(&caller, &thread)) {
		if (!find_caller(&caller))
			return 0;
		thread = meet_thread(&caller);
		if (!thread)
			return 0;
	}
	identify(&caller, thread);
	abi = call_abi(caller.task, &number);
	index = row_of(abi, number);
	plan = bpf_map_lookup_elem(&trace_plans, &index);
	if (!plan || (thread->own && !(plan->flags & CORRAL_PLAN_EXEC)))
		return 0;
	begin_record(thread, abi, number);
	thread->pending = 1;
	/* Arguments that point nowhere are read at the end: the registers still hold them. */
	if ((caller.trace->mode != CORRAL_TRACE_EVENTS || !has_captures(plan)) && !(plan->flags & CORRAL_PLAN_NO_RETURN))
		return 0;
	row = find_row(&caller, index);
	if (!row)
		return 0;
	if (is_wanted(&caller, row, thread)) {
		regs = (void *)bpf_task_pt_regs(caller.task);
		read_arguments(regs, abi, thread->call.arguments);
		capture_all(thread, plan, 0);
	}
	if (!(plan->flags & CORRAL_PLAN_NO_RETURN))
		return 0;
	thread->pending = 0;
	__sync_fetch_and_add(&row->calls, 1);
	if (is_wanted(&caller, row, thread)) {
		thread->call.head.flags |= CORRAL_TRACE_NO_RETURN;
		emit_call(&caller, thread);
	}
	return 0;
}

static __always_inline void count_call(struct corral_trace_row *row, __s64 result)
{
	__sync_fetch_and_add(&row->calls, 1);
	if (result < 0 && result >= -MAX_ERRNO)
		__sync_fetch_and_add(&row->errors, 1);
}

/* A call whose beginning there was no memory to keep: it is counted, and its event is lost. */
static __always_inline void count_unjoined(const struct caller *caller, struct pt_regs *regs, __s64 result)
{
	struct corral_trace_head unused = {};
	struct corral_trace_row *row;
	__u32 number = number_at_end(regs);
	__u32 abi = call_abi(caller->task, &number);

	row = find_row(caller, row_of(abi, number));
	if (!row)
		return;
	count_call(row, result);
	if (caller->trace->mode == CORRAL_TRACE_EVENTS && row->wanted && number_record(caller, &unused, 0))
		count_lost(caller->slot);
}

SEC("raw_tp/sys_exit")
int end_call(struct bpf_raw_tracepoint_args *context)
{
	__s64 result = (__s64)context->args[1];
	__u32 number, abi, index;
	struct corral_trace_row *row;
	struct corral_plan *plan;
	struct caller caller;
	struct thread *thread;
	struct pt_regs *regs;
	int is_known, is_joined;

	caller.task = (void *)bpf_get_current_task_btf();
	if (!may_be_traced(caller.task))
		return 0;
	is_known = recall_caller(&caller, &thread);
	if (!is_known) {
		if (!find_caller(&caller))
			return 0;
		thread = meet_thread(&caller);
	}
	if (!thread) {
		count_unjoined(&caller, (void *)bpf_task_pt_regs(caller.task), result);
		return 0;
	}
	identify(&caller, thread);
	is_joined = thread->pending;
	/* Of its own calls the last alone counts: the one that made it the sandbox's. */
	if (thread->own && (!is_joined || result < 0)) {
		thread->pending = 0;
		return 0;
	}
	if (is_joined) {
		abi = thread->call.head.abi;
		number = thread->call.number;
	} else {
		number = number_at_end((void *)bpf_task_pt_regs(caller.task));
		abi = call_abi(caller.task, &number);
	}
	thread->pending = 0;
	index = row_of(abi, number);
	plan = bpf_map_lookup_elem(&trace_plans, &index);
	row = find_row(&caller, index);
	if (!plan || !row)
		return 0;
	if (is_joined) {
		thread->call.duration_ns = bpf_ktime_get_boot_ns() - thread->call.head.time_ns;
	} else {
		/* The new thread's return from the call that made it. */
		if (!is_known && (plan->flags & CORRAL_PLAN_RETURNS_TWICE) && !result)
			return 0;
		begin_record(thread, abi, number);
		/* Of a thread that was never seen before, nobody knows whether the call had begun. */
		thread->call.head.flags = is_known ? CORRAL_TRACE_REFUSED : CORRAL_TRACE_UNSEEN;
	}
	thread->call.result = result;
	count_call(row, result);
	if (thread->call.head.flags & CORRAL_TRACE_REFUSED)
		__sync_fetch_and_add(&row->refused, 1);
	if (thread->call.duration_ns)
		__sync_fetch_and_add(&row->duration_ns, thread->call.duration_ns);
	if (!is_wanted(&caller, row, thread))
		return 0;
	/*
	 * Memory that was not there at the beginning, such as a constant of a page that nobody had touched, has been brought in
	 * by the call itself.
	 */
	if (!is_joined || !has_captures(plan) || (thread->unreadable && !((plan->flags & CORRAL_PLAN_EXEC) && !result))) {
		regs = (void *)bpf_task_pt_regs(caller.task);
		read_arguments(regs, abi, thread->call.arguments);
		thread->call.used = 0;
		if (!(thread->call.head.flags & CORRAL_TRACE_UNSEEN))
			capture_all(thread, plan, 0);
	}
	capture_all(thread, plan, 1);
	emit_call(&caller, thread);
	return 0;
}

#define OPERATION_BYTES __builtin_offsetof(struct corral_syscall, data)

/*
 * A ring of io_uring has taken an operation: in io_uring_enter, or in the kernel's thread that polls the ring, which is one of the
 * process. What becomes of it is not told: it may end at any time and in any thread. The tracepoint is io_uring_submit_sqe before 6.4.
 */
SEC("raw_tp/io_uring_submit_req")
int submitted(struct bpf_raw_tracepoint_args *context)
{
	struct io_kiocb *request = (void *)context->args[0];
	struct corral_trace_row *row;
	struct corral_syscall *record;
	struct caller caller;
	__u32 operation;
	__u64 before;

	if (!find_caller(&caller))
		return 0;
	operation = BPF_CORE_READ(request, opcode);
	row = find_row(&caller, row_of(CORRAL_ABI_IO_URING, operation));
	if (!row)
		return 0;
	before = __sync_fetch_and_add(&row->calls, 1);
	if (caller.trace->mode != CORRAL_TRACE_EVENTS || row->wanted == CORRAL_WANT_NONE ||
	    (row->wanted == CORRAL_WANT_FIRST && before))
		return 0;
	record = reserve_record(&caller, CORRAL_TRACE_SYSCALL, OPERATION_BYTES);
	if (!record)
		return 0;
	record->head.abi = CORRAL_ABI_IO_URING;
	record->head.flags = CORRAL_TRACE_NO_RETURN;
	record->number = operation;
	record->arguments[0] = BPF_CORE_READ(request, cqe.fd);
	record->arguments[1] = BPF_CORE_READ(request, cqe.user_data);
	submit_record(&caller, record, OPERATION_BYTES);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int executed(struct bpf_raw_tracepoint_args *context)
{
	struct corral_execution *record;
	unsigned long start, end;
	struct task_struct *task;
	struct caller caller;
	struct thread *thread;
	struct path directory;
	struct mm_struct *mm;
	__u64 size;

	if (!find_caller(&caller))
		return 0;
	thread = find_thread(caller.task);
	if (thread)
		thread->identified = 0;
	record = reserve_record(&caller, CORRAL_TRACE_EXEC, sizeof(*record));
	if (!record)
		return 0;
	task = caller.task;
	read_exe(task, record->exe);
	directory.mnt = BPF_CORE_READ(task, fs, pwd.mnt);
	directory.dentry = BPF_CORE_READ(task, fs, pwd.dentry);
	read_path(directory.mnt, directory.dentry, record->directory);
	mm = BPF_CORE_READ(task, mm);
	start = BPF_CORE_READ(mm, arg_start);
	end = BPF_CORE_READ(mm, arg_end);
	size = end > start ? (end - start > CORRAL_ARGV_BYTES ? CORRAL_ARGV_BYTES : end - start) : 0;
	record->argv_cut = end > start && end - start > CORRAL_ARGV_BYTES;
	barrier_var(size);
	if (size > CORRAL_ARGV_BYTES)
		size = CORRAL_ARGV_BYTES;
	if (bpf_probe_read_user(record->argv, size, (void *)start) == 0)
		record->argv_size = size;
	else
		record->argv_cut = 1;
	submit_record(&caller, record, sizeof(*record));
	return 0;
}

/* Processes, not threads. */
SEC("raw_tp/sched_process_fork")
int forked(struct bpf_raw_tracepoint_args *context)
{
	struct task_struct *child = (void *)context->args[1];
	struct corral_step *record;
	struct caller caller;
	unsigned int level;

	if (!find_caller(&caller) || is_own(&caller))
		return 0;
	if (BPF_CORE_READ(child, tgid) == caller.task->tgid)
		return 0;
	record = reserve_record(&caller, CORRAL_TRACE_FORK, sizeof(*record));
	if (!record)
		return 0;
	level = pid_level(caller.task);
	record->child_pid = pid_number(child, level);
	record->child_host_pid = BPF_CORE_READ(child, tgid);
	record->child_exec_count = BPF_CORE_READ(child, self_exec_id);
	record->child_start_ns = BPF_CORE_READ(child, start_boottime);
	submit_record(&caller, record, sizeof(*record));
	return 0;
}

SEC("raw_tp/sched_process_exit")
int exited(struct bpf_raw_tracepoint_args *context)
{
	struct task_struct *leader, *task;
	struct signal_struct *signal;
	struct corral_step *record;
	struct caller caller;
	struct thread *thread;
	struct ended key;
	__u8 zero = 0;

	task = (void *)bpf_get_current_task_btf();
	thread = near_thread(task);
	if (thread && thread->owner == (__u64)task)
		thread->owner = 0;
	if (!find_caller(&caller) || is_own(&caller))
		return 0;
	signal = BPF_CORE_READ(task, signal);
	if (BPF_CORE_READ(signal, live.counter))
		return 0;
	leader = BPF_CORE_READ(task, group_leader);
	key.host_pid = (__u32)BPF_CORE_READ(leader, tgid);
	key.start_ns = BPF_CORE_READ(leader, start_boottime);
	if (bpf_map_update_elem(&ended_processes, &key, &zero, BPF_NOEXIST))
		return 0;
	record = reserve_record(&caller, CORRAL_TRACE_EXIT, sizeof(*record));
	if (!record)
		return 0;
	record->status = BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT ? BPF_CORE_READ(signal, group_exit_code) :
									    BPF_CORE_READ(leader, exit_code);
	record->user_ns = BPF_CORE_READ(signal, utime) + BPF_CORE_READ(task, utime);
	record->system_ns = BPF_CORE_READ(signal, stime) + BPF_CORE_READ(task, stime);
	record->run_ns = BPF_CORE_READ(signal, sum_sched_runtime) + BPF_CORE_READ(task, se.sum_exec_runtime);
	record->peak_pages = BPF_CORE_READ(signal, maxrss);
	submit_record(&caller, record, sizeof(*record));
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
