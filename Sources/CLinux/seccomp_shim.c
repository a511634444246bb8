#define _GNU_SOURCE
#include "seccomp_shim.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

uint32_t corral_scmp_allow(void)
{
	return SCMP_ACT_ALLOW;
}

uint32_t corral_scmp_errno(uint16_t number)
{
	return SCMP_ACT_ERRNO(number);
}

int corral_seccomp_add(scmp_filter_ctx context, uint32_t action, int call, unsigned argument, uint64_t mask, uint64_t value)
{
	struct scmp_arg_cmp condition = {
		.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value,
	};

	return seccomp_rule_add_array(context, action, call, 1, &condition);
}

int corral_seccomp_add_any(scmp_filter_ctx context, uint32_t action, int call)
{
	return seccomp_rule_add_array(context, action, call, 0, NULL);
}

int corral_seccomp_export(scmp_filter_ctx context)
{
	int fd = memfd_create("seccomp", MFD_CLOEXEC);
	int result;

	if (fd < 0)
		return -1;
	result = seccomp_export_bpf(context, fd);
	if (result < 0 || lseek(fd, 0, SEEK_SET) < 0) {
		if (result < 0)
			errno = -result;
		close(fd);
		return -1;
	}
	return fd;
}
