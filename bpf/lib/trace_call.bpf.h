/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A system call's number and arguments as the architecture has them, and copies of the memory that arguments point to. */
#ifndef CORRAL_TRACE_CALL_BPF_H
#define CORRAL_TRACE_CALL_BPF_H

#include "lib/kernel_types.bpf.h"
#include "lib/trace_maps.bpf.h"

#if defined(__TARGET_ARCH_arm64)

static __always_inline __u32 call_abi(struct task_struct *task, __u32 *number)
{
	return CORRAL_ABI_NATIVE;
}

static __always_inline __u32 number_at_end(struct pt_regs *regs)
{
	return (__u32)regs->syscallno;
}

static __always_inline void read_arguments(struct pt_regs *regs, __u32 abi, __u64 arguments[6])
{
	arguments[0] = regs->orig_x0;
	arguments[1] = regs->regs[1];
	arguments[2] = regs->regs[2];
	arguments[3] = regs->regs[3];
	arguments[4] = regs->regs[4];
	arguments[5] = regs->regs[5];
}

#else

/* arch/x86/include/asm/thread_info.h: a 32-bit call is active. */
#define TS_COMPAT 0x0002
/* uapi/asm/unistd.h */
#define X32_SYSCALL_BIT 0x40000000

static __always_inline __u32 call_abi(struct task_struct *task, __u32 *number)
{
	if (task->thread_info.status & TS_COMPAT)
		return CORRAL_ABI_COMPAT;
	if ((*number & X32_SYSCALL_BIT) && !(*number >> 31)) {
		*number &= ~X32_SYSCALL_BIT;
		return CORRAL_ABI_X32;
	}
	return CORRAL_ABI_NATIVE;
}

static __always_inline __u32 number_at_end(struct pt_regs *regs)
{
	return (__u32)regs->orig_ax;
}

/* Good at a call's end, too: of these registers the kernel changes none. */
static __always_inline void read_arguments(struct pt_regs *regs, __u32 abi, __u64 arguments[6])
{
	if (abi == CORRAL_ABI_COMPAT) {
		arguments[0] = (__u32)regs->bx;
		arguments[1] = (__u32)regs->cx;
		arguments[2] = (__u32)regs->dx;
		arguments[3] = (__u32)regs->si;
		arguments[4] = (__u32)regs->di;
		arguments[5] = (__u32)regs->bp;
		return;
	}
	arguments[0] = regs->di;
	arguments[1] = regs->si;
	arguments[2] = regs->dx;
	arguments[3] = regs->r10;
	arguments[4] = regs->r8;
	arguments[5] = regs->r9;
}

#endif

static __always_inline __u32 row_of(__u32 abi, __u32 number)
{
	return number < CORRAL_SYSCALLS ? abi * CORRAL_SYSCALLS + number : CORRAL_TRACE_ROWS - 1;
}

#define HEAD ((__u32)sizeof(struct corral_captured))
#define LARGEST (HEAD + CORRAL_CAPTURE_STRING_MOST)

/* Ends one capture: @size bytes follow its head, or @state says why not. */
static __always_inline void captured(struct thread *thread, __u32 used, __u8 argument, __u8 state, __u32 size)
{
	struct corral_captured *head = (void *)&thread->call.data[used];

	head->argument = argument;
	head->state = state;
	head->size = size;
	if (state == CORRAL_CAPTURED_UNREADABLE)
		thread->unreadable = 1;
	thread->call.used = used + HEAD + ((size + 3) & ~3u);
}

/* Where the next capture goes: a multiple of 4 with room for the largest behind it, or more than that. */
static __always_inline __u32 next_capture(struct thread *thread)
{
	return thread->call.used & ~3u;
}

static __always_inline int copy_string(struct thread *thread, __u8 argument, __u64 pointer, __u32 most)
{
	__u32 used = next_capture(thread);
	long length;

	if (used > CORRAL_TRACE_DATA - LARGEST) {
		thread->call.head.flags |= CORRAL_TRACE_NO_ROOM;
		return -1;
	}
	length = bpf_probe_read_user_str(&thread->call.data[used + HEAD], most, (void *)pointer);
	if (length <= 0) {
		captured(thread, used, argument, CORRAL_CAPTURED_UNREADABLE, 0);
		return -1;
	}
	/* A string that fills its place was cut, or fits to the byte; the next byte tells. */
	if (length == most) {
		__u8 next = 1;

		bpf_probe_read_user(&next, 1, (void *)(pointer + most - 1));
		captured(thread, used, argument, next ? CORRAL_CAPTURED_CUT : CORRAL_CAPTURED_WHOLE, most - 1);
		return 0;
	}
	captured(thread, used, argument, CORRAL_CAPTURED_WHOLE, ((__u32)length - 1) & (CORRAL_CAPTURE_STRING_MOST - 1));
	return 0;
}

