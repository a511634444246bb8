/* What the inside can see and touch. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every mount of the sandbox is one of these, or below /proc, /sys or /dev, and comes from nowhere but there. */
static void test_mounts(struct sandbox *sandbox)
{
	char path[64], line[2048], root[512], point[512], rest[1024];
	unsigned known = 0, strange = 0, host_paths = 0;

	snprintf(path, sizeof path, "/proc/%d/mountinfo", sandbox->reply.pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file)) {
		if (sscanf(line, "%*s %*s %*s %511s %511s %1023[^\n]", root, point, rest) != 3)
			continue;
		_Bool kernel = strncmp(point, "/proc", 5) == 0 || strncmp(point, "/sys", 4) == 0 || strncmp(point, "/dev", 4) == 0;
		if (strcmp(point, "/") == 0 || strcmp(point, "/usr") == 0 || kernel) {
			known++;
		} else {
			strange++;
			printf("        unexpected mount: %s", line);
		}
		if (strstr(rest, image) || strstr(root, image))
			host_paths++;
	}
	if (file)
		fclose(file);
	check(known >= 10 && strange == 0, "nothing but the root, /usr and kernel file systems is mounted (%u mounts)", known);
	check(host_paths == 0, "no mount tells where the image is on the host");
	check_shell(sandbox, "test \"$(ls -A / | tr '\\n' ' ')\" = \"$(cd / && echo $(ls -A) '')\" && ! test -e /old_root && ! test -e /root", 0,
		    "the root shows the image's directories only");
	check_shell(sandbox, "cat /etc/passwd | grep -c . | grep -qx 1 && ! test -e /etc/shadow", 0, "/etc is the image's");
	check_shell(sandbox, "test \"$(readlink /proc/self/root)\" = / && cd /.. && test \"$(pwd -P)\" = / && ls -A .. | grep -q etc", 0,
		    "nothing lies above the root");
}

static void test_files(struct spawner *spawner, struct sandbox *sandbox)
{
	char path[512];

	check_shell(sandbox, "echo changed > /etc/passwd && grep -qx changed /etc/passwd", 0, "the image can be written inside");
	snprintf(path, sizeof path, "grep -q root '%s/etc/passwd'", image);
	check(system(path) == 0, "and is unchanged outside");
	check_shell(sandbox, "rm -r /tools && mkdir /tools && test -z \"$(ls -A /tools)\"", 0, "a directory replaced inside is empty");
	check_shell(sandbox, "touch /usr/x 2>/dev/null", 1, "/usr is read-only");
	check_shell(sandbox, "test $(stat -c %u:%g /usr/bin/env) = 0:0", 0, "the host's files look like root's");
	check_shell(sandbox, "for n in null zero full random urandom tty; do test -c /dev/$n || exit 1; done; test -e /dev/ptmx", 0,
		    "the usual devices are there");
	check_shell(sandbox, "head -c 5 /dev/zero > /dev/null && test $(head -c 9 /dev/urandom | wc -c) = 9", 0, "and work");
	check_shell(sandbox, "! touch /dev/x 2>/dev/null && ! chmod 0 /dev/null 2>/dev/null && touch /dev/shm/x", 0,
		    "/dev is read-only but for /dev/shm");
	check_shell(sandbox, "! head -c1 /proc/kcore >/dev/null 2>&1 && test -z \"$(cat /proc/keys /proc/timer_list 2>/dev/null)\"", 0,
		    "what /proc tells about the host is hidden");
	check_shell(sandbox, "! sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward' 2>/dev/null && ! sh -c 'echo h > /proc/sysrq-trigger' 2>/dev/null",
		    0, "kernel settings are read-only");
	check_shell(sandbox, "test -z \"$(ls -A /sys/firmware /sys/kernel /sys/fs 2>/dev/null | grep -v :)\" && ! mkdir /sys/x 2>/dev/null", 0,
		    "/sys is read-only and masked");
	check_shell(sandbox, "test \"$(hostname)\" = inside", 0, "the host name is the request's");
	check_shell(sandbox, "test \"$(ls /proc | grep -c '^[0-9]')\" -lt 8", 0, "other processes are not to be seen");

	/* A link in the image that would lead out of it, as a mount target. */
	struct corral_spawn_request request = usual_request();
	struct corral_hello hello;
	request.mount_count = 2;
	strcpy(request.mounts[1].target, "/escape");
	snprintf(request.mounts[1].source, sizeof request.mounts[1].source, "%s/etc", image);
	struct sandbox other = request_spawn(spawner, &request);
	check(other.reply.error == 0 && receive(other.control, &hello, sizeof hello, NULL, NULL) == sizeof hello,
	      "a mount target that is a link is followed");
	check_shell(&other, "test -e /data/passwd", 0, "inside the image");
	check_shell(&other, "touch /data/written", 0, "a mount that is not read-only can be written");
	snprintf(path, sizeof path, "%s/etc/written", image);
	check(access(path, F_OK) == 0 && unlink(path) == 0, "and the host sees it");
	check(destroy(&other), "it leaves nothing");
	request.mounts[1].flags = CORRAL_MOUNT_READ_ONLY;
	other = request_spawn(spawner, &request);
	check(receive(other.control, &hello, sizeof hello, NULL, NULL) == sizeof hello, "the same, read-only, parks");
	check_shell(&other, "touch /data/written 2>/dev/null", 1, "a read-only mount cannot be written");
	check(destroy(&other), "it leaves nothing");
}

