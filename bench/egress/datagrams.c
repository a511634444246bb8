// The parts of `net` that send datagrams: a probe for leaks, and questions to a name server.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "net.h"

enum { SINK = 9005, DNS = 53, MOST = 4096 };

int sink(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(SINK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = 64 << 20;
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any)) fail("sink");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    printf("ready\n");
    fflush(stdout);
    struct pollfd both[] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    char byte[64];
    for (unsigned long count = 0; poll(both, 2, -1) >= 0;) {
        while (recv(fd, byte, sizeof byte, 0) >= 0) count++;
        if (!both[1].revents) continue;
        if (read(0, byte, sizeof byte) <= 0) return 0;
        printf("%lu\n", count);
        fflush(stdout);
        count = 0;
    }
    return 0;
}

// Of a socket of its own each, so that no connection that is known already lets it pass.
static int send_one(const struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) fail("socket");
    int sent = sendto(fd, "corral", 6, 0, (const struct sockaddr *)to, sizeof *to) == 6;
    close(fd);
    return sent;
}

int probe(double length, double rate, const char *permitted, const char *refused) {
    struct sockaddr_in good = address_of(permitted, SINK), bad = address_of(refused, SINK);
    unsigned long tried = 0, failed = 0, taken = 0;
    double from = seconds(), now = from, last = from, gap = 0;
    for (; now - from < length; now = seconds()) {
        if (now - from < (double)tried / rate) {
            struct timespec rest = {0, 200000};
            nanosleep(&rest, NULL);
            continue;
        }
        failed += !send_one(&good);
        taken += (unsigned long)send_one(&bad);
        tried++;
        if (now - last > gap) gap = now - last;
        last = now;
    }
    printf("%lu %lu %lu %.1f %.0f\n", tried, failed, taken, gap * 1e3, (double)tried / (now - from));
    return 0;
}

// A question for an A record; NAME may hold %d.
static size_t question(uint8_t *out, size_t room, unsigned id, const char *pattern) {
    static const uint8_t head[] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, tail[] = {0, 0, 1, 0, 1};
    const char *mark = strstr(pattern, "%d");
    char name[200];
    if (mark) snprintf(name, sizeof name, "%.*s%u%s", (int)(mark - pattern), pattern, id, mark + 2);
    else snprintf(name, sizeof name, "%s", pattern);
    if (strlen(name) + sizeof head + sizeof tail + 1 > room) return 0;
    memcpy(out, head, sizeof head);
    out[0] = (uint8_t)(id >> 8), out[1] = (uint8_t)id;
    size_t at = sizeof head;
    for (char *label = strtok(name, "."); label; label = strtok(NULL, ".")) {
        size_t n = strlen(label);
        out[at++] = (uint8_t)n;
        memcpy(out + at, label, n);
        at += n;
    }
    memcpy(out + at, tail, sizeof tail);
    return at + sizeof tail;
}

// "resolver": the first of /etc/resolv.conf.
static struct sockaddr_in server_address(const char *text) {
    if (strcmp(text, "resolver") != 0) return address_of(text, DNS);
    FILE *file = fopen("/etc/resolv.conf", "r");
    char line[256], found[64];
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "nameserver %63[0-9.]", found) == 1) return address_of(found, DNS);
    errno = ENOENT;
    fail("nameserver");
}

int ask(int count, int window, const char *text, const char *name) {
    struct sockaddr_in server = server_address(text);
    static double sent_at[MOST], took[MOST];
    uint8_t packet[512];
    struct timeval patience = {3, 0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (count < 1 || count > MOST || window < 1) { errno = EINVAL; fail("ask"); }
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server)) fail("connect");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    double from = seconds();
    for (int sent = 0, done = 0; done < count; done++) {
        for (; sent < count && sent - done < window; sent++) {
            size_t length = question(packet, sizeof packet, (unsigned)sent, name);
            sent_at[sent] = seconds();
            if (!length || send(fd, packet, length, 0) != (ssize_t)length) fail("send");
        }
        ssize_t n = recv(fd, packet, sizeof packet, 0);
        if (n < 0) fail("no answer");
        int id = packet[0] << 8 | packet[1], code = packet[3] & 15, answers = packet[6] << 8 | packet[7];
        if (n < 12 || id >= sent || code || !answers) {
            printf("net: answer %d of %d: code %d, %d records\n", id, count, code, answers);
            return 1;
        }
        took[done] = seconds() - sent_at[id];
    }
    printf("%.0f", count / (seconds() - from));
    for (int i = 0; i < count; i++) printf(" %.2f", took[i] * 1e6);
    printf("\n");
    return 0;
}
