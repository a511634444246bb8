/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Records of the trace: their numbers, and their room in the ring. */
#ifndef CORRAL_TRACE_RECORD_BPF_H
#define CORRAL_TRACE_RECORD_BPF_H

#include "lib/failure.bpf.h"
#include "lib/trace_caller.bpf.h"
#include "lib/trace_maps.bpf.h"

/* Takes the sandbox's next number. 0 when its share of the ring is used up: the number is then lost. */
static __always_inline int number_record(const struct caller *caller, struct corral_trace_head *head, __u32 size)
{
	struct corral_counters *counter = bpf_map_lookup_elem(&counters, &caller->slot);
	struct corral_trace *trace = caller->trace;

	if (!counter)
		return 0;
	head->seq = __sync_fetch_and_add(&counter->seq, 1) + 1;
	if (trace->produced - trace->consumed + size <= trace->quota)
		return 1;
	__sync_fetch_and_add(&counter->lost, 1);
	return 0;
}

static __always_inline void count_lost(__u32 slot)
{
	struct corral_counters *counter = bpf_map_lookup_elem(&counters, &slot);

	if (counter)
		__sync_fetch_and_add(&counter->lost, 1);
}

/* Room that a record takes in the ring: with its header, in steps of 8. */
static __always_inline __u32 ring_size(__u32 size)
{
	return ((size + 7) & ~7u) + BPF_RINGBUF_HDR_SZ;
}

static __always_inline int begin_step(const struct caller *caller, struct corral_trace_head *head, __u8 type,
				      __u16 size)
{
	head->size = size;
	head->type = type;
	head->time_ns = bpf_ktime_get_boot_ns();
	head->host_uid = bpf_get_current_uid_gid();
	describe(head, caller);
	bpf_get_current_comm(head->comm, sizeof(head->comm));
	return number_record(caller, head, ring_size(size));
}

/* Room for a record of so many bytes, with its head: the caller fills in the rest and submits it. NULL: it is lost. */
static __always_inline void *reserve_record(const struct caller *caller, __u8 type, const __u32 size)
{
	void *record = bpf_ringbuf_reserve(&trace, size, 0);

	if (!record) {
		struct corral_trace_head unused = {};

		count_failure(CORRAL_FAILURE_TRACE);
		if (number_record(caller, &unused, 0))
			count_lost(caller->slot);
		return NULL;
	}
	__builtin_memset(record, 0, size);
	if (!begin_step(caller, record, type, size)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return NULL;
	}
	return record;
}

static __always_inline void submit_record(const struct caller *caller, void *record, const __u32 size)
{
	__sync_fetch_and_add(&caller->trace->produced, ring_size(size));
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

#endif
