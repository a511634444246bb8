/*
 * What corrald, corral-spawn and corral-init say to each other. Compiled by all three: by musl-gcc for the two
 * small programs and imported by Swift as the module CorralControl.
 *
 * Both conversations run over SOCK_SEQPACKET socket pairs, one message a packet, host byte order (one machine, one
 * build). Every message starts with corral_control_header; a receiver checks version, type, size and the number of
 * descriptors before it looks at anything else, and drops what does not fit.
 *
 *   corrald -> corral-spawn   SPAWN_REQUEST  + cgroup descriptors
 *   corral-spawn -> corrald   SPAWN_REPLY    + pidfd, control socket, rtnetlink socket, netns, UDP socket (none on error)
 *   corral-init -> corrald    HELLO          when it is parked
 *   corrald -> corral-init    LISTEN + listening socket; SECRET, EXEC, SIGNAL, FORGET
 *   corral-init -> corrald    STARTED + stdin write end, stdout and stderr read ends, or a terminal's master |
 *                             EXEC_FAILED; later EXITED
 * When corrald is gone its successor connects to the socket that came with LISTEN. corral-init then speaks to that one: HELLO,
 * then STARTED of each command that it has not been told to FORGET, with its streams but for stdin, and EXITED of each of them
 * that has ended. Commands do not notice.
 */
#ifndef CORRAL_CONTROL_H
#define CORRAL_CONTROL_H

#include <stdint.h>

#define CORRAL_CONTROL_VERSION 1u

/* File descriptors at which corral-spawn and corral-init find their control socket. */
#define CORRAL_CONTROL_FD 3

/* corral-spawn finds corral-init's executable here. */
#define CORRAL_INIT_FD 4

/* corral-init finds the root of the tmpfs that takes all writes here (O_PATH), for changing its size limit. */
#define CORRAL_UPPER_FD 4

/* Largest message: an EXEC with its arguments, environment and seccomp program. */
#define CORRAL_CONTROL_MAX (512u * 1024u)

enum corral_control_type {
	CORRAL_SPAWN_REQUEST = 1,
	CORRAL_SPAWN_REPLY = 2,
	CORRAL_HELLO = 16,
	CORRAL_EXEC = 17,
	CORRAL_STARTED = 18,
	CORRAL_EXEC_FAILED = 19,
	CORRAL_EXITED = 20,
	CORRAL_SIGNAL = 21,
	CORRAL_SECRET = 22,
	CORRAL_FORGET = 23,
	CORRAL_LISTEN = 24,
};

struct corral_control_header {
	uint16_t version; /* CORRAL_CONTROL_VERSION */
	uint16_t type;	  /* enum corral_control_type */
	uint32_t size;	  /* of the whole message */
	uint64_t tag;	  /* chosen by the asker, returned in each answer: a spawn's or an exec's number */
};

/* What a step that failed was doing; travels with an errno. */
enum corral_stage {
	CORRAL_STAGE_NONE = 0,
	CORRAL_STAGE_REQUEST = 1,  /* the message itself was malformed */
	CORRAL_STAGE_CLONE = 2,
	CORRAL_STAGE_IDMAP = 3,	   /* uid_map, gid_map, idmapped mount */
	CORRAL_STAGE_CGROUP = 4,
	CORRAL_STAGE_LOWER = 5,	   /* read-only image */
	CORRAL_STAGE_UPPER = 6,	   /* tmpfs that takes the writes */
	CORRAL_STAGE_OVERLAY = 7,
	CORRAL_STAGE_BIND = 8,	   /* one of the request's mounts */
	CORRAL_STAGE_PROC = 9,
	CORRAL_STAGE_SYS = 10,
	CORRAL_STAGE_DEV = 11,
	CORRAL_STAGE_PIVOT = 12,
	CORRAL_STAGE_HOSTNAME = 13,
	CORRAL_STAGE_NETLINK = 14, /* rtnetlink socket in the new namespace, loopback up */
	CORRAL_STAGE_INIT = 15,	   /* execveat of corral-init */
	CORRAL_STAGE_PIPES = 32,
	CORRAL_STAGE_FORK = 33,
	CORRAL_STAGE_CHDIR = 34,
	CORRAL_STAGE_LIMITS = 35,  /* rlimits, size of the upper layer */
	CORRAL_STAGE_PRIVILEGES = 36, /* capabilities, no_new_privs */
	CORRAL_STAGE_SECCOMP = 37,
	CORRAL_STAGE_EXECVE = 38,
	CORRAL_STAGE_SECRETS = 48, /* files of /run/secrets */
	CORRAL_STAGE_TERMINAL = 39,
};

