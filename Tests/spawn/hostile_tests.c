/* Messages that no honest sender makes. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t state = 2463534242u;

static uint32_t pseudo_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	return state ^= state << 5;
}

/* Reads what has been answered so far: a refusal is an answer that some of these deserve. */
static void drain(int fd)
{
	char buffer[64];
	while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
		;
}

static void expect_refusal(struct sandbox *sandbox, const void *message, size_t size, const char *what)
{
	struct corral_exec_failed answer = {0};
	send_bytes(sandbox->control, message, size, NULL, 0);
	check(receive(sandbox->control, &answer, sizeof answer, NULL, NULL) == sizeof answer &&
		      answer.header.type == CORRAL_EXEC_FAILED && answer.stage == CORRAL_STAGE_REQUEST && answer.error == EINVAL,
	      "EXEC refused as malformed: %s", what);
}

static void test_malformed_exec(struct sandbox *sandbox)
{
	const char *const argv[] = {"true", NULL};
	const struct command command = {.argv = argv};
	size_t size;
	struct corral_exec *exec = exec_message(&command, 9, &size);
	const struct corral_exec good = *exec;

	exec->argc = 0;
	expect_refusal(sandbox, exec, size, "no argument");
	*exec = good, exec->argc = UINT32_MAX;
	expect_refusal(sandbox, exec, size, "a count of arguments that overflows");
	*exec = good, exec->argc = UINT32_MAX, exec->envc = 4;
	expect_refusal(sandbox, exec, size, "counts whose sum overflows");
	*exec = good, exec->envc++;
	expect_refusal(sandbox, exec, size, "fewer strings than counted");
	*exec = good, exec->envc--;
	expect_refusal(sandbox, exec, size, "more strings than counted");
	*exec = good, exec->argc--, exec->envc++;
	expect_refusal(sandbox, exec, size, "no argument, for a variable");
	*exec = good, exec->seccomp_bytes = UINT32_MAX & ~7u;
	expect_refusal(sandbox, exec, size, "a seccomp program longer than the message");
	*exec = good, exec->seccomp_bytes = 4;
	expect_refusal(sandbox, exec, size, "half an instruction");
	*exec = good, exec->flags = 0x80;
	expect_refusal(sandbox, exec, size, "an unknown flag");
	*exec = good, exec->header.size = (uint32_t)size - 1;
	expect_refusal(sandbox, exec, size - 1, "a string without an end");
	*exec = good, exec->header.size = sizeof *exec;
	expect_refusal(sandbox, exec, sizeof *exec, "no string at all");
	*exec = good;
	((char *)(exec + 1))[sizeof "true"] = '=';
	expect_refusal(sandbox, exec, size, "a variable without a name");
	free(exec);
}

static void test_dropped(struct sandbox *sandbox, struct spawner *spawner)
{
	const char *const argv[] = {"true", NULL};
	const struct command command = {.argv = argv};
	size_t size;
	struct corral_exec *exec = exec_message(&command, 9, &size);
	const struct corral_exec good = *exec;
	int descriptors[40];
	char byte = 0, buffer[64];

	for (unsigned i = 0; i < 40; i++)
		descriptors[i] = STDOUT_FILENO;
	for (size_t length = 0; length < sizeof *exec; length++) {
		send_bytes(sandbox->control, exec, length, NULL, 0);
		send_bytes(spawner->fd, exec, length, NULL, 0);
	}
	exec->header.version++;
	send_bytes(sandbox->control, exec, size, NULL, 0);
	*exec = good, exec->header.type = 99;
	send_bytes(sandbox->control, exec, size, NULL, 0);
	*exec = good, exec->header.size++;
	send_bytes(sandbox->control, exec, size, NULL, 0);
	*exec = good;
	send_bytes(sandbox->control, exec, size, descriptors, 1);
	send_bytes(sandbox->control, exec, size, descriptors, 40);
	send_bytes(spawner->fd, exec, size, descriptors, 40);
	send_bytes(spawner->fd, &byte, 1, descriptors, 3);
	free(exec);

	struct corral_signal message = {{CORRAL_CONTROL_VERSION, CORRAL_SIGNAL, sizeof message, 9}, 0, 0};
	const int32_t numbers[] = {0, -1, 65, INT32_MIN, INT32_MAX};
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		message.signal = numbers[i];
		send_bytes(sandbox->control, &message, sizeof message, NULL, 0);
	}
	sleep_ms(50);
	check(recv(sandbox->control, buffer, sizeof buffer, MSG_DONTWAIT) < 0 && errno == EAGAIN,
		"init drops what has no sound header");
	check(recv(spawner->fd, buffer, sizeof buffer, MSG_DONTWAIT) < 0 && errno == EAGAIN,
		"and so does corral-spawn");

	struct corral_spawn_request request = usual_request();
	struct corral_spawn_reply reply = {0};
	send_bytes(spawner->fd, &request, sizeof request, descriptors, 40);
	check(receive(spawner->fd, &reply, sizeof reply, NULL, NULL) == sizeof reply && reply.error == EINVAL &&
		      reply.stage == CORRAL_STAGE_REQUEST,
	      "a request with 40 descriptors is malformed");
	send_bytes(spawner->fd, &request, sizeof request, descriptors, 1);
	check(receive(spawner->fd, &reply, sizeof reply, NULL, NULL) == sizeof reply && reply.error != 0 &&
		      reply.stage == CORRAL_STAGE_CLONE,
	      "a descriptor that is no cgroup fails the clone");
}

