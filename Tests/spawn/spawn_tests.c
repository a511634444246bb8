/* What a request brings into being, and what is refused. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void test_namespaces(struct sandbox *sandbox)
{
	static const char *const names[] = {"user", "pid", "net", "mnt", "ipc", "uts", "cgroup"};
	char path[64];
	struct stat mine, theirs;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		_Bool known = stat(path, &mine) == 0;
		snprintf(path, sizeof path, "/proc/%d/ns/%s", sandbox->reply.pid, names[i]);
		known = known && stat(path, &theirs) == 0;
		check(known && mine.st_ino != theirs.st_ino, "the %s namespace is its own", names[i]);
	}
	snprintf(path, sizeof path, "/proc/%d/ns/net", sandbox->reply.pid);
	check(fstat(sandbox->netns, &mine) == 0 && stat(path, &theirs) == 0 && mine.st_ino == theirs.st_ino,
	      "the reply's namespace descriptor is its network namespace");
}

static void test_network(struct sandbox *sandbox)
{
	struct ifreq request = {.ifr_name = "lo"};
	check(ioctl(sandbox->netlink, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP),
	      "the rtnetlink socket sees loopback up");
	request = (struct ifreq){.ifr_ifindex = 1};
	_Bool first = ioctl(sandbox->netlink, SIOCGIFNAME, &request) == 0 && strcmp(request.ifr_name, "lo") == 0;
	request = (struct ifreq){.ifr_ifindex = 2};
	check(first && ioctl(sandbox->netlink, SIOCGIFNAME, &request) != 0, "there is no other interface");
	request.ifr_ifindex = 1;
	first = ioctl(sandbox->datagram, SIOCGIFNAME, &request) == 0 && strcmp(request.ifr_name, "lo") == 0;
	request.ifr_ifindex = 2;
	check(first && ioctl(sandbox->datagram, SIOCGIFNAME, &request) != 0, "the UDP socket is in the same namespace");
	check(sandbox->reply.refused == 0, "without hooks no call of the child is refused");
	check_shell(sandbox, "test $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start) = 0", 0,
		"low ports need no privilege");
	check_shell(sandbox, "test \"$(cat /proc/sys/net/ipv4/ping_group_range | tr '\\t' ' ')\" = '0 65535'", 0,
		    "ping needs no privilege");
	check_shell(sandbox,
		"test ! -e /proc/sys/net/ipv6 || test $(cat /proc/sys/net/ipv6/conf/default/accept_ra) = 0", 0,
		    "router advertisements are ignored");
}

static void test_cgroups(struct spawner *spawner)
{
	struct sandbox sandbox = make_sandbox(spawner);
	char path[320], text[64] = "";
	int file;

	snprintf(path, sizeof path, "%s/cgroup.procs", sandbox.cgroup);
	file = open(path, O_RDONLY | O_CLOEXEC);
	check(file >= 0 && read(file, text, sizeof text - 1) > 0 && atoi(text) == sandbox.reply.pid,
	      "init is in the cgroup v2 directory of the request");
	close(file);
	check_shell(&sandbox, "grep -qx '0::/' /proc/self/cgroup", 0, "its cgroup is the root that it sees");
	check(destroy(&sandbox), "killing it through the pidfd empties its cgroup");

	if (!pids_root[0]) {
		printf("  skip  v1 cgroups: this host has no v1 pids hierarchy\n");
		return;
	}
	struct corral_spawn_request request = usual_request();
	struct corral_hello hello;
	request.v1_count = 1;
	sandbox = request_spawn(spawner, &request);
	snprintf(path, sizeof path, "%s/cgroup.procs", sandbox.pids);
	file = open(path, O_RDONLY | O_CLOEXEC);
	memset(text, 0, sizeof text);
	check(sandbox.reply.error == 0 && file >= 0 && read(file, text, sizeof text - 1) > 0 &&
		      atoi(text) == sandbox.reply.pid,
	      "init is in the v1 cgroup of the request");
	close(file);
	check(receive(sandbox.control, &hello, sizeof hello, NULL, NULL) == sizeof hello, "and parks");

	snprintf(path, sizeof path, "%s/pids.max", sandbox.pids);
	file = open(path, O_WRONLY | O_CLOEXEC);
	_Bool limited = file >= 0 && write(file, "1", 1) == 1;
	struct result result = run_shell(&sandbox, "true");
	check(limited && !result.started && result.failure.error == EAGAIN && result.failure.stage == CORRAL_STAGE_FORK,
	      "at the limit of processes an EXEC fails with EAGAIN in fork");
	release(&result);
	limited = write(file, "max", 3) == 3;
	close(file);
	check_shell(&sandbox, "true", 0, "and succeeds once there is room again");
	check(destroy(&sandbox), "a sandbox in a v1 cgroup leaves it empty");
}

static void expect_failure(struct spawner *spawner, struct corral_spawn_request request, int error, unsigned stage,
	const char *what)
{
	struct sandbox sandbox = request_spawn(spawner, &request);
	check(sandbox.reply.error == error && sandbox.reply.stage == stage && sandbox.descriptors == 0 &&
		      sandbox.reply.pid == 0 && sandbox.reply.header.tag == request.header.tag,
	      "%s: errno %d in stage %u (got %d in %u)", what, error, stage, sandbox.reply.error, sandbox.reply.stage);
	check(destroy(&sandbox), "and leaves nothing in its cgroup");
}

static void test_refusals(struct spawner *spawner)
{
	const struct corral_spawn_request good = usual_request();
	struct corral_spawn_request request = good;
	const int malformed = EINVAL, stage = CORRAL_STAGE_REQUEST;

	request.uid_base = 0;
	expect_failure(spawner, request, malformed, stage, "the host's root as the sandbox's");
	request = good, request.uid_base = UINT32_MAX - 100;
	expect_failure(spawner, request, malformed, stage, "uids that overflow");
	request = good, request.uid_count = 1;
	expect_failure(spawner, request, malformed, stage, "too few uids");
	request = good, request.mount_count = CORRAL_SPAWN_MOUNTS + 1;
	expect_failure(spawner, request, malformed, stage, "too many mounts");
	request = good, request.v1_count = 2;
	expect_failure(spawner, request, malformed, stage, "fewer descriptors than announced");
	request = good, request.v1_count = UINT32_MAX;
	expect_failure(spawner, request, malformed, stage, "a count that overflows");
	request = good, memset(request.hostname, 'a', sizeof request.hostname);
	expect_failure(spawner, request, malformed, stage, "a host name without an end");
	request = good, strcpy(request.hostname, "a b");
	expect_failure(spawner, request, malformed, stage, "a host name with a space");
	request = good, memset(request.image, '/', sizeof request.image);
	expect_failure(spawner, request, malformed, stage, "an image path without an end");
	request = good, strcpy(request.image, "relative");
	expect_failure(spawner, request, malformed, stage, "a relative image path");
	request = good, memset(request.mounts[0].target, '/', sizeof request.mounts[0].target);
	expect_failure(spawner, request, malformed, stage, "a mount target without an end");
	request = good, request.mounts[0].flags = 8;
	expect_failure(spawner, request, malformed, stage, "an unknown mount flag");

	request = good, strcpy(request.image, "/nonexistent");
	expect_failure(spawner, request, ENOENT, CORRAL_STAGE_LOWER, "an image that is not there");
	request = good, strcpy(request.mounts[0].source, "/nonexistent");
	expect_failure(spawner, request, ENOENT, CORRAL_STAGE_BIND, "a mount source that is not there");
	request = good, strcpy(request.mounts[0].target, "/etc/passwd/below");
	expect_failure(spawner, request, ENOTDIR, CORRAL_STAGE_BIND, "a mount target that cannot be");
	request = good, request.mounts[0].flags = CORRAL_MOUNT_DESCRIPTOR;
	expect_failure(spawner, request, malformed, stage, "a mount whose descriptor did not come");
	request = good, request.layer_count = CORRAL_SPAWN_LAYERS + 1;
	expect_failure(spawner, request, malformed, stage, "too many layers");
	request = good, request.layer_count = 1, strcpy(request.layers[0], "relative");
	expect_failure(spawner, request, malformed, stage, "a relative layer");
	request = good, strcpy(request.mounts[0].target, "/tmp/..");
	expect_failure(spawner, request, EINVAL, CORRAL_STAGE_BIND, "a mount over the root");

	struct sandbox sandbox = make_sandbox(spawner);
	check(sandbox.reply.error == 0, "the same request without a fault succeeds");
	check(destroy(&sandbox), "and leaves nothing");
}

static void test_deadline(struct spawner *spawner)
{
	struct corral_spawn_request request = usual_request();
	double start = now_ms();
	struct sandbox sandbox = request_frozen_spawn(spawner, &request);
	double took = now_ms() - start;
	check(sandbox.reply.error == ETIMEDOUT && sandbox.reply.stage == CORRAL_STAGE_CLONE && sandbox.descriptors == 0 &&
		      took > 9000 && took < 14000,
	      "a child that never runs is given up after ten seconds (%.1f)", took / 1000);
	check(destroy(&sandbox), "and leaves nothing in its cgroup");
}

static void test_upper(struct spawner *spawner)
{
	struct corral_spawn_request request = usual_request();
	struct corral_hello hello;
	const char *const write4[] = {"dd", "if=/dev/zero", "of=/tmp/f", "bs=1M", "count=4", NULL};

	request.upper_bytes = 2u << 20;
	request.upper_inodes = 200;
	struct sandbox sandbox = request_spawn(spawner, &request);
	check(receive(sandbox.control, &hello, sizeof hello, NULL, NULL) == sizeof hello,
		"a sandbox with a small upper layer parks");
	struct result result = run(&sandbox, &(struct command){.argv = write4});
	check(result.exited.status != 0 && strstr(result.errors, "No space left"),
		"writes beyond its size are refused");
	release(&result);
	result = run(&sandbox, &(struct command){.argv = write4, .upper_bytes = 8u << 20});
	check(result.started && result.exited.status == 0, "and pass after an EXEC that raises it");
	release(&result);
	check_shell(&sandbox, "dd if=/dev/zero of=/dev/shm/f bs=1M count=8 2>/dev/null", 1,
		"/dev/shm counts towards the same size");
	check_shell(&sandbox, "dd if=/dev/zero of=/dev/shm/f bs=1M count=1 2>/dev/null && rm /dev/shm/f", 0,
		"and takes what fits");
	result = run(&sandbox, &(struct command){.argv = write4, .upper_bytes = 1u << 20});
	check(!result.started && result.failure.error == EINVAL && result.failure.stage == CORRAL_STAGE_LIMITS,
	      "a size below what is in use is an EXEC_FAILED in LIMITS");
	release(&result);
	/* The EXEC that raised it allows one for each 4 KiB of 8 MiB, and more than the 200 of the request. */
	check_shell(&sandbox, "i=0; while : > /tmp/n$i; do i=$((i+1)); test $i -lt 1800 || exit 9; done 2>/dev/null", 9,
		    "inodes follow a size that an EXEC changes");
	check_shell(&sandbox, "i=1800; while : > /tmp/n$i; do i=$((i+1)); test $i -lt 2100 || exit 9; done 2>/dev/null", 2,
		    "inodes beyond the limit are refused");
	check(destroy(&sandbox), "it leaves nothing");
}

