/*
 * Messages to corral-init over a real socket pair: control.c and secret.c as they are, and instead of a fork a walk over what the
 * child would read. Secrets are written to a directory of this run: nothing is mounted on the host.
 */
#include "init.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int peer = -1;
static uint64_t refused, started, signalled, forgotten;

static long instead_of_mounting(long number)
{
	const char *scratch = getenv("CORRAL_FUZZ_SCRATCH");

	if (number == SYS_fsopen)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	return number == SYS_fsmount ? open(scratch ? scratch : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : 0;
}

/* As the user that corral-init is inside a sandbox: what it is asked for has to be below. */
uid_t getuid(void)
{
	return 65533;
}

gid_t getgid(void)
{
	return 65533;
}

#define syscall(number, ...) instead_of_mounting(number)
#define mkdir(path, mode) 0
#include "secret.c"
#undef mkdir
#undef syscall

static void require(_Bool holds, const char *promise)
{
	if (!holds) {
		fprintf(stderr, "broken: %s\n", promise);
		abort();
	}
}

struct failure failed(enum corral_stage stage)
{
	return (struct failure){1, stage};
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void refuse(uint64_t tag, struct failure failure)
{
	(void)tag;
	require(failure.error != 0, "a refusal has its reason");
	refused++;
}

void forget_command(uint64_t tag)
{
	(void)tag;
	forgotten++;
}

void hold_output(void)
{
	require(0, "the socket of this run stays open");
}

void signal_command(uint64_t tag, int number)
{
	(void)tag;
	require(number >= 1 && number <= 64, "a signal is one");
	signalled++;
}

/* As execute() divides the strings, in a copy of their exact size, so that a step past the end is seen. */
void start_command(const struct execution *execution)
{
	char *strings = malloc(execution->strings_bytes);
	uint8_t *filter = malloc(execution->filter_bytes + 1);

	require(strings && filter, "memory");
	memcpy(strings, execution->strings, execution->strings_bytes);
	memcpy(filter, execution->filter, execution->filter_bytes);
	require(execution->argc >= 1 && execution->filter_bytes % 8 == 0 && execution->filter_bytes <= 4096 * 8,
		"a command has a name, and its filter has whole instructions");
	const char *string = strings;
	for (uint32_t i = 0; i < execution->argc; i++)
		string += strlen(string) + 1;
	for (uint32_t i = 0; i < execution->envc; i++) {
		const char *equals = strchr(string, '=');
		require(equals && equals != string, "a variable has a name");
		string += strlen(string) + 1;
	}
	string += strlen(string) + 1;
	require(string == strings + execution->strings_bytes, "the working directory is the last");
	free(strings);
	free(filter);
	started++;
}

/* What one input wrote, which is where it ought to be, is gone before the next. */
static void remove_secrets(void)
{
	DIR *files = directory < 0 ? NULL : fdopendir(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	if (!files)
		return;
	for (struct dirent *file; (file = readdir(files));)
		if (file->d_type == DT_REG)
			unlinkat(directory, file->d_name, 0);
	closedir(files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (peer < 0) {
		int pair[2];
		require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
		peer = fcntl(pair[0], F_DUPFD_CLOEXEC, 100);
		require(peer >= 0 && (pair[1] == CORRAL_CONTROL_FD || dup2(pair[1], CORRAL_CONTROL_FD) >= 0),
			"the control socket is where it belongs");
		setsockopt(peer, SOL_SOCKET, SO_SNDBUFFORCE, &(int){(int)CORRAL_CONTROL_MAX * 2}, sizeof(int));
	}
	if (send(peer, data, size, MSG_NOSIGNAL) != (ssize_t)size)
		return 0;
	uint64_t before = started;
	receive_control();
	require(control_is_open(), "the conversation goes on");
	require(!missing || started == before, "no command without its secrets");
	if (size >= sizeof(struct corral_secret))
		remove_secrets();
	missing = 0;
	return 0;
}
