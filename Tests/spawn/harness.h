/*
 * Plays corrald to the real corral-spawn and corral-init. Run as root. Everything it makes (cgroups, sandboxes, an
 * image below the temporary directory) carries its pid and is removed at the end.
 */
#ifndef CORRAL_SPAWN_HARNESS_H
#define CORRAL_SPAWN_HARNESS_H

#include "corral_control.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define UID_BASE 1000000u
#define UID_COUNT 65536u

/* Counts and prints one check. */
void check(_Bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For what a test cannot go on without. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
unsigned passed(void);
unsigned failed(void);

double now_ms(void);
void sleep_ms(unsigned ms);

struct spawner {
	pid_t pid;
	int fd;
};
struct spawner start_spawner(void);
void stop_spawner(struct spawner *spawner);
unsigned count_fds(pid_t pid);
/* Within two seconds: who has been told to close something does so a moment later. */
int fds_become(pid_t pid, unsigned count);

/* Directory of the image, of the test's cgroups, and of its v1 pids cgroups ("" if the host has none). */
extern char image[128], cgroup_root[256], pids_root[256];
void prepare_host(const char *programs);
void clean_host(void);

/* Of a successful SPAWN_REPLY. */
#define SPAWN_DESCRIPTORS 5

struct sandbox {
	struct corral_spawn_reply reply;
	int pidfd, control, netlink, netns, datagram;
	char cgroup[288], pids[288];
	unsigned descriptors; /* that came with the reply */
};

/* A request that asks for the image with the host's /usr. */
struct corral_spawn_request usual_request(void);
/* Sends it, with a new cgroup, and returns the reply, whatever it says. */
struct sandbox request_spawn(struct spawner *spawner, struct corral_spawn_request *request);
/* The same in a frozen cgroup, where the child never gets to run. */
struct sandbox request_frozen_spawn(struct spawner *spawner, struct corral_spawn_request *request);
/* The usual sandbox, parked; dies if it cannot be had. */
struct sandbox make_sandbox(struct spawner *spawner);
/* Kills through the pidfd, waits, removes its cgroups. False when something was left in them. */
_Bool destroy(struct sandbox *sandbox);

struct command {
	const char *const *argv;
	const char *const *env; /* NULL: PATH alone */
	const char *cwd;	/* NULL: / */
	uint32_t flags;
	uint64_t upper_bytes, open_files;
	const void *filter;
	uint32_t filter_bytes;
	uint32_t uid, gid;
	uint16_t rows, columns; /* with CORRAL_EXEC_TERMINAL */
	const void *input;	/* with CORRAL_EXEC_STDIN */
	size_t input_bytes;
};

struct result {
	_Bool started;
	struct corral_exec_failed failure; /* when not started */
	struct corral_exited exited;
	char *output, *errors; /* zero-terminated; free() */
	size_t output_bytes, errors_bytes;
};

/* An EXEC message in a buffer of its own; *size is its length. */
void *exec_message(const struct command *command, uint64_t tag, size_t *size);
void send_exec(struct sandbox *sandbox, const struct command *command, uint64_t tag);
/* Next message within 15 seconds: length, 0 at the end, -1 if none came. */
ssize_t receive(int fd, void *message, size_t room, int *descriptors, unsigned *count);
void send_bytes(int fd, const void *message, size_t length, const int *descriptors, unsigned count);

/* Nothing of a command that has ended is kept. */
void send_forget(struct sandbox *sandbox, uint64_t tag);

/* Runs to the end, feeding its input and collecting its output. */
struct result run(struct sandbox *sandbox, const struct command *command);
struct result run_shell(struct sandbox *sandbox, const char *script);
void release(struct result *result);
/* Runs a script and checks that it exits with `status`. */
void check_shell(struct sandbox *sandbox, const char *script, int status, const char *what);

void test_spawn(void);
void test_isolation(void);
void test_exec(void);
void test_hostile(void);
void test_endurance(void);
void test_successor(void);

#endif