static void test_random(struct sandbox *sandbox, struct spawner *spawner)
{
	static unsigned char bytes[6000];
	unsigned long sent = 0;

	for (unsigned i = 0; i < 10000; i++) {
		size_t length = pseudo_random() % 400;
		struct corral_control_header *header = (void *)bytes;
		for (size_t k = 0; k < sizeof(struct corral_exec) + 400; k++)
			bytes[k] = (unsigned char)pseudo_random();
		/* Every other one gets past the header's checks; the tags stay away from those that are in use. */
		if (i % 2 && length >= sizeof *header) {
			*header = (struct corral_control_header){CORRAL_CONTROL_VERSION, (i % 4 == 1) ? CORRAL_EXEC : CORRAL_SIGNAL, (uint32_t)length, i};
			if (length >= sizeof(struct corral_exec) && i % 8 == 1) {
				struct corral_exec *exec = (void *)bytes;
				exec->argc %= 4;
				exec->envc %= 4;
				exec->flags &= 1;
				exec->seccomp_bytes %= 64;
			}
		}
		send_bytes(sandbox->control, bytes, length, NULL, 0);
		if (i % 2 == 0)
			send_bytes(spawner->fd, bytes, length, NULL, 0);
		sent++;
		drain(sandbox->control);
		drain(spawner->fd);
	}
	sleep_ms(100);
	drain(sandbox->control);
	drain(spawner->fd);
	check(sent == 10000, "%lu random messages", sent);
}

/* corrald stops reading while it goes on asking; nothing is lost and nothing hangs. */
static void test_backlog(struct sandbox *sandbox)
{
	enum { COMMANDS = 600 };
	const char *const argv[] = {"/nonexistent", NULL};
	const struct command command = {.argv = argv};
	unsigned answers = 0, sent = 0;
	struct corral_exec_failed answer;
	size_t size;

	fcntl(sandbox->control, F_SETFL, O_NONBLOCK);
	for (; sent < COMMANDS; sent++) {
		void *message = exec_message(&command, 20000 + sent, &size);
		ssize_t went = send(sandbox->control, message, size, MSG_NOSIGNAL);
		free(message);
		if (went < 0)
			break;
	}
	sleep_ms(300);
	/* Some come while as many commands as init takes have not ended yet. */
	while (answers < sent && receive(sandbox->control, &answer, sizeof answer, NULL, NULL) == sizeof answer)
		answers += answer.header.type == CORRAL_EXEC_FAILED &&
			   (answer.error == ENOENT || (answer.error == EAGAIN && answer.stage == CORRAL_STAGE_FORK));
	check(sent > 100 && answers == sent, "%u of %u answers arrive when nobody reads for a while", answers, sent);
	fcntl(sandbox->control, F_SETFL, 0);
}

void test_hostile(void)
{
	printf("hostile\n");
	struct spawner spawner = start_spawner();
	struct sandbox sandbox = make_sandbox(&spawner);
	/* corral-spawn answers first and closes what the spawn needed after that. */
	sleep_ms(50);
	unsigned init_fds = count_fds(sandbox.reply.pid), spawn_fds = count_fds(spawner.pid);
	test_malformed_exec(&sandbox);
	test_dropped(&sandbox, &spawner);
	test_random(&sandbox, &spawner);
	test_backlog(&sandbox);
	check_shell(&sandbox, "true", 0, "init works after all that");
	struct sandbox other = make_sandbox(&spawner);
	check(destroy(&other), "and so does corral-spawn");
	check(fds_become(sandbox.reply.pid, init_fds) && fds_become(spawner.pid, spawn_fds),
	      "neither holds a descriptor more (%u, %u)", init_fds, spawn_fds);
	check(destroy(&sandbox), "it leaves nothing");
	stop_spawner(&spawner);
}
