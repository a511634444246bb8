#define _GNU_SOURCE
#include "trace_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Exit codes of what fails before the calls. */
enum { NO_CGROUP = 101, NO_NAMESPACE = 102, NO_CHILD = 103, NO_FILTER = 104 };

static _Noreturn void make_calls(const struct corral_workload *workload)
{
	struct sock_fprog program = {
		.len = (unsigned short)(workload->filter_size / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)workload->filter,
	};
	int file;

	if (workload->filter && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
				 prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)))
		_exit(NO_FILTER);
	file = openat(AT_FDCWD, workload->path, O_RDONLY | O_CLOEXEC);
	if (file >= 0)
		close(file);
	(void)!openat(AT_FDCWD, workload->missing, O_RDONLY);
	for (unsigned i = 0; i < workload->refusals; i++)
		syscall(SYS_add_key, NULL, NULL, NULL, 0, 0);
	for (unsigned i = 0; i < workload->loops; i++)
		syscall(SYS_getppid);
	_exit(workload->code);
}

static int wait_for(pid_t child)
{
	int status;

	if (child < 0)
		return -1;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int corral_workload_run(const struct corral_workload *workload)
{
	pid_t child = fork();

	if (child == 0) {
		int procs = open(workload->procs, O_WRONLY | O_CLOEXEC);

		if (procs < 0 || write(procs, "0", 1) != 1)
			_exit(NO_CGROUP);
		close(procs);
		if (unshare(CLONE_NEWPID))
			_exit(NO_NAMESPACE);
		pid_t inner = fork();

		if (inner == 0)
			make_calls(workload);
		int code = wait_for(inner);

		_exit(code < 0 ? NO_CHILD : code);
	}
	return wait_for(child);
}
