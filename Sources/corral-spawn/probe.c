#include "spawn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#define DISCARD_PORT 9

int open_datagram(int netns, int home)
{
	const int hops = 1;

	if (setns(netns, CLONE_NEWNET) != 0)
		return -1;
	int datagram = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = errno;
	/* Nothing that we make from here on may be in a sandbox's network. */
	if (setns(home, CLONE_NEWNET) != 0)
		_exit(71); /* EX_OSERR */
	errno = error;
	if (datagram >= 0 && (setsockopt(datagram, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof hops) != 0 ||
				     setsockopt(datagram, IPPROTO_IP, IP_TTL, &hops, sizeof hops) != 0))
		close_fd(&datagram);
	return datagram;
}

/* A datagram from an unconnected socket, then a connection of it: each passes a hook of its own before it needs a route. */
static uint32_t refused_datagrams(const struct sockaddr *address, socklen_t size, uint32_t sendmsg_bit, uint32_t connect_bit)
{
	uint32_t refused = 0;
	autofd datagram = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (datagram < 0)
		return 0;
	if (sendto(datagram, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, address, size) < 0 && errno == EPERM)
		refused |= sendmsg_bit;
	if (connect(datagram, address, size) < 0 && errno == EPERM)
		refused |= connect_bit;
	return refused;
}

uint32_t refused_calls(void)
{
	/* Addresses of documentation: 192.0.2.1 (RFC 5737), 2001:db8::1 (RFC 3849). */
	const struct sockaddr_in ipv4 = {
		.sin_family = AF_INET, .sin_port = htons(DISCARD_PORT), .sin_addr = {htonl(0xc0000201)},
	};
	const struct sockaddr_in6 ipv6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(DISCARD_PORT),
		.sin6_addr = {.s6_addr = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}},
	};
	/* Root of its user namespace may have one: a refusal is the hook's. */
	autofd raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	uint32_t refused = raw < 0 && errno == EPERM ? CORRAL_PROBE_SOCK_CREATE : 0;

	return refused |
	       refused_datagrams((const struct sockaddr *)&ipv4, sizeof ipv4, CORRAL_PROBE_SENDMSG4, CORRAL_PROBE_CONNECT4) |
	       refused_datagrams((const struct sockaddr *)&ipv6, sizeof ipv6, CORRAL_PROBE_SENDMSG6, CORRAL_PROBE_CONNECT6);
}
