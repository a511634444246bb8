/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a sandbox may use up. Usage is in its counters, so that a policy that comes later changes the limits alone. */
#ifndef CORRAL_BUDGET_BPF_H
#define CORRAL_BUDGET_BPF_H

#include "lib/maps.bpf.h"
#include "lib/verdict.bpf.h"

static __always_inline void exhaust(__u64 *count, struct judgement *judgement)
{
	__sync_fetch_and_add(count, 1);
	judgement->reason = CORRAL_REASON_LIMIT_EXHAUSTED;
	judgement->rule = CORRAL_NO_RULE;
	judgement->verdict = judgement->audit ? CORRAL_WOULD_DENY : CORRAL_DENY;
}

/* For a call that has sent nothing yet: whether what it leads to would be refused. */
static __always_inline void judge_budget(__u32 slot, struct judgement *judgement)
{
	struct corral_counters *counter = bpf_map_lookup_elem(&counters, &slot);
	struct corral_budget *budget = bpf_map_lookup_elem(&budgets, &slot);

	if (!counter || !budget)
		return;
	if (budget->bytes && counter->bytes_out >= budget->bytes)
		exhaust(&counter->exhausted_bytes, judgement);
	else if (budget->connections && counter->connections >= budget->connections)
		exhaust(&counter->exhausted_connections, judgement);
}

/* Charges one frame, and the flow that it opens if @opens. */
static __always_inline void charge(__u32 slot, struct corral_counters *counter, __u32 bytes, int opens,
				   struct judgement *judgement)
{
	struct corral_budget *budget = bpf_map_lookup_elem(&budgets, &slot);
	__u64 used;

	if (opens) {
		used = __sync_fetch_and_add(&counter->connections, 1);
		if (budget && budget->connections && used >= budget->connections) {
			exhaust(&counter->exhausted_connections, judgement);
			if (judgement->verdict == CORRAL_DENY) {
				__sync_fetch_and_add(&counter->connections, -1);
				return;
			}
		}
	}
	used = __sync_fetch_and_add(&counter->bytes_out, bytes) + bytes;
	if (budget && budget->bytes && used > budget->bytes) {
		exhaust(&counter->exhausted_bytes, judgement);
		if (judgement->verdict == CORRAL_DENY)
			__sync_fetch_and_add(&counter->bytes_out, -(__u64)bytes);
	}
}

/* A token bucket. 0 when this frame has to be dropped for the rate, which is no refusal: its sender sends it again. */
static __always_inline int within_rate(__u32 slot, __u32 bytes, __u64 now)
{
	struct corral_budget *budget = bpf_map_lookup_elem(&budgets, &slot);
	struct bucket *bucket;
	__u64 elapsed, tokens, rate, burst;
	int within;

	if (!budget || !budget->bytes_per_second)
		return 1;
	bucket = bpf_map_lookup_elem(&buckets, &slot);
	if (!bucket)
		return 0;
	rate = budget->bytes_per_second;
	burst = budget->burst;
	bpf_spin_lock(&bucket->lock);
	elapsed = now - bucket->filled_ns;
	/* A clock read on another CPU may be a little behind; after ten seconds the bucket is full whatever the rate. */
	if ((__s64)elapsed < 0)
		elapsed = 0;
	tokens = elapsed >= 10000000000ull ? burst : bucket->tokens + rate * (elapsed / 1000) / 1000000;
	if (tokens > burst)
		tokens = burst;
	within = tokens >= bytes;
	if (within)
		tokens -= bytes;
	if (within || elapsed >= 1000000) {
		bucket->tokens = tokens;
		bucket->filled_ns = now - elapsed % 1000;
	}
	bpf_spin_unlock(&bucket->lock);
	return within;
}

#endif
