#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the report pipe is kept while everything above it is closed. */
#define REPORT_FD 3
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define PATH_ROOM 4096u

_Static_assert(sizeof(struct sock_filter) == 8, "the control message counts a filter's instructions by 8 bytes");

#define DIGITS 21
#define BYTES_PER_FILE 4096
#define FILES_MIN 1024

static const char *decimal(char text[DIGITS], uint64_t value)
{
	char *first = text + DIGITS - 1;

	*first = 0;
	do
		*--first = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	return first;
}

struct failure resize_upper(uint64_t bytes)
{
	char size[DIGITS], files[DIGITS];
	int context = (int)syscall(SYS_fspick, CORRAL_UPPER_FD, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
	struct failure failure = {0};

	if (context < 0)
		return failed(CORRAL_STAGE_LIMITS);
	/* Files cost memory without having a size. */
	uint64_t files_max = bytes / BYTES_PER_FILE > FILES_MIN ? bytes / BYTES_PER_FILE : FILES_MIN;
	if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "size", decimal(size, bytes), 0) != 0 ||
	    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "nr_inodes", decimal(files, files_max), 0) != 0 ||
	    syscall(SYS_fsconfig, context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) != 0)
		failure = failed(CORRAL_STAGE_LIMITS);
	close_fd(&context);
	return failure;
}

static _Noreturn void give_up(struct failure failure)
{
	(void)!write(REPORT_FD, &failure, sizeof failure);
	_exit(127);
}

static void arrange_descriptors(const int streams[3], int report)
{
	/* All of them are above REPORT_FD: 0 to 2 are taken, and so are the control socket and the upper layer. */
	for (int i = 0; i < 3; i++)
		if (dup2(streams[i], i) < 0)
			_exit(127);
	if (dup3(report, REPORT_FD, O_CLOEXEC) < 0 || syscall(SYS_close_range, REPORT_FD + 1, ~0u, 0) != 0)
		_exit(127);
}

static _Bool set_limits(uint64_t open_files)
{
	const struct rlimit no_core = {0, 0};
	const struct rlimit files = {open_files, open_files};

	return setrlimit(RLIMIT_CORE, &no_core) == 0 && (open_files == 0 || setrlimit(RLIMIT_NOFILE, &files) == 0);
}

static const char *search_path(char *const *variables)
{
	for (; *variables; variables++)
		if (strncmp(*variables, "PATH=", 5) == 0)
			return *variables + 5;
	return DEFAULT_PATH;
}

/* As execvp(3) in POSIX, but never through a shell: what is no executable format fails. Sets errno. */
static void execute_search(const char *name, const char *path, char *const *argv, char *const *envp)
{
	char candidate[PATH_ROOM];
	size_t name_bytes = strlen(name) + 1;
	_Bool forbidden = 0;

	if (name[0] == 0) {
		errno = ENOENT;
		return;
	}
	if (strchr(name, '/')) {
		execve(name, argv, envp);
		return;
	}
	for (;;) {
		size_t length = strcspn(path, ":");
		/* An empty element is the working directory. */
		if (length + 1 + name_bytes <= sizeof candidate) {
			memcpy(candidate, path, length);
			candidate[length] = '/';
			memcpy(candidate + (length ? length + 1 : 0), name, name_bytes);
			execve(candidate, argv, envp);
		} else {
			errno = ENAMETOOLONG;
		}
		if (errno == EACCES)
			forbidden = 1;
		else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
			return;
		if (path[length] == 0)
			break;
		path += length + 1;
	}
	errno = forbidden ? EACCES : ENOENT;
}

_Noreturn void execute(const struct execution *execution, const int streams[3], int report)
{
	size_t pointers = (size_t)execution->argc + execution->envc + 2;
	sigset_t none;

	arrange_descriptors(streams, report);
	if (setsid() < 0)
		give_up(failed(CORRAL_STAGE_FORK));
	if ((execution->flags & CORRAL_EXEC_TERMINAL) && !take_terminal())
		give_up(failed(CORRAL_STAGE_TERMINAL));
	umask(022);
	if (!set_limits(execution->open_files))
		give_up(failed(CORRAL_STAGE_LIMITS));

	char **argv = mmap(NULL, pointers * sizeof *argv, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argv == MAP_FAILED)
		give_up(failed(CORRAL_STAGE_FORK));
	char **envp = argv + execution->argc + 1;
	const char *string = execution->strings;
	for (uint32_t i = 0; i < execution->argc; i++, string += strlen(string) + 1)
		argv[i] = (char *)string;
	for (uint32_t i = 0; i < execution->envc; i++, string += strlen(string) + 1)
		envp[i] = (char *)string;

	if (!((execution->flags & CORRAL_EXEC_KEEP_CAPABILITIES) ? keep_all_privileges(execution->uid, execution->gid)
								 : drop_all_privileges(execution->uid, execution->gid)))
		give_up(failed(CORRAL_STAGE_PRIVILEGES));
	/* As the user that the command will be: a directory it may not enter is refused here too. */
	if (chdir(string) != 0)
		give_up(failed(CORRAL_STAGE_CHDIR));

	/* Last, and as the user whose processes are counted: a sandbox that is full of them takes this one all the same. */
	const struct rlimit processes = {execution->processes, execution->processes};
	if (execution->processes && setrlimit(RLIMIT_NPROC, &processes) != 0)
		give_up(failed(CORRAL_STAGE_LIMITS));

	/* Init handles no signal and ignores none, so the mask is all that has to be put back. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (execution->filter_bytes > 0) {
		const struct sock_fprog program = {
			.len = (unsigned short)(execution->filter_bytes / sizeof(struct sock_filter)),
			.filter = (struct sock_filter *)execution->filter,
		};
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
			give_up(failed(CORRAL_STAGE_SECCOMP));
	}
	execute_search(argv[0], search_path(envp), argv, envp);
	give_up(failed(CORRAL_STAGE_EXECVE));
}
