/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The contract between the BPF programs and the controller: map keys and values, and the
 * records that travel through the ring buffer. Compiled by clang for BPF and imported by Swift as the module CorralABI.
 *
 * Zeroed memory must always mean "deny, no policy": every enumeration here is numbered so that it does.
 * Addresses are 16 bytes, network order; IPv4 travels as ::ffff:a.b.c.d. Ports are in host order.
 */
#ifndef CORRAL_ABI_H
#define CORRAL_ABI_H

#ifdef __bpf__
typedef unsigned char corral_u8;
typedef unsigned short corral_u16;
typedef unsigned int corral_u32;
typedef unsigned long long corral_u64;
#else
#include <stdint.h>
typedef uint8_t corral_u8;
typedef uint16_t corral_u16;
typedef uint32_t corral_u32;
typedef uint64_t corral_u64;
#endif

/*
 * Goes up whenever a layout or a meaning of a map below changes. The next corrald carries over what it finds by copying, so that a
 * later version may give a map more entries, or its values more fields at their end that mean nothing when they are zero; the
 * counters and the blocks of a policy cannot be carried over (docs/OPERATIONS.md, Upgrade).
 *
 * 1: the first.
 * 2: more reasons, so that in `verdicts` what is charged to no sandbox went one entry up; META of a policy holds permitted operations.
 */
#ifdef CORRAL_TEST_LAYOUT /* what a next version could be, for Tests/lab/sections_upgrade.sh */
#define CORRAL_ABI_VERSION 3u
#else
#define CORRAL_ABI_VERSION 2u
#endif

/* Goes up when a record of one of the rings changes. Those of an earlier corrald may wait there unread. */
#define CORRAL_RECORD_VERSION 1u

/* Sandboxes one instance can hold at once; the size of every per-slot array. */
#define CORRAL_MAX_SLOTS 16384u

/* Entries of the flow table and of the table of announced destinations, shared by all sandboxes of an instance. */
#define CORRAL_MAX_FLOWS 262144u
#define CORRAL_MAX_ANNOUNCED 65536u

/* Addresses that the resolver has given out, shared by all sandboxes of an instance. */
#ifdef CORRAL_TEST_LAYOUT
#define CORRAL_MAX_PINS 524288u
#else
#define CORRAL_MAX_PINS 262144u
#endif
/* Rules one pinned address carries at once. Names that share an address beyond this open it for the latest ones only. */
#define CORRAL_PIN_RULES 4u

#define CORRAL_MAX_PUBLISHED 16384u

/* Enforced cgroups, each with the network namespaces that its processes are in. */
#define CORRAL_MAX_CGROUP_RESOLVERS 4096u
/* Sockets of enforced cgroups that have asked a name server. */
#define CORRAL_MAX_ASKED 65536u

#define CORRAL_DNS_PORT 53u

/* Sandboxes that may be traced at once. */
#define CORRAL_MAX_TRACED 1024u

/* Entries one compiled policy may have. The trie allocates as it fills. */
#define CORRAL_MAX_POLICY_ENTRIES 1048576u

/* Bytes of the ring that carries decisions. */
#define CORRAL_DECISION_RING_BYTES (8u << 20)

/* "No rule decided": the default, a reserved range, or a packet that never reached the policy. */
#define CORRAL_NO_RULE 0xffffffffu

/* In a PORT entry: the rule is the one of the ADDRESS entry that led here. */
#define CORRAL_RULE_OF_ADDRESS 0xfffffffdu

enum corral_verdict {
	CORRAL_DENY = 0,
	CORRAL_ALLOW = 1,
	CORRAL_WOULD_DENY = 2, /* mode: audit */
};

