/* Commands: how they start, end, fail, and what passes through their streams. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_failure(struct sandbox *sandbox, struct command command, int error, unsigned stage, const char *what)
{
	struct result result = run(sandbox, &command);
	check(!result.started && result.failure.error == error && result.failure.stage == stage,
	      "%s: errno %d in stage %u (got %d in %u)", what, error, stage, result.failure.error,
		result.failure.stage);
	release(&result);
}

static void expect_output(struct sandbox *sandbox, struct command command, const char *output, const char *what)
{
	struct result result = run(sandbox, &command);
	check(result.started && strcmp(result.output, output) == 0, "%s", what);
	release(&result);
}

static void test_endings(struct sandbox *sandbox)
{
	check_shell(sandbox, "exit 0", 0, "exit code 0");
	check_shell(sandbox, "exit 7", 7, "exit code 7");
	struct result result = run_shell(sandbox, "kill -SEGV $$");
	check((result.exited.status & 0x7f) == SIGSEGV && !(result.exited.status & 0x80),
		"a fatal signal, without a core");
	release(&result);
	result = run_shell(sandbox, "i=0; while test $i -lt 20000; do i=$((i+1)); done");
	check(result.exited.user_us > 0 && result.exited.max_rss_kib > 100, "EXITED tells time and memory used");
	release(&result);
	result = run_shell(sandbox, "echo out; echo err >&2");
	check(strcmp(result.output, "out\n") == 0 && strcmp(result.errors, "err\n") == 0,
		"stdout and stderr are apart");
	release(&result);
}

static void test_lookup(struct sandbox *sandbox)
{
	struct command command = {.argv = ARGV("tool"), .env = ARGV("PATH=/tools/a:/tools/b")};
	expect_output(sandbox, command, "found\n", "PATH is searched past what is not executable");
	command.env = ARGV("PATH=/nonexistent:/tools/a:/nonexistent");
	expect_failure(sandbox, command, EACCES, CORRAL_STAGE_EXECVE, "not executable beats not found");
	command.env = ARGV("PATH=/nonexistent");
	expect_failure(sandbox, command, ENOENT, CORRAL_STAGE_EXECVE, "not found in PATH");
	command = (struct command){.argv = ARGV("tool"), .env = ARGV("PATH="), .cwd = "/tools/b"};
	expect_output(sandbox, command, "found\n", "an empty PATH element is the working directory");
	command = (struct command){.argv = ARGV("true"), .env = ARGV("A=1")};
	struct result result = run(sandbox, &command);
	check(result.started && result.exited.status == 0, "without PATH a default one is used");
	release(&result);
	expect_failure(sandbox, (struct command){.argv = ARGV("/nonexistent")}, ENOENT, CORRAL_STAGE_EXECVE,
		"an absolute path that is not there");
	expect_failure(sandbox, (struct command){.argv = ARGV("/tools/a/tool")}, EACCES, CORRAL_STAGE_EXECVE,
		"an absolute path that is not executable");
	expect_failure(sandbox, (struct command){.argv = ARGV("/tools/b/plain")}, ENOEXEC, CORRAL_STAGE_EXECVE,
		"what no format claims is not given to a shell");
	expect_failure(sandbox, (struct command){.argv = ARGV("")}, ENOENT, CORRAL_STAGE_EXECVE, "an empty name");
	expect_failure(sandbox, (struct command){.argv = ARGV("true"), .cwd = "/nonexistent"}, ENOENT,
		CORRAL_STAGE_CHDIR, "a working directory that is not there");
	expect_output(sandbox, (struct command){.argv = ARGV("pwd"), .cwd = "/tools"}, "/tools\n",
		"a working directory that is");
	expect_output(sandbox, (struct command){.argv = ARGV("env"), .env = ARGV("A=1", "B=x y", "PATH=/usr/bin")},
		"A=1\nB=x y\nPATH=/usr/bin\n",
		      "the environment is the request's, no more and no less");
	expect_output(sandbox, (struct command){.argv = ARGV("printf", "%s|", "a", "", "b c")}, "a||b c|",
		"arguments arrive as they are, empty ones too");
	expect_output(sandbox, (struct command){.argv = ARGV("sh", "-c", "umask; ulimit -c; ulimit -n"),
		.open_files = 77}, "0022\n0\n77\n",
		      "umask and limits are set");
	expect_failure(sandbox, (struct command){.argv = ARGV("true"), .open_files = 1ull << 40}, EPERM,
		CORRAL_STAGE_LIMITS, "a limit beyond the hard one");
}

static void test_streams(struct sandbox *sandbox)
{
	const size_t size = 10u << 20;
	char *bytes = malloc(size);
	uint32_t seed = 12345;

	for (size_t i = 0; bytes && i < size; i++)
		bytes[i] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
	struct command command = {.argv = ARGV("cat"), .flags = CORRAL_EXEC_STDIN, .input = bytes, .input_bytes = size};
	struct result result = run(sandbox, &command);
	check(bytes && result.output_bytes == size && memcmp(result.output, bytes, size) == 0,
		"10 MiB pass stdin and stdout unchanged");
	check(result.exited.status == 0, "and stdin's end arrives");
	release(&result);
	free(bytes);
	expect_output(sandbox, (struct command){.argv = ARGV("cat")}, "", "without a stdin it is empty");
	expect_output(sandbox, (struct command){.argv = ARGV("readlink", "/proc/self/fd/0")}, "/dev/null\n",
		"and /dev/null");
}

static void test_users(struct sandbox *sandbox)
{
	struct command command = {.argv = ARGV("id"), .uid = 1000, .gid = 100};
	struct result result = run(sandbox, &command);
	check(result.started && strstr(result.output, "uid=1000") && strstr(result.output, "gid=100") &&
		      !strstr(result.output, "groups=0"),
	      "a command runs as the user it is to");
	release(&result);
	command.argv = ARGV("sh", "-c", "grep -h '^Cap' /proc/self/status | grep -v '0000000000000000'; kill -KILL 1");
	result = run(sandbox, &command);
	check(result.started && result.output_bytes == 0 && result.exited.status != 0, "without any capability");
	release(&result);
	check_shell(sandbox, "true", 0, "and cannot signal init");
	command = (struct command){.argv = ARGV("true"), .uid = UID_COUNT - 1};
	expect_failure(sandbox, command, EINVAL, CORRAL_STAGE_REQUEST, "init's own user");
	command = (struct command){.argv = ARGV("true"), .gid = UINT32_MAX};
	expect_failure(sandbox, command, EINVAL, CORRAL_STAGE_REQUEST, "the group that setresgid(2) leaves as it is");
}

/* What a terminal says until `wanted` has come, for at most five seconds. */
static _Bool terminal_says(int master, char *text, size_t room, const char *wanted)
{
	size_t length = 0;

	text[0] = 0;
	for (double end = now_ms() + 5000; now_ms() < end;) {
		ssize_t came = read(master, text + length, room - 1 - length);
		if (came > 0)
			text[length += (size_t)came] = 0;
		if (strstr(text, wanted))
			return 1;
		if (came <= 0 && errno != EAGAIN)
			return 0;
		sleep_ms(5);
	}
	return 0;
}

