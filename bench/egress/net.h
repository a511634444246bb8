// What the parts of `net` share.
#pragma once
#include <arpa/inet.h>
#include <stdint.h>

_Noreturn void fail(const char *what);
double seconds(void);
struct sockaddr_in address_of(const char *text, int port);

int sink(void);
int probe(double length, double rate, const char *permitted, const char *refused);
int ask(int count, int window, const char *server, const char *name);