/* The closed list of DESIGN section 4. */
enum corral_reason {
	CORRAL_REASON_NO_POLICY = 0,
	CORRAL_REASON_ALLOWED_BY_RULE = 1,
	CORRAL_REASON_NO_MATCHING_RULE = 2,
	CORRAL_REASON_DENIED_BY_RULE = 3,
	CORRAL_REASON_RESERVED_ADDRESS = 4,
	CORRAL_REASON_PORT_NOT_ALLOWED = 5,
	CORRAL_REASON_PROTOCOL_NOT_ALLOWED = 6,
	CORRAL_REASON_NAME_NOT_ALLOWED = 7,
	CORRAL_REASON_NAME_NOT_RESOLVED_HERE = 8,
	CORRAL_REASON_LIMIT_EXHAUSTED = 9,
	CORRAL_REASON_SPOOFED_SOURCE = 10,
	CORRAL_REASON_IP_OPTIONS = 11,
	CORRAL_REASON_EXTENSION_HEADER = 12,
	CORRAL_REASON_FRAGMENT = 13,
	CORRAL_REASON_NOT_IP = 14,
	CORRAL_REASON_UNSOLICITED_INBOUND = 15,
	CORRAL_REASON_SYSCALL_NOT_ALLOWED = 16,
	CORRAL_REASON_FOREIGN_SOCKET = 17,
	CORRAL_REASON_PATH_NOT_ALLOWED = 18,
	CORRAL_REASON_COUNT = 19,
};

/* What the kernel may fail to do for a program that asks: index into `failures`. */
enum corral_failure {
	CORRAL_FAILURE_FLOWS = 0,     /* note a flow: its packets are judged anew each time, its replies refused */
	CORRAL_FAILURE_ANNOUNCED = 1, /* note a report: there will be another */
	CORRAL_FAILURE_ASKED = 2,     /* note the server that a query was for: the query is refused */
	CORRAL_FAILURE_ASSIGN = 3,    /* give a query to the resolver's socket: the query is dropped */
	CORRAL_FAILURE_DECISIONS = 4, /* room in the ring of decisions: the event is lost, and counted so */
	CORRAL_FAILURE_TRACE = 5,     /* room in the ring of the trace, likewise */
	CORRAL_FAILURE_THREAD = 6,    /* memory for what is known of a traced thread: its call is counted, its event lost */
	CORRAL_FAILURE_COUNT = 7,
};

enum corral_hook {
	CORRAL_HOOK_NONE = 0,
	CORRAL_HOOK_SOCK_CREATE = 1,
	CORRAL_HOOK_CONNECT4 = 2,
	CORRAL_HOOK_CONNECT6 = 3,
	CORRAL_HOOK_SENDMSG4 = 4,
	CORRAL_HOOK_SENDMSG6 = 5,
	CORRAL_HOOK_VETH_EGRESS = 6,  /* a frame that left the sandbox */
	CORRAL_HOOK_VETH_INGRESS = 7, /* a frame on its way into the sandbox */
	CORRAL_HOOK_CGROUP_EGRESS = 8, /* a packet that a process of the cgroup sends */
	CORRAL_HOOK_LSM = 9,
};

/* What the LSM hooks judge, whichever system call asks for it. */
enum corral_operation {
	CORRAL_OPERATION_NONE = 0,
	CORRAL_OPERATION_MOUNT = 1,
	CORRAL_OPERATION_PTRACE = 2, /* attaching to another process, reading and writing its memory */
	CORRAL_OPERATION_BPF = 3,
	CORRAL_OPERATION_MODULE = 4, /* code for the kernel */
	CORRAL_OPERATION_IO_URING = 5,
	CORRAL_OPERATION_USER_NAMESPACE = 6,
	CORRAL_OPERATION_RECEIVE = 7, /* of an open socket */
	CORRAL_OPERATION_COUNT = 8,
};

/* Of `permitted` in a META entry: policies permit these by the system calls they permit, the others never. */
#define CORRAL_PERMITS(operation) (1u << ((operation)-1))

/* What a policy's rules on paths speak of. */
enum corral_access {
	CORRAL_ACCESS_NONE = 0,
	CORRAL_ACCESS_EXEC = 1,
	CORRAL_ACCESS_READ = 2,
	CORRAL_ACCESS_WRITE = 3,
	CORRAL_ACCESS_COUNT = 4,
};

