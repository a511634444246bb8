/* What the inside can see and touch. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static _Bool is_one_of(const char *text, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(text, *list) == 0)
			return 1;
	return 0;
}

/* Whether a line of mountinfo belongs in a sandbox: where, what part of which file system. */
static _Bool is_expected(const char *point, const char *root, const char *type)
{
	static const char *const nodes[] = {"/null", "/zero", "/full", "/random", "/urandom", "/tty", NULL};
	_Bool below_proc = strncmp(point, "/proc/", 6) == 0, below_sys = strncmp(point, "/sys/", 5) == 0;

	if (strcmp(point, "/") == 0)
		return strcmp(type, "overlay") == 0 && strcmp(root, "/") == 0;
	if (strcmp(point, "/usr") == 0)
		return strcmp(root, "/usr") == 0 || strcmp(root, "/") == 0;
	if (strcmp(type, "devtmpfs") == 0 && is_one_of(root, nodes))
		return (strncmp(point, "/dev", 4) == 0 && strcmp(point + 4, root) == 0) ||
		       ((below_proc || below_sys) && strcmp(root, "/null") == 0);
	if (strcmp(type, "tmpfs") == 0)
		return ((below_proc || below_sys) && strcmp(root, "/empty") == 0) ||
		       (strcmp(point, "/dev") == 0 && strcmp(root, "/dev") == 0) ||
		       (strcmp(point, "/dev/shm") == 0 && strcmp(root, "/shm") == 0);
	return (strcmp(point, "/dev/pts") == 0 && strcmp(type, "devpts") == 0) ||
	       (strcmp(point, "/sys") == 0 && strcmp(type, "sysfs") == 0) ||
	       (strcmp(point, "/proc") == 0 && strcmp(type, "proc") == 0) ||
	       (below_proc && strcmp(type, "proc") == 0 && strcmp(point + 5, root) == 0);
}

static void test_mounts(struct sandbox *sandbox)
{
	char path[64], line[2048], root[512], point[512], type[64], seen[128][512];
	unsigned known = 0, strange = 0, twice = 0, host_paths = 0;

	snprintf(path, sizeof path, "/proc/%d/mountinfo", sandbox->reply.pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file)) {
		const char *separator = strstr(line, " - ");
		_Bool read = separator && sscanf(line, "%*s %*s %*s %511s %511s", root, point) == 2 &&
			     sscanf(separator, " - %63s", type) == 1;
		if (!read || !is_expected(point, root, type)) {
			strange++;
			printf("        unexpected mount: %s", line);
			continue;
		}
		for (unsigned i = 0; i < known; i++)
			twice += strcmp(seen[i], point) == 0;
		if (known < 128)
			strcpy(seen[known++], point);
		host_paths += strstr(line, image) != NULL;
	}
	if (file)
		fclose(file);
	check(known >= 10 && strange == 0, "nothing but the root, /usr and kernel file systems is mounted (%u mounts)",
		known);
	check(twice == 0, "nothing is mounted over anything else");
	check(host_paths == 0, "no mount tells where the image is on the host");
	check_shell(sandbox,
		"for f in /* /.[!.]*; do case $f in /usr|/etc|/proc|/sys|/dev|/tmp|/data|/tools|/escape|/bin|/sbin|/lib|/lib32|/lib64|/libx32|'/.[!.]*') ;; "
			     "*) echo $f; exit 1;; esac; done; test -d /data", 0,
				"the root shows the image's directories only");
	check_shell(sandbox, "test $(grep -c . /etc/passwd) = 1 && ! test -e /etc/shadow", 0, "/etc is the image's");
	check_shell(sandbox,
		"test \"$(ls -A /..)\" = \"$(ls -A /)\" && test \"$(stat -c %d:%i /..)\" = \"$(stat -c %d:%i /)\"", 0,
		    "nothing lies above the root");
}

/* The overlay marks with one that a directory no longer shows what the image has there. */
static _Bool tmpfs_keeps_user_attributes(void)
{
	int file = (int)syscall(SYS_memfd_create, "attributes", MFD_CLOEXEC);
	_Bool kept = fsetxattr(file, "user.corral", "y", 1, 0) == 0;
	close(file);
	return kept;
}