static void test_terminal(struct sandbox *sandbox)
{
	struct command command = {
		.argv = ARGV("sh", "-c",
			"trap 'echo winch $(stty size)' WINCH; trap 'echo int; exit 9' INT; stty size; tty;"
			"test -O $(tty) && echo mine; echo named >/dev/tty; while :; do sleep 0.02; done"),
		.flags = CORRAL_EXEC_TERMINAL,
		.uid = 1000,
		.gid = 1000,
		.rows = 31,
		.columns = 97,
	};
	const struct winsize larger = {.ws_row = 40, .ws_col = 120};
	struct corral_started started;
	struct corral_exited exited;
	int came[8];
	unsigned count, before = count_fds(sandbox->reply.pid);
	char text[512];

	send_exec(sandbox, &command, 300);
	check(receive(sandbox->control, &started, sizeof started, came, &count) == sizeof started && count == 1,
	      "a terminal comes as one descriptor");
	check(terminal_says(came[0], text, sizeof text, "named"), "its command opens /dev/tty");
	check(strstr(text, "31 97") && strstr(text, "/dev/pts/0") && strstr(text, "mine"),
	      "the terminal has its size, its name in the sandbox, and its owner");
	ioctl(came[0], TIOCSWINSZ, &larger);
	check(terminal_says(came[0], text, sizeof text, "winch 40 120"), "a new size is told by SIGWINCH");
	(void)!write(came[0], "\003", 1);
	check(terminal_says(came[0], text, sizeof text, "int"), "^C interrupts what is in the foreground");
	check(receive(sandbox->control, &exited, sizeof exited, NULL, NULL) == sizeof exited &&
		      exited.status == 9 << 8 && read(came[0], text, 1) < 0 && errno == EIO,
	      "the master reads EIO once the command has ended");
	close(came[0]);
	send_forget(sandbox, 300);
	check(fds_become(sandbox->reply.pid, before), "and init keeps nothing of it");
	command.flags |= CORRAL_EXEC_STDIN;
	expect_failure(sandbox, command, EINVAL, CORRAL_STAGE_REQUEST, "a terminal and a pipe at once");
	check_shell(sandbox, "grep -q ' devpts .*,max=128' /proc/mounts", 0, "a sandbox has no more than 128 terminals");
	check_shell(sandbox, "tty; : >/dev/tty", 2, "a command without a terminal has none");
}

