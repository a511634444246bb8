// SPDX-License-Identifier: Apache-2.0
// Tries one way out of a sandbox and says in one line of JSON what the kernel answered.
//
//   probe MODE ADDRESS PORT [OTHER]
//
// Prints {"mode":…,"stage":…,"errno":…,"ok":…,"ms":…}: `stage` is the call that failed ("" when none did), `ok` is whether an
// answer came, or for the crafted packets, which nobody answers, whether all were handed to the kernel.
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define MPTCP 262
#define UDPLITE 136

const char *mode, *address, *other;
uint16_t port;
int64_t started;

int64_t now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

_Noreturn void finish(const char *stage, int error, int ok) {
	printf("{\"mode\":\"%s\",\"target\":\"%s\",\"port\":%u,\"stage\":\"%s\",\"errno\":%d,\"ok\":%s,\"ms\":%lld}\n", mode, address,
		port, stage, error, ok ? "true" : "false", (long long)(now_ms() - started));
	exit(ok ? 0 : 1);
}

_Noreturn void failed(const char *stage) { finish(stage, errno, 0); }

static int is_mode(const char *name) { return strcmp(mode, name) == 0; }
static int starts(const char *prefix) { return strncmp(mode, prefix, strlen(prefix)) == 0; }
static int has(const char *part) { return strstr(mode, part) != NULL; }

// Addresses

struct target target_of(const char *text, int mapped) {
	struct target t = {.size = 0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&t.address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&t.address;
	if (!strchr(text, ':') && !mapped) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		t.size = sizeof *v4;
		if (inet_pton(AF_INET, text, &v4->sin_addr) != 1) finish("address", EINVAL, 0);
		return t;
	}
	char whole[64];
	snprintf(whole, sizeof whole, "%s%s", mapped ? "::ffff:" : "", text);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	t.size = sizeof *v6;
	if (inet_pton(AF_INET6, whole, &v6->sin6_addr) != 1) finish("address", EINVAL, 0);
	return t;
}

int socket_for(const struct target *t, int type, int protocol) {
	int fd = socket(t->address.ss_family, type, protocol);
	if (fd < 0) failed("socket");
	struct timeval wait = {.tv_usec = WAIT_MS * 1000};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	return fd;
}

_Noreturn void expect_answer(int fd) {
	char data[65536];
	if (recv(fd, data, sizeof data, 0) <= 0) failed("recv");
	// Both sides of a connection end here: otherwise the server goes on telling a sandbox that is no more, and a capture counts it.
	if (shutdown(fd, SHUT_WR) == 0)
		while (recv(fd, data, sizeof data, 0) > 0) continue;
	finish("", 0, 1);
}

// Ordinary sockets

static _Noreturn void stream(int mapped, int protocol) {
	struct target t = target_of(address, mapped);
	int fd = socket_for(&t, SOCK_STREAM, protocol);
	if (connect(fd, (struct sockaddr *)&t.address, t.size)) failed("connect");
	if (send(fd, "ping", 4, MSG_NOSIGNAL) < 0) failed("send");
	expect_answer(fd);
}

static _Noreturn void fast_open(void) {
	struct target t = target_of(address, 0);
	int fd = socket_for(&t, SOCK_STREAM, 0);
	if (sendto(fd, "ping", 4, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&t.address, t.size) < 0) failed("sendto");
	expect_answer(fd);
}

static _Noreturn void datagram(int mapped, int connected, size_t size) {
	static char data[8192];
	struct target t = target_of(address, mapped);
	int fd = socket_for(&t, SOCK_DGRAM, starts("udplite") ? UDPLITE : 0);
	if (is_mode("bcast4")) setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &(int){1}, sizeof(int));
	if (connected) {
		if (connect(fd, (struct sockaddr *)&t.address, t.size)) failed("connect");
		if (send(fd, data, size, 0) < 0) failed("send");
	} else if (sendto(fd, data, size, 0, (struct sockaddr *)&t.address, t.size) < 0) {
		failed("sendto");
	}
	expect_answer(fd);
}

