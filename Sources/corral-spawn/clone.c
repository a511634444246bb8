#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Room for the largest message on the control socket; a message and its overhead must fit the sender's buffer. */
#define CONTROL_BUFFER ((int)(CORRAL_CONTROL_MAX * 2))

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until `fd` can be read or has hung up. False with ETIMEDOUT after `deadline`. */
static _Bool wait_readable(int fd, int64_t deadline)
{
	for (;;) {
		struct pollfd wait = {fd, POLLIN, 0};
		int64_t left = deadline - now_ms();
		int ready = poll(&wait, 1, left > 0 ? (int)left : 0);
		if (ready > 0)
			return 1;
		if (ready == 0) {
			errno = ETIMEDOUT;
			return 0;
		}
		if (errno != EINTR)
			return 0;
	}
}

/* Ends the child and everything in its pid namespace, and waits until its cgroup is empty of it. */
static void end_child(int pidfd)
{
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	wait_readable(pidfd, now_ms() + SPAWN_SECONDS * 1000);
}

/* /proc/PID/NAME */
static void proc_path(char *path, pid_t pid, const char *name)
{
	path = append_text(path, "/proc/");
	path = append_decimal(path, (uint64_t)pid);
	path = append_text(path, "/");
	append_text(path, name);
}

static _Bool write_proc(pid_t pid, const char *name, const char *text)
{
	char path[64];
	proc_path(path, pid, name);
	return write_file(AT_FDCWD, path, text);
}