#define CORRAL_PATH_BYTES 256u
#define CORRAL_HOSTNAME_BYTES 64u
#define CORRAL_SPAWN_MOUNTS 16u
#define CORRAL_SPAWN_LAYERS 16u
#define CORRAL_SPAWN_CGROUPS 8u

/* The host's own accounts stay below; a sandbox needs room for the usual ones (gid 5 tty, uid 1000). */
#define CORRAL_UID_BASE_MIN 65536u
#define CORRAL_UID_COUNT_MIN 1024u

enum corral_mount_flag {
	CORRAL_MOUNT_READ_ONLY = 1u << 0,
	CORRAL_MOUNT_DESCRIPTOR = 1u << 1, /* `source` is in words only; what is meant comes as a descriptor */
	CORRAL_MOUNT_OWNED = 1u << 2,	   /* owner_uid and owner_gid alone are root inside, all others nobody */
};

/*
 * A directory or file of the host shown inside, through an idmapped mount, always nosuid and nodev. What is missing of
 * its target is made in the upper layer.
 */
struct corral_mount {
	char source[CORRAL_PATH_BYTES]; /* absolute, on the host; zero-terminated */
	char target[CORRAL_PATH_BYTES]; /* absolute, inside */
	uint32_t flags;			/* enum corral_mount_flag */
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint32_t zero;
};

/*
 * Descriptors that travel with it: the cgroup v2 directory first (for CLONE_INTO_CGROUP), then `v1_count`
 * cgroup.procs files of v1 hierarchies, open for writing, into which the child is put before it runs anything, then
 * those of the mounts with CORRAL_MOUNT_DESCRIPTOR, in their order.
 */
struct corral_spawn_request {
	struct corral_control_header header;
	uint32_t uid_base;  /* host uid and gid of the sandbox's root; at least CORRAL_UID_BASE_MIN */
	uint32_t uid_count; /* at least CORRAL_UID_COUNT_MIN; corral-init itself runs as the last of them */
	uint64_t upper_bytes;  /* size limit of the tmpfs that takes all writes; 0: the kernel's default */
	uint64_t upper_inodes; /* likewise */
	uint32_t v1_count;
	uint32_t mount_count;
	uint32_t layer_count;
	uint32_t zero;
	char hostname[CORRAL_HOSTNAME_BYTES];
	char image[CORRAL_PATH_BYTES]; /* root directory of the lowest read-only layer, on the host */
	char layers[CORRAL_SPAWN_LAYERS][CORRAL_PATH_BYTES]; /* those above it, the topmost first */
	struct corral_mount mounts[CORRAL_SPAWN_MOUNTS];
};

/*
 * Calls that the hooks of a sandbox under the deny-all policy refuse. Before corral-init takes its place, the child makes
 * each of them; without a hook it would succeed or find no route.
 */
enum corral_probe {
	CORRAL_PROBE_SOCK_CREATE = 1u << 0, /* a raw socket */
	CORRAL_PROBE_CONNECT4 = 1u << 1,
	CORRAL_PROBE_CONNECT6 = 1u << 2,
	CORRAL_PROBE_SENDMSG4 = 1u << 3,
	CORRAL_PROBE_SENDMSG6 = 1u << 4,
};

/*
 * On success `error` is 0 and five descriptors come with it, in the order of the comment at the top. The UDP socket is one of
 * AF_INET6 in the sandbox's network namespace that no cgroup hook of the sandbox sees; what it sends ends at the next host.
 */
struct corral_spawn_reply {
	struct corral_control_header header;
	int32_t error; /* errno */
	uint32_t stage; /* enum corral_stage */
	int32_t pid;	/* of corral-init, on the host */
	uint32_t refused; /* enum corral_probe: calls of the child that failed with EPERM */
};

/* The tag counts the commands that a successor will be told of. */
struct corral_hello {
	struct corral_control_header header;
};

