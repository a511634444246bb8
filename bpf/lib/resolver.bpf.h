/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Hands what a sandbox sends to port 53 of any address to the controller's resolver, unchanged: the socket is given to the
 * packet (TPROXY's way), and answers in the name of the address that was asked. Should the route that the mark selects be
 * missing, the kernel drops a packet that has a socket rather than forward it.
 */
#ifndef CORRAL_RESOLVER_BPF_H
#define CORRAL_RESOLVER_BPF_H

#include "lib/failure.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/packet.bpf.h"

static __always_inline __u32 socket_tuple(struct bpf_sock_tuple *tuple, const struct packet *packet,
					  const struct corral_resolver *where, __u16 port4, __u16 port6)
{
	if (packet->family == 4) {
		tuple->ipv4.saddr = packet->source.words[3];
		tuple->ipv4.sport = bpf_htons(packet->source_port);
		if (where) {
			__builtin_memcpy(&tuple->ipv4.daddr, where->ipv4, 4);
			tuple->ipv4.dport = bpf_htons(port4);
		} else {
			tuple->ipv4.daddr = packet->destination.words[3];
			tuple->ipv4.dport = bpf_htons(packet->destination_port);
		}
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, packet->source.bytes, 16);
	tuple->ipv6.sport = bpf_htons(packet->source_port);
	if (where) {
		__builtin_memcpy(tuple->ipv6.daddr, where->ipv6, 16);
		tuple->ipv6.dport = bpf_htons(port6);
	} else {
		__builtin_memcpy(tuple->ipv6.daddr, packet->destination.bytes, 16);
		tuple->ipv6.dport = bpf_htons(packet->destination_port);
	}
	return sizeof(tuple->ipv6);
}

/* 0, or not when the packet has to be dropped. */
static __always_inline int give_to_resolver(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock_tuple tuple = {};
	struct corral_resolver *where;
	struct bpf_sock *socket;
	__u32 zero = 0, size;
	int result;

	where = bpf_map_lookup_elem(&resolver, &zero);
	if (!where)
		return -1;
	if (packet->protocol == CORRAL_PROTOCOL_UDP) {
		size = socket_tuple(&tuple, packet, where, where->port_udp4, where->port_udp6);
		socket = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!socket)
			return -1;
		goto assign;
	}
	/* A connection that is open already; somebody else's listener on port 53 is not one. */
	size = socket_tuple(&tuple, packet, NULL, 0, 0);
	socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (socket) {
		if (socket->state != BPF_TCP_LISTEN)
			goto assign;
		bpf_sk_release(socket);
	}
	size = socket_tuple(&tuple, packet, where, where->port_tcp4, where->port_tcp6);
	socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return -1;
	if (socket->state != BPF_TCP_LISTEN) {
		bpf_sk_release(socket);
		return -1;
	}
assign:
	result = bpf_sk_assign(skb, socket, 0);
	bpf_sk_release(socket);
	if (!result)
		skb->mark = where->mark;
	else
		count_failure(CORRAL_FAILURE_ASSIGN);
	return result;
}

#endif