/// Connected to OTHER, which is permitted; the datagram names ADDRESS.
static _Noreturn void connected_elsewhere(void) {
	struct target permitted = target_of(other, 0), t = target_of(address, 0);
	int fd = socket_for(&t, SOCK_DGRAM, 0);
	if (connect(fd, (struct sockaddr *)&permitted.address, permitted.size)) failed("connect");
	if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&t.address, t.size) < 0) failed("sendto");
	expect_answer(fd);
}

/// One call, two messages: to OTHER, which is permitted, then to ADDRESS. An answer counts only when ADDRESS sent it.
static _Noreturn void several_messages(void) {
	struct target permitted = target_of(other, 0), t = target_of(address, 0);
	int fd = socket_for(&t, SOCK_DGRAM, 0);
	struct iovec part = {.iov_base = "ping", .iov_len = 4};
	struct mmsghdr messages[2] = {
		{.msg_hdr = {.msg_name = &permitted.address, .msg_namelen = permitted.size, .msg_iov = &part, .msg_iovlen = 1}},
		{.msg_hdr = {.msg_name = &t.address, .msg_namelen = t.size, .msg_iov = &part, .msg_iovlen = 1}},
	};
	int sent = sendmmsg(fd, messages, 2, 0);
	if (sent < 1) failed("sendmmsg");
	// The error of a message that is not the first is lost, unless it is sent alone.
	if (sent < 2 && sendmmsg(fd, messages + 1, 1, 0) < 0) failed("sendmmsg");
	for (;;) {
		char data[16];
		struct target from = {.size = sizeof from.address};
		if (recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from.address, &from.size) < 0) failed("recv");
		if (from.size == t.size && memcmp(&from.address, &t.address, t.size) == 0) finish("", 0, 1);
	}
}

/// The route goes through OTHER, while the socket names ADDRESS: the packet on the wire is addressed to OTHER.
static _Noreturn void source_routed(void) {
	struct target t = target_of(address, 0);
	int fd = socket_for(&t, has("tcp") ? SOCK_STREAM : SOCK_DGRAM, 0);
	uint8_t header[40] = {0};
	size_t length;
	if (t.address.ss_family == AF_INET) {
		const uint8_t lsrr[] = {131, 7, 4};
		memcpy(header, lsrr, sizeof lsrr);
		if (inet_pton(AF_INET, other, header + 3) != 1) finish("address", EINVAL, 0);
		length = 8;
		if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, header, (socklen_t)length)) failed("IP_OPTIONS");
	} else {
		int type = has("4") ? 4 : 2;
		header[1] = type == 4 ? 4 : 2;
		header[2] = (uint8_t)type;
		header[3] = 1;
		header[4] = type == 4 ? 1 : 0;
		length = type == 4 ? 40 : 24;
		if (inet_pton(AF_INET6, other, header + length - 16) != 1) finish("address", EINVAL, 0);
		if (setsockopt(fd, IPPROTO_IPV6, IPV6_RTHDR, header, (socklen_t)length)) failed("IPV6_RTHDR");
	}
	if (connect(fd, (struct sockaddr *)&t.address, t.size)) failed("connect");
	if (send(fd, "ping", 4, MSG_NOSIGNAL) < 0) failed("send");
	expect_answer(fd);
}

