// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks on a sandbox's cgroup: they refuse a call at once, with EPERM, and know who made it.
 * A cgroup hook allows with 1 and denies with 0.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/budget.bpf.h"
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

/* Deeper cgroups are charged to none. */
#define DEEPEST_CGROUP 24

/* What the current process's sandbox is; 0 when its cgroup is in none of ours, which denies. */
static __always_inline int current_sandbox(__u32 *slot, __u64 *epoch)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	__u32 *found = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);
	struct corral_sandbox *sandbox;

	/* A cgroup below one that we hold; the nearest counts. */
	for (int level = 1; !found && level <= DEEPEST_CGROUP; level++) {
		cgroup = bpf_get_current_ancestor_cgroup_id(DEEPEST_CGROUP + 1 - level);
		if (cgroup)
			found = bpf_map_lookup_elem(&slot_by_cgroup, &cgroup);
	}
	if (!found)
		return 0;
	*slot = *found;
	sandbox = bpf_map_lookup_elem(&sandboxes, slot);
	if (!sandbox || !sandbox->epoch)
		return 0;
	*epoch = sandbox->epoch;
	return 1;
}

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

static __always_inline int judge_call(__u8 hook, struct subject *subject, int once)
{
	struct judgement judgement;
	__u32 slot;
	__u64 epoch;

	if (!current_sandbox(&slot, &epoch)) {
		count_verdict(CORRAL_REASON_COUNT);
		return HOOK_DENY;
	}
	switch (subject->protocol) {
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		subject->protocol = CORRAL_PROTOCOL_ICMP;
		subject->remote_port = 0;
		/* fall through */
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		judgement = judge(slot, epoch, &subject->remote, subject->protocol, subject->remote_port, 0);
		/* The resolver tells of the query itself. */
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

	/* MPTCP and others past 255 would be cut to a number they are not. */
	if (ctx->protocol > 255)
		subject.protocol = IPPROTO_RAW;
	return judge_call(hook, &subject, once);
}

static __always_inline int judge_ipv6(struct bpf_sock_addr *ctx, __u8 hook, int once)
{
	struct subject subject = {
		.remote_port = bpf_ntohs((__u16)ctx->user_port),
		.family = 6,
		.protocol = ctx->protocol,
	};

	if (ctx->protocol > 255)
		subject.protocol = IPPROTO_RAW;
	subject.remote.words[0] = ctx->user_ip6[0];
	subject.remote.words[1] = ctx->user_ip6[1];
	subject.remote.words[2] = ctx->user_ip6[2];
	subject.remote.words[3] = ctx->user_ip6[3];
	return judge_call(hook, &subject, once);
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
	void *policy;
	__u32 slot;
	__u64 epoch;

	if (!current_sandbox(&slot, &epoch)) {
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
	return conclude(slot, epoch, CORRAL_HOOK_SOCK_CREATE, &subject, &judgement);
}

char _license[] SEC("license") = "Dual BSD/GPL";
