// SPDX-License-Identifier: Apache-2.0
// Counts the frames that reach a place in the network, exactly.
//
//   labcapture all IFACE            every frame that arrives on IFACE, before anything else looks at it; but not the
//                                   neighbour's own IPv6 housekeeping, which has link scope and so was never forwarded
//   labcapture accepted PREFIX      frames that arrive on any interface whose name starts with PREFIX and that the
//                                   interface's ingress filters let through: a socket bound to one ethertype is served
//                                   after them, one bound to all ethertypes before. Counts IPv4, IPv6, ARP and 0x88b5.
//
// Prints "ready" when it counts. Each line on standard input is a command, answered by one line of JSON after all frames
// that have arrived so far were counted: `read` gives the counts, `reset` gives them and starts from zero.
// Ends when its standard input does.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define MAX_SOCKETS 4
#define MAX_BUCKETS 8192
// Of those that are told of; the number of frames counts them all. A shell reads the line byte by byte.
#define MAX_TOLD 64

struct bucket {
	unsigned interface;
	uint16_t ethertype, sport, dport;
	uint8_t proto, fragment;
	uint8_t source_mac[6];
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
	unsigned long frames;
};

static int sockets[MAX_SOCKETS];
static int socket_count;
static const char *prefix = "";
static struct bucket buckets[MAX_BUCKETS];
static int bucket_count;
static unsigned long frames, dropped;

static void die(const char *what) {
	fprintf(stderr, "labcapture: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static void open_socket(uint16_t ethertype, unsigned interface) {
	// Protocol 0 receives nothing until bind names it: no frame of another interface slips in before.
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) die("socket");
	int bytes = 64 << 20, on = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes)) die("SO_RCVBUFFORCE");
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on)) die("PACKET_IGNORE_OUTGOING");
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ethertype), .sll_ifindex = (int)interface};
	if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
	sockets[socket_count++] = fd;
}

static void describe_transport(struct bucket *b, const uint8_t *p, size_t length) {
	if ((b->proto == 6 || b->proto == 17) && !b->fragment && length >= 4) {
		b->sport = be16(p);
		b->dport = be16(p + 2);
	}
}

/// `p` is the layer-3 packet. What cannot be parsed keeps its zeros: the frame counts all the same.
static void describe(struct bucket *b, const uint8_t *p, size_t length) {
	if (b->ethertype == ETH_P_IP && length >= 20) {
		size_t header = (size_t)(p[0] & 15) * 4;
		b->proto = p[9];
		// First fragments count as fragments too, but still show their ports.
		uint16_t offset = be16(p + 6) & 0x1fff;
		inet_ntop(AF_INET, p + 12, b->source, sizeof b->source);
		inet_ntop(AF_INET, p + 16, b->destination, sizeof b->destination);
		if (offset == 0 && length >= header) describe_transport(b, p + header, length - header);
		b->fragment = offset != 0 || (be16(p + 6) & 0x2000);
	} else if (b->ethertype == ETH_P_IPV6 && length >= 40) {
		b->proto = p[6];
		inet_ntop(AF_INET6, p + 8, b->source, sizeof b->source);
		inet_ntop(AF_INET6, p + 24, b->destination, sizeof b->destination);
		b->fragment = b->proto == 44;
		describe_transport(b, p + 40, length - 40);
	} else if (b->ethertype == ETH_P_ARP && length >= 28) {
		inet_ntop(AF_INET, p + 14, b->source, sizeof b->source);
		inet_ntop(AF_INET, p + 24, b->destination, sizeof b->destination);
	}
}

/// IPv6 from a link-local or unspecified source to link-local multicast: multicast reports and solicitations.
static int is_housekeeping(const uint8_t *p, size_t length) {
	static const uint8_t unspecified[16];
	if (length < 40 || p[24] != 0xff || (p[25] & 15) != 2) return 0;
	return (p[8] == 0xfe && (p[9] & 0xc0) == 0x80) || memcmp(p + 8, unspecified, 16) == 0;
}

