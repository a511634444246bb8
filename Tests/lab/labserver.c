// SPDX-License-Identifier: Apache-2.0
// A server of the test internet: TCP and UDP on every port asked for, over IPv4 and IPv6 at once.
// A request that starts with GET or HEAD is answered as HTTP 200; anything else is echoed.
//
//   labserver NAME PORT[-PORT]...
//
// Prints "ready" once every port is bound. Ends when its standard input does, so that it cannot outlive who started it.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SOCKETS 1024

enum kind { STDIN, LISTENER, DATAGRAM, CONNECTION };

static struct pollfd polled[MAX_SOCKETS];
static enum kind kinds[MAX_SOCKETS];
static int count;
static const char *name;

static void die(const char *what) {
	fprintf(stderr, "labserver: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int add(int fd, enum kind kind) {
	if (count == MAX_SOCKETS) return -1;
	polled[count] = (struct pollfd){.fd = fd, .events = POLLIN};
	kinds[count++] = kind;
	return 0;
}

static int bound(int type, int port) {
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) die("socket");
	int on = 1, off = 0;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	// Answers leave from the address that was asked, of the several this host may have.
	if (type == SOCK_DGRAM) setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_any};
	if (bind(fd, (struct sockaddr *)&any, sizeof any)) die("bind");
	if (type == SOCK_STREAM) {
		int queue = 64;
		setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue);
		if (listen(fd, 256)) die("listen");
	}
	return fd;
}

static void answer_datagram(int fd) {
	char data[65536], control[256];
	struct sockaddr_in6 peer;
	struct iovec part = {.iov_base = data, .iov_len = sizeof data};
	struct msghdr message = {
		.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof control,
	};
	ssize_t got = recvmsg(fd, &message, 0);
	if (got < 0) return;
	part.iov_len = (size_t)got;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
	if (sendmsg(fd, &message, 0) < 0) return;
}

/// Returns 0 when the connection is to be closed.
static int answer_connection(int fd) {
	char data[65536];
	ssize_t got = recv(fd, data, sizeof data, 0);
	if (got < 0) return errno == EAGAIN;
	if (got == 0) return 0;
	if (strncmp(data, "GET ", 4) && strncmp(data, "HEAD ", 5)) {
		for (ssize_t sent = 0; sent < got;) {
			ssize_t n = send(fd, data + sent, (size_t)(got - sent), MSG_NOSIGNAL);
			if (n < 0 && errno == EAGAIN) {
				/* A peer that reads nothing for a second has gone. */
				struct pollfd writable = {.fd = fd, .events = POLLOUT};
				if (poll(&writable, 1, 1000) != 1) return 0;
				continue;
			}
			if (n < 0) return 0;
			sent += n;
		}
		return 1;
	}
	char body[256], reply[512];
	int length = snprintf(body, sizeof body, "hello from %s\n", name);
	int total = snprintf(reply, sizeof reply,
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length,
		data[0] == 'G' ? body : "");
	if (send(fd, reply, (size_t)total, MSG_NOSIGNAL) < 0) return 0;
	shutdown(fd, SHUT_WR);
	return 1;
}

int main(int argc, char **argv) {
	if (argc < 3) {
		fprintf(stderr, "usage: labserver NAME PORT[-PORT]...\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	name = argv[1];
	add(STDIN_FILENO, STDIN);
	for (int i = 2; i < argc; i++) {
		int first, last, n = sscanf(argv[i], "%d-%d", &first, &last);
		if (n < 1) die(argv[i]);
		for (int port = first; port <= (n == 2 ? last : first); port++)
			if (add(bound(SOCK_STREAM, port), LISTENER) || add(bound(SOCK_DGRAM, port), DATAGRAM)) die("too many ports");
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (poll(polled, (nfds_t)count, -1) < 0 && errno != EINTR) die("poll");
		for (int i = count - 1; i >= 0; i--) {
			if (!polled[i].revents) continue;
			int fd = polled[i].fd;
			char byte;
			switch (kinds[i]) {
			case STDIN:
				if (read(fd, &byte, 1) <= 0) return 0;
				break;
			case LISTENER: {
				int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (accepted >= 0 && add(accepted, CONNECTION)) close(accepted);
				break;
			}
			case DATAGRAM:
				answer_datagram(fd);
				break;
			case CONNECTION:
				if (answer_connection(fd)) break;
				close(fd);
				polled[i] = polled[--count];
				kinds[i] = kinds[count];
				break;
			}
		}
	}
}
