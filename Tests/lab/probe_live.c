// SPDX-License-Identifier: Apache-2.0
// Probes that go on for a while and say at the end what came through.
#include "probe.h"

/// Sends a datagram to ADDRESS every 5 ms, for as long as it lives or OTHER seconds.
_Noreturn void loop(void) {
	struct target t = target_of(address, 0);
	int64_t end = started + (other ? atoll(other) : 10) * 1000;
	unsigned long sent = 0, refused = 0;
	while (now_ms() < end) {
		int fd = socket_for(&t, SOCK_DGRAM, 0);
		if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&t.address, t.size) < 0) refused++;
		else sent++;
		close(fd);
		usleep(5000);
	}
	printf("{\"mode\":\"loop\",\"sent\":%lu,\"refused\":%lu}\n", sent, refused);
	exit(0);
}

// One TCP connection that asks and is answered once a millisecond, until it breaks or OTHER seconds are over.
_Noreturn void talk(void) {
	struct target t = target_of(address, 0);
	int64_t end = started + (other ? atoll(other) : 10) * 1000;
	unsigned long exchanges = 0;
	const char *stage = "";
	int fd = socket_for(&t, SOCK_STREAM, 0), error = 0;
	char data[16];
	struct timeval limit = {.tv_sec = 1};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(fd, (struct sockaddr *)&t.address, t.size) < 0) failed("connect");
	while (now_ms() < end) {
		ssize_t got = send(fd, "ping", 4, MSG_NOSIGNAL);
		stage = "send";
		if (got == 4) {
			got = recv(fd, data, sizeof data, 0);
			stage = "recv";
		}
		if (got <= 0) {
			error = got < 0 ? errno : ECONNRESET;
			break;
		}
		stage = "";
		exchanges++;
		usleep(1000);
	}
	printf("{\"mode\":\"talk\",\"target\":\"%s\",\"exchanges\":%lu,\"stage\":\"%s\",\"errno\":%d}\n", address, exchanges, stage,
		error);
	exit(0);
}

// A datagram from a socket of its own once a millisecond, each of which should be answered, for OTHER seconds.
_Noreturn void ask(void) {
	struct target t = target_of(address, 0);
	int64_t end = started + (other ? atoll(other) : 10) * 1000;
	unsigned long answered = 0, refused = 0, lost = 0;
	while (now_ms() < end) {
		int fd = socket_for(&t, SOCK_DGRAM, 0);
		char data[16];
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&t.address, t.size) < 0) refused++;
		else if (poll(&p, 1, WAIT_MS) == 1 && recv(fd, data, sizeof data, 0) == 4) answered++;
		else lost++;
		close(fd);
		usleep(800);
	}
	printf("{\"mode\":\"ask\",\"target\":\"%s\",\"answered\":%lu,\"refused\":%lu,\"lost\":%lu}\n", address, answered, refused, lost);
	exit(0);
}
