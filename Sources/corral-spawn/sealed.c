#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u /* Linux 6.3; where vm.memfd_noexec asks for it, it must be given */
#endif

/* For executing only: neither owner nor group means anybody inside, and others must not read. */
#define EXECUTE_ONLY 0111

int seal_executable(int executable)
{
	const int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
	struct stat status;
	off_t offset = 0;
	autofd copy = (int)syscall(SYS_memfd_create, "corral-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (copy < 0 && errno == EINVAL)
		copy = (int)syscall(SYS_memfd_create, "corral-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy < 0 || fstat(executable, &status) != 0)
		return -1;
	while (offset < status.st_size) {
		ssize_t sent = sendfile(copy, executable, &offset, (size_t)(status.st_size - offset));
		if (sent == 0)
			errno = EIO;
		if (sent <= 0)
			return -1;
	}
	if (fchmod(copy, EXECUTE_ONLY) != 0 || fcntl(copy, F_ADD_SEALS, seals) != 0)
		return -1;
	/* Opened anew: through the first descriptor it stays open for writing. */
	char path[48];
	append_decimal(append_text(path, "/proc/self/fd/"), (uint64_t)copy);
	return open(path, O_PATH | O_CLOEXEC);
}