static void test_filter(struct sandbox *sandbox)
{
	const struct sock_filter refuse_mkdir[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_mkdir
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 1, 0),
#endif
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_filter invalid[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
	struct command command = {
		.argv = ARGV("mkdir", "/tmp/made"), .filter = refuse_mkdir, .filter_bytes = sizeof refuse_mkdir};

	struct result result = run(sandbox, &command);
	check(result.started && result.exited.status != 0 && strstr(result.errors, "Invalid cross-device link"),
	      "the seccomp program refuses what it is to refuse");
	release(&result);
	command.filter_bytes = 0;
	result = run(sandbox, &command);
	check(result.started && result.exited.status == 0, "and without it the same succeeds");
	release(&result);
	command = (struct command){.argv = ARGV("true"), .filter = invalid, .filter_bytes = sizeof invalid};
	expect_failure(sandbox, command, EINVAL, CORRAL_STAGE_SECCOMP, "a program that the kernel refuses");
}

static void test_signals(struct sandbox *sandbox)
{
	struct command command = {.argv = ARGV("sh", "-c",
		"trap 'exit 42' TERM; echo ready; while :; do sleep 0.02; done")};
	struct corral_started started;
	struct corral_exited exited;
	int came[8];
	unsigned count;
	char text[8];

	send_exec(sandbox, &command, 77);
	check(receive(sandbox->control, &started, sizeof started, came,
		&count) == sizeof started && count == 2 && started.pid > 1,
	      "STARTED tells the pid inside");
	check(read(came[0], text, sizeof text) == 6, "its output can be read while it runs");
	struct corral_signal message = {{CORRAL_CONTROL_VERSION, CORRAL_SIGNAL, sizeof message, 78}, SIGKILL, 0};
	send_bytes(sandbox->control, &message, sizeof message, NULL, 0);
	check_shell(sandbox, "true", 0, "a second command runs beside it");
	message.header.tag = 77;
	message.signal = SIGTERM;
	send_bytes(sandbox->control, &message, sizeof message, NULL, 0);
	check(receive(sandbox->control, &exited, sizeof exited, NULL,
		NULL) == sizeof exited && exited.status == 42 << 8,
	      "SIGNAL reaches the command of its tag, and no other");
	close(came[0]);
	close(came[1]);

	/* The process group: a child of the command is reached too. */
	command.argv = ARGV("sh", "-c", "sleep 30 & echo ready; wait");
	send_exec(sandbox, &command, 79);
	receive(sandbox->control, &started, sizeof started, came, &count);
	(void)!read(came[0], text, sizeof text);
	message.header.tag = 79;
	message.signal = SIGKILL;
	send_bytes(sandbox->control, &message, sizeof message, NULL, 0);
	check(receive(sandbox->control, &exited, sizeof exited, NULL,
		NULL) == sizeof exited && exited.status == SIGKILL &&
		      read(came[0], text, sizeof text) == 0,
	      "and its children");
	close(came[0]);
	close(came[1]);
}

static void test_orphans(struct sandbox *sandbox)
{
	char path[96], text[64];

	check_shell(sandbox, "for i in 1 2 3 4 5; do (sh -c 'sleep 0.05 & exit' ) ; done", 0, "orphans are left");
	sleep_ms(300);
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", sandbox->reply.pid, sandbox->reply.pid);
	int children = open(path, O_RDONLY | O_CLOEXEC);
	check(children >= 0 && read(children, text, sizeof text) == 0, "and reaped when they end");
	close(children);
}

static void test_many(struct sandbox *sandbox)
{
	const unsigned most = 64;
	struct command command = {.argv = ARGV("sleep", "60")};
	unsigned started = 0, refused = 0, ended = 0;
	int came[8];
	unsigned count;
	char buffer[64];
	const struct corral_control_header *header = (const void *)buffer;
	unsigned before = count_fds(sandbox->reply.pid);

	for (unsigned i = 0; i < most + 2; i++) {
		send_exec(sandbox, &command, 1000 + i);
		if (receive(sandbox->control, buffer, sizeof buffer, came, &count) <= 0)
			die("no answer to EXEC %u", i);
		if (header->type == CORRAL_STARTED)
			started++;
		else if (((const struct corral_exec_failed *)header)->error == EAGAIN)
			refused++;
		for (unsigned k = 0; k < count; k++)
			close(came[k]);
	}
	check(started == most && refused == 2, "%u commands at once; more are refused with EAGAIN", started);
	for (unsigned i = 0; i < most; i++) {
		struct corral_signal message = {{CORRAL_CONTROL_VERSION, CORRAL_SIGNAL, sizeof message, 1000 + i},
			SIGKILL, 0};
		send_bytes(sandbox->control, &message, sizeof message, NULL, 0);
	}
	while (ended < most && receive(sandbox->control, buffer, sizeof buffer, NULL, NULL) > 0)
		if (header->type == CORRAL_EXITED) {
			ended++;
			send_forget(sandbox, header->tag);
		}
	check(ended == most, "each end is reported");
	/* The last one is released after corrald has forgotten it. */
	check(fds_become(sandbox->reply.pid, before), "init holds no descriptor of a command that has ended");
	check_shell(sandbox, "true", 0, "and there is room again");
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void test_speed(struct sandbox *sandbox)
{
	enum { RUNS = 200 };
	double times[RUNS];
	int came[8];
	unsigned count;
	struct corral_started started;
	struct corral_exited exited;

	for (unsigned i = 0; i < RUNS; i++) {
		double before = now_ms();
		send_exec(sandbox, &(struct command){.argv = ARGV("/usr/bin/true")}, 5000 + i);
		receive(sandbox->control, &started, sizeof started, came, &count);
		times[i] = now_ms() - before;
		receive(sandbox->control, &exited, sizeof exited, NULL, NULL);
		for (unsigned k = 0; k < count; k++)
			close(came[k]);
	}
	qsort(times, RUNS, sizeof times[0], by_value);
	printf("  EXEC to STARTED: median %.3f ms, p99 %.3f ms\n", times[RUNS / 2], times[RUNS * 99 / 100]);
}

void test_exec(void)
{
	printf("exec\n");
	struct spawner spawner = start_spawner();
	struct sandbox sandbox = make_sandbox(&spawner);
	test_endings(&sandbox);
	test_lookup(&sandbox);
	test_streams(&sandbox);
	test_users(&sandbox);
	test_terminal(&sandbox);
	test_filter(&sandbox);
	test_signals(&sandbox);
	test_orphans(&sandbox);
	test_many(&sandbox);
	test_speed(&sandbox);
	check(destroy(&sandbox), "it leaves nothing");
	stop_spawner(&spawner);
}
