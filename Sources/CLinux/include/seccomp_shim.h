#ifndef CORRAL_SECCOMP_SHIM_H
#define CORRAL_SECCOMP_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* All of these return 0 or more, or a negative errno, as libseccomp does. */

/* Call refused with `error` unless a rule allows it. NULL without memory. */
void *corral_seccomp_new(uint16_t error);
void corral_seccomp_free(void *filter);

/* The call's number; negative when libseccomp does not know the name. */
int corral_seccomp_number(const char *name);
int corral_seccomp_allow(void *filter, int number);

/* Allowed when the low 32 bits of each of `count` (at most 6, distinct) arguments, masked, equal the value. */
int corral_seccomp_allow_if(void *filter, int number, const uint32_t *arguments, const uint32_t *masks,
			    const uint32_t *values, size_t count);
int corral_seccomp_refuse(void *filter, int number, uint16_t error);

/*
 * Writes the program, an array of struct sock_filter, and returns its length in bytes. In front of libseccomp's part
 * come two checks that its rules cannot express: the ioctl requests in `ioctls` (at most 8, compared by their low 32
 * bits, which is what the kernel looks at) fail with EPERM, and call numbers above `newest` fail with ENOSYS.
 */
int corral_seccomp_export(void *filter, const uint32_t *ioctls, size_t ioctl_count, uint32_t newest, void *bytes,
			  size_t capacity);

/*
 * For tests: a child installs the program and makes one system call. Its errno, 0 when it succeeded; -1 when the child
 * could not be made, could not install the program, or died.
 */
int corral_seccomp_try(const void *program, size_t count, long number, const uint64_t *arguments);

/* As above, through the 32-bit entry of the kernel (int 0x80), with getpid. */
int corral_seccomp_try_i386(const void *program, size_t count);

#endif
