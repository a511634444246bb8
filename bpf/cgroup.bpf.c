// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packet hooks on a cgroup that Corral did not make: its boundary, in place of the veth that a sandbox has. They see what the
 * sockets of its processes send by IP; frames that a process writes itself (AF_PACKET) pass them by.
 * A cgroup_skb program lets pass with 1 and drops with 0. The packet begins with its IP header.
 *
 * The hooks on recvmsg and getpeername give the resolver's answers the name of the server that the program asked.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/budget.bpf.h"
#include "lib/cgroup.bpf.h"
#include "lib/flow.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/packet.bpf.h"
#include "lib/report.bpf.h"
#include "lib/verdict.bpf.h"

#define PACKET_DROP 0
#define PACKET_PASS 1

static __always_inline struct corral_sandbox *packet_cgroup(struct __sk_buff *skb, __u32 *slot)
{
	__u64 cgroup = bpf_skb_cgroup_id(skb);
	__u32 *found = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);

	for (int level = 1; !found && level <= DEEPEST_CGROUP; level++) {
		cgroup = bpf_skb_ancestor_cgroup_id(skb, DEEPEST_CGROUP + 1 - level);
		if (cgroup)
			found = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);
	}
	return sandbox_of_slot(found, slot);
}

static __always_inline __u8 read_packet(struct __sk_buff *skb, struct packet *packet)
{
	packet->ethertype = bpf_ntohs(skb->protocol);
	switch (packet->ethertype) {
	case ETH_P_IP:
		return read_ipv4(skb, 0, packet);
	case ETH_P_IPV6:
		return read_ipv6(skb, 0, packet);
	default:
		return CORRAL_REASON_NOT_IP;
	}
}

static __always_inline int conclude(__u32 slot, const struct corral_sandbox *sandbox, struct corral_counters *counter,
				    const struct packet *packet, const struct judgement *judgement)
{
	struct subject subject = {
		.remote = packet->destination,
		.remote_port = packet->protocol == CORRAL_PROTOCOL_ICMP ? 0 : packet->destination_port,
		.local_port = packet->source_port,
		.ethertype = packet->ethertype,
		.family = packet->family,
		.protocol = packet->protocol,
	};
	int exhausted = judgement->reason == CORRAL_REASON_LIMIT_EXHAUSTED;
	struct corral_event *event;

	count_verdict(judgement->reason);
	if (counter)
		count_sandbox(counter, judgement->verdict);
	if ((exhausted || judgement->verdict != CORRAL_DENY) && is_announced(slot, sandbox->epoch, &subject, exhausted))
		goto end;
	if (exhausted)
		announce(slot, sandbox->epoch, &subject, 1);
	event = reserve_event(slot, sandbox->epoch, CORRAL_EVENT_EGRESS, CORRAL_HOOK_CGROUP_EGRESS, &subject, judgement);
	if (event)
		bpf_ringbuf_submit(event, 0);
end:
	return judgement->verdict == CORRAL_DENY ? PACKET_DROP : PACKET_PASS;
}

SEC("cgroup_skb/egress")
int from_cgroup(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct corral_counters *counter;
	struct corral_sandbox *sandbox;
	struct corral_flow_key key;
	struct judgement judgement;
	struct corral_flow *flow;
	__u64 now;
	__u32 slot;
	__u8 reason;
	int opens;

	sandbox = packet_cgroup(skb, &slot);
	if (!sandbox) {
		count_verdict(CORRAL_REASON_COUNT);
		return PACKET_DROP;
	}
	counter = bpf_map_lookup_elem(&counters, &slot);
	reason = counter ? read_packet(skb, &packet) : CORRAL_REASON_NO_POLICY;
	if (reason == PARSED && packet.protocol == CORRAL_PROTOCOL_ICMP && packet.icmp_type != ICMP_ECHO &&
	    packet.icmp_type != ICMPV6_ECHO_REQUEST)
		reason = CORRAL_REASON_PROTOCOL_NOT_ALLOWED;
	if (reason != PARSED || !counter) {
		judgement = refuse(reason);
		return conclude(slot, sandbox, counter, &packet, &judgement);
	}

	now = bpf_ktime_get_boot_ns();
	key = flow_key(slot, sandbox->epoch, packet.protocol, &packet.destination, packet.source_port,
		       packet.destination_port);
	flow = live_flow(&key, now);
	if (flow && flow->rule == CORRAL_RULE_PUBLISHED && !packet.opens_connection) {
		touch_flow(flow, now);
		count_packet(&counter->packets_out, &counter->bytes_out, skb->len);
		return PACKET_PASS;
	}
	/* A question that a call was led with. The flow is what the resolver knows the asker by. */
	if (is_cgroup_resolver(slot, sandbox->epoch, &packet.destination, packet.destination_port, packet.protocol)) {
		judgement = (struct judgement){ .verdict = CORRAL_ALLOW, .rule = CORRAL_NO_RULE };
		remember_flow(&key, flow, &judgement, now);
		return PACKET_PASS;
	}
	judgement = judge(slot, sandbox->epoch, &packet.destination, packet.protocol, packet.destination_port,
			  flow ? flow->policy : 0);
	/* One of a socket that was connected before the hooks were on. */
	if (judgement.resolver)
		judgement = refuse(CORRAL_REASON_NAME_NOT_RESOLVED_HERE);
	if (judgement.verdict == CORRAL_DENY)
		return conclude(slot, sandbox, counter, &packet, &judgement);
	if (!within_rate(slot, skb->len, now)) {
		__sync_fetch_and_add(&counter->throttled, 1);
		return PACKET_DROP;
	}
	opens = !flow || flow->policy != judgement.policy;
	charge(slot, counter, skb->len, !flow, &judgement);
	if (judgement.verdict != CORRAL_DENY) {
		remember_flow(&key, flow, &judgement, now);
		__sync_fetch_and_add(&counter->packets_out, 1);
		if (!opens && judgement.reason != CORRAL_REASON_LIMIT_EXHAUSTED)
			return PACKET_PASS;
	}
	return conclude(slot, sandbox, counter, &packet, &judgement);
}

