/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads one frame into the few facts a verdict needs. Whatever does not parse is refused, with the reason. */
#ifndef CORRAL_PACKET_BPF_H
#define CORRAL_PACKET_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/corral_abi.h"
#include "lib/verdict.bpf.h"

/* <linux/icmp.h> and <linux/icmpv6.h> pull in the C library. IANA numbers. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB 4
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define IP_MORE_FRAGMENTS 0x2000
#define IP_FRAGMENT_OFFSET 0x1fff

/* "Not refused by the parser." Never a reason of a verdict. */
#define PARSED CORRAL_REASON_COUNT

struct packet {
	union address source;
	union address destination;
	__u16 source_port;	/* host order; ICMP echo: the identifier, both ways */
	__u16 destination_port; /* likewise, 0 for ICMP */
	__u16 ethertype;
	__u8 family;
	__u8 protocol; /* IANA number; ICMPv6 is written as ICMP once it is known to be an echo */
	__u8 icmp_type;
	__u8 is_icmp_error;
	__u8 opens_connection; /* TCP with SYN and without ACK */
	__u32 payload; /* offset of what follows the ICMP header, for errors */
};

struct ports {
	__be16 source;
	__be16 destination;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 identifier;
	__be16 sequence;
};

static __always_inline int is_ipv6_extension(__u8 next)
{
	switch (next) {
	case 0:	  /* hop-by-hop */
	case 43:  /* routing */
	case 50:  /* ESP */
	case 51:  /* AH */
	case 60:  /* destination options */
	case 135: /* mobility */
	case 139: /* HIP */
	case 140: /* shim6 */
	case 253:
	case 254: /* experimental */
		return 1;
	}
	return 0;
}

static __always_inline __u8 read_icmp(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	struct icmp_header icmp;

	if (bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)))
		return CORRAL_REASON_NOT_IP;
	packet->icmp_type = icmp.type;
	if (packet->family == 4) {
		if (icmp.type == ICMP_ECHO || icmp.type == ICMP_ECHOREPLY)
			packet->source_port = bpf_ntohs(icmp.identifier);
		else if (icmp.type == ICMP_DEST_UNREACH || icmp.type == ICMP_TIME_EXCEEDED ||
			 icmp.type == ICMP_PARAMETERPROB)
			packet->is_icmp_error = 1;
		else
			return CORRAL_REASON_PROTOCOL_NOT_ALLOWED;
	} else {
		if (icmp.type == ICMPV6_ECHO_REQUEST || icmp.type == ICMPV6_ECHO_REPLY)
			packet->source_port = bpf_ntohs(icmp.identifier);
		else if (icmp.type >= ICMPV6_DEST_UNREACH && icmp.type <= ICMPV6_PARAMPROB)
			packet->is_icmp_error = 1;
		else
			return CORRAL_REASON_PROTOCOL_NOT_ALLOWED;
	}
	packet->protocol = CORRAL_PROTOCOL_ICMP;
	packet->payload = offset + sizeof(icmp);
	return PARSED;
}

static __always_inline __u8 read_transport(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	/* The shortest whole header: 20 bytes of TCP, 8 of UDP. */
	__u8 header[20];
	struct ports ports;

	switch (packet->protocol) {
	case IPPROTO_TCP:
		if (bpf_skb_load_bytes(skb, offset, header, 20))
			return CORRAL_REASON_NOT_IP;
		packet->opens_connection = (header[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
		break;
	case IPPROTO_UDP:
		if (bpf_skb_load_bytes(skb, offset, header, 8))
			return CORRAL_REASON_NOT_IP;
		break;
	case IPPROTO_ICMP:
		return packet->family == 4 ? read_icmp(skb, offset, packet) : CORRAL_REASON_PROTOCOL_NOT_ALLOWED;
	case IPPROTO_ICMPV6:
		return packet->family == 6 ? read_icmp(skb, offset, packet) : CORRAL_REASON_PROTOCOL_NOT_ALLOWED;
	default:
		return CORRAL_REASON_PROTOCOL_NOT_ALLOWED;
	}
	__builtin_memcpy(&ports, header, sizeof(ports));
	packet->source_port = bpf_ntohs(ports.source);
	packet->destination_port = bpf_ntohs(ports.destination);
	return PARSED;
}

static __always_inline __u8 read_ipv4(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	struct iphdr ip;

	packet->family = 4;
	if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)))
		return CORRAL_REASON_NOT_IP;
	packet->source = address_from_ipv4(ip.saddr);
	packet->destination = address_from_ipv4(ip.daddr);
	packet->protocol = ip.protocol;
	if (ip.version != 4 || ip.ihl < 5)
		return CORRAL_REASON_NOT_IP;
	if (ip.ihl > 5)
		return CORRAL_REASON_IP_OPTIONS;
	if (ip.frag_off & bpf_htons(IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET))
		return CORRAL_REASON_FRAGMENT;
	return read_transport(skb, offset + sizeof(ip), packet);
}

static __always_inline __u8 read_ipv6(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	struct ipv6hdr ip;

	packet->family = 6;
	if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)))
		return CORRAL_REASON_NOT_IP;
	__builtin_memcpy(packet->source.bytes, &ip.saddr, sizeof(packet->source.bytes));
	__builtin_memcpy(packet->destination.bytes, &ip.daddr, sizeof(packet->destination.bytes));
	packet->protocol = ip.nexthdr;
	if (ip.version != 6)
		return CORRAL_REASON_NOT_IP;
	if (ip.nexthdr == IPPROTO_FRAGMENT)
		return CORRAL_REASON_FRAGMENT;
	if (is_ipv6_extension(ip.nexthdr))
		return CORRAL_REASON_EXTENSION_HEADER;
	return read_transport(skb, offset + sizeof(ip), packet);
}

/* PARSED, or the reason for which this frame is refused; @packet then holds as much as was read. */
static __always_inline __u8 read_frame(struct __sk_buff *skb, const struct ethhdr *ethernet, struct packet *packet)
{
	packet->ethertype = bpf_ntohs(ethernet->h_proto);
	if (skb->vlan_present)
		return CORRAL_REASON_NOT_IP;
	switch (packet->ethertype) {
	case ETH_P_IP:
		return read_ipv4(skb, sizeof(*ethernet), packet);
	case ETH_P_IPV6:
		return read_ipv6(skb, sizeof(*ethernet), packet);
	default:
		return CORRAL_REASON_NOT_IP;
	}
}

#endif
