#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Above every descriptor that has a meaning, so that moving one down cannot close another. */
#define HIGH_DESCRIPTOR 64

/* An rtnetlink socket that speaks for this namespace whoever holds it, and the loopback interface up. */
static struct failure open_network(int *netlink)
{
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING};

	*netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	/* Interface ioctls are served on a socket of any family. */
	if (*netlink < 0 || ioctl(*netlink, SIOCSIFFLAGS, &loopback) != 0)
		return failed(CORRAL_STAGE_NETLINK);
	return SUCCESS;
}

/* Root of the user namespace, nobody's relative, in the root of its own cgroup namespace. Raw calls: one thread. */
static struct failure become_root(void)
{
	if (syscall(SYS_setgroups, 0, NULL) != 0 || syscall(SYS_setresgid, 0, 0, 0) != 0 ||
	    syscall(SYS_setresuid, 0, 0, 0) != 0)
		return failed(CORRAL_STAGE_IDMAP);
	if (unshare(CLONE_NEWCGROUP) != 0)
		return failed(CORRAL_STAGE_CGROUP);
	/* The host's session keyring would come along otherwise. ENOSYS: a kernel without keys. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return failed(CORRAL_STAGE_CLONE);
	if (setsid() < 0)
		return failed(CORRAL_STAGE_CLONE);
	return SUCCESS;
}

/* Standard streams are the sandbox's own /dev/null, control and upper where corral-init looks; the rest close on exec. */
static struct failure arrange_descriptors(int *setup, int *control, int *upper, int *init_executable)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return failed(CORRAL_STAGE_DEV);
	*setup = fcntl(*setup, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	*control = fcntl(*control, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	*upper = fcntl(*upper, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	*init_executable = fcntl(*init_executable, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	null = fcntl(null, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	if (*setup < 0 || *control < 0 || *upper < 0 || *init_executable < 0 || null < 0)
		return failed(CORRAL_STAGE_INIT);
	for (int standard = 0; standard <= 2; standard++)
		if (dup2(null, standard) < 0)
			return failed(CORRAL_STAGE_INIT);
	if (dup2(*control, CORRAL_CONTROL_FD) < 0 || dup2(*upper, CORRAL_UPPER_FD) < 0)
		return failed(CORRAL_STAGE_INIT);
	/* CLOSE_RANGE_CLOEXEC is 1 << 2 since 5.11. */
	if (syscall(SYS_close_range, CORRAL_UPPER_FD + 1, ~0u, 1u << 2) != 0)
		return failed(CORRAL_STAGE_INIT);
	return SUCCESS;
}

static _Noreturn void give_up(int setup, struct failure failure)
{
	(void)send_setup(setup, &(struct setup_message){failure, 0}, NULL, 0);
	_exit(1);
}

void child_main(const struct corral_spawn_request *request, int setup, int control, int init_executable)
{
	int trees[TREES_MAX];
	unsigned count = sizeof trees / sizeof trees[0];
	int netlink = -1, upper = -1;
	char last_uid[24];
	struct setup_message parent;
	struct failure failure;

	append_decimal(last_uid, request->uid_count - 1);
	signal(SIGCHLD, SIG_DFL);

	/* What needs no ids yet, while the parent writes the maps. */
	failure = open_network(&netlink);
	if (!failure.error && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		failure = failed(CORRAL_STAGE_PIVOT);
	uint32_t refused = refused_calls();
	if (!receive_setup(setup, &parent, trees, &count))
		_exit(1); /* the parent failed and knows why, or is gone */
	if (!failure.error && count != 1 + request->layer_count + request->mount_count)
		failure = (struct failure){EPROTO, CORRAL_STAGE_LOWER};

	if (!failure.error)
		failure = become_root();
	if (!failure.error && sethostname(request->hostname, strlen(request->hostname)) != 0)
		failure = failed(CORRAL_STAGE_HOSTNAME);
	if (!failure.error)
		failure = enter_root(request, trees, &upper);
	if (!failure.error)
		failure = arrange_descriptors(&setup, &control, &upper, &init_executable);
	if (failure.error)
		give_up(setup, failure);

	if (!send_setup(setup, &(struct setup_message){SUCCESS, refused}, &netlink, 1))
		_exit(1);
	char *const argv[] = {"corral-init", last_uid, NULL};
	char *const envp[] = {NULL};
	syscall(SYS_execveat, init_executable, "", argv, envp, AT_EMPTY_PATH);
	give_up(setup, failed(CORRAL_STAGE_INIT));
}
