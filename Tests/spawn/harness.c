#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


/* Longer than corral-spawn gives a child. */
#define RECEIVE_MS 15000

static unsigned passes, failures;

void check(_Bool holds, const char *format, ...)
{
	va_list arguments;
	*(holds ? &passes : &failures) += 1;
	va_start(arguments, format);
	printf(holds ? "  ok    " : "  FAIL  ");
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
}

void die(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	printf("  FATAL ");
	vprintf(format, arguments);
	printf(" (errno %d)\n%u passed, %u failed\n", errno, passes, failures + 1);
	va_end(arguments);
	fflush(stdout);
	_exit(1);
}

unsigned passed(void)
{
	return passes;
}

unsigned failed(void)
{
	return failures;
}

double now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* ---- messages ---- */

void send_bytes(int fd, const void *message, size_t length, const int *descriptors, unsigned count)
{
	char ancillary[CMSG_SPACE(64 * sizeof(int))] = {0};
	struct iovec vector = {(void *)message, length};
	struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};

	if (count) {
		header.msg_control = ancillary;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), descriptors, count * sizeof(int));
	}
	if (sendmsg(fd, &header, MSG_NOSIGNAL) < 0)
		die("send %zu bytes", length);
}

ssize_t receive(int fd, void *message, size_t room, int *descriptors, unsigned *count)
{
	char ancillary[CMSG_SPACE(8 * sizeof(int))];
	struct iovec vector = {message, room};
	struct msghdr header = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = ancillary, .msg_controllen = sizeof ancillary};
	struct pollfd wait = {fd, POLLIN, 0};

	if (count)
		*count = 0;
	if (poll(&wait, 1, RECEIVE_MS) <= 0)
		return -1;
	ssize_t length = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); length > 0 && c; c = CMSG_NXTHDR(&header, c)) {
		unsigned came = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		if (!count)
			die("unexpected descriptors");
		memcpy(descriptors, CMSG_DATA(c), came * sizeof(int));
		*count = came;
	}
	return length;
}

/* ---- the host's side ---- */

char image[128], cgroup_root[256], pids_root[256];
static int spawn_program = -1, init_program = -1;

/* Where a hierarchy is mounted whose mountinfo line contains `what`; "" if none. */
static void find_mount(const char *what, char *path, size_t room)
{
	char line[4096], point[256];
	FILE *file = fopen("/proc/self/mountinfo", "re");

	path[0] = 0;
	while (file && fgets(line, sizeof line, file))
		if (!path[0] && strstr(line, what) && sscanf(line, "%*s %*s %*s %*s %255s", point) == 1)
			snprintf(path, room, "%s", point);
	if (file)
		fclose(file);
}

static void make_directory(const char *format, ...)
{
	char path[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(path, sizeof path, format, arguments);
	va_end(arguments);
	if (mkdir(path, 0755) != 0)
		die("mkdir %s", path);
}

static void make_file(const char *name, mode_t mode, const char *content)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", image, name);
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (file < 0 || write(file, content, strlen(content)) < 0 || fchmod(file, mode) != 0)
		die("create %s", path);
	close(file);
}

static void make_image(void)
{
	static const char *const directories[] = {"usr", "etc", "proc", "sys", "dev", "tmp", "data", "tools", "tools/a",
		"tools/b"};
	static const char *const links[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};
	const char *temporary = getenv("TMPDIR");
	char path[512], target[256];

	snprintf(image, sizeof image, "%s/corral-spawn-test-%d", temporary ? temporary : "/tmp", getpid());
	make_directory("%s", image);
	for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++)
		make_directory("%s/%s", image, directories[i]);
	for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
		snprintf(path, sizeof path, "/%s", links[i]);
		ssize_t length = readlink(path, target, sizeof target - 1);
		if (length <= 0)
			continue;
		target[length] = 0;
		snprintf(path, sizeof path, "%s/%s", image, links[i]);
		if (symlink(target, path) != 0)
			die("symlink %s", path);
	}
	snprintf(path, sizeof path, "%s/escape", image);
	if (symlink("../../../../data", path) != 0)
		die("symlink %s", path);
	make_file("etc/passwd", 0644, "root:x:0:0:root:/root:/bin/sh\n");
	make_file("tools/a/tool", 0644, "not executable\n");
	make_file("tools/b/tool", 0755, "#!/bin/sh\necho found\n");
	make_file("tools/b/plain", 0755, "echo no interpreter line\n");
}

static int open_program(const char *directory, const char *name, _Bool in_memory)
{
	char path[512];
	struct stat status;
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &status) != 0)
		die("open %s", path);
	if (!in_memory)
		return file;
	int memory = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory < 0 || sendfile(memory, file, NULL, (size_t)status.st_size) != status.st_size ||
	    fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
		die("copy of %s", path);
	close(file);
	return memory;
}

void prepare_host(const char *programs)
{
	char mount[200];

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	spawn_program = open_program(programs, "corral-spawn", 0);
	init_program = open_program(programs, "corral-init", 0);
	find_mount(" - cgroup2 ", mount, sizeof mount);
	if (!mount[0])
		die("no cgroup v2 hierarchy");
	snprintf(cgroup_root, sizeof cgroup_root, "%s/corral-spawn-test-%d", mount, getpid());
	make_directory("%s", cgroup_root);
	find_mount("cgroup rw,pids", mount, sizeof mount);
	if (mount[0]) {
		snprintf(pids_root, sizeof pids_root, "%s/corral-spawn-test-%d", mount, getpid());
		make_directory("%s", pids_root);
	}
	make_image();
}

void clean_host(void)
{
	char command[600];
	snprintf(command, sizeof command, "rm -rf --one-file-system '%s'", image);
	check(rmdir(cgroup_root) == 0 && (!pids_root[0] || rmdir(pids_root) == 0), "no cgroup is left");
	check(system(command) == 0, "the image is removed");
}

struct spawner start_spawner(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair");
	pid_t pid = fork();
	if (pid == 0) {
		char *const argv[] = {"corral-spawn", NULL}, *const env[] = {NULL};
		int socket = fcntl(pair[1], F_DUPFD, 64), init = fcntl(init_program, F_DUPFD, 64);
		int program = fcntl(spawn_program, F_DUPFD_CLOEXEC, 64);
		dup2(socket, CORRAL_CONTROL_FD);
		dup2(init, CORRAL_INIT_FD);
		syscall(SYS_close_range, 5, 63, 0);
		close(socket);
		close(init);
		fexecve(program, argv, env);
		_exit(127);
	}
	close(pair[1]);
	return (struct spawner){pid, pair[0]};
}

void stop_spawner(struct spawner *spawner)
{
	int status = -1;
	close(spawner->fd);
	waitpid(spawner->pid, &status, 0);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "corral-spawn ends when corrald is gone");
}

unsigned count_fds(pid_t pid)
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	DIR *directory = opendir(path);
	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	return count > 2 ? count - 2 : 0; /* . and .. */
}

int fds_become(pid_t pid, unsigned count)
{
	for (unsigned i = 0; i < 200 && count_fds(pid) != count; i++)
		sleep_ms(10);
	return count_fds(pid) == count;
}