/* How a process came to a path. */
enum corral_file_action {
	CORRAL_FILE_NONE = 0,
	CORRAL_FILE_EXEC = 1,
	CORRAL_FILE_OPEN = 2,
	CORRAL_FILE_TRUNCATE = 3,
	CORRAL_FILE_CREATE = 4, /* open, mknod, bind */
	CORRAL_FILE_MKDIR = 5,
	CORRAL_FILE_RMDIR = 6,
	CORRAL_FILE_UNLINK = 7,
	CORRAL_FILE_RENAME = 8,
	CORRAL_FILE_LINK = 9,
	CORRAL_FILE_SYMLINK = 10,
	CORRAL_FILE_CHMOD = 11,
	CORRAL_FILE_CHOWN = 12,
	CORRAL_FILE_COUNT = 13,
};

/* Protocols a policy speaks of. ICMP and ICMPv6 are one. */
enum corral_protocol {
	CORRAL_PROTOCOL_ICMP = 1,
	CORRAL_PROTOCOL_TCP = 6,
	CORRAL_PROTOCOL_UDP = 17,
};

/*
 * A compiled policy is one LPM trie with three key spaces, so that swapping one map pointer swaps all of it:
 *   META     prefixlen 32             -> policy number and mode
 *   ADDRESS  prefixlen 32 + 0..128    -> a final answer, or the port set to ask and a rule for it to cite
 *   PORT     prefixlen 72 + 0..16     -> the answer of that set for (protocol, port)
 * The longest match is the whole answer. ADDRESS always holds a /0, and every (set, protocol) pair a port /0;
 * a lookup that finds nothing is therefore damage, and denies.
 */
enum corral_policy_space {
	CORRAL_SPACE_META = 1,
	CORRAL_SPACE_ADDRESS = 2,
	CORRAL_SPACE_PORT = 3,
};

#define CORRAL_META_PREFIX 32u
#define CORRAL_ADDRESS_PREFIX 32u /* plus the prefix length on the 128-bit address */
#define CORRAL_PORT_PREFIX 72u	  /* space, set and protocol; plus the prefix length on the 16-bit port */
#define CORRAL_FULL_PREFIX 160u	  /* what a lookup passes */

struct corral_policy_key {
	corral_u32 prefixlen; /* bits of what follows */
	corral_u8 space;      /* enum corral_policy_space */
	corral_u8 zero[3];
	/* ADDRESS: the address. PORT: set (4 bytes, big endian), protocol, port (2 bytes, big endian), zeros. */
	corral_u8 bytes[16];
};

enum corral_policy_flag {
	CORRAL_POLICY_PORTS = 1u << 0, /* ADDRESS: not final, ask the port set */
	CORRAL_POLICY_AUDIT = 1u << 1, /* META: mode audit */
	CORRAL_POLICY_ICMP = 1u << 2,  /* META: some rule allows icmp, so ping sockets may be made */
	CORRAL_POLICY_NAMES = 1u << 3, /* META: names are resolved, so port 53 of any address is the resolver */
	CORRAL_POLICY_EXEC = 1u << 4,  /* META: there are rules on the paths of what is executed, in `path_rules` */
	CORRAL_POLICY_READ = 1u << 5,  /* META: of what is read */
	CORRAL_POLICY_WRITE = 1u << 6, /* META: of what is written */
};

/* Of an access, its flag in META. */
#define CORRAL_POLICY_ACCESS(access) (CORRAL_POLICY_EXEC << ((access)-1))

struct corral_policy_value {
	corral_u32 set;	 /* META: number of the policy, unique in the instance. ADDRESS: port set */
	/*
	 * Rule that decided, or CORRAL_NO_RULE; deny rules carry CORRAL_RULE_DENY. PORT: or CORRAL_RULE_OF_ADDRESS, so that
	 * blocks with equal ports share one set.
	 */
	corral_u32 rule;
	corral_u8 verdict;
	corral_u8 reason;
	corral_u8 flags; /* enum corral_policy_flag */
	corral_u8 permitted; /* META: CORRAL_PERMITS of each operation that is */
};

