// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks on a sandbox's cgroup: they refuse a call at once, with EPERM, and know who made it.
 * A cgroup hook allows with 1 and denies with 0.
 *
 * They are on enforced cgroups too. Those have no veth that would bring their questions to the resolver: there the call itself
 * is led to it, and the hooks of cgroup.bpf.c let its answers bear the name of the server that was asked.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/budget.bpf.h"
#include "lib/cgroup.bpf.h"
#include "lib/flow.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/process.bpf.h"
#include "lib/report.bpf.h"
#include "lib/verdict.bpf.h"

#define HOOK_DENY 0
#define HOOK_ALLOW 1

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2

/* Counts, reports and returns what the hook must. */
static __always_inline int conclude(__u32 slot, __u64 epoch, __u8 hook, const struct subject *subject,
				    const struct judgement *judgement)
{
	struct corral_counters *counter = bpf_map_lookup_elem(&counters, &slot);
	struct corral_event *event;

	count_verdict(judgement->reason);
	if (counter)
		count_sandbox(counter, judgement->verdict);
	event = reserve_event(slot, epoch, CORRAL_EVENT_EGRESS, hook, subject, judgement);
	if (event) {
		describe_process(event);
		bpf_ringbuf_submit(event, 0);
	}
	if (judgement->verdict == CORRAL_DENY)
		return HOOK_DENY;
	announce(slot, epoch, subject, 0);
	return HOOK_ALLOW;
}

/* The port of the resolver that serves this cgroup here, and what the socket shall believe that it asked; 0: there is none. */
static __always_inline __u16 lead_to_resolver(struct bpf_sock_addr *ctx, __u32 slot, __u64 epoch, const struct subject *subject)
{
	struct corral_cgroup_resolver_key key = { .slot = slot, .epoch = (__u32)epoch, .netns = bpf_get_netns_cookie(ctx) };
	struct corral_resolver *where = bpf_map_lookup_elem(&cgroup_resolver, &key);
	struct corral_asked server = { .port = subject->remote_port };
	__u64 socket = bpf_get_socket_cookie(ctx);
	int ipv4 = is_ipv4(&subject->remote);
	__u16 port;

	if (!where)
		return 0;
	if (subject->protocol == CORRAL_PROTOCOL_UDP)
		port = ipv4 ? where->port_udp4 : where->port_udp6;
	else
		port = ipv4 ? where->port_tcp4 : where->port_tcp6;
	__builtin_memcpy(server.address, subject->remote.bytes, sizeof(server.address));
	if (!port)
		return 0;
	if (bpf_map_update_elem(&asked, &socket, &server, BPF_ANY)) {
		count_failure(CORRAL_FAILURE_ASKED);
		return 0;
	}
	return port;
}

/* Whether the call answers who came in by a published UDP port, from that port. A connection that came in is answered without
 * a call that names its peer. What it costs is counted on the veth. */
static __always_inline int is_published_answer(struct bpf_sock_addr *ctx, __u32 slot, __u64 epoch, const struct subject *subject)
{
	struct corral_flow_key key;
	struct corral_flow *flow;
	__u16 local_port;

	if (subject->protocol != CORRAL_PROTOCOL_UDP)
		return 0;
	local_port = (__u16)ctx->sk->src_port;
	key = flow_key(slot, epoch, CORRAL_PROTOCOL_UDP, &subject->remote, local_port, subject->remote_port);
	flow = live_flow(&key, bpf_ktime_get_boot_ns());
	return flow && flow->rule == CORRAL_RULE_PUBLISHED && is_published(slot, epoch, local_port, CORRAL_PROTOCOL_UDP);
}

/* @resolver_port: not 0 when the call is to be led there. */
static __always_inline int judge_call(struct bpf_sock_addr *ctx, __u8 hook, struct subject *subject, int once,
				      __u16 *resolver_port)
{
	struct corral_sandbox *sandbox;
	struct judgement judgement;
	__u64 epoch;
	__u32 slot;

	sandbox = current_sandbox(&slot);
	if (!sandbox) {
		count_verdict(CORRAL_REASON_COUNT);
		return HOOK_DENY;
	}
	epoch = sandbox->epoch;
	switch (subject->protocol) {
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		subject->protocol = CORRAL_PROTOCOL_ICMP;
		subject->remote_port = 0;
		/* fall through */
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		if (is_published_answer(ctx, slot, epoch, subject)) {
			count_verdict(CORRAL_REASON_ALLOWED_BY_RULE);
			return HOOK_ALLOW;
		}
		judgement = judge(slot, epoch, &subject->remote, subject->protocol, subject->remote_port, 0);
		/* The resolver tells of the query itself. */
		if (judgement.resolver && !sandbox->ifindex) {
			*resolver_port = lead_to_resolver(ctx, slot, epoch, subject);
			if (!*resolver_port) {
				judgement = refuse(CORRAL_REASON_NAME_NOT_RESOLVED_HERE);
				break;
			}
		}
		if (judgement.resolver) {
			count_verdict(judgement.reason);
			return HOOK_ALLOW;
		}
		if (judgement.verdict != CORRAL_DENY)
			judge_budget(slot, &judgement);
		break;
	default:
		judgement = refuse(CORRAL_REASON_PROTOCOL_NOT_ALLOWED);
	}
	/* One datagram of many is reported; each refusal is. */
	if (once && judgement.verdict == CORRAL_ALLOW && is_announced(slot, epoch, subject, 0)) {
		count_verdict(judgement.reason);
		return HOOK_ALLOW;
	}
	return conclude(slot, epoch, hook, subject, &judgement);
}