static void count_frame(const struct bucket *seen) {
	// By its hash, then wherever there is room: senders that take another port for each frame fill the table.
	static unsigned short places[2 * MAX_BUCKETS];
	const uint8_t *bytes = (const uint8_t *)seen;
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < sizeof *seen; i++) hash = (hash ^ bytes[i]) * 16777619u;
	if (bucket_count == 0) memset(places, 0, sizeof places);
	for (;; hash++) {
		unsigned short *place = &places[hash % (2 * MAX_BUCKETS)];
		if (*place == 0) {
			if (bucket_count == MAX_BUCKETS) return;
			buckets[bucket_count] = *seen;
			buckets[bucket_count++].frames = 1;
			*place = (unsigned short)bucket_count;
			return;
		}
		struct bucket copy = *seen;
		copy.frames = buckets[*place - 1].frames;
		if (memcmp(&copy, &buckets[*place - 1], sizeof copy) == 0) {
			buckets[*place - 1].frames++;
			return;
		}
	}
}

static void drain(int fd) {
	for (;;) {
		uint8_t data[65536];
		struct sockaddr_ll from;
		socklen_t size = sizeof from;
		ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size);
		if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
		if (got < 0 && errno == ENETDOWN) continue;
		if (got < 0) die("recvfrom");
		struct bucket seen;
		memset(&seen, 0, sizeof seen);
		seen.interface = (unsigned)from.sll_ifindex;
		char interface[IF_NAMESIZE] = "";
		/* One that is gone already was a sandbox's: no other comes and goes here. */
		if (*prefix && if_indextoname(seen.interface, interface) && strncmp(interface, prefix, strlen(prefix))) continue;
		if (!*prefix && ntohs(from.sll_protocol) == ETH_P_IPV6 && got >= 14 && is_housekeeping(data + 14, (size_t)got - 14))
			continue;
		frames++;
		seen.ethertype = ntohs(from.sll_protocol);
		if (got >= 14) {
			memcpy(seen.source_mac, data + 6, 6);
			describe(&seen, data + 14, (size_t)got - 14);
		}
		count_frame(&seen);
	}
	struct tpacket_stats statistics;
	socklen_t size = sizeof statistics;
	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0) dropped += statistics.tp_drops;
}

static void report(void) {
	printf("{\"frames\":%lu,\"dropped\":%lu,\"buckets\":[", frames, dropped);
	for (int i = 0; i < bucket_count && i < MAX_TOLD; i++) {
		const struct bucket *b = &buckets[i];
		const uint8_t *m = b->source_mac;
		printf("%s{\"ethertype\":%u,\"mac\":\"%02x:%02x:%02x:%02x:%02x:%02x\",\"src\":\"%s\",\"dst\":\"%s\","
		       "\"proto\":%u,\"sport\":%u,\"dport\":%u,\"fragment\":%s,\"frames\":%lu}",
			i ? "," : "", b->ethertype, m[0], m[1], m[2], m[3], m[4], m[5], b->source, b->destination, b->proto,
			b->sport, b->dport, b->fragment ? "true" : "false", b->frames);
	}
	puts("]}");
	fflush(stdout);
}

int main(int argc, char **argv) {
	if (argc == 3 && strcmp(argv[1], "all") == 0) {
		unsigned interface = if_nametoindex(argv[2]);
		if (!interface) die(argv[2]);
		open_socket(ETH_P_ALL, interface);
	} else if (argc == 3 && strcmp(argv[1], "accepted") == 0) {
		static const uint16_t ethertypes[] = {ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, 0x88b5};
		prefix = argv[2];
		for (int i = 0; i < 4; i++) open_socket(ethertypes[i], 0);
	} else {
		fprintf(stderr, "usage: labcapture all IFACE | accepted PREFIX\n");
		return 2;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd polled[MAX_SOCKETS + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
		for (int i = 0; i < socket_count; i++) polled[i + 1] = (struct pollfd){.fd = sockets[i], .events = POLLIN};
		if (poll(polled, (nfds_t)socket_count + 1, -1) < 0 && errno != EINTR) die("poll");
		for (int i = 0; i < socket_count; i++) drain(sockets[i]);
		if (!polled[0].revents) continue;
		char line[64];
		ssize_t got = read(STDIN_FILENO, line, sizeof line);
		if (got <= 0) return 0;
		report();
		if (strncmp(line, "reset", 5) == 0) {
			frames = dropped = 0;
			bucket_count = 0;
		}
	}
}