static int open_proc(pid_t pid, const char *name)
{
	char path[64];
	proc_path(path, pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static struct failure join_v1_cgroups(const struct corral_spawn_request *request,
	const struct request_descriptors *descriptors, pid_t pid)
{
	char text[24];
	size_t length = (size_t)(append_decimal(text, (uint64_t)pid) - text);

	for (unsigned i = 1; i <= request->v1_count; i++)
		if (write(descriptors->fd[i], text, length) != (ssize_t)length)
			return failed(CORRAL_STAGE_CGROUP);
	return SUCCESS;
}

static struct failure map_ids(const struct corral_spawn_request *request, pid_t pid)
{
	char text[64];
	char *end = append_text(text, "0 ");
	end = append_decimal(end, request->uid_base);
	end = append_text(end, " ");
	append_decimal(end, request->uid_count);
	if (!write_proc(pid, "uid_map", text) || !write_proc(pid, "gid_map", text))
		return failed(CORRAL_STAGE_IDMAP);
	return SUCCESS;
}

/* A detached copy of what is at `path` below `directory` that shows host ids as `user_namespace` has them. */
static struct failure clone_tree(int directory, const char *path, _Bool read_only, int user_namespace,
	enum corral_stage stage, int *tree)
{
	uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0);
	struct mount_attr mapped = {
		.attr_set = attributes | MOUNT_ATTR_IDMAP,
		.propagation = MS_PRIVATE,
		.userns_fd = (uint64_t)user_namespace,
	};

	*tree = (int)syscall(SYS_open_tree, directory, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (*tree < 0)
		return failed(stage);
	if (syscall(SYS_mount_setattr, *tree, "", AT_EMPTY_PATH, &mapped, sizeof mapped) == 0)
		return SUCCESS;
	/* Not every file system can be mapped (overlayfs, older virtiofs and tmpfs): its files look like nobody's. */
	if (errno != EINVAL)
		return failed(CORRAL_STAGE_IDMAP);
	mapped.attr_set = attributes;
	mapped.userns_fd = 0;
	if (syscall(SYS_mount_setattr, *tree, "", AT_EMPTY_PATH, &mapped, sizeof mapped) != 0)
		return failed(stage);
	return SUCCESS;
}

/*
 * corral-init shares its cgroup's time with whatever the sandbox runs: it goes first, and its children do not. Where we may
 * not, it has its fair share.
 */
static void put_first(pid_t pid)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attributes = {.size = 48, .flags = 1 /* SCHED_FLAG_RESET_ON_FORK */, .nice = -10};

	syscall(SYS_sched_setattr, pid, &attributes, 0);
}

/* A user namespace in which the host's owner of a mount is the sandbox's root, and nobody else is anybody. */
static int owner_namespace(const struct corral_mount *mount, uint32_t uid_base)
{
	const struct {
		const char *file;
		uint32_t owner;
	} maps[] = {{"uid_map", mount->owner_uid}, {"gid_map", mount->owner_gid}};
	struct clone_args arguments = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	int namespace = -1;

	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return -1;
	_Bool mapped = 1;
	for (size_t i = 0; i < sizeof maps / sizeof maps[0] && mapped; i++) {
		char text[64];
		char *end = append_text(append_decimal(text, maps[i].owner), " ");
		append_text(append_decimal(end, uid_base), " 1");
		mapped = write_proc((pid_t)pid, maps[i].file, text);
	}
	if (mapped)
		namespace = open_proc((pid_t)pid, "ns/user");
	int error = errno;
	kill((pid_t)pid, SIGKILL);
	errno = error;
	return namespace;
}

/* `next` is where the descriptors of mounts that are still to come begin. */
static struct failure clone_bind(const struct corral_spawn_request *request, const struct corral_mount *mount,
	const int **next, int user_namespace, int *tree)
{
	_Bool read_only = (mount->flags & CORRAL_MOUNT_READ_ONLY) != 0;
	_Bool by_descriptor = (mount->flags & CORRAL_MOUNT_DESCRIPTOR) != 0;
	int directory = by_descriptor ? *(*next)++ : AT_FDCWD;
	autofd owned = -1;

	if (mount->flags & CORRAL_MOUNT_OWNED) {
		owned = owner_namespace(mount, request->uid_base);
		if (owned < 0)
			return failed(CORRAL_STAGE_IDMAP);
	}
	return clone_tree(directory, by_descriptor ? "" : mount->source, read_only, owned < 0 ? user_namespace : owned,
		CORRAL_STAGE_BIND, tree);
}

/* Does for the child what only the host's root can, and lets it go on. */
static struct failure provide(const struct corral_spawn_request *request, const struct request_descriptors *descriptors,
			      int setup, const struct host *host, struct sandbox *sandbox)
{
	int trees[TREES_MAX];
	unsigned count = 0;
	pid_t pid = sandbox->pid;
	struct failure failure = join_v1_cgroups(request, descriptors, pid);
	autofd user_namespace = -1;

	if (!failure.error)
		failure = map_ids(request, pid);
	if (failure.error)
		return failure;

	put_first(pid);
	user_namespace = open_proc(pid, "ns/user");
	if (user_namespace < 0)
		return failed(CORRAL_STAGE_IDMAP);
	sandbox->netns = open_proc(pid, "ns/net");
	if (sandbox->netns < 0)
		return failed(CORRAL_STAGE_NETLINK);
	sandbox->datagram = open_datagram(sandbox->netns, host->netns);
	if (sandbox->datagram < 0)
		return failed(CORRAL_STAGE_NETLINK);

	const int *next = descriptors->fd + 1 + request->v1_count;
	failure = clone_tree(AT_FDCWD, request->image, 1, user_namespace, CORRAL_STAGE_LOWER, &trees[count++]);
	for (uint32_t i = 0; i < request->layer_count && !failure.error; i++)
		failure = clone_tree(AT_FDCWD, request->layers[i], 1, user_namespace, CORRAL_STAGE_LOWER, &trees[count++]);
	for (uint32_t i = 0; i < request->mount_count && !failure.error; i++)
		failure = clone_bind(request, &request->mounts[i], &next, user_namespace, &trees[count++]);
	if (!failure.error && !send_setup(setup, &(struct setup_message){SUCCESS, 0}, trees, count))
		failure = failed(CORRAL_STAGE_CLONE);
	for (unsigned i = 0; i < count; i++)
		close_fd(&trees[i]);
	return failure;
}

/* Until the child has become corral-init: a report, then the end of the set-up socket, which closes on exec. */
static struct failure await_init(int setup, struct sandbox *sandbox, int64_t deadline)
{
	struct setup_message report;
	unsigned count = 1;

	if (!wait_readable(setup, deadline) || !receive_setup(setup, &report, &sandbox->netlink, &count))
		return failed(CORRAL_STAGE_CLONE);
	if (report.failure.error)
		return report.failure;
	if (count != 1)
		return (struct failure){EPROTO, CORRAL_STAGE_NETLINK};
	sandbox->refused = report.refused;

	count = 0;
	if (!wait_readable(setup, deadline))
		return failed(CORRAL_STAGE_INIT);
	if (receive_setup(setup, &report, NULL, &count))
		return report.failure;
	if (errno != ECONNRESET)
		return failed(CORRAL_STAGE_INIT);
	return SUCCESS;
}

struct failure spawn_sandbox(const struct corral_spawn_request *request, const struct request_descriptors *descriptors,
			     const struct host *host, struct sandbox *sandbox)
{
	autofd setup = -1;
	autofd child_setup = -1;
	autofd child_control = -1;
	int64_t deadline = now_ms() + SPAWN_SECONDS * 1000;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return failed(CORRAL_STAGE_CLONE);
	setup = pair[0];
	child_setup = pair[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return failed(CORRAL_STAGE_CLONE);
	sandbox->control = pair[0];
	child_control = pair[1];
	if (setsockopt(sandbox->control, SOL_SOCKET, SO_SNDBUFFORCE, &(int){CONTROL_BUFFER}, sizeof(int)) != 0)
		return failed(CORRAL_STAGE_CLONE);

	/* The cgroup namespace comes later: here its root would be our own cgroup, not the child's. */
	struct clone_args arguments = {
		.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
			 CLONE_INTO_CGROUP | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&sandbox->pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)descriptors->fd[0],
	};
	long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	if (pid < 0)
		return failed(CORRAL_STAGE_CLONE);
	if (pid == 0) {
		close_fd(&setup);
		child_main(request, child_setup, child_control, host->init);
	}
	sandbox->pid = (pid_t)pid;
	close_fd(&child_setup);
	close_fd(&child_control);

	struct failure failure = provide(request, descriptors, setup, host, sandbox);
	if (!failure.error)
		failure = await_init(setup, sandbox, deadline);
	if (failure.error)
		end_child(sandbox->pidfd);
	return failure;
}
