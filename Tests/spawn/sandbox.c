#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OUTPUT_ROOM (24u << 20)

struct corral_spawn_request usual_request(void)
{
	static uint64_t tag;
	struct corral_spawn_request request = {
		.header = {CORRAL_CONTROL_VERSION, CORRAL_SPAWN_REQUEST, sizeof request, ++tag},
		.uid_base = UID_BASE,
		.uid_count = UID_COUNT,
		.mount_count = 1,
		.hostname = "inside",
		.mounts = {{.source = "/usr", .target = "/usr", .flags = CORRAL_MOUNT_READ_ONLY}},
	};
	snprintf(request.image, sizeof request.image, "%s", image);
	return request;
}

static struct sandbox request_spawn_in(struct spawner *spawner, struct corral_spawn_request *request, _Bool frozen)
{
	static unsigned number;
	struct sandbox sandbox = {.pidfd = -1, .control = -1, .netlink = -1, .netns = -1, .datagram = -1};
	int sent[2] = {-1, -1}, came[8];
	unsigned count = 1;
	char procs[320];

	number++;
	snprintf(sandbox.cgroup, sizeof sandbox.cgroup, "%s/%u", cgroup_root, number);
	if (mkdir(sandbox.cgroup, 0755) != 0)
		die("mkdir %s", sandbox.cgroup);
	sent[0] = open(sandbox.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (frozen) {
		int freeze = openat(sent[0], "cgroup.freeze", O_WRONLY | O_CLOEXEC);
		if (freeze < 0 || write(freeze, "1", 1) != 1)
			die("freeze %s", sandbox.cgroup);
		close(freeze);
	}
	if (request->v1_count == 1) {
		snprintf(sandbox.pids, sizeof sandbox.pids, "%s/%u", pids_root, number);
		snprintf(procs, sizeof procs, "%s/cgroup.procs", sandbox.pids);
		if (mkdir(sandbox.pids, 0755) != 0 || (sent[count++] = open(procs, O_WRONLY | O_CLOEXEC)) < 0)
			die("v1 cgroup %s", sandbox.pids);
	}
	send_bytes(spawner->fd, request, sizeof *request, sent, count);
	for (unsigned i = 0; i < count; i++)
		close(sent[i]);
	if (receive(spawner->fd, &sandbox.reply, sizeof sandbox.reply, came,
		&sandbox.descriptors) != sizeof sandbox.reply)
		die("no reply from corral-spawn");
	if (sandbox.descriptors == SPAWN_DESCRIPTORS) {
		sandbox.pidfd = came[0];
		sandbox.control = came[1];
		sandbox.netlink = came[2];
		sandbox.netns = came[3];
		sandbox.datagram = came[4];
	}
	return sandbox;
}

struct sandbox request_spawn(struct spawner *spawner, struct corral_spawn_request *request)
{
	return request_spawn_in(spawner, request, 0);
}

struct sandbox request_frozen_spawn(struct spawner *spawner, struct corral_spawn_request *request)
{
	return request_spawn_in(spawner, request, 1);
}

struct sandbox make_sandbox(struct spawner *spawner)
{
	struct corral_spawn_request request = usual_request();
	struct corral_hello hello;
	struct sandbox sandbox = request_spawn(spawner, &request);

