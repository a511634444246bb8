#define _GNU_SOURCE
#include "seccomp_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the seccomp profile is written for x86-64"
#endif

enum { X32_BIT = 0x40000000, IOCTLS_MAX = 8 };

void *corral_seccomp_new(uint16_t error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(error));

	if (!filter)
		return NULL;
	/* A program for i386 or x32 finds that the kernel has no such calls. */
	if (seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)) != 0 ||
	    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) != 0) {
		seccomp_release(filter);
		return NULL;
	}
	return filter;
}

void corral_seccomp_free(void *filter)
{
	seccomp_release(filter);
}

int corral_seccomp_number(const char *name)
{
	return seccomp_syscall_resolve_name(name);
}

int corral_seccomp_allow(void *filter, int number)
{
	return seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, number, 0, NULL);
}

int corral_seccomp_allow_if(void *filter, int number, const uint32_t *arguments, const uint32_t *masks,
			    const uint32_t *values, size_t count)
{
	struct scmp_arg_cmp comparisons[6];

	if (count > 6)
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		comparisons[i] = (struct scmp_arg_cmp){ arguments[i], SCMP_CMP_MASKED_EQ, masks[i], values[i] };
	return seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, number, (unsigned int)count, comparisons);
}

int corral_seccomp_refuse(void *filter, int number, uint16_t error)
{
	return seccomp_rule_add_exact_array(filter, SCMP_ACT_ERRNO(error), number, 0, NULL);
}

/* Falls off its end into what follows. `ioctl_count` is at most IOCTLS_MAX. */
static size_t write_prologue(struct sock_filter *code, const uint32_t *ioctls, size_t ioctl_count, uint32_t newest)
{
	const uint8_t n = (uint8_t)ioctl_count;
	const uint8_t end = (uint8_t)(10 + n);
	size_t at = 0;

#define JUMP(test, value, yes, no) \
	do { \
		code[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | (test) | BPF_K, value, (uint8_t)((yes) - at - 1), \
							(uint8_t)((no) - at - 1)); \
		at++; \
	} while (0)
#define DO(operation, value) code[at++] = (struct sock_filter)BPF_STMT(operation, value)

	DO(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));		/* 0 */
	JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, at + 1, end);					/* 1 */
	DO(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));		/* 2 */
	JUMP(BPF_JEQ, SYS_ioctl, at + 1, 6u + n);					/* 3 */
	DO(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));		/* 4 */
	for (size_t i = 0; i < ioctl_count; i++)
		JUMP(BPF_JEQ, ioctls[i], 8u + n, at + 1);				/* 5 ... */
	DO(BPF_JMP | BPF_JA, 4);							/* 5 + n: to the end */
	JUMP(BPF_JGE, X32_BIT, end, at + 1);						/* 6 + n */
	JUMP(BPF_JGT, newest, 9u + n, end);						/* 7 + n */
	DO(BPF_RET, SECCOMP_RET_ERRNO | EPERM);						/* 8 + n */
	DO(BPF_RET, SECCOMP_RET_ERRNO | ENOSYS);					/* 9 + n */
#undef JUMP
#undef DO
	return at;
}

int corral_seccomp_export(void *filter, const uint32_t *ioctls, size_t ioctl_count, uint32_t newest, void *bytes,
			  size_t capacity)
{
	struct sock_filter prologue[10 + IOCTLS_MAX];

	if (ioctl_count > IOCTLS_MAX)
		return -EINVAL;
	size_t first = write_prologue(prologue, ioctls, ioctl_count, newest) * sizeof(*prologue);
	if (first > capacity)
		return -E2BIG;
	memcpy(bytes, prologue, first);

	int fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int result = seccomp_export_bpf(filter, fd);
	if (result == 0) {
		off_t size = lseek(fd, 0, SEEK_END);
		if (size < 0)
			result = -errno;
		else if ((size_t)size > capacity - first)
			result = -E2BIG;
		else if (pread(fd, (char *)bytes + first, (size_t)size, 0) != size)
			result = -EIO;
		else
			result = (int)(first + (size_t)size);
	}
	close(fd);
	return result;
}

/* Only async-signal-safe work between fork and _exit: the parent has threads. */
static int try_in_child(const void *program, size_t count, long number, const uint64_t *arguments, int i386)
{
	struct sock_fprog filter = { (unsigned short)(count / sizeof(struct sock_filter)), (void *)program };
	int report[2], result = -1;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -1;
	pid_t child = fork();
	if (child == 0) {
		int outcome = -1;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0) {
			long value;
			if (i386) {
				__asm__ volatile("int $0x80" : "=a"(value) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
				outcome = value < 0 ? (int)-value : 0;
			} else {
				value = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
						arguments[4], arguments[5]);
				outcome = value == -1 ? errno : 0;
			}
			if (number == SYS_clone && outcome == 0 && value == 0)
				_exit(0);
		}
		_exit(write(report[1], &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
	}
	close(report[1]);
	if (child > 0) {
		if (read(report[0], &result, sizeof(result)) != sizeof(result))
			result = -1;
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(report[0]);
	return result;
}

int corral_seccomp_try(const void *program, size_t count, long number, const uint64_t *arguments)
{
	return try_in_child(program, count, number, arguments, 0);
}

int corral_seccomp_try_i386(const void *program, size_t count)
{
	static const uint64_t none[6];

	return try_in_child(program, count, SYS_getpid, none, 1);
}
