/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The part of the contract that the trace of system calls and processes needs. Included by corral_abi.h, which has the types.
 */
#ifndef CORRAL_TRACE_ABI_H
#define CORRAL_TRACE_ABI_H

/* Bytes of the ring that carries the trace. */
#define CORRAL_TRACE_RING_BYTES (32u << 20)

/* Calls of one ABI that have a row of their own in the counts, and rows in all: the last counts every other call. */
#define CORRAL_SYSCALLS 640u
#define CORRAL_SYSCALL_ABIS 4u
#define CORRAL_TRACE_ROWS 2561u
_Static_assert(CORRAL_TRACE_ROWS == CORRAL_SYSCALL_ABIS * CORRAL_SYSCALLS + 1, "Swift imports no such expression");

/* Size of `traced_cgroups`, a power of two. */
#define CORRAL_TRACED_CGROUPS 4096u

/* Size of `near_threads`, a power of two. */
#define CORRAL_NEAR_THREADS 1024u

enum corral_syscall_abi {
	CORRAL_ABI_NATIVE = 0,
	CORRAL_ABI_COMPAT = 1, /* 32-bit: i386 on x86-64 */
	CORRAL_ABI_X32 = 2,
	CORRAL_ABI_IO_URING = 3, /* no call: an operation that a ring has taken. Its number is the opcode */
};

enum corral_trace_mode {
	CORRAL_TRACE_OFF = 0,
	CORRAL_TRACE_COUNTS = 1, /* no events of calls */
	CORRAL_TRACE_EVENTS = 2, /* of the calls whose rows want them */
};

/* Value of `traces`, one a slot, memory-mapped by the controller. */
struct corral_trace {
	corral_u64 produced; /* bytes put into the ring for this sandbox, those of the ring's own headers too */
	corral_u64 consumed; /* bytes that the controller has taken out; what lies between is in the ring */
	corral_u64 quota;    /* that may be in the ring at once */
	/* These two are written as one word. */
	corral_u32 mode;    /* enum corral_trace_mode */
	corral_u32 session; /* counts how often it was switched on: what an earlier session knew of a thread means nothing */
	corral_u32 init;    /* host pid of the sandbox's pid 1, which is Corral's own and not traced */
	corral_u32 rows;    /* index in `trace_rows` */
	corral_u32 zero[4];
};

/* One row of a sandbox's counts. All but `wanted` grow only. */
struct corral_trace_row {
	corral_u64 calls; /* that have returned, or cannot return */
	corral_u64 errors;
	corral_u64 refused; /* by seccomp; in `errors` too */
	corral_u64 duration_ns;
	corral_u64 wanted; /* enum corral_trace_want */
};

/* Which calls of a row are events. */
enum corral_trace_want {
	CORRAL_WANT_NONE = 0,
	CORRAL_WANT_EACH = 1,
	CORRAL_WANT_FIRST = 2, /* the first that a thread makes since it executed, and those that seccomp refuses */
};

/* What to copy of one argument. */
enum corral_capture_kind {
	CORRAL_CAPTURE_NONE = 0,
	CORRAL_CAPTURE_STRING = 1,
	CORRAL_CAPTURE_STRINGS = 2,	/* pointers to strings, ended by NULL */
	CORRAL_CAPTURE_FIXED = 3,	/* `size` bytes */
	CORRAL_CAPTURE_BYTES = 4,	/* as many as the next argument says, at most `size` */
	CORRAL_CAPTURE_FIXED_OUT = 5,	/* the same, once the call has returned without an error */
	CORRAL_CAPTURE_RESULT_OUT = 6,	/* as many as the call returned, at most `size` */
	CORRAL_CAPTURE_LENGTH_OUT = 7,	/* as many as the 32-bit word that the next argument points to says */
};

#define CORRAL_CAPTURES 4u

struct corral_capture {
	corral_u8 argument; /* 0 to 5 */
	corral_u8 kind;	    /* enum corral_capture_kind */
	corral_u8 size;	    /* at most CORRAL_CAPTURE_BYTES_MOST */
	corral_u8 zero;
};

enum corral_plan_flag {
	CORRAL_PLAN_NO_RETURN = 1u << 0,    /* exit */
	CORRAL_PLAN_RETURNS_TWICE = 1u << 1, /* clone */
	CORRAL_PLAN_EXEC = 1u << 2,	     /* replaces the memory that its arguments are in */
};

/* Value of `trace_plans`, one a row: what the programs have to know of a call. */
struct corral_plan {
	struct corral_capture captures[CORRAL_CAPTURES];
	corral_u32 flags; /* enum corral_plan_flag */
	corral_u32 zero;
};

