#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How many children one call collects: a flood of orphans must not keep us from the socket. */
#define REAP_BATCH 256

/* Bytes that any pipe may hold without a privilege (/proc/sys/fs/pipe-max-size, as the kernel sets it). */
#define HELD_OUTPUT (1 << 20)

enum state {
	FREE = 0,
	STARTING, /* forked; its report pipe is open */
	STARTED,  /* executed; corrald has not been told */
	FAILED,	  /* not executed; corrald has not been told */
	RUNNING,
	TOLD, /* ended, and corrald has been told; kept for a successor until corrald says that it needs it no more */
};

/* One command, until corrald forgets it. */
static struct command {
	enum state state;
	_Bool ended; /* reaped: its number may be another's by now */
	pid_t pid;
	uint64_t tag;
	struct failure failure;
	int report; /* read end: a struct failure, or nothing and the end when execve has closed the other */
	int stdin_write;
	/* Kept so that the command outlives corrald; of a terminal the first is the master, the other is not open. */
	int stdout_read, stderr_read;
	int status;
	uint64_t user_us, system_us, max_rss_kib;
} commands[COMMANDS_HELD];

/* The answer to an EXEC that got no place above. */
static struct {
	_Bool pending;
	uint64_t tag;
	struct failure failure;
} refusal;

void refuse(uint64_t tag, struct failure failure)
{
	refusal.pending = 1;
	refusal.tag = tag;
	refusal.failure = failure;
}

static struct command *find(uint64_t tag)
{
	for (struct command *c = commands; c < commands + COMMANDS_HELD; c++)
		if (c->state != FREE && c->tag == tag)
			return c;
	return NULL;
}


static void release(struct command *command)
{
	close_fd(&command->report);
	close_fd(&command->stdin_write);
	close_fd(&command->stdout_read);
	close_fd(&command->stderr_read);
	memset(command, 0, sizeof *command);
}

/* The place of one that has ended, when there is no other. NULL: as many run as may. */
static struct command *find_free(void)
{
	struct command *place = NULL;
	unsigned running = 0;

	for (struct command *c = commands; c < commands + COMMANDS_HELD; c++) {
		running += c->state != FREE && c->state != TOLD;
		if (place && place->state == FREE)
			continue;
		if (c->state == FREE || (c->state == TOLD && (!place || c->tag < place->tag)))
			place = c;
	}
	if (running >= COMMANDS_MAX || !place)
		return NULL;
	if (place->state == TOLD)
		release(place);
	return place;
}

void forget_command(uint64_t tag)
{
	struct command *command = find(tag);

	if (command && command->state == TOLD)
		release(command);
}

/* Where the kernel grants no more they stay as they are. */
void hold_output(void)
{
	for (const struct command *c = commands; c < commands + COMMANDS_HELD; c++)
		if (c->state != FREE) {
			fcntl(c->stdout_read, F_SETPIPE_SZ, HELD_OUTPUT);
			fcntl(c->stderr_read, F_SETPIPE_SZ, HELD_OUTPUT);
		}
}

unsigned held_commands(void)
{
	unsigned count = 0;

	for (const struct command *c = commands; c < commands + COMMANDS_HELD; c++)
		count += c->state != FREE;
	return count;
}

static _Bool open_pipe(int *read_end, int *write_end)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return 0;
	*read_end = ends[0];
	*write_end = ends[1];
	return 1;
}

static struct failure open_streams(const struct execution *execution, struct command *command, int streams[3])
{
	if (execution->flags & CORRAL_EXEC_TERMINAL) {
		if (!open_terminal(execution->uid, execution->rows, execution->columns, &command->stdout_read,
			&streams[0]) ||
		    (streams[1] = fcntl(streams[0], F_DUPFD_CLOEXEC, 3)) < 0 ||
		    (streams[2] = fcntl(streams[0], F_DUPFD_CLOEXEC, 3)) < 0)
			return failed(CORRAL_STAGE_TERMINAL);
		return (struct failure){0};
	}
	_Bool opened = (execution->flags & CORRAL_EXEC_STDIN)
			       ? open_pipe(&streams[0], &command->stdin_write)
			       : (streams[0] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) >= 0;
	if (!opened || !open_pipe(&command->stdout_read, &streams[1]) || !open_pipe(&command->stderr_read, &streams[2]))
		return failed(CORRAL_STAGE_PIPES);
	return (struct failure){0};
}

void start_command(const struct execution *execution)
{
	struct command *command = find_free();
	int streams[3] = {-1, -1, -1};
	int report = -1;
	struct failure failure = {0};

	if (find(execution->tag)) {
		refuse(execution->tag, (struct failure){EEXIST, CORRAL_STAGE_REQUEST});
		return;
	}
	if (!command) {
		refuse(execution->tag, (struct failure){EAGAIN, CORRAL_STAGE_FORK});
		return;
	}
	command->report = command->stdin_write = command->stdout_read = command->stderr_read = -1;

	if (execution->upper_bytes)
		failure = resize_upper(execution->upper_bytes);
	if (!failure.error)
		failure = open_streams(execution, command, streams);
	if (!failure.error && !open_pipe(&command->report, &report))
		failure = failed(CORRAL_STAGE_PIPES);
	if (!failure.error) {
		pid_t pid = fork();
		if (pid == 0)
			execute(execution, streams, report);
		if (pid < 0)
			failure = failed(CORRAL_STAGE_FORK);
		command->pid = pid;
	}
	for (int i = 0; i < 3; i++)
		close_fd(&streams[i]);
	close_fd(&report);
	if (failure.error) {
		release(command);
		refuse(execution->tag, failure);
		return;
	}
	command->tag = execution->tag;
	command->state = STARTING;
}