static _Noreturn void ping(void) {
	struct target t = target_of(address, 0);
	int v4 = t.address.ss_family == AF_INET;
	int fd = socket_for(&t, SOCK_DGRAM, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	uint8_t echo[16] = {v4 ? 8 : 128};
	if (sendto(fd, echo, sizeof echo, 0, (struct sockaddr *)&t.address, t.size) < 0) failed("sendto");
	expect_answer(fd);
}

// Crafted packets

static uint16_t checksum(const uint8_t *p, size_t length, uint32_t sum) {
	for (size_t i = 0; i + 1 < length; i += 2) sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (length & 1) sum += (uint32_t)(p[length - 1] << 8);
	while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *p, unsigned value) {
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

struct link {
	int index;
	uint8_t mac[6], gateway_mac[6], v4[4], v6[16];
};

static struct link own_link(void) {
	struct link l = {.index = 0};
	char name[IF_NAMESIZE] = "";
	struct ifaddrs *all;
	if (getifaddrs(&all)) failed("getifaddrs");
	for (struct ifaddrs *a = all; a; a = a->ifa_next) {
		if ((a->ifa_flags & IFF_LOOPBACK) || !a->ifa_addr) continue;
		if (a->ifa_addr->sa_family == AF_PACKET) {
			struct sockaddr_ll *ll = (struct sockaddr_ll *)a->ifa_addr;
			l.index = ll->sll_ifindex;
			memcpy(l.mac, ll->sll_addr, 6);
			snprintf(name, sizeof name, "%s", a->ifa_name);
		} else if (a->ifa_addr->sa_family == AF_INET) {
			memcpy(l.v4, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, 4);
		} else if (a->ifa_addr->sa_family == AF_INET6) {
			struct in6_addr *v6 = &((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr;
			if (!IN6_IS_ADDR_LINKLOCAL(v6)) memcpy(l.v6, v6, 16);
		}
	}
	freeifaddrs(all);
	if (!l.index) finish("interface", ENODEV, 0);
	memset(l.gateway_mac, 0xff, 6);
	FILE *arp = fopen("/proc/net/arp", "re");
	char line[256], device[32];
	unsigned m[6];
	while (arp && fgets(line, sizeof line, arp))
		if (sscanf(line, "%*s %*s %*s %x:%x:%x:%x:%x:%x %*s %31s", m, m + 1, m + 2, m + 3, m + 4, m + 5, device) == 7 &&
			strcmp(device, name) == 0)
			for (int i = 0; i < 6; i++) l.gateway_mac[i] = (uint8_t)m[i];
	if (arp) fclose(arp);
	return l;
}

/// Layer-4 payload for `proto`; returns its length.
static size_t transport(uint8_t *p, uint8_t proto, const uint8_t *source, const uint8_t *destination, size_t address_size) {
	size_t length = proto == 6 ? 20 : 24;
	memset(p, 0, 64);
	if (proto == 6 || proto == 17) {
		put16(p, 40000);
		put16(p + 2, port);
	}
	if (proto == 17) put16(p + 4, (unsigned)length);
	if (proto == 6) {
		p[12] = 5 << 4;
		p[13] = 2;
		put16(p + 14, 1024);
	}
	if (proto == 1) {
		p[0] = 8;
		put16(p + 2, checksum(p, length, 0));
	}
	if (proto == 47) put16(p + 2, 0x0800);
	if (proto == 6 || proto == 17) {
		uint32_t sum = proto + (uint32_t)length;
		for (size_t i = 0; i < address_size; i += 2)
			sum += (uint32_t)(source[i] << 8 | source[i + 1]) + (uint32_t)(destination[i] << 8 | destination[i + 1]);
		put16(p + (proto == 6 ? 16 : 6), checksum(p, length, sum));
	}
	return length;
}

static size_t ipv4_packet(uint8_t *p, const uint8_t *source, const uint8_t *destination) {
	uint8_t proto = has("gre") ? 47 : has("ipip") ? 4 : has("icmp") ? 1 : has("sctp") ? 132 : has("tcp") ? 6 : 17;
	size_t header = has("options") ? 24 : 20;
	memset(p, 0, header);
	p[0] = (uint8_t)(4 << 4 | header / 4);
	put16(p + 4, 0x4242);
	if (has("fragfirst")) put16(p + 6, 0x2000);
	if (has("fraglater")) put16(p + 6, 3);
	p[8] = 64;
	p[9] = proto;
	memcpy(p + 12, source, 4);
	memcpy(p + 16, destination, 4);
	if (header == 24) memcpy(p + 20, (const uint8_t[]){148, 4, 0, 0}, 4);
	size_t length;
	if (proto == 4) {
		memcpy(p + header, p, 20);
		p[header + 9] = 17;
		length = 20 + transport(p + header + 20, 17, source, destination, 4);
	} else {
		length = transport(p + header, proto, source, destination, 4);
	}
	put16(p + 2, (unsigned)(header + length));
	put16(p + 10, checksum(p, header, 0));
	return header + length;
}

static size_t ipv6_packet(uint8_t *p, const uint8_t *source, const uint8_t *destination) {
	memset(p, 0, 40);
	p[0] = 6 << 4;
	p[7] = 64;
	memcpy(p + 8, source, 16);
	memcpy(p + 24, destination, 16);
	int extension = has("hopbyhop") ? 0 : has("dstopts") ? 60 : has("fragment") ? 44 : -1;
	size_t at = 40;
	if (extension >= 0) {
		const uint8_t padding[8] = {17, 0, 1, 4, 0, 0, 0, 0}, fragment[8] = {17, 0, 0, 1, 0, 0, 0, 1};
		memcpy(p + at, extension == 44 ? fragment : padding, 8);
		at += 8;
	}
	p[6] = extension >= 0 ? (uint8_t)extension : has("tcp") ? 6 : 17;
	at += transport(p + at, has("tcp") ? 6 : 17, source, destination, 16);
	put16(p + 4, (unsigned)(at - 40));
	return at;
}

/// `spoof` in the mode takes OTHER for the source. Returns the length.
static size_t ip_packet(uint8_t *p, const struct link *l) {
	uint8_t source[16], destination[16];
	int v6 = strchr(address, ':') != NULL;
	memcpy(source, v6 ? l->v6 : l->v4, v6 ? 16 : 4);
	if (has("spoofip") && inet_pton(v6 ? AF_INET6 : AF_INET, other, source) != 1) finish("address", EINVAL, 0);
	if (inet_pton(v6 ? AF_INET6 : AF_INET, address, destination) != 1) finish("address", EINVAL, 0);
	return v6 ? ipv6_packet(p, source, destination) : ipv4_packet(p, source, destination);
}

static _Noreturn void raw(void) {
	struct target t = target_of(address, 0);
	int v6 = t.address.ss_family == AF_INET6;
	int fd = socket_for(&t, SOCK_RAW, IPPROTO_RAW);
	struct link l = own_link();
	uint8_t packet[256];
	size_t length = ip_packet(packet, &l);
	if (v6) ((struct sockaddr_in6 *)&t.address)->sin6_port = 0;
	if (v6) setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &(int){1}, sizeof(int));
	if (sendto(fd, packet, length, 0, (struct sockaddr *)&t.address, t.size) < 0) failed("sendto");
	finish("", 0, 1);
}

static _Noreturn void frame(void) {
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0) failed("socket");
	if (has("bypass") && setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &(int){1}, sizeof(int))) failed("PACKET_QDISC_BYPASS");
	struct link l = own_link();
	uint8_t data[512];
	memcpy(data, l.gateway_mac, 6);
	memcpy(data + 6, l.mac, 6);
	if (has("spoofmac")) data[11] ^= 0x55;
	size_t at = 14;
	put16(data + 12, strchr(address, ':') ? ETH_P_IPV6 : ETH_P_IP);
	if (has("arp")) {
		const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 2};
		put16(data + 12, ETH_P_ARP);
		memset(data + at, 0, 46);
		memcpy(data + at, request, 8);
		memcpy(data + at + 8, l.mac, 6);
		if (inet_pton(AF_INET, address, data + at + 14) != 1) finish("address", EINVAL, 0);
		memcpy(data + at + 18, l.gateway_mac, 6);
		memcpy(data + at + 24, l.v4, 4);
		at += 46;
	} else if (has("ethertype")) {
		put16(data + 12, 0x88b5);
		memset(data + at, 0x42, 46);
		at += 46;
	} else {
		if (has("vlan")) {
			put16(data + 12, ETH_P_8021Q);
			put16(data + 14, 7);
			put16(data + 16, ETH_P_IP);
			at = 18;
		}
		at += ip_packet(data + at, &l);
	}
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = l.index, .sll_halen = 6};
	memcpy(to.sll_addr, l.gateway_mac, 6);
	for (int i = 0; i < 3; i++)
		if (sendto(fd, data, at, 0, (struct sockaddr *)&to, sizeof to) < 0) failed("sendto");
	finish("", 0, 1);
}

