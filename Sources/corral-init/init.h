/*
 * corral-init: pid 1 of a sandbox. It parks on a socket to corrald, executes what it is told to, reaps, and reports.
 *
 *   main.c      start-up and the loop
 *   control.c   the conversation with corrald
 *   command.c   the table of running commands
 *   exec.c      what happens between fork and execve
 *   terminal.c  the pseudo-terminal of a command that wants one
 *   secret.c      files that no layer keeps
 *   privileges.c  what init gives up at its start, and a command at its own
 *
 * Parked, it holds no heap and touches a handful of pages. It runs as a user of its own, so that the commands, root
 * inside, can neither signal it nor change its limits, and it cannot be traced. It installs no signal handler.
 */
#ifndef CORRAL_INIT_H
#define CORRAL_INIT_H

#include "corral_control.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct failure {
	int32_t error; /* errno; 0: none */
	uint32_t stage; /* enum corral_stage */
};

struct failure failed(enum corral_stage stage);

void close_fd(int *fd);

/* An EXEC that has been checked; its pointers lead into the message. */
struct execution {
	uint64_t tag;
	uint32_t flags;
	uint32_t argc;
	uint32_t envc;
	uint32_t filter_bytes;
	const void *filter;  /* struct sock_filter */
	const char *strings; /* argc, then envc, then the working directory, each zero-terminated */
	size_t strings_bytes;
	uint64_t upper_bytes;
	uint64_t open_files;
	uint32_t uid, gid;
	uint16_t rows, columns;
	uint32_t processes;
};

/* The child's side: becomes the command, or tells `report` (a struct failure) why not. streams: its 0, 1 and 2. */
_Noreturn void execute(const struct execution *execution, const int streams[3], int report);

/* Gives up what pid 1 does not need. `uid` is the user it becomes; its capabilities in this user namespace stay. */
_Bool shed_privileges(uint32_t uid);

/* That user without any capability, for good. False with errno. */
_Bool drop_all_privileges(uint32_t uid, uint32_t gid);

/* Root with every capability of this user namespace, or another user with none. Tests only. False with errno. */
_Bool keep_all_privileges(uint32_t uid, uint32_t gid);

/* A new terminal that belongs to `uid`: its master, and the side of the command. */
_Bool open_terminal(uint32_t uid, uint16_t rows, uint16_t columns, int *master, int *slave);

/* Makes descriptor 0, a terminal, the controlling one of this new session. */
_Bool take_terminal(void);

/* Writes a file to /run/secrets, which is made for the first. What fails is refused, and so is every command from then on. */
void receive_secret(const struct corral_secret *secret);
_Bool secrets_are_missing(void);

/* New size limit of the tmpfs at CORRAL_UPPER_FD. */
struct failure resize_upper(uint64_t bytes);

/* Forks a command. A failure has been queued for corrald. */
void start_command(const struct execution *execution);

/* To the process group of the command `tag`, if it still runs. */
void signal_command(uint64_t tag, int number);

/* Collects every child that has ended. False: there may be more. */
_Bool reap(void);

/* Tells corrald all that it does not know yet. False: the socket is full. */
_Bool report_commands(void);

/* A corrald that has just come is told anew of every command, whatever its predecessor knew. */
void retell_commands(void);

/* How many those are. */
unsigned held_commands(void);

/* Nobody reads what commands write: their pipes are to hold as much as pipes can. */
void hold_output(void);

/* Lets go of a command whose end has been told. */
void forget_command(uint64_t tag);

/* Queues an EXEC_FAILED for an EXEC that never became a command. */
void refuse(uint64_t tag, struct failure failure);

/* The report pipes of commands that are being started: how many of at most `room` were filled in. */
struct pollfd;
unsigned starting_commands(struct pollfd *entries, unsigned room);

/* A command's report pipe has something, or has closed. */
void command_reported(int report);

/* That run at once, and with those that have ended. */
#define COMMANDS_MAX 64u
#define COMMANDS_HELD 96u

enum sent { SENT, SENT_FULL, SENT_GONE };

/* Never waits. SENT_GONE also when there is no socket any more: nobody is left to tell. */
enum sent send_control(const void *message, size_t bytes, const int *descriptors, unsigned count);

/* Takes one message and acts on it; anything unsound is dropped. */
void receive_control(void);

/* Whether corrald is still at the other end, as far as is known. */
_Bool control_is_open(void);

/* Where the next corrald connects; -1 when it cannot. */
int successor_socket(void);

/* Speaks to who has connected there from now on. False: nobody has. */
_Bool take_successor(void);

#endif