static __always_inline int judge_ipv4(struct bpf_sock_addr *ctx, __u8 hook, int once)
{
	struct subject subject = {
		.remote = address_from_ipv4(ctx->user_ip4),
		.remote_port = bpf_ntohs((__u16)ctx->user_port),
		.family = 4,
		.protocol = ctx->protocol,
	};
	__u16 port = 0;
	int result;

	/* MPTCP and others past 255 would be cut to a number they are not. */
	if (ctx->protocol > 255)
		subject.protocol = IPPROTO_RAW;
	result = judge_call(ctx, hook, &subject, once, &port);
	if (port) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
		ctx->user_port = bpf_htons(port);
	}
	return result;
}

static __always_inline int judge_ipv6(struct bpf_sock_addr *ctx, __u8 hook, int once)
{
	struct subject subject = {
		.remote_port = bpf_ntohs((__u16)ctx->user_port),
		.family = 6,
		.protocol = ctx->protocol,
	};
	__u16 port = 0;
	int result;

	if (ctx->protocol > 255)
		subject.protocol = IPPROTO_RAW;
	subject.remote.words[0] = ctx->user_ip6[0];
	subject.remote.words[1] = ctx->user_ip6[1];
	subject.remote.words[2] = ctx->user_ip6[2];
	subject.remote.words[3] = ctx->user_ip6[3];
	result = judge_call(ctx, hook, &subject, once, &port);
	if (port) {
		union address loopback = loopback_address(is_ipv4(&subject.remote) ? 4 : 6);

		ctx->user_ip6[0] = loopback.words[0];
		ctx->user_ip6[1] = loopback.words[1];
		ctx->user_ip6[2] = loopback.words[2];
		ctx->user_ip6[3] = loopback.words[3];
		ctx->user_port = bpf_htons(port);
	}
	return result;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return judge_ipv4(ctx, CORRAL_HOOK_CONNECT4, 0);
}

/* Sees IPv4 too, as ::ffff:a.b.c.d. */
SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return judge_ipv6(ctx, CORRAL_HOOK_CONNECT6, 0);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return judge_ipv4(ctx, CORRAL_HOOK_SENDMSG4, 1);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return judge_ipv6(ctx, CORRAL_HOOK_SENDMSG6, 1);
}

/* Runs for AF_INET and AF_INET6. Nothing but TCP, UDP and, where the policy speaks of icmp, ping sockets. */
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	struct subject subject = {
		.family = ctx->family == AF_INET6 ? 6 : 4,
		.protocol = ctx->protocol > 255 ? IPPROTO_RAW : ctx->protocol,
	};
	__u32 type = ctx->type, protocol = ctx->protocol;
	struct corral_policy_value *meta;
	struct judgement judgement;
	struct corral_sandbox *sandbox;
	void *policy;
	__u32 slot;

	sandbox = current_sandbox(&slot);
	if (!sandbox) {
		count_verdict(CORRAL_REASON_COUNT);
		return HOOK_DENY;
	}
	if ((type == SOCK_STREAM && protocol == IPPROTO_TCP) || (type == SOCK_DGRAM && protocol == IPPROTO_UDP))
		return HOOK_ALLOW;
	meta = policy_meta(slot, &policy);
	if (type == SOCK_DGRAM && (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) && meta &&
	    (meta->flags & (CORRAL_POLICY_ICMP | CORRAL_POLICY_AUDIT)))
		return HOOK_ALLOW;
	judgement = refuse(meta ? CORRAL_REASON_PROTOCOL_NOT_ALLOWED : CORRAL_REASON_NO_POLICY);
	if (meta)
		judgement.policy = meta->set;
	return conclude(slot, sandbox->epoch, CORRAL_HOOK_SOCK_CREATE, &subject, &judgement);
}

char _license[] SEC("license") = "Dual BSD/GPL";
