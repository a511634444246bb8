/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a sandbox opened. Replies are let in because a flow is here, and for no other reason. */
#ifndef CORRAL_FLOW_BPF_H
#define CORRAL_FLOW_BPF_H

#include "lib/failure.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/packet.bpf.h"

#define SECOND_NS 1000000000ull
/* Quiet time after which a reply comes too late. */
#define TCP_QUIET_NS (24 * 3600 * SECOND_NS)
#define OTHER_QUIET_NS (180 * SECOND_NS)

static __always_inline struct corral_flow_key flow_key(__u32 slot, __u64 epoch, __u8 protocol, const union address *remote,
						       __u16 local_port, __u16 remote_port)
{
	struct corral_flow_key key = {
		.slot = slot,
		.epoch = (__u32)epoch,
		.local_port = local_port,
		.remote_port = remote_port,
		.protocol = protocol,
	};

	__builtin_memcpy(key.remote, remote->bytes, sizeof(key.remote));
	return key;
}

static __always_inline struct corral_flow *live_flow(const struct corral_flow_key *key, __u64 now)
{
	struct corral_flow *flow = bpf_map_lookup_elem(&flows, key);
	__u64 quiet = key->protocol == CORRAL_PROTOCOL_TCP ? TCP_QUIET_NS : OTHER_QUIET_NS;

	return flow && now - flow->seen_ns < quiet ? flow : NULL;
}

static __always_inline int is_published(__u32 slot, __u64 epoch, __u16 port, __u8 protocol)
{
	struct corral_port_key key = { .slot = slot, .epoch = (__u32)epoch, .port = port, .protocol = protocol };

	return bpf_map_lookup_elem(&published, &key) != NULL;
}

/* At most once a second, so that a busy flow's cache line is not fought over. */
static __always_inline void touch_flow(struct corral_flow *flow, __u64 now)
{
	if (now - flow->seen_ns > SECOND_NS)
		flow->seen_ns = now;
}

/* @flow: what was found under @key, if anything. */
static __always_inline void remember_flow(const struct corral_flow_key *key, struct corral_flow *flow,
					  const struct judgement *judgement, __u64 now)
{
	if (flow && flow->policy == judgement->policy) {
		touch_flow(flow, now);
	} else {
		struct corral_flow fresh = { .seen_ns = now, .policy = judgement->policy, .rule = judgement->rule };

		if (bpf_map_update_elem(&flows, key, &fresh, BPF_ANY))
			count_failure(CORRAL_FAILURE_FLOWS);
	}
}

static __always_inline void count_packet(__u64 *packets, __u64 *bytes, __u32 length)
{
	__sync_fetch_and_add(packets, 1);
	__sync_fetch_and_add(bytes, length);
}

#endif