/* Set in a rule number that counts egress.deny; clear in one that counts egress.allow. */
#define CORRAL_RULE_DENY 0x80000000u
/* Of a rule on paths, in its number: the enum corral_access whose list it is in. */
#define CORRAL_RULE_ACCESS_SHIFT 28u
#define CORRAL_RULE_INDEX 0x0fffffffu

/* Rule of a flow that came in by a published port, or that an enforced cgroup has accepted; no policy decides on it. */
#define CORRAL_RULE_PUBLISHED 0xfffffffeu

/* Bytes of a path that are judged. No rule has more than CORRAL_RULE_PATH_BYTES, so that what follows decides nothing. */
#define CORRAL_PATH_BYTES 251u
#define CORRAL_RULE_PATH_BYTES 240u

/* Instead of an enum corral_access: directories that a rule names or that lie above one. */
#define CORRAL_PATHS_ABOVE CORRAL_ACCESS_COUNT

/* Rules on paths that one policy may have, as entries of its trie. */
#define CORRAL_MAX_PATH_ENTRIES 65536u
/* Policies with such rules in force at once in an instance. */
#define CORRAL_MAX_PATH_POLICIES 16384u

/*
 * The rules on paths of one policy are a trie of their own, which is found in `path_rules` by the policy's number. The longest match
 * is the whole answer; for each access that META's flags name there is one without a path, so that a look-up that finds nothing
 * is damage, and denies. A file's path ends in a zero byte there, an open directory's in a slash. What has no path is asked
 * about with none.
 */
struct corral_path_key {
	corral_u32 prefixlen; /* bits of what follows */
	corral_u8 space;      /* enum corral_access, or CORRAL_PATHS_ABOVE */
	corral_u8 path[CORRAL_PATH_BYTES];
};

#define CORRAL_PATH_PREFIX 8u /* plus the bits of the path */
#define CORRAL_PATH_FULL_PREFIX (8u * (1u + CORRAL_PATH_BYTES))

struct corral_path_value {
	corral_u32 rule; /* or CORRAL_NO_RULE */
	corral_u8 verdict;
	corral_u8 zero[3];
};

/* Value of `sandboxes`, one a slot. epoch 0 is an empty slot. */
struct corral_sandbox {
	corral_u64 epoch; /* number of this sandbox in the instance, never used twice */
	corral_u8 ipv4[4];
	corral_u8 ipv6[16];
	corral_u8 mac[6];	  /* of eth0, inside */
	corral_u8 gateway_mac[6]; /* of the veth's host side */
	corral_u32 ifindex;	  /* of the veth's host side; 0: a cgroup that Corral did not make */
	corral_u32 zero[5];
};

/* Value of `sandbox_counters`, one a slot, memory-mapped by the controller. All grow only. */
struct corral_counters {
	corral_u64 seq;	 /* number of the newest event of this sandbox; the controller takes from it too */
	corral_u64 lost; /* events that found the ring full */
	corral_u64 allowed;
	corral_u64 denied;
	corral_u64 packets_out;
	corral_u64 bytes_out;
	corral_u64 packets_in;
	corral_u64 bytes_in;
	corral_u64 connections; /* flows that the sandbox opened, those to the resolver left out */
	corral_u64 throttled;	/* frames dropped by the rate */
	corral_u64 exhausted_bytes;	  /* refusals for the budget of bytes */
	corral_u64 exhausted_connections; /* and of connections */
	corral_u64 dns_queries; /* of the resolver, which counts them here for the daemon that comes after */
	corral_u64 zero[3];
};

/* Value of `budgets`, one a slot. 0: unlimited. */
struct corral_budget {
	corral_u64 bytes; /* that may leave, whole frames counted, from the sandbox's start */
	corral_u64 connections;
	corral_u64 bytes_per_second;
	corral_u64 burst; /* bytes that a quiet sandbox may send at once */
};

