#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a sandbox must not inherit is settled once, here; children of clone3 get it for nothing. */
static void settle(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	/* The call itself, since libc keeps 32 to 34 for itself. All zeros is SIG_DFL with no flags and an empty mask. */
	static const unsigned long initial[4];
	for (int number = 1; number < _NSIG; number++)
		syscall(SYS_rt_sigaction, number, initial, NULL, 8);
	/* Sandboxes are watched through pidfds; nobody waits for them. */
	action.sa_handler = SIG_IGN;
	sigaction(SIGCHLD, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	/* What all sandboxes' processes together are held to by the user namespaces that we make. */
	struct rlimit processes;
	if (getrlimit(RLIMIT_NPROC, &processes) == 0) {
		const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY}, most = {processes.rlim_max, processes.rlim_max};
		if (setrlimit(RLIMIT_NPROC, &all) != 0)
			setrlimit(RLIMIT_NPROC, &most);
	}

	setsid(); /* ^C at corrald's terminal is corrald's business */
	umask(022);
	(void)!chdir("/");
	fcntl(CORRAL_CONTROL_FD, F_SETFD, FD_CLOEXEC);
	fcntl(CORRAL_INIT_FD, F_SETFD, FD_CLOEXEC);
}

int main(void)
{
	static struct corral_spawn_request request;

	settle();
	const struct host host = {
		.init = seal_executable(CORRAL_INIT_FD),
		.netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
	};
	if (host.init < 0 || host.netns < 0)
		return 71; /* EX_OSERR */
	close(CORRAL_INIT_FD);
	for (;;) {
		struct request_descriptors descriptors = {0};
		struct sandbox sandbox = {.pidfd = -1, .control = -1, .netlink = -1, .netns = -1, .datagram = -1};
		struct failure failure = {0};

		switch (receive_request(CORRAL_CONTROL_FD, &request, &descriptors)) {
		case RECEIVED_END:
			return 0;
		case RECEIVED_NOTHING:
			continue;
		case RECEIVED_MALFORMED:
			failure = (struct failure){EINVAL, CORRAL_STAGE_REQUEST};
			break;
		case RECEIVED_REQUEST:
			failure = spawn_sandbox(&request, &descriptors, &host, &sandbox);
			break;
		}
		send_reply(CORRAL_CONTROL_FD, request.header.tag, failure, &sandbox);

		for (unsigned i = 0; i < descriptors.count; i++)
			close_fd(&descriptors.fd[i]);
		close_fd(&sandbox.pidfd);
		close_fd(&sandbox.control);
		close_fd(&sandbox.netlink);
		close_fd(&sandbox.netns);
		close_fd(&sandbox.datagram);
	}
}
