/* What Swift cannot import from glibc, libseccomp and libbpf: the functions and constants that hide behind _GNU_SOURCE,
 * variadic functions, and macros. */
#ifndef CLINUX_H
#define CLINUX_H

#include "bpf_shim.h"
#include "files_shim.h"
#include "heap_shim.h"
#include "linux_shim.h"
#include "seccomp_shim.h"
#include "trace_shim.h"

#endif