void signal_command(uint64_t tag, int number)
{
	const struct command *command = find(tag);

	/* Not reaped yet, so neither its number nor its group's can be another's. */
	if (!command || command->ended)
		return;
	/* No such group: it has not made its session yet. */
	if (kill(-command->pid, number) != 0 && errno == ESRCH)
		kill(command->pid, number);
}

unsigned starting_commands(struct pollfd *entries, unsigned room)
{
	unsigned count = 0;

	for (const struct command *c = commands; c < commands + COMMANDS_HELD && count < room; c++)
		if (c->state == STARTING)
			entries[count++] = (struct pollfd){c->report, POLLIN, 0};
	return count;
}

void command_reported(int report)
{
	for (struct command *c = commands; c < commands + COMMANDS_HELD; c++) {
		if (c->state != STARTING || c->report != report)
			continue;
		struct failure failure = {0};
		ssize_t length = read(report, &failure, sizeof failure);
		c->state = length == (ssize_t)sizeof failure ? FAILED : STARTED;
		c->failure = failure;
		close_fd(&c->report);
	}
}

static uint64_t microseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

_Bool reap(void)
{
	for (int i = 0; i < REAP_BATCH; i++) {
		struct rusage usage;
		int status;
		pid_t pid = wait4(-1, &status, WNOHANG, &usage);

		if (pid <= 0)
			return 1;
		for (struct command *c = commands; c < commands + COMMANDS_HELD; c++) {
			if (c->state == FREE || c->ended || c->pid != pid)
				continue;
			c->ended = 1;
			c->status = status;
			c->user_us = microseconds(usage.ru_utime);
			c->system_us = microseconds(usage.ru_stime);
			c->max_rss_kib = (uint64_t)usage.ru_maxrss;
		}
	}
	return 0;
}

static enum sent tell_failed(uint64_t tag, struct failure failure)
{
	const struct corral_exec_failed message = {
		.header = {CORRAL_CONTROL_VERSION, CORRAL_EXEC_FAILED, sizeof message, tag},
		.error = failure.error,
		.stage = failure.stage,
	};
	return send_control(&message, sizeof message, NULL, 0);
}

static enum sent tell_started(const struct command *command)
{
	const struct corral_started message = {
		.header = {CORRAL_CONTROL_VERSION, CORRAL_STARTED, sizeof message, command->tag},
		.pid = command->pid,
	};
	int descriptors[3];
	unsigned count = 0;

	if (command->stdin_write >= 0)
		descriptors[count++] = command->stdin_write;
	descriptors[count++] = command->stdout_read;
	if (command->stderr_read >= 0)
		descriptors[count++] = command->stderr_read;
	return send_control(&message, sizeof message, descriptors, count);
}

static enum sent tell_exited(const struct command *command)
{
	const struct corral_exited message = {
		.header = {CORRAL_CONTROL_VERSION, CORRAL_EXITED, sizeof message, command->tag},
		.status = command->status,
		.user_us = command->user_us,
		.system_us = command->system_us,
		.max_rss_kib = command->max_rss_kib,
	};
	return send_control(&message, sizeof message, NULL, 0);
}

/* False: corrald could not be told now. When it is gone, everything is kept for its successor. */
static _Bool report(struct command *command)
{
	enum sent sent;

	if (command->state == FAILED && command->ended) {
		sent = tell_failed(command->tag, command->failure);
		if (sent == SENT)
			release(command);
		return sent != SENT_FULL;
	}
	if (command->state == STARTED) {
		sent = tell_started(command);
		if (sent != SENT)
			return sent != SENT_FULL;
		close_fd(&command->stdin_write);
		command->state = RUNNING;
	}
	if (command->state == RUNNING && command->ended) {
		sent = tell_exited(command);
		if (sent == SENT)
			command->state = TOLD;
		return sent != SENT_FULL;
	}
	return 1;
}

void retell_commands(void)
{
	for (struct command *c = commands; c < commands + COMMANDS_HELD; c++)
		if (c->state == RUNNING || c->state == TOLD)
			c->state = STARTED;
}

_Bool report_commands(void)
{
	/* A successor did not ask. */
	if (refusal.pending && tell_failed(refusal.tag, refusal.failure) == SENT_FULL)
		return 0;
	refusal.pending = 0;
	for (struct command *c = commands; c < commands + COMMANDS_HELD; c++)
		if (!report(c))
			return 0;
	return 1;
}