/* Value of `buckets`, one a slot: what `bytes_per_second` has left. */
struct corral_bucket {
	corral_u32 lock; /* struct bpf_spin_lock */
	corral_u32 zero;
	corral_u64 tokens; /* bytes */
	corral_u64 filled_ns;
};

/*
 * An address that the resolver gave to a sandbox. The policy is in the key, since `set` is a number of that policy: pins of
 * the next policy are written before it comes into force.
 */
struct corral_pin_key {
	corral_u32 slot;
	corral_u32 epoch; /* low half of the sandbox's epoch */
	corral_u32 policy;
	corral_u8 address[16];
};

struct corral_pin_rule {
	corral_u64 expires_ns; /* CLOCK_BOOTTIME; 0: not in use */
	corral_u32 set;	       /* port set that answers */
	corral_u32 rule;
};

struct corral_pin {
	struct corral_pin_rule rules[CORRAL_PIN_RULES];
};

/* A port of a sandbox that the host forwards connections to; a port at which the resolver serves an enforced cgroup. */
struct corral_port_key {
	corral_u32 slot;
	corral_u32 epoch;
	corral_u16 port;
	corral_u8 protocol;
	corral_u8 zero;
};

/* What the controller asks the program `ask`. */
struct corral_question {
	corral_u64 epoch;
	corral_u32 slot;
	corral_u16 port;
	corral_u8 protocol; /* enum corral_protocol */
	corral_u8 zero;
	corral_u8 address[16];
};

/* Where the resolver listens, in the host's network namespace; port 0: nowhere. */
struct corral_resolver {
	corral_u8 ipv4[4];
	corral_u8 ipv6[16];
	corral_u16 port_udp4; /* host order */
	corral_u16 port_udp6;
	corral_u16 port_tcp4;
	corral_u16 port_tcp6;
	corral_u32 mark; /* of packets for it, by which they are routed to the host itself */
};

/* Where the resolver serves an enforced cgroup: on the loopback addresses of each network namespace that it is in. */
struct corral_cgroup_resolver_key {
	corral_u32 slot;
	corral_u32 epoch; /* low half */
	corral_u64 netns; /* cookie (SO_NETNS_COOKIE) */
};

/* The name server that a socket believes it talks to. */
struct corral_asked {
	corral_u8 address[16];
	corral_u16 port; /* host order */
	corral_u16 zero;
};

/* What the sandbox opened; replies are matched against it. */
struct corral_flow_key {
	corral_u32 slot;
	corral_u32 epoch;      /* low half of the sandbox's epoch */
	corral_u8 remote[16];
	corral_u16 local_port; /* ICMP: echo identifier */
	corral_u16 remote_port;
	corral_u8 protocol; /* enum corral_protocol */
	corral_u8 zero[3];
};

struct corral_flow {
	corral_u64 seen_ns; /* CLOCK_BOOTTIME of the newest packet */
	corral_u32 policy;  /* number of the policy that allowed it */
	corral_u32 rule;    /* or CORRAL_RULE_PUBLISHED */
#ifdef CORRAL_TEST_LAYOUT
	corral_u64 more;
#endif
};

/* Destinations that have been reported: what a cgroup hook saw, and what a budget refuses, need no second report soon. */
struct corral_announced_key {
	corral_u32 slot;
	corral_u32 epoch;
	corral_u8 remote[16];
	corral_u16 remote_port;
	corral_u8 protocol;
	corral_u8 exhausted; /* 1: as refused for a budget */
};

enum corral_event_type {
	CORRAL_EVENT_NONE = 0,
	CORRAL_EVENT_EGRESS = 1,
	CORRAL_EVENT_INGRESS = 2,
	CORRAL_EVENT_OPERATION = 3, /* one was refused: `protocol` says which */
	CORRAL_EVENT_FILE = 4, /* a path was refused: struct corral_file_event */
};