static void test_files(struct spawner *spawner, struct sandbox *sandbox)
{
	char path[512];

	check_shell(sandbox, "echo changed > /etc/passwd && grep -qx changed /etc/passwd", 0,
		"the image can be written inside");
	snprintf(path, sizeof path, "grep -q root '%s/etc/passwd'", image);
	check(system(path) == 0, "and is unchanged outside");
	if (tmpfs_keeps_user_attributes())
		check_shell(sandbox, "rm -r /tools && mkdir /tools && test -z \"$(ls -A /tools)\"", 0,
			"a directory replaced inside is empty");
	else
		printf("  skip  a directory of the image cannot be removed before Linux 6.6: tmpfs keeps no user attributes\n");
	check_shell(sandbox, "touch /usr/x 2>/dev/null", 1, "/usr is read-only");
	check_shell(sandbox, "test $(stat -c %u:%g /usr/bin/env) = 0:0", 0, "the host's files look like root's");
	check_shell(sandbox,
		"for n in null zero full random urandom tty; do test -c /dev/$n || exit 1; done; test -e /dev/ptmx", 0,
		    "the usual devices are there");
	check_shell(sandbox, "head -c 5 /dev/zero > /dev/null && test $(head -c 9 /dev/urandom | wc -c) = 9", 0,
		"and work");
	check_shell(sandbox, "! touch /dev/x 2>/dev/null && ! chmod 0 /dev/null 2>/dev/null && touch /dev/shm/x", 0,
		    "/dev is read-only but for /dev/shm");
	check_shell(sandbox,
		"test $(cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 1 | wc -c) = 0", 0,
		    "what /proc tells about the host is hidden");
	check_shell(sandbox,
		"! sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward' 2>/dev/null && ! sh -c 'echo h > /proc/sysrq-trigger' 2>/dev/null",
		    0, "kernel settings are read-only");
	check_shell(sandbox,
		"test -z \"$(ls -A /sys/firmware /sys/kernel /sys/fs 2>/dev/null | grep -v :)\" && ! mkdir /sys/x 2>/dev/null", 0,
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

static void make_file(const char *directory, const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int file = open(path, O_WRONLY | O_CREAT, 0644);
	if (file < 0)
		perror(path);
	close(file);
}

/* Two layers above the image: what the upper one has or hides is what is seen. */
static void test_layers(struct spawner *spawner)
{
	struct corral_spawn_request request = usual_request();
	struct corral_hello hello;
	char top[300], middle[300], path[512];

	snprintf(top, sizeof top, "%s.top", image);
	snprintf(middle, sizeof middle, "%s.middle", image);
	mkdir(top, 0755), mkdir(middle, 0755);
	snprintf(path, sizeof path, "%s/etc", top);
	mkdir(path, 0755);
	make_file(top, "top"), make_file(middle, "middle"), make_file(middle, "hidden");
	snprintf(path, sizeof path, "%s/hidden", top);
	mknod(path, S_IFCHR, 0);
	request.layer_count = 2;
	strcpy(request.layers[0], top), strcpy(request.layers[1], middle);
	request.mount_count = 2;
	strcpy(request.mounts[1].target, "/made/on/the/way");
	snprintf(request.mounts[1].source, sizeof request.mounts[1].source, "%s/etc", image);
	struct sandbox sandbox = request_spawn(spawner, &request);
	check(sandbox.reply.error == 0 && receive(sandbox.control, &hello, sizeof hello, NULL, NULL) == sizeof hello,
	      "a sandbox on three layers parks");
	check_shell(&sandbox, "test -e /top && test -e /middle && test -e /etc/passwd", 0, "and sees all of them");
	check_shell(&sandbox, "test -e /hidden", 1, "but what a layer hides");
	check_shell(&sandbox, "test -d /made/on/the/way", 0, "a mount target that is missing is made");
	check(destroy(&sandbox), "it leaves nothing");
	snprintf(path, sizeof path, "rm -rf %.200s.top %.200s.middle", image, image);
	check(system(path) == 0, "nor do the layers");
}

/* Its loader has opened and closed the libraries: until then a command holds a descriptor more. */
static _Bool has_begun_to_sleep(pid_t pid)
{
	char path[64];
	long call = -1;

	snprintf(path, sizeof path, "/proc/%d/syscall", pid);
	for (int i = 0; i < 2000; i++) {
		FILE *file = fopen(path, "re");
		if (file && fscanf(file, "%ld", &call) != 1)
			call = -1;
		if (file)
			fclose(file);
		if (call == SYS_clock_nanosleep)
			return 1;
		sleep_ms(1);
	}
	return 0;
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
	check(has_begun_to_sleep(pid), "it sleeps");
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
	check(strstr(text, "SigBlk:\t0000000000000000") && strstr(text, "SigIgn:\t0000000000000000"),
		"no signal is blocked or ignored");

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

/* The same with every capability of the sandbox's user namespace: pid 1 is out of its reach all the same. */
static void expect_denied(struct sandbox *sandbox, const char *script, const char *what)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct result result = run(sandbox, &(struct command){.argv = argv});
	check(result.started && result.exited.status != 0, "%s", what);
	release(&result);
	result = run(sandbox, &(struct command){.argv = argv, .flags = CORRAL_EXEC_KEEP_CAPABILITIES});
	check(result.started && result.exited.status != 0, "  not with capabilities either");
	release(&result);
}

static void test_init(struct sandbox *sandbox)
{
	expect_denied(sandbox, "ls /proc/1/fd", "init's descriptors cannot be listed");
	check_shell(sandbox, "ls /proc/self/fd", 0, "one's own can");
	expect_denied(sandbox, "cat /proc/1/environ || cat /proc/1/maps | grep . || cat /proc/1/mem",
		"nor its memory be read");
	check_shell(sandbox, "cat /proc/self/maps | grep -q .", 0, "one's own can");
	expect_denied(sandbox,
		"readlink /proc/1/exe || readlink /proc/1/root || readlink /proc/1/cwd || readlink /proc/1/ns/net",
		      "nor its executable, root, directory and namespaces");
	check_shell(sandbox, "readlink /proc/self/exe /proc/self/root /proc/self/cwd /proc/self/ns/net", 0,
		"one's own can");
	expect_denied(sandbox,
		"echo 1000 > /proc/1/oom_score_adj || echo x > /proc/1/comm || echo 9 > /proc/1/autogroup",
		      "nor its settings be changed");
	check_shell(sandbox, "echo 500 > /proc/self/oom_score_adj", 0, "one's own can");
	check_shell(sandbox, "prlimit --pid 1 --nofile=1:1 2>/dev/null || prlimit --pid 1 --cpu=1:1 2>/dev/null", 1,
		"nor its limits");
	check_shell(sandbox, "prlimit --pid $$ --nofile=64:64", 0, "one's own can");
	check_shell(sandbox, "renice -n 19 -p 1 2>/dev/null", 1, "nor its priority");
	check_shell(sandbox, "renice -n 19 -p $$ >/dev/null", 0, "one's own can");
	for (int number = 1; number <= 64; number++) {
		char script[64];
		snprintf(script, sizeof script, "kill -%d 1 2>/dev/null; true", number);
		const char *const argv[] = {"sh", "-c", script, NULL};
		struct result result = run(sandbox, &(struct command){.argv = argv,
			.flags = CORRAL_EXEC_KEEP_CAPABILITIES});
		if (!result.started)
			check(0, "init still executes after signal %d", number);
		release(&result);
	}
	check_shell(sandbox, "true", 0, "every signal, sent with capabilities, has no effect on it");
	check_shell(sandbox, "kill -9 1 2>/dev/null", 1, "and without them is refused");
	check_shell(sandbox, "sh -c 'kill -9 $$' 2>/dev/null", 137, "where one's own is not");
}

void test_isolation(void)
{
	printf("isolation\n");
	struct spawner spawner = start_spawner();
	struct sandbox sandbox = make_sandbox(&spawner);
	test_mounts(&sandbox);
	test_files(&spawner, &sandbox);
	test_layers(&spawner);
	test_identity(&spawner, &sandbox);
	test_init(&sandbox);
	check(destroy(&sandbox), "it leaves nothing");
	stop_spawner(&spawner);
}
