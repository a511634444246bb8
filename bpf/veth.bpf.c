// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks on the host side of a sandbox's veth: the boundary. They see every frame, whoever made it and by whatever call.
 * clsact in direct-action mode; TC_ACT_OK lets pass, TC_ACT_SHOT drops.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/budget.bpf.h"
#include "lib/flow.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/packet.bpf.h"
#include "lib/report.bpf.h"
#include "lib/resolver.bpf.h"
#include "lib/verdict.bpf.h"

/* clang calls memcmp for what it will not inline, and BPF has none. */
static __always_inline int same_bytes(const __u8 *a, const __u8 *b, int count)
{
	__u8 difference = 0;

#pragma unroll
	for (int i = 0; i < count; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static __always_inline struct corral_sandbox *frame_sandbox(struct __sk_buff *skb, __u32 *slot)
{
	__u32 ifindex = skb->ifindex;
	__u32 *found = bpf_map_lookup_elem(&slot_by_ifindex, &ifindex);
	struct corral_sandbox *sandbox;

	if (!found)
		return NULL;
	*slot = *found;
	sandbox = bpf_map_lookup_elem(&sandboxes, slot);
	return sandbox && sandbox->epoch ? sandbox : NULL;
}

static __always_inline int is_sandbox_address(const struct corral_sandbox *sandbox, __u8 family,
					      const union address *address)
{
	if (family == 4)
		return same_bytes(address->bytes + 12, sandbox->ipv4, sizeof(sandbox->ipv4));
	return same_bytes(address->bytes, sandbox->ipv6, sizeof(sandbox->ipv6));
}

/*
 * Where a run without an interface (BPF_PROG_TEST_RUN) reads the answer; cb is scratch space of this layer otherwise.
 */
static __always_inline void leave_answer(struct __sk_buff *skb, const struct judgement *judgement)
{
	skb->cb[0] = judgement->verdict;
	skb->cb[1] = judgement->reason;
	skb->cb[2] = judgement->rule;
	skb->cb[3] = judgement->policy;
}

static __always_inline void report(__u32 slot, const struct corral_sandbox *sandbox, __u8 type, __u8 hook,
				   const struct packet *packet, const struct judgement *judgement)
{
	int out = type == CORRAL_EVENT_EGRESS;
	struct subject subject = {
		.remote = out ? packet->destination : packet->source,
		.remote_port = out ? packet->destination_port : packet->source_port,
		.local_port = out ? packet->source_port : packet->destination_port,
		.ethertype = packet->ethertype,
		.family = packet->family,
		.protocol = packet->protocol,
	};
	struct corral_event *event;

	if (packet->protocol == CORRAL_PROTOCOL_ICMP)
		subject.remote_port = 0;
	/* Each frame of a flow is refused for the same budget. */
	if (judgement->reason == CORRAL_REASON_LIMIT_EXHAUSTED) {
		if (is_announced(slot, sandbox->epoch, &subject, 1))
			return;
		announce(slot, sandbox->epoch, &subject, 1);
	} else if (judgement->verdict != CORRAL_DENY && is_announced(slot, sandbox->epoch, &subject, 0)) {
		/* Its process has been reported by a cgroup hook. */
		return;
	}
	event = reserve_event(slot, sandbox->epoch, type, hook, &subject, judgement);
	if (event)
		bpf_ringbuf_submit(event, 0);
}

static __always_inline int drop(struct __sk_buff *skb, __u32 slot, const struct corral_sandbox *sandbox,
				struct corral_counters *counter, __u8 type, const struct packet *packet,
				const struct judgement *judgement)
{
	count_verdict(judgement->reason);
	if (counter)
		__sync_fetch_and_add(&counter->denied, 1);
	leave_answer(skb, judgement);
	report(slot, sandbox, type,
	       type == CORRAL_EVENT_EGRESS ? CORRAL_HOOK_VETH_EGRESS : CORRAL_HOOK_VETH_INGRESS, packet, judgement);
	return TC_ACT_SHOT;
}

/* What a Linux interface sends on its own: nothing that anybody asked for, so it is dropped without an event. */
static __always_inline int is_link_chatter(const struct packet *packet, __u8 reason)
{
	/* Router and neighbour discovery; MLD comes with a hop-by-hop header, to ff02::/16. */
	return packet->family == 6 && packet->destination.bytes[0] == 0xff && packet->destination.bytes[1] == 0x02 &&
	       ((packet->protocol == IPPROTO_ICMPV6 && reason == CORRAL_REASON_PROTOCOL_NOT_ALLOWED &&
		 packet->icmp_type >= 133 && packet->icmp_type <= 136) ||
		(packet->protocol == 0 && reason == CORRAL_REASON_EXTENSION_HEADER && packet->destination.bytes[15] == 0x16));
}

static __always_inline struct judgement admit_published(__u32 slot)
{
	struct judgement result = refuse(CORRAL_REASON_NO_POLICY);
	struct corral_policy_value *meta;
	void *policy;

	meta = policy_meta(slot, &policy);
	if (!meta)
		return result;
	result.verdict = CORRAL_ALLOW;
	result.reason = CORRAL_REASON_ALLOWED_BY_RULE;
	result.rule = CORRAL_RULE_PUBLISHED;
	result.policy = meta->set;
	result.audit = !!(meta->flags & CORRAL_POLICY_AUDIT);
	return result;
}

/* A frame that a sandbox sent. */
SEC("tc")
int from_sandbox(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct corral_counters *counter;
	struct corral_sandbox *sandbox;
	struct corral_flow_key key;
	struct judgement judgement;
	struct corral_flow *flow;
	struct ethhdr ethernet;
	__u64 now;
	__u32 slot;
	__u8 reason;
	int opens;

	sandbox = frame_sandbox(skb, &slot);
	if (!sandbox) {
		count_verdict(CORRAL_REASON_COUNT);
		return TC_ACT_SHOT;
	}
	counter = bpf_map_lookup_elem(&counters, &slot);

	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet))) {
		judgement = refuse(CORRAL_REASON_NOT_IP);
		return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
	}
	reason = read_frame(skb, &ethernet, &packet);
	if (reason != PARSED && is_link_chatter(&packet, reason)) {
		count_verdict(reason);
		return TC_ACT_SHOT;
	}
	/* A forged sender is the graver matter, whatever the frame holds. */
	if (!same_bytes(ethernet.h_source, sandbox->mac, ETH_ALEN) ||
	    (packet.family && !is_sandbox_address(sandbox, packet.family, &packet.source)))
		reason = CORRAL_REASON_SPOOFED_SOURCE;
	else if (reason == PARSED && !same_bytes(ethernet.h_dest, sandbox->gateway_mac, ETH_ALEN) && !(ethernet.h_dest[0] & 1))
		reason = CORRAL_REASON_NOT_IP;
	if (reason != PARSED) {
		judgement = refuse(reason);
		return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
	}
	/* Of ICMP only the question goes out. */
	if (packet.protocol == CORRAL_PROTOCOL_ICMP && packet.icmp_type != ICMP_ECHO &&
	    packet.icmp_type != ICMPV6_ECHO_REQUEST) {
		judgement = refuse(CORRAL_REASON_PROTOCOL_NOT_ALLOWED);
		return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
	}

	now = bpf_ktime_get_boot_ns();
	key = flow_key(slot, sandbox->epoch, packet.protocol, &packet.destination, packet.source_port,
		       packet.destination_port);
	flow = live_flow(&key, now);
	if (flow && flow->rule == CORRAL_RULE_PUBLISHED) {
		/* Whoever came in by it opened the connection; the sandbox opens none back. */
		if (packet.opens_connection || !is_published(slot, sandbox->epoch, packet.source_port, packet.protocol))
			flow = NULL;
	}
	/* An answer to whom the host let in is no matter of the policy's rules, but of its budgets all the same. */
	if (flow && flow->rule == CORRAL_RULE_PUBLISHED)
		judgement = admit_published(slot);
	else
		judgement = judge(slot, sandbox->epoch, &packet.destination, packet.protocol, packet.destination_port,
				  flow ? flow->policy : 0);
	if (judgement.verdict == CORRAL_DENY)
		return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
	/* A frame to a group or to everybody is no way to a permitted host. */
	if (ethernet.h_dest[0] & 1) {
		judgement = refuse(CORRAL_REASON_RESERVED_ADDRESS);
		return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
	}
	opens = judgement.rule != CORRAL_RULE_PUBLISHED && (!flow || flow->policy != judgement.policy);
	if (judgement.resolver) {
		if (give_to_resolver(skb, &packet)) {
			judgement = refuse(CORRAL_REASON_NAME_NOT_RESOLVED_HERE);
			return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
		}
		remember_flow(&key, flow, &judgement, now);
		leave_answer(skb, &judgement);
		return TC_ACT_OK;
	}
	if (!counter) {
		judgement = refuse(CORRAL_REASON_NO_POLICY);
		return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
	}
	if (!within_rate(slot, skb->len, now)) {
		__sync_fetch_and_add(&counter->throttled, 1);
		return TC_ACT_SHOT;
	}
	charge(slot, counter, skb->len, !flow, &judgement);
	if (judgement.verdict == CORRAL_DENY)
		return drop(skb, slot, sandbox, counter, CORRAL_EVENT_EGRESS, &packet, &judgement);
	remember_flow(&key, flow, &judgement, now);
	if (opens || judgement.reason == CORRAL_REASON_LIMIT_EXHAUSTED) {
		count_verdict(judgement.reason);
		count_sandbox(counter, judgement.verdict);
		report(slot, sandbox, CORRAL_EVENT_EGRESS, CORRAL_HOOK_VETH_EGRESS, &packet, &judgement);
	}
	leave_answer(skb, &judgement);
	__sync_fetch_and_add(&counter->packets_out, 1);
	return TC_ACT_OK;
}

