// SPDX-License-Identifier: Apache-2.0
// Tries what a sandbox may ask of the kernel: fence NAME... prints "NAME ERRNO" for each, 0 for what succeeded.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int result(long value) { return value < 0 ? errno : 0; }
static int family(int number, int type, int protocol) {
	int fd = socket(number, type, protocol);
	int error = result(fd);
	if (fd >= 0) close(fd);
	return error;
}

static int io_uring(void) { char parameters[120] = {0}; return result(syscall(SYS_io_uring_setup, 4, parameters)); }
static int bpf(void) {
	char attributes[128] = {0};
	((uint32_t *)attributes)[0] = 2; // BPF_MAP_TYPE_ARRAY
	((uint32_t *)attributes)[1] = ((uint32_t *)attributes)[2] = 4;
	((uint32_t *)attributes)[3] = 1;
	return result(syscall(SYS_bpf, 0, attributes, sizeof attributes));
}
static int vsock(void) { return family(40, SOCK_STREAM, 0); }
static int packet(void) { return family(17, SOCK_DGRAM, 0); }
static int alg(void) { return family(38, SOCK_SEQPACKET, 0); }
static int netfilter(void) { return family(16, SOCK_RAW, 12); }
static int route(void) { return family(16, SOCK_RAW, 0); }
static int inet(void) { return family(2, SOCK_STREAM, 0); }
static int local(void) { return family(1, SOCK_STREAM, 0); }
static int add_key(void) { return result(syscall(SYS_add_key, "user", "corral", "x", 1, -3)); }
static int keyctl(void) { return result(syscall(SYS_keyctl, 0, -3, 1)); }
static int userfaultfd(void) { return result(syscall(SYS_userfaultfd, 1)); }
static int init_module(void) { return result(syscall(SYS_init_module, "", 0, "")); }
static int kexec(void) { return result(syscall(SYS_kexec_load, 0, 0, NULL, 0)); }
static int perf(void) { char attributes[128] = {0}; return result(syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0)); }
static int handle(void) { char handle[16] = {8}; return result(syscall(SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY)); }
static int mounts(void) { return result(mount("none", "/tmp", "tmpfs", 0, NULL)); }
static int user_namespace(void) { return result(unshare(CLONE_NEWUSER)); }
static int clone_namespace(void) {
	long pid = syscall(SYS_clone, (long)CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0) _exit(0);
	if (pid > 0) waitpid((pid_t)pid, NULL, 0);
	return result(pid);
}
static int clone3(void) { return result(syscall(SYS_clone3, NULL, 0)); }
static int trace_init(void) { return result(ptrace(PTRACE_SEIZE, 1, NULL, NULL)); }
static int kill_init(void) { return result(kill(1, SIGKILL)); }
static int stop_init(void) { return result(kill(1, SIGSTOP)); }
static int limit_init(void) { return result(syscall(SYS_prlimit64, 1, 7, (uint64_t[2]){0, 0}, NULL)); }
static int nice_init(void) { return result(syscall(SYS_setpriority, 0, 1, 19)); }
static int memory_init(void) { int fd = open("/proc/1/mem", O_RDWR); int error = result(fd); if (fd >= 0) close(fd); return error; }
static int environment_init(void) { int fd = open("/proc/1/environ", O_RDONLY); int error = result(fd); if (fd >= 0) close(fd); return error; }
static int descriptor_init(void) { int fd = (int)syscall(SYS_pidfd_open, 1, 0); if (fd < 0) return errno; return result(syscall(SYS_pidfd_getfd, fd, 3, 0)); }
static int read_init(void) { char b[8]; struct { void *p; size_t n; } l = {b, 8}, r = {(void *)0x400000, 8}; return result(syscall(SYS_process_vm_readv, 1, &l, 1, &r, 1, 0)); }

// A child of its own, as a debugger would: read what it has in memory.
static int trace_child(void) {
	static long secret = 4711;
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(errno);
		raise(SIGSTOP);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) return errno;
	if (WIFEXITED(status)) return WEXITSTATUS(status);
	errno = 0;
	long word = ptrace(PTRACE_PEEKDATA, pid, &secret, NULL);
	int error = word == 4711 ? 0 : errno ? errno : EIO;
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	waitpid(pid, &status, 0);
	return error;
}

// In a child, which has user and mount namespaces of its own: what a command without capabilities has to make first.
static int apart(int (*try)(void)) {
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) _exit(unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 ? errno : try());
	if (pid < 0 || waitpid(pid, &status, 0) != pid) return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}
static int mount_new(void) { return mounts(); }
static int mount_moved(void) {
	int context = (int)syscall(SYS_fsopen, "tmpfs", 0);
	if (context < 0 || syscall(SYS_fsconfig, context, 6, NULL, NULL, 0) != 0) return ENOSYS;
	int mounted = (int)syscall(SYS_fsmount, context, 0, 0);
	if (mounted < 0) return ENOSYS;
	return result(syscall(SYS_move_mount, mounted, "", AT_FDCWD, "/tmp", 4));
}
static int mount_apart(void) { return apart(mount_new); }
static int move_mount_apart(void) { return apart(mount_moved); }