/// Gives its own interface OTHER as a second address, by netlink's older brother, and sends from there.
static _Noreturn void own_address(void) {
	int control = socket(AF_INET, SOCK_DGRAM, 0);
	if (control < 0) failed("socket");
	struct link l = own_link();
	struct ifreq request = {0};
	char name[IF_NAMESIZE];
	if (!if_indextoname((unsigned)l.index, name)) failed("interface");
	snprintf(request.ifr_name, sizeof request.ifr_name, "%.13s:1", name);
	struct sockaddr_in *own = (struct sockaddr_in *)&request.ifr_addr;
	own->sin_family = AF_INET;
	if (inet_pton(AF_INET, other, &own->sin_addr) != 1) finish("address", EINVAL, 0);
	struct in_addr added = own->sin_addr;
	if (ioctl(control, SIOCSIFADDR, &request)) failed("SIOCSIFADDR");
	struct target t = target_of(address, 0);
	int fd = socket_for(&t, SOCK_DGRAM, 0);
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = added};
	if (bind(fd, (struct sockaddr *)&from, sizeof from)) failed("bind");
	if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&t.address, t.size) < 0) failed("sendto");
	finish("", 0, 1);
}

int main(int argc, char **argv) {
	if (argc < 4) {
		fprintf(stderr, "usage: probe MODE ADDRESS PORT [OTHER]\n");
		return 2;
	}
	mode = argv[1];
	address = argv[2];
	port = (uint16_t)atoi(argv[3]);
	other = argc > 4 ? argv[4] : NULL;
	started = now_ms();
	int needs_other = has("spoofip") || starts("lsrr") || starts("rthdr") || is_mode("elsewhere") || is_mode("sendmmsg") ||
		is_mode("ownaddress") || starts("freebind") || is_mode("reconnect");
	if (needs_other && !other) finish("usage", EINVAL, 0);
	if (starts("tcp")) stream(0, 0);
	if (starts("mptcp")) stream(0, MPTCP);
	/* The system call of the number PORT, with no arguments. */
	if (is_mode("call")) {
		if (syscall(port, 0, 0, 0, 0, 0, 0) < 0) failed("call");
		finish("", 0, 1);
	}
	if (is_mode("mapped-tcp")) stream(1, 0);
	if (starts("udp")) datagram(0, has("connected"), 4);
	if (starts("mapped-udp")) datagram(1, has("connected"), 4);
	if (starts("fragmented")) datagram(0, 0, 4000);
	if (starts("mcast") || starts("bcast")) datagram(0, 0, 4);
	if (starts("fastopen")) fast_open();
	if (is_mode("elsewhere")) connected_elsewhere();
	if (is_mode("sendmmsg")) several_messages();
	if (starts("lsrr") || starts("rthdr")) source_routed();
	if (starts("ping")) ping();
	if (starts("raw")) raw();
	if (starts("packet")) frame();
	if (is_mode("ownaddress")) own_address();
	if (is_mode("loop")) loop();
	if (is_mode("talk")) talk();
	if (is_mode("ask")) ask();
	if (is_mode("ring-tcp")) ring_connect();
	if (starts("freebind")) free_bind();
	if (is_mode("bindtodevice")) bind_to_device();
	if (is_mode("reconnect")) reconnect();
	finish("usage", EINVAL, 0);
}