/* Nothing is refused here: it notes the connections that a server of the cgroup is about to accept, so that it may answer. */
SEC("cgroup_skb/ingress")
int to_cgroup(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct corral_counters *counter;
	struct corral_sandbox *sandbox;
	struct corral_flow_key key;
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 slot;

	sandbox = packet_cgroup(skb, &slot);
	if (!sandbox)
		return PACKET_PASS;
	counter = bpf_map_lookup_elem(&counters, &slot);
	if (counter)
		count_packet(&counter->packets_in, &counter->bytes_in, skb->len);
	if (read_packet(skb, &packet) != PARSED || !packet.opens_connection)
		return PACKET_PASS;
	key = flow_key(slot, sandbox->epoch, packet.protocol, &packet.source, packet.destination_port, packet.source_port);
	if (!live_flow(&key, now)) {
		struct corral_flow fresh = { .seen_ns = now, .rule = CORRAL_RULE_PUBLISHED };

		if (bpf_map_update_elem(&flows, &key, &fresh, BPF_ANY))
			count_failure(CORRAL_FAILURE_FLOWS);
	}
	return PACKET_PASS;
}

/* The server that this socket asked, when what it hears from is the resolver. */
static __always_inline struct corral_asked *asked_server(struct bpf_sock_addr *ctx, const union address *peer)
{
	struct corral_sandbox *sandbox;
	__u8 protocol = ctx->protocol;
	__u64 socket;
	__u32 slot;

	sandbox = current_sandbox(&slot);
	if (!sandbox ||
	    !is_cgroup_resolver(slot, sandbox->epoch, peer, bpf_ntohs((__u16)ctx->user_port), protocol))
		return NULL;
	socket = bpf_get_socket_cookie(ctx);
	return bpf_map_lookup_elem(&asked, &socket);
}

static __always_inline int restore_ipv4(struct bpf_sock_addr *ctx)
{
	union address peer = address_from_ipv4(ctx->user_ip4), server;
	struct corral_asked *found = asked_server(ctx, &peer);

	if (found) {
		__builtin_memcpy(server.bytes, found->address, sizeof(server.bytes));
		ctx->user_ip4 = server.words[3];
		ctx->user_port = bpf_htons(found->port);
	}
	return 1;
}

static __always_inline int restore_ipv6(struct bpf_sock_addr *ctx)
{
	union address peer, server;
	struct corral_asked *found;

	peer.words[0] = ctx->user_ip6[0];
	peer.words[1] = ctx->user_ip6[1];
	peer.words[2] = ctx->user_ip6[2];
	peer.words[3] = ctx->user_ip6[3];
	found = asked_server(ctx, &peer);
	if (found) {
		__builtin_memcpy(server.bytes, found->address, sizeof(server.bytes));
		ctx->user_ip6[0] = server.words[0];
		ctx->user_ip6[1] = server.words[1];
		ctx->user_ip6[2] = server.words[2];
		ctx->user_ip6[3] = server.words[3];
		ctx->user_port = bpf_htons(found->port);
	}
	return 1;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return restore_ipv4(ctx);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return restore_ipv6(ctx);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return restore_ipv4(ctx);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return restore_ipv6(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";