// The call itself fails, for want of such a file: EPERM comes before that.
static int bpf_object(void) {
	uint64_t attributes[16] = {(uint64_t)(uintptr_t)"/absent"};
	return result(syscall(SYS_bpf, 7, attributes, sizeof attributes));
}
static int module_bytes(void) { static char bytes[128]; return result(syscall(SYS_init_module, bytes, sizeof bytes, "")); }
static int module_file(void) {
	int fd = open("/proc/self/exe", O_RDONLY);
	if (fd < 0) return errno;
	int error = result(syscall(SYS_finit_module, fd, "", 0));
	close(fd);
	return error;
}
static int read_child(void) {
	static long secret = 4711;
	long copy = 0;
	pid_t pid = fork();
	if (pid == 0) { pause(); _exit(0); }
	if (pid < 0) return errno;
	struct { void *p; size_t n; } from = {&secret, sizeof secret}, to = {&copy, sizeof copy};
	int error = result(syscall(SYS_process_vm_readv, pid, &to, 1, &from, 1, 0));
	if (error == 0 && copy != 4711) error = EIO;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return error;
}

static int terminal(unsigned long request) {
	char byte = 'x';
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (fd < 0) return errno;
	int error = result(ioctl(fd, request, &byte));
	close(fd);
	return error;
}
static int tiocsti(void) { return terminal(TIOCSTI); }
static int tioclinux(void) { return terminal(TIOCLINUX); }
static int tiocgwinsz(void) { char size[8]; int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY); return fd < 0 ? errno : result(ioctl(fd, TIOCGWINSZ, size)); }
static int personality(void) { return result(syscall(SYS_personality, 0x0040000)); }
static int dispatch(void) { return result(prctl(59, 0, 0, 0, 0)); }
static int i386(void) {
	long value;
	__asm__ volatile("int $0x80" : "=a"(value) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
	return value < 0 ? (int)-value : 0;
}
static int x32(void) { return result(syscall(0x40000000 | SYS_getpid)); }
static int getppid_(void) { return result(getppid()); }
static int sysv(void) { int id = (int)syscall(SYS_shmget, 4711, 4096, 01600); return result(id); }
static int owner(void) { int fd = open("/tmp/owned", O_CREAT | O_RDWR, 0600); return fd < 0 ? errno : result(fchown(fd, 0, 0)); }

static const struct { const char *name; int (*try)(void); } tries[] = {
#define TRY(name) {#name, name}
	TRY(io_uring), TRY(bpf), TRY(vsock), TRY(packet), TRY(alg), TRY(netfilter), TRY(route), TRY(inet), TRY(local), TRY(add_key),
	TRY(keyctl), TRY(userfaultfd), TRY(init_module), TRY(kexec), TRY(perf), TRY(handle), TRY(mounts), TRY(user_namespace),
	TRY(clone_namespace), TRY(clone3), TRY(trace_init), TRY(kill_init), TRY(stop_init), TRY(limit_init), TRY(nice_init),
	TRY(memory_init), TRY(environment_init), TRY(descriptor_init), TRY(read_init), TRY(trace_child), TRY(tiocsti), TRY(tioclinux),
	TRY(tiocgwinsz), TRY(personality), TRY(dispatch), TRY(i386), TRY(x32), {"getppid", getppid_}, TRY(sysv), TRY(owner),
	TRY(mount_apart), TRY(move_mount_apart), TRY(bpf_object), TRY(module_bytes), TRY(module_file), TRY(read_child),
};

// Holds every processor.
static void hog(int count) {
	for (int i = 0; i < count; i++)
		if (fork() == 0)
			for (volatile unsigned long n = 0;; n++) ;
}

int main(int count, char **arguments) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count == 2 && strcmp(arguments[1], "bomb") == 0) {
		hog(4);
		for (;;) if (fork() < 0) usleep(1000);
	}
	if (count == 4 && strcmp(arguments[1], "files") == 0) { // fill the disk: DIRECTORY COUNT
		for (int i = 0; i < atoi(arguments[3]); i++) {
			char path[256];
			snprintf(path, sizeof path, "%s/%d", arguments[2], i);
			int fd = open(path, O_CREAT | O_WRONLY, 0600);
			if (fd < 0) { printf("%d %d\n", i, errno); return 1; }
			close(fd);
		}
		printf("%s 0\n", arguments[3]);
		return 0;
	}
	if (count == 3 && strcmp(arguments[1], "again") == 0) { // one try ten times a second, until it is ended
		for (;; usleep(100000))
			for (unsigned k = 0; k < sizeof tries / sizeof tries[0]; k++)
				if (strcmp(tries[k].name, arguments[2]) == 0) printf("%s %d\n", arguments[2], tries[k].try());
	}
	for (int i = 1; i < count; i++) {
		unsigned k = 0;
		while (k < sizeof tries / sizeof tries[0] && strcmp(tries[k].name, arguments[i]) != 0) k++;
		if (k == sizeof tries / sizeof tries[0]) { printf("%s unknown\n", arguments[i]); return 2; }
		int error = tries[k].try();
		printf("%s %d\n", arguments[i], error);
	}
	return 0;
}