	if (sandbox.reply.error || sandbox.descriptors != SPAWN_DESCRIPTORS)
		die("spawn: errno %d in stage %u", sandbox.reply.error, sandbox.reply.stage);
	if (receive(sandbox.control, &hello, sizeof hello, NULL,
		NULL) != sizeof hello || hello.header.type != CORRAL_HELLO)
		die("no HELLO");
	return sandbox;
}

_Bool destroy(struct sandbox *sandbox)
{
	_Bool gone = 1;

	if (sandbox->pidfd >= 0) {
		struct pollfd wait = {sandbox->pidfd, POLLIN, 0};
		syscall(SYS_pidfd_send_signal, sandbox->pidfd, SIGKILL, NULL, 0);
		gone = poll(&wait, 1, 2000) == 1;
		close(sandbox->pidfd);
		close(sandbox->control);
		close(sandbox->netlink);
		close(sandbox->netns);
		close(sandbox->datagram);
	}
	return rmdir(sandbox->cgroup) == 0 && (!sandbox->pids[0] || rmdir(sandbox->pids) == 0) && gone;
}

void *exec_message(const struct command *command, uint64_t tag, size_t *size)
{
	static const char *const path_only[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
	const char *const *env = command->env ? command->env : path_only;
	const char *cwd = command->cwd ? command->cwd : "/";
	size_t bytes = sizeof(struct corral_exec) + command->filter_bytes + strlen(cwd) + 1;
	struct corral_exec exec = {
		.header = {CORRAL_CONTROL_VERSION, CORRAL_EXEC, 0, tag},
		.flags = command->flags,
		.seccomp_bytes = command->filter_bytes,
		.upper_bytes = command->upper_bytes,
		.open_files = command->open_files,
		.uid = command->uid,
		.gid = command->gid,
		.rows = command->rows,
		.columns = command->columns,
	};

	for (; command->argv[exec.argc]; exec.argc++)
		bytes += strlen(command->argv[exec.argc]) + 1;
	for (; env[exec.envc]; exec.envc++)
		bytes += strlen(env[exec.envc]) + 1;
	exec.header.size = (uint32_t)bytes;
	char *message = malloc(bytes), *end = message + sizeof exec;
	if (!message)
		die("malloc");
	memcpy(message, &exec, sizeof exec);
	if (command->filter_bytes)
		memcpy(end, command->filter, command->filter_bytes);
	end += command->filter_bytes;
	for (uint32_t i = 0; i < exec.argc; i++)
		end = stpcpy(end, command->argv[i]) + 1;
	for (uint32_t i = 0; i < exec.envc; i++)
		end = stpcpy(end, env[i]) + 1;
	strcpy(end, cwd);
	*size = bytes;
	return message;
}

void send_exec(struct sandbox *sandbox, const struct command *command, uint64_t tag)
{
	size_t size;
	void *message = exec_message(command, tag, &size);
	send_bytes(sandbox->control, message, size, NULL, 0);
	free(message);
}

/* Reads what there is; false at the end. */
static _Bool collect(int fd, char *buffer, size_t *length)
{
	ssize_t came = read(fd, buffer + *length, OUTPUT_ROOM - 1 - *length);
	if (came <= 0)
		return 0;
	*length += (size_t)came;
	buffer[*length] = 0;
	return 1;
}

static void transfer(struct result *result, const struct command *command, int in, int out, int err)
{
	size_t fed = 0;
	struct pollfd wait[3] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {in, POLLOUT, 0}};

	if (in >= 0)
		fcntl(in, F_SETFL, O_NONBLOCK);
	while (wait[0].fd >= 0 || wait[1].fd >= 0) {
		if (poll(wait, 3, 10000) <= 0)
			die("command hangs");
		if (wait[0].revents && !collect(out, result->output, &result->output_bytes))
			wait[0].fd = -1;
		if (wait[1].revents && !collect(err, result->errors, &result->errors_bytes))
			wait[1].fd = -1;
		if (wait[2].revents) {
			ssize_t wrote = fed < command->input_bytes
						? write(in, (const char *)command->input + fed,
							command->input_bytes - fed)
						: -1;
			fed += wrote > 0 ? (size_t)wrote : 0;
			if (wrote < 0) {
				close(in);
				wait[2].fd = -1;
			}
		}
	}
	if (wait[2].fd >= 0)
		close(in);
	close(out);
	close(err);
}

struct result run(struct sandbox *sandbox, const struct command *command)
{
	static uint64_t tag = 1u << 20;
	struct result result = {.output = calloc(1, OUTPUT_ROOM), .errors = calloc(1, OUTPUT_ROOM)};
	int came[8];
	unsigned count, expected = (command->flags & CORRAL_EXEC_STDIN) ? 3 : 2;
	union {
		struct corral_control_header header;
		struct corral_started started;
		struct corral_exec_failed failure;
	} answer;

	send_exec(sandbox, command, ++tag);
	if (receive(sandbox->control, &answer, sizeof answer, came, &count) <= 0 || answer.header.tag != tag)
		die("no answer to EXEC");
	if (answer.header.type == CORRAL_EXEC_FAILED) {
		result.failure = answer.failure;
		return result;
	}
	if (answer.header.type != CORRAL_STARTED || count != expected)
		die("answer %u to EXEC with %u descriptors", answer.header.type, count);
	result.started = 1;
	transfer(&result, command, expected == 3 ? came[0] : -1, came[expected - 2], came[expected - 1]);
	if (receive(sandbox->control, &result.exited, sizeof result.exited, NULL, NULL) != sizeof result.exited ||
	    result.exited.header.type != CORRAL_EXITED || result.exited.header.tag != tag)
		die("no EXITED");
	send_forget(sandbox, tag);
	return result;
}

void send_forget(struct sandbox *sandbox, uint64_t tag)
{
	const struct corral_forget message = {{CORRAL_CONTROL_VERSION, CORRAL_FORGET, sizeof message, tag}};

	send_bytes(sandbox->control, &message, sizeof message, NULL, 0);
}

struct result run_shell(struct sandbox *sandbox, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	return run(sandbox, &(struct command){.argv = argv});
}

void release(struct result *result)
{
	free(result->output);
	free(result->errors);
}

void check_shell(struct sandbox *sandbox, const char *script, int status, const char *what)
{
	struct result result = run_shell(sandbox, script);
	check(result.started && result.exited.status == status << 8, "%s", what);
	if (result.started && result.exited.status != status << 8)
		printf("        status 0x%x, stdout: %.400s stderr: %.400s\n", result.exited.status, result.output,
		       result.errors);
	release(&result);
}
