#ifndef CORRAL_SECCOMP_SHIM_H
#define CORRAL_SECCOMP_SHIM_H

#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

/* Macros of <seccomp.h>. */
uint32_t corral_scmp_allow(void);
uint32_t corral_scmp_errno(uint16_t number);

/* A rule with one condition on an argument: (argument & mask) == value. 0, or a negative errno. */
int corral_seccomp_add(scmp_filter_ctx context, uint32_t action, int call, unsigned argument, uint64_t mask, uint64_t value);
int corral_seccomp_add_any(scmp_filter_ctx context, uint32_t action, int call);

/* Writes the program into a new memfd and returns it; -1 and errno on failure. */
int corral_seccomp_export(scmp_filter_ctx context);

#endif
