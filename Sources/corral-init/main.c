#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* How long to wait before a message is tried again for which the socket, or the kernel's memory, had no room. */
#define RETRY_MS 20

struct failure failed(enum corral_stage stage)
{
	return (struct failure){errno, stage};
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The decimal number that corral-spawn passes; 0, which is no answer, for anything else. */
static uint32_t parse_uid(const char *text)
{
	uint64_t value = 0;

	for (; text && *text; text++) {
		if (*text < '0' || *text > '9')
			return 0;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value >= UINT32_MAX)
			return 0;
	}
	return (uint32_t)value;
}

static _Bool say_hello(void)
{
	const struct corral_hello hello = {{CORRAL_CONTROL_VERSION, CORRAL_HELLO, sizeof hello, held_commands()}};
	return send_control(&hello, sizeof hello, NULL, 0) == SENT;
}

static _Noreturn void run(int children)
{
	_Bool all_reaped = 1;

	for (;;) {
		struct pollfd wait[3 + COMMANDS_MAX];
		struct signalfd_siginfo news;
		/* Nothing new is taken up before corrald has heard of the old: that bounds what we hold. */
		_Bool all_told = report_commands();

		wait[0] = (struct pollfd){all_told && control_is_open() ? CORRAL_CONTROL_FD : -1, POLLIN, 0};
		wait[1] = (struct pollfd){children, POLLIN, 0};
		wait[2] = (struct pollfd){successor_socket(), POLLIN, 0};
		unsigned count = 3 + starting_commands(wait + 3, COMMANDS_MAX);

		if (poll(wait, count, !all_reaped ? 0 : !all_told ? RETRY_MS : -1) < 0)
			continue;
		for (unsigned i = 3; i < count; i++)
			if (wait[i].revents)
				command_reported(wait[i].fd);
		if (wait[1].revents)
			all_reaped = read(children, &news, sizeof news) < 0;
		if (!all_reaped)
			all_reaped = reap();
		if (wait[0].revents)
			receive_control();
		/* Its buffer is empty: the greeting fits. */
		if (wait[2].revents && take_successor() && say_hello())
			retell_commands();
	}
}

int main(int argc, char **argv)
{
	uint32_t uid = argc == 2 ? parse_uid(argv[1]) : 0;
	sigset_t child;
	int children;

	if (getpid() != 1 || uid == 0)
		return 64; /* EX_USAGE: only corral-spawn starts this, as pid 1 of a sandbox */
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "corral-init");
	fcntl(CORRAL_CONTROL_FD, F_SETFD, FD_CLOEXEC);
	fcntl(CORRAL_UPPER_FD, F_SETFD, FD_CLOEXEC);

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &child, NULL) != 0)
		return 71; /* EX_OSERR */
	children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (children < 0 || !shed_privileges(uid) || !say_hello())
		return 71;
	run(children);
}