static void test_identity(struct spawner *spawner, struct sandbox *sandbox)
{
	const char *const argv[] = {"sleep", "30", NULL}, *const id[] = {"/usr/bin/id", "-u", NULL};
	struct corral_started started;
	char path[96], text[4096];
	int came[8];
	unsigned count;
	struct stat status;

	struct result result = run(sandbox, &(struct command){.argv = id});
	check(result.started && strcmp(result.output, "0\n") == 0, "the command is root inside");
	release(&result);

	send_exec(sandbox, &(struct command){.argv = argv}, 5);
	receive(sandbox->control, &started, sizeof started, came, &count);
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", sandbox->reply.pid, sandbox->reply.pid);
	FILE *children = fopen(path, "re");
	int pid = 0;
	check(children && fscanf(children, "%d", &pid) == 1, "the command is init's child");
	if (children)
		fclose(children);
	snprintf(path, sizeof path, "/proc/%d", pid);
	check(stat(path, &status) == 0 && status.st_uid == UID_BASE && status.st_gid == UID_BASE,
	      "and the first user of the sandbox's range outside");
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	check(count_fds(pid) == 3, "it holds its three streams and no other descriptor (%u)", count_fds(pid));
	struct corral_signal end = {{CORRAL_CONTROL_VERSION, CORRAL_SIGNAL, sizeof end, 5}, 9, 0};
	send_bytes(sandbox->control, &end, sizeof end, NULL, 0);
	struct corral_exited exited;
	check(receive(sandbox->control, &exited, sizeof exited, NULL, NULL) == sizeof exited && exited.status == 9,
	      "SIGNAL kills it");
	for (unsigned i = 0; i < count; i++)
		close(came[i]);

	const char *const self[] = {"cat", "/proc/self/status", NULL};
	result = run(sandbox, &(struct command){.argv = self});
	snprintf(text, sizeof text, "%s", result.output);
	release(&result);
	check(strstr(text, "CapInh:\t0000000000000000") && strstr(text, "CapPrm:\t0000000000000000") &&
		      strstr(text, "CapEff:\t0000000000000000") && strstr(text, "CapBnd:\t0000000000000000") &&
		      strstr(text, "CapAmb:\t0000000000000000"),
	      "every capability set is empty");
	check(strstr(text, "NoNewPrivs:\t1") != NULL, "no_new_privs is set");
	check(strstr(text, "Groups:\t \n") || strstr(text, "Groups:\t\n"), "there are no supplementary groups");
	check(strstr(text, "SigBlk:\t0000000000000000") && strstr(text, "SigIgn:\t0000000000000000"), "no signal is blocked or ignored");

	struct sandbox other = make_sandbox(spawner);
	result = run(&other, &(struct command){.argv = self, .flags = CORRAL_EXEC_KEEP_CAPABILITIES});
	check(result.started && strstr(result.output, "CapEff:\t0000000000000000") == NULL &&
		      strstr(result.output, "CapEff:\t000001ffffffffff") != NULL,
	      "the test switch keeps every capability");
	release(&result);
	const char *const mount[] = {"mount", "-t", "tmpfs", "none", "/tmp", NULL};
	result = run(&other, &(struct command){.argv = mount, .flags = CORRAL_EXEC_KEEP_CAPABILITIES});
	check(result.started && result.exited.status == 0, "with which a mount succeeds");
	release(&result);
	result = run(&other, &(struct command){.argv = mount});
	check(result.started && result.exited.status != 0, "and without which it does not");
	release(&result);
	check(destroy(&other), "it leaves nothing");
}

static void test_init(struct sandbox *sandbox)
{
	check_shell(sandbox, "ls /proc/1/fd >/dev/null 2>&1", 2, "init's descriptors cannot be listed");
	check_shell(sandbox, "ls /proc/self/fd >/dev/null", 0, "one's own can");
	check_shell(sandbox, "cat /proc/1/environ >/dev/null 2>&1 || cat /proc/1/maps 2>/dev/null | grep .", 1, "nor its memory map be read");
	check_shell(sandbox, "readlink /proc/1/exe /proc/1/root /proc/1/cwd", 1, "nor its executable, root and directory");
	check_shell(sandbox, "kill -9 1 2>/dev/null; kill -STOP 1 2>/dev/null; kill -TERM 1 2>/dev/null; kill -SEGV 1 2>/dev/null; sleep 0.05; true", 0,
		    "signals to init");
	check_shell(sandbox, "true", 0, "have no effect on it");
	check_shell(sandbox, "prlimit --pid 1 --nofile=1:1 2>/dev/null || prlimit --pid 1 --cpu=1:1 2>/dev/null", 1, "its limits cannot be changed");
	check_shell(sandbox, "prlimit --pid $$ --nofile=64:64", 0, "one's own can");
	check_shell(sandbox, "renice -n 19 -p 1 2>/dev/null", 1, "nor its priority");
}

void test_isolation(void)
{
	printf("isolation\n");
	struct spawner spawner = start_spawner();
	struct sandbox sandbox = make_sandbox(&spawner);
	test_mounts(&sandbox);
	test_files(&spawner, &sandbox);
	test_identity(&spawner, &sandbox);
	test_init(&sandbox);
	check(destroy(&sandbox), "it leaves nothing");
	stop_spawner(&spawner);
}
