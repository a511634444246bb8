// Measures the way from one end to the other. The first three print one number: bytes, connections or round trips a second.
//
//   net serve                      ports 9001 (takes bytes), 9002 (accepts and waits for the end), 9003 (answers each byte)
//   net bulk SECONDS ADDRESS       to 9001
//   net connects SECONDS ADDRESS   to 9002: connect, reset, again
//   net trips SECONDS ADDRESS      to 9003: one byte there and back
//   net sink                       counts datagrams at 9005; tells their number, and starts again, for each line that it reads
//   net probe SECONDS RATE PERMITTED REFUSED     a datagram to either, so often a second; prints how often, how many of the first
//                                  could not be sent and how many of the second could, the longest pause (ms), the rate reached
//   net ask COUNT WINDOW SERVER NAME             questions for addresses, so many at a time; prints how many a second were
//                                  answered, and how long each answer took (us). SERVER may be "resolver"; NAME may hold %d
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"

static char buffer[256 * 1024];

_Noreturn void fail(const char *what) {
    fprintf(stderr, "net: %s: %s\n", what, strerror(errno));
    exit(1);
}

double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int listen_at(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one)) fail("socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) fail("listen");
    return fd;
}

static _Noreturn void serve(void) {
    int poller = epoll_create1(0), listeners[3];
    for (int i = 0; i < 3; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)i};
        listeners[i] = listen_at(9001 + i);
        if (epoll_ctl(poller, EPOLL_CTL_ADD, listeners[i], &event)) fail("epoll_ctl");
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(poller, events, 64, -1);
        for (int i = 0; i < count; i++) {
            uint64_t tag = events[i].data.u64;
            if (tag < 3) {
                int fd, one = 1;
                while ((fd = accept4(listeners[tag], NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)fd << 8 | tag | 128};
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
                }
                continue;
            }
            int fd = (int)(tag >> 8), kind = (int)(tag & 127);
            ssize_t n = read(fd, buffer, sizeof buffer);
            if (n <= 0 && !(n < 0 && errno == EAGAIN)) close(fd);
            else if (kind == 2 && write(fd, buffer, (size_t)n) < 0) close(fd);
        }
    }
}

struct sockaddr_in address_of(const char *text, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        errno = EINVAL;
        fail(text);
    }
    return address;
}

static int open_to(const char *text, int port) {
    struct sockaddr_in address = address_of(text, port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    return fd;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "serve") == 0) serve();
    if (argc == 2 && strcmp(argv[1], "sink") == 0) return sink();
    if (argc == 6 && strcmp(argv[1], "probe") == 0) return probe(atof(argv[2]), atof(argv[3]), argv[4], argv[5]);
    if (argc == 6 && strcmp(argv[1], "ask") == 0) return ask(atoi(argv[2]), atoi(argv[3]), argv[4], argv[5]);
    if (argc != 4) return fprintf(stderr, "usage: see net.c\n"), 2;
    double length = atof(argv[2]), from, done = 0, units = 0;
    if (strcmp(argv[1], "bulk") == 0) {
        int fd = open_to(argv[3], 9001);
        for (from = seconds(); (done = seconds() - from) < length;) {
            ssize_t n = write(fd, buffer, sizeof buffer);
            if (n < 0) fail("write");
            units += (double)n;
        }
    } else if (strcmp(argv[1], "connects") == 0) {
        struct linger reset = {.l_onoff = 1};
        for (from = seconds(); (done = seconds() - from) < length; units++) {
            int fd = open_to(argv[3], 9002);
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset); // no port is left waiting
            close(fd);
        }
    } else {
        int one = 1, fd = open_to(argv[3], 9003);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        for (from = seconds(); (done = seconds() - from) < length; units++)
            if (write(fd, buffer, 1) != 1 || read(fd, buffer, 1) != 1) fail("round trip");
    }
    printf("%.1f\n", units / done);
    return 0;
}