static void test_deaths(void)
{
	struct spawner spawner = start_spawner();
	struct sandbox sandbox = make_sandbox(&spawner);
	stop_spawner(&spawner);
	check_shell(&sandbox, "exit 3", 3, "a sandbox outlives corral-spawn");

	/* corrald dies: its ends of the sockets and pipes close. */
	const char *const argv[] = {"sh", "-c", "while echo alive; do sleep 0.01; done", NULL};
	struct corral_started started;
	int came[8];
	unsigned count;
	char path[96], text[64];
	send_exec(&sandbox, &(struct command){.argv = argv}, 1);
	ssize_t length = receive(sandbox.control, &started, sizeof started, came, &count);
	check(length == sizeof started && count == 2, "a command runs");
	for (unsigned i = 0; i < count; i++)
		close(came[i]);
	close(sandbox.control);
	sandbox.control = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sleep_ms(200);
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", sandbox.reply.pid, sandbox.reply.pid);
	int children = open(path, O_RDONLY | O_CLOEXEC);
	check(children >= 0 && read(children, text, sizeof text) > 0, "and goes on when corrald is gone");
	close(children);
	check(destroy(&sandbox), "until it is killed");
}

void test_spawn(void)
{
	printf("spawn\n");
	struct spawner spawner = start_spawner();
	struct sandbox sandbox = make_sandbox(&spawner);
	check(1, "HELLO arrives");
	test_namespaces(&sandbox);
	test_network(&sandbox);
	check(destroy(&sandbox), "it leaves nothing");
	test_cgroups(&spawner);
	test_refusals(&spawner);
	test_deadline(&spawner);
	test_upper(&spawner);
	stop_spawner(&spawner);
	test_deaths();
}