/* Bytes copied at most: of a string with its zero, of anything else, and of one string of several. */
#define CORRAL_CAPTURE_STRING_MOST 256u
#define CORRAL_CAPTURE_BYTES_MOST 128u
#define CORRAL_CAPTURE_ITEM_MOST 64u
#define CORRAL_CAPTURE_ITEMS 8u
/* Of all captures of a call, with their heads. */
#define CORRAL_TRACE_DATA 1152u

/* In front of each piece of `data`; the next begins at a multiple of 4. */
struct corral_captured {
	corral_u8 argument;
	corral_u8 state; /* enum corral_captured_state */
	corral_u16 size; /* of what follows */
};

enum corral_captured_state {
	CORRAL_CAPTURED_WHOLE = 0,
	CORRAL_CAPTURED_CUT = 1,	/* there is more */
	CORRAL_CAPTURED_UNREADABLE = 2, /* nothing follows: the memory is not there, or not in memory now */
};

enum corral_trace_type {
	CORRAL_TRACE_SYSCALL = 1,
	CORRAL_TRACE_EXEC = 2,
	CORRAL_TRACE_FORK = 3,
	CORRAL_TRACE_EXIT = 4,
};

enum corral_trace_flag {
	CORRAL_TRACE_REFUSED = 1u << 0,	  /* by seccomp: it returned without having begun */
	CORRAL_TRACE_UNSEEN = 1u << 1,	  /* it began before the trace; its arguments and duration are not known */
	CORRAL_TRACE_NO_RETURN = 1u << 2, /* it has begun and will not return */
	CORRAL_TRACE_NO_ROOM = 1u << 3,	  /* some captures are left out */
};

/* In front of every record of the ring `trace`. */
struct corral_trace_head {
	corral_u16 version; /* CORRAL_RECORD_VERSION */
	corral_u16 size;    /* of this record */
	corral_u8 type;	    /* enum corral_trace_type */
	corral_u8 abi;	    /* enum corral_syscall_abi; calls only */
	corral_u16 flags;   /* enum corral_trace_flag; calls only */
	corral_u64 time_ns; /* CLOCK_BOOTTIME; of the beginning, where a call has one */
	corral_u64 seq;
	corral_u64 epoch;
	corral_u32 slot;
	/* The process, as struct corral_event has it, and the thread. */
	corral_u32 pid;
	corral_u32 ppid;
	corral_u32 tid; /* in the sandbox's pid namespace */
	corral_u32 host_pid;
	corral_u32 host_tid;
	corral_u32 host_uid;
	corral_u32 exec_count;
	corral_u64 start_ns;
	corral_u8 comm[CORRAL_COMM_BYTES];
};

/* One system call. The record ends with the data that is used. */
struct corral_syscall {
	struct corral_trace_head head;
	corral_u32 number;
	corral_u32 used; /* bytes of data */
	corral_u64 arguments[6]; /* of an operation of io_uring: the descriptor, and the program's mark */
	corral_u64 result; /* as the register held it */
	corral_u64 duration_ns;
	corral_u8 data[CORRAL_TRACE_DATA];
};

#define CORRAL_ARGV_BYTES 512u

/* A process has executed a program; the head shows it as it is then. Paths as `exe` of struct corral_event. */
struct corral_execution {
	struct corral_trace_head head;
	corral_u32 argv_size; /* bytes of argv that are used */
	corral_u32 argv_cut;  /* 1: there is more */
	corral_u8 exe[CORRAL_EXE_BYTES];
	corral_u8 directory[CORRAL_EXE_BYTES]; /* the working directory */
	corral_u8 argv[CORRAL_ARGV_BYTES];     /* each argument ended by a zero byte */
};

/* A process has made another, or has ended. */
struct corral_step {
	struct corral_trace_head head;
	/* The child; fork only. */
	corral_u32 child_pid;
	corral_u32 child_host_pid;
	corral_u32 child_exec_count;
	corral_u32 status; /* as wait(2) gives it; exit only, and so are the rest */
	corral_u64 child_start_ns;
	corral_u64 user_ns; /* by the clock's ticks: good for the ratio of the two */
	corral_u64 system_ns;
	corral_u64 run_ns; /* both together, exact */
	corral_u64 peak_pages; /* of memory */
};

CORRAL_ASSERT_SIZE(struct corral_trace, 56);
CORRAL_ASSERT_SIZE(struct corral_trace_row, 40);
CORRAL_ASSERT_SIZE(struct corral_plan, 24);
CORRAL_ASSERT_SIZE(struct corral_captured, 4);
CORRAL_ASSERT_SIZE(struct corral_trace_head, 88);
CORRAL_ASSERT_SIZE(struct corral_syscall, 160 + CORRAL_TRACE_DATA);
CORRAL_ASSERT_SIZE(struct corral_execution, 928);
CORRAL_ASSERT_SIZE(struct corral_step, 144);

#endif