#define CORRAL_COMM_BYTES 16u
#define CORRAL_EXE_BYTES 160u

/* One decision, as it travels through the ring buffer `decisions`. */
struct corral_event {
	corral_u16 version; /* CORRAL_RECORD_VERSION */
	corral_u16 size;    /* of this record */
	corral_u8 type;	    /* enum corral_event_type */
	corral_u8 hook;	    /* enum corral_hook */
	corral_u8 verdict;  /* enum corral_verdict */
	corral_u8 reason;   /* enum corral_reason */
	corral_u64 time_ns; /* CLOCK_BOOTTIME */
	corral_u64 seq;
	corral_u64 epoch;
	corral_u32 slot;
	corral_u32 policy; /* number of the policy asked, 0 when none was */
	corral_u32 rule;
	corral_u16 port;       /* the remote's; 0 where the protocol has none */
	corral_u16 local_port; /* 0 where not known */
	corral_u8 address[16]; /* the remote's, as the program or packet gave it */
	corral_u8 family;      /* 4 or 6, as the program or packet gave it; 0 for no address */
	corral_u8 protocol;    /* IANA number; of CORRAL_EVENT_OPERATION, enum corral_operation */
	corral_u16 ethertype;  /* not_ip only */
	/* The process that asked; all zero where the packet alone was seen. */
	corral_u32 pid;	 /* in the sandbox's pid namespace */
	corral_u32 ppid; /* likewise */
	corral_u32 host_pid;
	corral_u32 host_uid;
	corral_u32 exec_count; /* how often this process has called execve */
	corral_u64 start_ns;   /* CLOCK_BOOTTIME of the process's start */
	corral_u8 comm[CORRAL_COMM_BYTES];
	/* Path components of the executable, the last first, each ended by a zero byte. Empty where it could not be read. */
	corral_u8 exe[CORRAL_EXE_BYTES];
};

struct corral_file_event {
	struct corral_event event;
	corral_u8 action; /* enum corral_file_action */
	corral_u8 access; /* enum corral_access */
	corral_u8 above;  /* 1: a directory was to be moved that holds what `rule` names */
	corral_u8 zero[2];
	corral_u8 path[CORRAL_PATH_BYTES]; /* up to a zero byte, without one it goes on; empty: it has none */
};

#define CORRAL_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " must stay " #bytes " bytes")
CORRAL_ASSERT_SIZE(struct corral_policy_key, 24);
CORRAL_ASSERT_SIZE(struct corral_policy_value, 12);
CORRAL_ASSERT_SIZE(struct corral_sandbox, 64);
CORRAL_ASSERT_SIZE(struct corral_counters, 128);
CORRAL_ASSERT_SIZE(struct corral_budget, 32);
CORRAL_ASSERT_SIZE(struct corral_bucket, 24);
CORRAL_ASSERT_SIZE(struct corral_pin_key, 28);
CORRAL_ASSERT_SIZE(struct corral_pin, 64);
CORRAL_ASSERT_SIZE(struct corral_port_key, 12);
CORRAL_ASSERT_SIZE(struct corral_cgroup_resolver_key, 16);
CORRAL_ASSERT_SIZE(struct corral_asked, 20);
CORRAL_ASSERT_SIZE(struct corral_resolver, 32);
CORRAL_ASSERT_SIZE(struct corral_question, 32);
CORRAL_ASSERT_SIZE(struct corral_flow_key, 32);
#ifndef CORRAL_TEST_LAYOUT
CORRAL_ASSERT_SIZE(struct corral_flow, 16);
#endif
CORRAL_ASSERT_SIZE(struct corral_announced_key, 28);
CORRAL_ASSERT_SIZE(struct corral_event, 272);
CORRAL_ASSERT_SIZE(struct corral_file_event, 528);
CORRAL_ASSERT_SIZE(struct corral_path_key, 256);
CORRAL_ASSERT_SIZE(struct corral_path_value, 8);

#include "corral_trace_abi.h"

#endif
