#ifndef CORRAL_TRACE_SHIM_H
#define CORRAL_TRACE_SHIM_H

#include <stddef.h>

/* Calls that a test makes and the trace is to tell of. */
struct corral_workload {
	const char *procs;   /* file cgroup.procs of the cgroup to make them in */
	const char *path;    /* opened for reading, and closed */
	const char *missing; /* likewise; there is no such file */
	const void *filter;  /* seccomp program that refuses add_key; NULL for none */
	size_t filter_size;
	unsigned loops;	    /* of getppid */
	unsigned refusals;  /* of add_key */
	int code;	    /* exit code */
};

/*
 * For tests: does it in a child of a child, in a pid namespace of its own. The exit code; -1 and errno when it could not be
 * begun.
 */
int corral_workload_run(const struct corral_workload *workload);

#endif
