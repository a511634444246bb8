/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The one verdict. The cgroup hooks and the veth hook call this same function over the same maps, so the fast answer
 * and the one that cannot be walked around never differ. Whatever is missing or damaged is a denial.
 */
#ifndef CORRAL_VERDICT_BPF_H
#define CORRAL_VERDICT_BPF_H

#include "lib/maps.bpf.h"

union address {
	__u8 bytes[16];
	__u32 words[4]; /* network order */
};

struct judgement {
	__u8 verdict; /* enum corral_verdict */
	__u8 reason;  /* enum corral_reason */
	__u8 audit;   /* the policy only reports */
	__u8 resolver; /* allowed because the resolver answers, whatever the address */
	__u32 rule;
	__u32 policy;
};

static __always_inline struct judgement refuse(__u8 reason)
{
	return (struct judgement){ .verdict = CORRAL_DENY, .reason = reason, .rule = CORRAL_NO_RULE };
}

static __always_inline union address address_from_ipv4(__u32 ipv4)
{
	return (union address){ .words = { 0, 0, bpf_htonl(0xffff), ipv4 } };
}

/* What a packet reaches, not how it is written: NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address. */
static __always_inline union address judged_address(const union address *address)
{
	if (address->words[0] == bpf_htonl(0x0064ff9b) && address->words[1] == 0 && address->words[2] == 0)
		return address_from_ipv4(address->words[3]);
	if (address->bytes[0] == 0x20 && address->bytes[1] == 0x02) {
		union address inner = address_from_ipv4(0);

		inner.bytes[12] = address->bytes[2];
		inner.bytes[13] = address->bytes[3];
		inner.bytes[14] = address->bytes[4];
		inner.bytes[15] = address->bytes[5];
		return inner;
	}
	return *address;
}

static __always_inline struct corral_policy_value *policy_lookup(void *policy, struct corral_policy_key *key)
{
	key->prefixlen = CORRAL_FULL_PREFIX;
	return bpf_map_lookup_elem(policy, key);
}

/* The policy of a slot and its META entry; NULL when either is missing. */
static __always_inline struct corral_policy_value *policy_meta(__u32 slot, void **policy)
{
	struct corral_policy_key key = { .space = CORRAL_SPACE_META };

	*policy = bpf_map_lookup_elem(&policies, &slot);
	return *policy ? policy_lookup(*policy, &key) : NULL;
}

/* The answer of a port set; NULL is damage. */
static __always_inline struct corral_policy_value *port_answer(void *policy, __u32 set, __u8 protocol, __u16 port)
{
	struct corral_policy_key key = { .space = CORRAL_SPACE_PORT };

	key.bytes[0] = set >> 24;
	key.bytes[1] = set >> 16;
	key.bytes[2] = set >> 8;
	key.bytes[3] = set;
	key.bytes[4] = protocol;
	key.bytes[5] = port >> 8;
	key.bytes[6] = port;
	return policy_lookup(policy, &key);
}

/* Whether what no rule on addresses allows is allowed by a name that the resolver gave this address for. */
static __always_inline void judge_by_pins(struct judgement *result, void *policy, const struct corral_pin_key *key,
					  __u8 protocol, __u16 port)
{
	struct corral_pin *pin = bpf_map_lookup_elem(&pins, key);
	struct corral_policy_value *value;
	__u64 now = bpf_ktime_get_boot_ns();
	__u8 unruled = result->reason == CORRAL_REASON_NO_MATCHING_RULE;

	if (!pin)
		return;
#pragma unroll
	for (int i = 0; i < CORRAL_PIN_RULES; i++) {
		const struct corral_pin_rule *rule = &pin->rules[i];

		if (!rule->expires_ns)
			continue;
		value = port_answer(policy, rule->set, protocol, port);
		if (!value)
			continue;
		if (now < rule->expires_ns && value->verdict == CORRAL_ALLOW) {
			result->verdict = CORRAL_ALLOW;
			result->reason = CORRAL_REASON_ALLOWED_BY_RULE;
			result->rule = rule->rule;
			return;
		}
		if (!unruled)
			continue;
		result->reason = value->verdict == CORRAL_ALLOW ? CORRAL_REASON_NAME_NOT_RESOLVED_HERE : value->reason;
		result->rule = rule->rule;
	}
}

/*
 * @protocol: enum corral_protocol; @port: host order, 0 for ICMP.
 * @flow_policy: number of the policy that allowed this flow before, or 0. While it is still the one in force the answer
 * stands, and only the verdict of the result means anything.
 */
static __always_inline struct judgement judge(__u32 slot, __u64 epoch, const union address *address, __u8 protocol,
					      __u16 port, __u32 flow_policy)
{
	struct judgement result = refuse(CORRAL_REASON_NO_POLICY);
	struct corral_policy_key key = { .space = CORRAL_SPACE_ADDRESS };
	struct corral_policy_value *meta, *value;
	union address target;
	__u32 address_rule;
	void *policy;

	meta = policy_meta(slot, &policy);
	if (!meta)
		return result;
	result.policy = meta->set;
	result.audit = !!(meta->flags & CORRAL_POLICY_AUDIT);
	if ((meta->flags & CORRAL_POLICY_NAMES) && port == CORRAL_DNS_PORT) {
		result.resolver = 1;
		result.verdict = CORRAL_ALLOW;
		result.reason = CORRAL_REASON_ALLOWED_BY_RULE;
		return result;
	}
	if (flow_policy && flow_policy == meta->set) {
		result.verdict = CORRAL_ALLOW;
		result.reason = CORRAL_REASON_ALLOWED_BY_RULE;
		return result;
	}

	target = judged_address(address);
	__builtin_memcpy(key.bytes, target.bytes, sizeof(key.bytes));
	value = policy_lookup(policy, &key);
	if (!value)
		return result;
	address_rule = value->rule;
	if (value->flags & CORRAL_POLICY_PORTS) {
		value = port_answer(policy, value->set, protocol, port);
		if (!value)
			return result;
	}

	result.reason = value->reason;
	result.rule = value->rule == CORRAL_RULE_OF_ADDRESS ? address_rule : value->rule;
	if (value->verdict == CORRAL_ALLOW) {
		result.verdict = CORRAL_ALLOW;
		return result;
	}
	if ((meta->flags & CORRAL_POLICY_NAMES) &&
	    (value->reason == CORRAL_REASON_NO_MATCHING_RULE || value->reason == CORRAL_REASON_PORT_NOT_ALLOWED ||
	     value->reason == CORRAL_REASON_PROTOCOL_NOT_ALLOWED)) {
		struct corral_pin_key pin = { .slot = slot, .epoch = (__u32)epoch, .policy = meta->set };

		__builtin_memcpy(pin.address, target.bytes, sizeof(pin.address));
		judge_by_pins(&result, policy, &pin, protocol, port);
	}
	if (result.verdict == CORRAL_DENY && result.audit)
		result.verdict = CORRAL_WOULD_DENY;
	return result;
}

#endif