static __always_inline void copy_bytes(struct thread *thread, __u8 argument, __u64 pointer, __u64 length, __u32 most)
{
	__u32 used = next_capture(thread);
	__u8 state = CORRAL_CAPTURED_WHOLE;

	if (used > CORRAL_TRACE_DATA - LARGEST) {
		thread->call.head.flags |= CORRAL_TRACE_NO_ROOM;
		return;
	}
	if (length > most) {
		length = most;
		state = CORRAL_CAPTURED_CUT;
	}
	/* All 64 bits are compared: the verifier of 6.1 takes a comparison of 32 for no bound. */
	barrier_var(length);
	if (length > CORRAL_CAPTURE_BYTES_MOST)
		length = CORRAL_CAPTURE_BYTES_MOST;
	if (bpf_probe_read_user(&thread->call.data[used + HEAD], length, (void *)pointer) < 0) {
		state = CORRAL_CAPTURED_UNREADABLE;
		length = 0;
	}
	captured(thread, used, argument, state, length);
}

static __always_inline void copy_strings(struct thread *thread, __u8 argument, __u64 pointer)
{
	for (__u32 i = 0; i <= CORRAL_CAPTURE_ITEMS; i++) {
		__u32 used = next_capture(thread);
		__u64 item;

		if (bpf_probe_read_user(&item, sizeof(item), (void *)(pointer + i * sizeof(item))) < 0) {
			if (used <= CORRAL_TRACE_DATA - LARGEST)
				captured(thread, used, argument, CORRAL_CAPTURED_UNREADABLE, 0);
			return;
		}
		if (!item)
			return;
		if (i == CORRAL_CAPTURE_ITEMS) {
			thread->call.head.flags |= CORRAL_TRACE_NO_ROOM;
			return;
		}
		if (copy_string(thread, argument, item, CORRAL_CAPTURE_ITEM_MOST) < 0)
			return;
	}
}

/* @end: 0 at the call's beginning, 1 at its end. */
static __always_inline void capture(struct thread *thread, const struct corral_capture *plan, int end)
{
	__u32 argument = plan->argument;
	__u64 pointer, next = 0;
	__u32 length;

	if (argument > 5)
		return;
	pointer = thread->call.arguments[argument];
	if (!pointer)
		return;
	if (argument < 5)
		next = thread->call.arguments[argument + 1];
	switch (plan->kind) {
	case CORRAL_CAPTURE_STRING:
		if (!end)
			copy_string(thread, argument, pointer, CORRAL_CAPTURE_STRING_MOST);
		return;
	case CORRAL_CAPTURE_STRINGS:
		if (!end && thread->call.head.abi == CORRAL_ABI_NATIVE)
			copy_strings(thread, argument, pointer);
		return;
	case CORRAL_CAPTURE_FIXED:
		if (!end)
			copy_bytes(thread, argument, pointer, plan->size, plan->size);
		return;
	case CORRAL_CAPTURE_BYTES:
		if (!end)
			copy_bytes(thread, argument, pointer, next, plan->size);
		return;
	}
	if (!end || (__s64)thread->call.result < 0)
		return;
	switch (plan->kind) {
	case CORRAL_CAPTURE_FIXED_OUT:
		copy_bytes(thread, argument, pointer, plan->size, plan->size);
		return;
	case CORRAL_CAPTURE_RESULT_OUT:
		copy_bytes(thread, argument, pointer, thread->call.result, plan->size);
		return;
	case CORRAL_CAPTURE_LENGTH_OUT:
		if (!next)
			return;
		if (bpf_probe_read_user(&length, sizeof(length), (void *)next) < 0)
			length = 0;
		copy_bytes(thread, argument, pointer, length, plan->size);
		return;
	}
}

static __always_inline int has_captures(const struct corral_plan *plan)
{
	return plan->captures[0].kind != CORRAL_CAPTURE_NONE;
}

static __always_inline void capture_all(struct thread *thread, const struct corral_plan *plan, int end)
{
	for (int i = 0; i < CORRAL_CAPTURES; i++) {
		if (plan->captures[i].kind == CORRAL_CAPTURE_NONE)
			return;
		capture(thread, &plan->captures[i], end);
	}
}

#endif
