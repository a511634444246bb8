/*
 * corral-spawn: makes sandboxes for corrald, one after the other, in a process small enough to fork in microseconds.
 *
 *   main.c     the loop: receive, spawn, reply
 *   message.c  the conversation with corrald
 *   clone.c    the parent's side of one spawn
 *   child.c    the child's side, up to the execveat of corral-init
 *   rootfs.c   the child's file tree
 *   kernelfs.c its /proc, /sys and /dev
 *   sealed.c   the copy of corral-init that it runs
 *   mount.c    the mount calls the two share
 *   probe.c    calls that the sandbox's hooks have to refuse
 *   support.c  descriptors, small files, decimal digits
 */
#ifndef CORRAL_SPAWN_H
#define CORRAL_SPAWN_H

#include "corral_control.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where a step failed; error 0 is success. */
struct failure {
	int32_t error;
	uint32_t stage;
};

#define SUCCESS ((struct failure){0, CORRAL_STAGE_NONE})

/* The failure of the call that has just set errno. */
struct failure failed(enum corral_stage stage);

/* The descriptors of a SPAWN_REQUEST. Owned by the receiver. */
struct request_descriptors {
	unsigned count;
	/* cgroup v2 directory, then cgroup.procs files of v1 hierarchies, then sources of mounts */
	int fd[1 + CORRAL_SPAWN_CGROUPS + CORRAL_SPAWN_MOUNTS];
};

/* A sandbox whose corral-init runs. Owns its descriptors. */
struct sandbox {
	pid_t pid;
	int pidfd;
	int control; /* corrald's end */
	int netlink;
	int netns;
	int datagram;
	uint32_t refused; /* enum corral_probe */
};

/* Closes if it is open, and forgets. Keeps errno. */
void close_fd(int *fd);
#define autofd __attribute__((cleanup(close_fd))) int

/* What the host gives every sandbox. */
struct host {
	int init; /* corral-init's executable */
	int netns; /* the network namespace that we live in */
};

enum received { RECEIVED_REQUEST, RECEIVED_MALFORMED, RECEIVED_NOTHING, RECEIVED_END };

/*
 * A copy of the executable that nobody in a sandbox may read. To the kernel, the memory of a process that executes it
 * then belongs to the host's user namespace: no capability inside reaches /proc/1 or traces pid 1, and nothing can be
 * written through /proc/1/exe. -1 with errno.
 */
int seal_executable(int executable);

/*
 * Waits for one message on `socket`. REQUEST: both results are filled. MALFORMED: its header is sound, its contents
 * are not, and it deserves an answer. NOTHING: not a spawn request at all. END: corrald is gone. Whatever came
 * with a message that is no REQUEST has been closed.
 */
enum received receive_request(int socket, struct corral_spawn_request *request,
	struct request_descriptors *descriptors);

/* `sandbox` is looked at only on success. */
void send_reply(int socket, uint64_t tag, struct failure failure, const struct sandbox *sandbox);

/* Returns when corral-init has been executed, or nothing of it is left. At most SPAWN_SECONDS. */
struct failure spawn_sandbox(const struct corral_spawn_request *request, const struct request_descriptors *descriptors,
			     const struct host *host, struct sandbox *sandbox);
#define SPAWN_SECONDS 10

/* What parent and child say to each other over the set-up socket of one spawn. */
struct setup_message {
	struct failure failure;
	uint32_t refused; /* enum corral_probe, from the child */
};

/* A request's detached mounts: the image, the layers above it, then the request's mounts. */
#define TREES_MAX (1 + CORRAL_SPAWN_LAYERS + CORRAL_SPAWN_MOUNTS)

/* `count` descriptors, at most TREES_MAX, travel with it. False with errno. */
_Bool send_setup(int socket, const struct setup_message *message, const int *descriptors, unsigned count);

/* False with errno (ECONNRESET: the other side is gone). `count` holds the room, then what came. */
_Bool receive_setup(int socket, struct setup_message *message, int *descriptors, unsigned *count);

/* The UDP socket of a SPAWN_REPLY. Comes back to the network namespace `home` or ends the process. -1 with errno. */
int open_datagram(int netns, int home);

/* Makes the calls of enum corral_probe and returns those that were refused. Nothing is sent: there is no route yet. */
uint32_t refused_calls(void);

/* The child's whole life before corral-init. */
_Noreturn void child_main(const struct corral_spawn_request *request, int setup, int control, int init_executable);

/*
 * Builds the root in the child's own mount namespace and pivots into it. `trees` are detached mounts: the image, the
 * layers above it, then the request's mounts, in order. On success *upper is the tmpfs that takes the writes.
 */
struct failure enter_root(const struct corral_spawn_request *request, const int *trees, int *upper);

/*
 * /dev, /proc and /sys below `root`; the network namespace's defaults are set on the way. `store` is the tmpfs that
 * holds the STORE_ directories.
 */
struct failure mount_kernel_filesystems(int root, int store, const struct corral_spawn_request *request);

/* One tmpfs carries everything a sandbox may write, under one size limit; these are its directories. */
#define STORE_LOWER "lower"
#define STORE_LAYER "l" /* and a number: 0 is the topmost */
#define STORE_UPPER "upper"
#define STORE_WORK "work"
#define STORE_ROOT "root"
#define STORE_DEV "dev"
#define STORE_SHM "shm"
#define STORE_EMPTY "empty"

/* Detached mount of a new file system, or -1 with errno. `options`: key, value (NULL: a flag), key, value … NULL. */
int new_file_system(const char *type, const char *const *options, uint64_t attributes);

/* Attaches a detached mount at `path` below `directory`; an empty path is the directory itself. False with errno. */
_Bool attach(int mount, int directory, const char *path);

/* A detached copy of what is at `path` below `directory`, or -1 with errno. */
int clone_mount(int directory, const char *path, uint64_t attributes);

_Bool set_mount_attributes(int mount, uint64_t attributes);

/* Writes the whole of `text` to the existing file `path` below `directory`. False with errno. */
_Bool write_file(int directory, const char *path, const char *text);

/* Decimal digits of `value` after what `text` holds; the caller gives room. Returns the new end. */
char *append_decimal(char *text, uint64_t value);
char *append_text(char *text, const char *more);

#endif
