#ifndef CORRAL_SECCOMP_SHIM_H
#define CORRAL_SECCOMP_SHIM_H

#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>

/* Actions are the kernel's SECCOMP_RET_ values, with their data. The functions return 0 or more, or a negative errno. */

/* `action` for calls that no rule is about. NULL without memory. */
void *corral_seccomp_new(uint32_t action);
void corral_seccomp_free(void *filter);

/* The call's number; negative when libseccomp does not know the name. */
int corral_seccomp_number(const char *name);

/* `action` when the low 32 bits of each of `count` (at most 6, distinct) arguments, masked, equal the value. */
int corral_seccomp_add(void *filter, uint32_t action, int number, const uint32_t *arguments, const uint32_t *masks,
		       const uint32_t *values, size_t count);

/* Writes the program, an array of struct sock_filter, and returns its length in bytes. */
int corral_seccomp_export(void *filter, void *bytes, size_t capacity);

/*
 * For tests: a child installs the program and makes one system call. Its errno, 0 when it succeeded; minus the signal that
 * ended the child; -1 when the child could not be made or could not install the program.
 */
int corral_seccomp_try(const void *program, size_t count, long number, const uint64_t *arguments);

/* As above, through the 32-bit entry of the kernel (int 0x80), with getpid. */
int corral_seccomp_try_i386(const void *program, size_t count);

#endif
