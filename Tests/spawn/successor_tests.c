/* What a corrald finds that comes after one that was killed. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address_in_image(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (snprintf(address.sun_path, sizeof address.sun_path, "%s.init", image) >= (int)sizeof address.sun_path)
		die("%s.init is too long a path", image);
	return address;
}

static void send_listen(const struct sandbox *sandbox, int descriptor)
{
	const struct corral_listen message = {{CORRAL_CONTROL_VERSION, CORRAL_LISTEN, sizeof message, 0}};

	send_bytes(sandbox->control, &message, sizeof message, &descriptor, descriptor >= 0);
}

static int make_listener(void)
{
	struct sockaddr_un address = address_in_image();
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	unlink(address.sun_path);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4) != 0)
		die("listen at %s", address.sun_path);
	return listener;
}

/* The old corrald is gone, a new one is there. */
static void succeed(struct sandbox *sandbox, unsigned commands)
{
	struct sockaddr_un address = address_in_image();
	struct corral_hello hello;

	close(sandbox->control);
	sandbox->control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(sandbox->control, (struct sockaddr *)&address, sizeof address) != 0)
		die("connect to %s", address.sun_path);
	check(receive(sandbox->control, &hello, sizeof hello, NULL, NULL) == sizeof hello &&
		      hello.header.type == CORRAL_HELLO && hello.header.tag == commands,
	      "a successor is greeted, and told of how many commands it will hear (%u)", commands);
}

static void start(struct sandbox *sandbox, const char *script, uint64_t tag, int streams[2])
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct corral_started started;
	unsigned count;

	send_exec(sandbox, &(struct command){.argv = argv}, tag);
	if (receive(sandbox->control, &started, sizeof started, streams, &count) != sizeof started || count != 2 ||
	    started.header.type != CORRAL_STARTED)
		die("no STARTED");
}

static void expect_started(struct sandbox *sandbox, uint64_t tag, int streams[2], const char *what)
{
	struct corral_started started = {0};
	unsigned count = 0;

	check(receive(sandbox->control, &started, sizeof started, streams, &count) == sizeof started && count == 2 &&
		      started.header.type == CORRAL_STARTED && started.header.tag == tag && started.pid > 1,
	      "%s", what);
}

static void expect_exited(struct sandbox *sandbox, uint64_t tag, int status, const char *what)
{
	struct corral_exited exited = {0};

	check(receive(sandbox->control, &exited, sizeof exited, NULL, NULL) == sizeof exited &&
		      exited.header.type == CORRAL_EXITED && exited.header.tag == tag && exited.status == status,
	      "%s", what);
}

static void expect_line(int fd, const char *line, const char *what)
{
	char text[64] = "";
	ssize_t length = read(fd, text, sizeof text - 1);

	check(length > 0 && strcmp(text, line) == 0, "%s", what);
}

static void test_succession(struct sandbox *sandbox)
{
	int before[2], after[2], other[2];

	start(sandbox, "trap 'echo heard; exit 3' USR1; echo ready; while :; do sleep 0.1; done", 1, before);
	start(sandbox, "sleep 0.3; echo late; exit 5", 2, other);
	expect_line(before[0], "ready\n", "a command runs");
	close(before[0]);
	close(before[1]);
	close(other[0]);
	close(other[1]);
	/* Long enough for the second to write to nobody, and to end. */
	close(sandbox->control);
	sandbox->control = -1;
	sleep_ms(600);

	succeed(sandbox, 2);
	expect_started(sandbox, 1, after, "a command that goes on is told of, with its streams");
	expect_started(sandbox, 2, other, "and so is one that has ended");
	expect_exited(sandbox, 2, 5 << 8, "its exit code is not lost");
	close(other[0]);
	close(other[1]);
	close(after[0]);
	close(after[1]);
	/* This one dies as well, before it has written anything down. */
	succeed(sandbox, 2);
	expect_started(sandbox, 1, after, "the next one is told the same: what runs");
	expect_started(sandbox, 2, other, "what has ended");
	expect_exited(sandbox, 2, 5 << 8, "and how");
	expect_line(other[0], "late\n", "nor is what it wrote to nobody lost");
	close(other[0]);
	close(other[1]);
	send_forget(sandbox, 2);

	const struct corral_signal usr1 = {{CORRAL_CONTROL_VERSION, CORRAL_SIGNAL, sizeof usr1, 1}, SIGUSR1, 0};
	send_bytes(sandbox->control, &usr1, sizeof usr1, NULL, 0);
	expect_line(after[0], "heard\n", "signals of the successor arrive");
	expect_exited(sandbox, 1, 3 << 8, "and its end is told to the successor");
	send_forget(sandbox, 1);
	close(after[0]);
	close(after[1]);
	check_shell(sandbox, "exit 4", 4, "the successor's commands run");
	sleep_ms(50);
	succeed(sandbox, 0);
	check_shell(sandbox, "exit 6", 6, "and so do those of the one after, which hears of no old ones");
}