enum corral_exec_flag {
	CORRAL_EXEC_STDIN = 1u << 0,		 /* make a pipe for stdin; otherwise /dev/null */
	CORRAL_EXEC_KEEP_CAPABILITIES = 1u << 1, /* tests only: proves the BPF layer alone */
	CORRAL_EXEC_TERMINAL = 1u << 2,		 /* all three streams are a terminal of the sandbox's own devpts, the
						    controlling one of the command's session; without EXEC_STDIN */
};

/*
 * Followed by `seccomp_bytes` of struct sock_filter (0: no filter), then zero-terminated strings: `argc`
 * arguments, `envc` variables (K=V), one working directory. They must fill the message exactly.
 * argv[0] without a slash is looked up in the PATH given in the variables.
 */
struct corral_exec {
	struct corral_control_header header;
	uint32_t flags; /* enum corral_exec_flag */
	uint32_t argc;	/* at least 1 */
	uint32_t envc;
	uint32_t seccomp_bytes;
	uint64_t upper_bytes; /* new size limit of the upper layer; 0: leave it */
	uint64_t open_files;  /* RLIMIT_NOFILE, soft and hard; 0: leave it */
	uint32_t uid;	      /* inside; below corral-init's own, which is the last there is */
	uint32_t gid;	      /* likewise */
	uint16_t rows;	      /* of the terminal */
	uint16_t columns;
	uint32_t processes; /* RLIMIT_NPROC: processes and threads of the command's user; 0: leave it */
};

/*
 * With CORRAL_EXEC_TERMINAL one descriptor, the terminal's master. Otherwise two or three: stdin's write end if
 * CORRAL_EXEC_STDIN was set, then stdout's and stderr's read ends.
 */
struct corral_started {
	struct corral_control_header header;
	int32_t pid; /* inside */
	uint32_t zero;
};

struct corral_exec_failed {
	struct corral_control_header header;
	int32_t error;
	uint32_t stage;
};

struct corral_exited {
	struct corral_control_header header;
	int32_t status; /* as wait(2) gives it */
	uint32_t zero;
	uint64_t user_us;
	uint64_t system_us;
	uint64_t max_rss_kib;
};

/* To the whole process group of the command that `tag` started. */
struct corral_signal {
	struct corral_control_header header;
	int32_t signal;
	uint32_t zero;
};

/*
 * The end of the command `tag` is written down and its output taken: no successor needs to hear of it. Until then it is kept with
 * what it wrote, unless its place is needed for another.
 */
struct corral_forget {
	struct corral_control_header header;
};

/* One descriptor: a SOCK_SEQPACKET socket that listens, where nobody but the host's root can connect. Once. */
struct corral_listen {
	struct corral_control_header header;
};

#define CORRAL_SECRET_NAME_BYTES 64u
#define CORRAL_SECRET_BYTES (64u * 1024u)

/*
 * Followed by `bytes` of content: a file /run/secrets/<name>, mode 0400. What cannot be written is answered with EXEC_FAILED,
 * and no EXEC is taken from then on.
 */
struct corral_secret {
	struct corral_control_header header;
	uint32_t uid; /* inside */
	uint32_t gid;
	uint32_t bytes; /* at most CORRAL_SECRET_BYTES */
	uint32_t zero;
	char name[CORRAL_SECRET_NAME_BYTES]; /* letters, digits, '_', '-' and '.', not first; zero-terminated */
};

#define CORRAL_CONTROL_ASSERT(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " must stay " #bytes " bytes")
CORRAL_CONTROL_ASSERT(struct corral_control_header, 16);
CORRAL_CONTROL_ASSERT(struct corral_mount, 528);
CORRAL_CONTROL_ASSERT(struct corral_spawn_request, 12920);
CORRAL_CONTROL_ASSERT(struct corral_spawn_reply, 32);
CORRAL_CONTROL_ASSERT(struct corral_hello, 16);
CORRAL_CONTROL_ASSERT(struct corral_exec, 64);
CORRAL_CONTROL_ASSERT(struct corral_started, 24);
CORRAL_CONTROL_ASSERT(struct corral_exec_failed, 24);
CORRAL_CONTROL_ASSERT(struct corral_exited, 48);
CORRAL_CONTROL_ASSERT(struct corral_signal, 24);
CORRAL_CONTROL_ASSERT(struct corral_secret, 96);
CORRAL_CONTROL_ASSERT(struct corral_forget, 16);
CORRAL_CONTROL_ASSERT(struct corral_listen, 16);

#endif
