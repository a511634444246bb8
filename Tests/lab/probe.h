// SPDX-License-Identifier: Apache-2.0
// What the parts of the probe share.
#ifndef PROBE_H
#define PROBE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 400

extern const char *mode, *address, *other;
extern uint16_t port;
extern int64_t started;

struct target {
	struct sockaddr_storage address;
	socklen_t size;
};

int64_t now_ms(void);
/// Says how it went, and ends.
_Noreturn void finish(const char *stage, int error, int ok);
_Noreturn void failed(const char *stage);
struct target target_of(const char *text, int mapped);
int socket_for(const struct target *t, int type, int protocol);
_Noreturn void expect_answer(int fd);

// What goes on for a while.
_Noreturn void loop(void);
_Noreturn void talk(void);
_Noreturn void ask(void);

// Ordinary sockets by less ordinary calls.
_Noreturn void ring_connect(void);
_Noreturn void free_bind(void);
_Noreturn void bind_to_device(void);
_Noreturn void reconnect(void);

#endif