/* The packet that an ICMP error complains of, read as the sandbox sent it. */
static __always_inline __u8 read_complaint(struct __sk_buff *skb, const struct packet *error, struct packet *sent)
{
	struct ports ports;
	__u32 transport;

	if (error->family == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, error->payload, &ip, sizeof(ip)))
			return CORRAL_REASON_NOT_IP;
		if (ip.version != 4 || ip.ihl != 5 || ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
			return CORRAL_REASON_UNSOLICITED_INBOUND;
		sent->source = address_from_ipv4(ip.saddr);
		sent->destination = address_from_ipv4(ip.daddr);
		sent->protocol = ip.protocol;
		transport = error->payload + sizeof(ip);
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, error->payload, &ip, sizeof(ip)))
			return CORRAL_REASON_NOT_IP;
		if (ip.version != 6)
			return CORRAL_REASON_UNSOLICITED_INBOUND;
		__builtin_memcpy(sent->source.bytes, &ip.saddr, sizeof(sent->source.bytes));
		__builtin_memcpy(sent->destination.bytes, &ip.daddr, sizeof(sent->destination.bytes));
		sent->protocol = ip.nexthdr;
		transport = error->payload + sizeof(ip);
	}
	sent->family = error->family;
	if (sent->protocol == IPPROTO_TCP || sent->protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, transport, &ports, sizeof(ports)))
			return CORRAL_REASON_NOT_IP;
		sent->source_port = bpf_ntohs(ports.source);
		sent->destination_port = bpf_ntohs(ports.destination);
		return PARSED;
	}
	if (sent->protocol == (error->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return read_icmp(skb, transport, sent);
	return CORRAL_REASON_UNSOLICITED_INBOUND;
}

/* A frame on its way into a sandbox: replies, and errors about what it sent. */
SEC("tc")
int to_sandbox(struct __sk_buff *skb)
{
	struct packet packet = {}, sent = {};
	const union address *remote = &packet.source;
	struct corral_counters *counter;
	struct corral_sandbox *sandbox;
	struct corral_flow_key key;
	struct judgement judgement;
	struct corral_flow *flow;
	struct ethhdr ethernet;
	__u64 now = bpf_ktime_get_boot_ns();
	__u16 local_port, remote_port;
	__u32 slot;
	__u8 protocol, reason;

	sandbox = frame_sandbox(skb, &slot);
	if (!sandbox) {
		count_verdict(CORRAL_REASON_COUNT);
		return TC_ACT_SHOT;
	}
	counter = bpf_map_lookup_elem(&counters, &slot);

	reason = bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)) ? CORRAL_REASON_NOT_IP
									   : read_frame(skb, &ethernet, &packet);
	/* What the host itself says on a link: ARP, discovery. The sandbox needs none of it, and nobody asked for it. */
	if (packet.family == 0 || (reason != PARSED && (ethernet.h_dest[0] & 1))) {
		count_verdict(CORRAL_REASON_UNSOLICITED_INBOUND);
		return TC_ACT_SHOT;
	}
	if (reason == PARSED && !is_sandbox_address(sandbox, packet.family, &packet.destination))
		reason = CORRAL_REASON_UNSOLICITED_INBOUND;

	protocol = packet.protocol;
	local_port = packet.destination_port;
	remote_port = packet.source_port;
	if (reason == PARSED && packet.is_icmp_error) {
		reason = read_complaint(skb, &packet, &sent);
		if (reason == PARSED && !is_sandbox_address(sandbox, sent.family, &sent.source))
			reason = CORRAL_REASON_UNSOLICITED_INBOUND;
		remote = &sent.destination;
		protocol = sent.protocol;
		local_port = sent.source_port;
		remote_port = sent.destination_port;
	} else if (packet.protocol == CORRAL_PROTOCOL_ICMP) {
		if (packet.icmp_type != ICMP_ECHOREPLY && packet.icmp_type != ICMPV6_ECHO_REPLY)
			reason = reason == PARSED ? CORRAL_REASON_UNSOLICITED_INBOUND : reason;
		local_port = packet.source_port;
		remote_port = 0;
	}
	if (reason == PARSED) {
		key = flow_key(slot, sandbox->epoch, protocol, remote, local_port, remote_port);
		flow = live_flow(&key, now);
		if (flow && flow->rule != CORRAL_RULE_PUBLISHED) {
			/* Under a policy that came later the flow may be one too many. */
			judgement = judge(slot, sandbox->epoch, remote, protocol, remote_port, flow->policy);
			if (judgement.verdict == CORRAL_DENY) {
				bpf_map_delete_elem(&flows, &key);
				return drop(skb, slot, sandbox, counter, CORRAL_EVENT_INGRESS, &packet, &judgement);
			}
		} else if ((protocol == CORRAL_PROTOCOL_TCP || protocol == CORRAL_PROTOCOL_UDP) && !packet.is_icmp_error &&
			   is_published(slot, sandbox->epoch, local_port, protocol)) {
			judgement = (struct judgement){ .verdict = CORRAL_ALLOW, .reason = CORRAL_REASON_ALLOWED_BY_RULE,
							.rule = CORRAL_RULE_PUBLISHED };
			if (!flow) {
				count_verdict(judgement.reason);
				if (counter)
					count_sandbox(counter, judgement.verdict);
				report(slot, sandbox, CORRAL_EVENT_INGRESS, CORRAL_HOOK_VETH_INGRESS, &packet, &judgement);
			}
			remember_flow(&key, flow, &judgement, now);
			flow = bpf_map_lookup_elem(&flows, &key);
		} else {
			flow = NULL;
		}
		if (flow) {
			touch_flow(flow, now);
			if (counter)
				count_packet(&counter->packets_in, &counter->bytes_in, skb->len);
			return TC_ACT_OK;
		}
		reason = CORRAL_REASON_UNSOLICITED_INBOUND;
	}
	judgement = refuse(reason);
	return drop(skb, slot, sandbox, counter, CORRAL_EVENT_INGRESS, &packet, &judgement);
}

/*
 * For the controller, through BPF_PROG_TEST_RUN: what would be decided now, by the same function over the same maps. The
 * frame is a struct corral_question behind an Ethernet header; attached to nothing.
 */
SEC("tc")
int ask(struct __sk_buff *skb)
{
	struct corral_question question;
	struct corral_sandbox *sandbox;
	struct judgement judgement = refuse(CORRAL_REASON_NO_POLICY);
	union address address;

	if (!bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &question, sizeof(question))) {
		sandbox = bpf_map_lookup_elem(&sandboxes, &question.slot);
		__builtin_memcpy(address.bytes, question.address, sizeof(address.bytes));
		if (sandbox && sandbox->epoch && sandbox->epoch == question.epoch)
			judgement = judge(question.slot, sandbox->epoch, &address, question.protocol, question.port, 0);
	}
	leave_answer(skb, &judgement);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
