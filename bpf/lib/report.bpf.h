/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counting and reporting of verdicts. No verdict depends on anything here. */
#ifndef CORRAL_REPORT_BPF_H
#define CORRAL_REPORT_BPF_H

#include "lib/failure.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/verdict.bpf.h"

/* How long after a cgroup hook's report the same destination needs no other. */
#define ANNOUNCED_NS (60ull * 1000000000ull)

/* What a hook knows of the packet or call it judged. */
struct subject {
	union address remote;
	__u16 remote_port;
	__u16 local_port;
	__u16 ethertype;
	__u8 family;   /* 4, 6, or 0 */
	__u8 protocol; /* IANA number */
};

static __always_inline void count_verdict(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&verdicts, &reason);

	if (count)
		(*count)++;
}

static __always_inline void count_sandbox(struct corral_counters *counter, __u8 verdict)
{
	if (verdict == CORRAL_DENY)
		__sync_fetch_and_add(&counter->denied, 1);
	else
		__sync_fetch_and_add(&counter->allowed, 1);
}

/* The head of a record, whose room is reserved. */
static __always_inline void begin_event(struct corral_event *event, __u64 seq, __u32 slot, __u64 epoch, __u8 type, __u8 hook,
					const struct judgement *judgement)
{
	event->version = CORRAL_RECORD_VERSION;
	event->type = type;
	event->hook = hook;
	event->verdict = judgement->verdict;
	event->reason = judgement->reason;
	event->time_ns = bpf_ktime_get_boot_ns();
	event->seq = seq;
	event->epoch = epoch;
	event->slot = slot;
	event->policy = judgement->policy;
	event->rule = judgement->rule == CORRAL_RULE_PUBLISHED ? CORRAL_NO_RULE : judgement->rule;
}

/* No room in the ring: the number is missing from the stream, and counted as lost. */
static __always_inline void lose_event(struct corral_counters *counter)
{
	count_failure(CORRAL_FAILURE_DECISIONS);
	__sync_fetch_and_add(&counter->lost, 1);
}

/*
 * Takes the sandbox's next number and room in the ring. NULL when the ring is full. The caller fills in what it knows beyond the
 * subject and submits.
 */
static __always_inline struct corral_event *reserve_event(__u32 slot, __u64 epoch, __u8 type, __u8 hook,
							  const struct subject *subject, const struct judgement *judgement)
{
	struct corral_counters *counter = bpf_map_lookup_elem(&counters, &slot);
	struct corral_event *event;
	__u64 seq;

	if (!counter)
		return NULL;
	seq = __sync_fetch_and_add(&counter->seq, 1) + 1;
	event = bpf_ringbuf_reserve(&decisions, sizeof(*event), 0);
	if (!event) {
		lose_event(counter);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	begin_event(event, seq, slot, epoch, type, hook, judgement);
	event->size = sizeof(*event);
	event->port = subject->remote_port;
	event->local_port = subject->local_port;
	__builtin_memcpy(event->address, subject->remote.bytes, sizeof(event->address));
	event->family = subject->family;
	event->protocol = subject->protocol;
	event->ethertype = subject->ethertype;
	return event;
}

static __always_inline struct corral_announced_key announced_key(__u32 slot, __u64 epoch, const struct subject *subject,
								 __u8 exhausted)
{
	struct corral_announced_key key = {
		.slot = slot,
		.epoch = (__u32)epoch,
		.remote_port = subject->remote_port,
		.protocol = subject->protocol,
		.exhausted = exhausted,
	};

	__builtin_memcpy(key.remote, subject->remote.bytes, sizeof(key.remote));
	return key;
}

/* Whether a report of this destination is fresh enough to need no other. */
static __always_inline int is_announced(__u32 slot, __u64 epoch, const struct subject *subject, __u8 exhausted)
{
	struct corral_announced_key key = announced_key(slot, epoch, subject, exhausted);
	__u64 *time = bpf_map_lookup_elem(&announced, &key);

	return time && bpf_ktime_get_boot_ns() - *time < ANNOUNCED_NS;
}

static __always_inline void announce(__u32 slot, __u64 epoch, const struct subject *subject, __u8 exhausted)
{
	struct corral_announced_key key = announced_key(slot, epoch, subject, exhausted);
	__u64 now = bpf_ktime_get_boot_ns();

	if (bpf_map_update_elem(&announced, &key, &now, BPF_ANY))
		count_failure(CORRAL_FAILURE_ANNOUNCED);
}

#endif