/* Its place is not kept for ever when nobody says that it may go. */
static void test_forgotten(struct sandbox *sandbox)
{
	char buffer[64];
	const struct corral_control_header *header = (const void *)buffer;
	unsigned ended = 0, told = 0;

	for (uint64_t tag = 100; tag < 200; tag++) {
		int streams[2];
		start(sandbox, "exit 0", tag, streams);
		close(streams[0]);
		close(streams[1]);
		ended += receive(sandbox->control, buffer, sizeof buffer, NULL, NULL) > 0 && header->type == CORRAL_EXITED;
	}
	check(ended == 100, "commands that corrald never forgets make place for others (%u)", ended);
	succeed(sandbox, 96);
	for (unsigned i = 0; i < 2 * 96; i++) {
		int streams[3];
		unsigned count = 0;
		if (receive(sandbox->control, buffer, sizeof buffer, streams, &count) <= 0)
			break;
		told += header->type == CORRAL_EXITED && header->tag >= 104;
		while (count > 0)
			close(streams[--count]);
	}
	check(told == 96, "the newest are told to a successor (%u)", told);
	for (uint64_t tag = 100; tag < 200; tag++)
		send_forget(sandbox, tag);
	check_shell(sandbox, "true", 0, "and forgotten at its word");
	sleep_ms(50);
}

/* What is written while nobody reads. */
static void test_held_output(struct sandbox *sandbox)
{
	int streams[2];
	size_t got = 0;
	static char block[65536];

	start(sandbox, "sleep 0.2; head -c 1000000 /dev/zero; echo done >&2", 300, streams);
	close(streams[0]);
	close(streams[1]);
	close(sandbox->control);
	sandbox->control = -1;
	sleep_ms(800);
	succeed(sandbox, 1);
	expect_started(sandbox, 300, streams, "a command that wrote much to nobody");
	expect_exited(sandbox, 300, 0, "was not held up");
	for (ssize_t length; (length = read(streams[0], block, sizeof block)) > 0;)
		got += (size_t)length;
	check(got == 1000000, "and a mebibyte of it was kept (%zu)", got);
	close(streams[0]);
	close(streams[1]);
	send_forget(sandbox, 300);
	sleep_ms(50);
}

static void test_takeover(struct sandbox *sandbox)
{
	int before[2], after[2], first = sandbox->control;
	char byte;

	start(sandbox, "echo ready; exec sleep 60", 7, before);
	sandbox->control = -1;
	succeed(sandbox, 1);
	check(recv(first, &byte, 1, 0) == 0, "with the successor's coming the predecessor is cut off");
	close(first);
	expect_started(sandbox, 7, after, "a command that it started is told of");
	const struct corral_signal kill = {{CORRAL_CONTROL_VERSION, CORRAL_SIGNAL, sizeof kill, 7}, SIGKILL, 0};
	send_bytes(sandbox->control, &kill, sizeof kill, NULL, 0);
	expect_exited(sandbox, 7, SIGKILL, "and can be killed");
	send_forget(sandbox, 7);
	sleep_ms(50);
	for (int i = 0; i < 2; i++) {
		close(before[i]);
		close(after[i]);
	}
}

void test_successor(void)
{
	printf("successor\n");
	struct spawner spawner = start_spawner();
	struct sandbox sandbox = make_sandbox(&spawner);
	struct sockaddr_un address = address_in_image();

	sleep_ms(50);
	unsigned before = count_fds(sandbox.reply.pid);
	send_listen(&sandbox, -1);
	send_listen(&sandbox, sandbox.netlink);
	sleep_ms(50);
	check(count_fds(sandbox.reply.pid) == before, "what does not listen is closed");
	int listener = make_listener();
	send_listen(&sandbox, listener);
	sleep_ms(50);
	check(count_fds(sandbox.reply.pid) == before + 1, "a socket that listens is kept");
	send_listen(&sandbox, listener);
	sleep_ms(50);
	check(count_fds(sandbox.reply.pid) == before + 1, "one, and no second");
	close(listener);
	check_shell(&sandbox, "test $(ls /proc/self/fd | wc -l) = 4", 0, "no command inherits it");
	test_succession(&sandbox);
	test_takeover(&sandbox);
	test_forgotten(&sandbox);
	test_held_output(&sandbox);
	check(count_fds(sandbox.reply.pid) == before + 1, "nothing is left open");
	/* Sandboxes outlive corral-spawn too. */
	stop_spawner(&spawner);
	check_shell(&sandbox, "true", 0, "without corral-spawn it goes on");
	check(destroy(&sandbox), "it leaves nothing");
	unlink(address.sun_path);
}
