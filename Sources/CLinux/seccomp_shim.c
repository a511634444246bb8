#define _GNU_SOURCE
#include "seccomp_shim.h"

#include <errno.h>
#include <fcntl.h>
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
#error "the seccomp profiles are written for x86-64"
#endif

void *corral_seccomp_new(uint32_t action)
{
	scmp_filter_ctx filter = seccomp_init(action);

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

int corral_seccomp_add(void *filter, uint32_t action, int number, const uint32_t *arguments, const uint32_t *masks,
		       const uint32_t *values, size_t count)
{
	struct scmp_arg_cmp comparisons[6];

	if (count > 6)
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		comparisons[i] = (struct scmp_arg_cmp){ arguments[i], SCMP_CMP_MASKED_EQ, masks[i], values[i] };
	return seccomp_rule_add_exact_array(filter, action, number, (unsigned int)count, comparisons);
}

int corral_seccomp_export(void *filter, void *bytes, size_t capacity)
{
	int fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int result = seccomp_export_bpf(filter, fd);
	if (result == 0) {
		off_t size = lseek(fd, 0, SEEK_END);
		if (size < 0)
			result = -errno;
		else if ((size_t)size > capacity)
			result = -E2BIG;
		else if (pread(fd, bytes, (size_t)size, 0) != size)
			result = -EIO;
		else
			result = (int)size;
	}
	close(fd);
	return result;
}

/*
 * What the child does: only async-signal-safe work, since the parent has threads. Not for AddressSanitizer, which makes calls of its own
 * before _exit that the program may refuse.
 */
static __attribute__((no_sanitize_address)) void try_and_exit(
	const struct sock_fprog *filter, long number, const uint64_t *arguments, int i386, int report)
{
	int outcome = -1;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0) == 0) {
		long value;
		if (i386) {
			__asm__ volatile("int $0x80" : "=a"(value) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
			outcome = value < 0 ? (int)-value : 0;
		} else {
			value = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
					arguments[5]);
			outcome = value == -1 ? errno : 0;
		}
		if (number == SYS_clone && outcome == 0 && value == 0)
			_exit(0);
	}
	_exit(write(report, &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
}

static int try_in_child(const void *program, size_t count, long number, const uint64_t *arguments, int i386)
{
	struct sock_fprog filter = { (unsigned short)(count / sizeof(struct sock_filter)), (void *)program };
	int report[2], result = -1;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -1;
	pid_t child = fork();
	if (child == 0)
		try_and_exit(&filter, number, arguments, i386, report[1]);
	close(report[1]);
	if (child > 0) {
		if (read(report[0], &result, sizeof(result)) != sizeof(result))
			result = -1;
		int status = 0;
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		if (WIFSIGNALED(status))
			result = -WTERMSIG(status);
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
