/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counts of what the kernel did not do for a program that asked. The answer of the program does not depend on them. */
#ifndef CORRAL_FAILURE_BPF_H
#define CORRAL_FAILURE_BPF_H

#include "lib/maps.bpf.h"

static __always_inline void count_failure(__u32 what)
{
	__u64 *count = bpf_map_lookup_elem(&failures, &what);

	if (count)
		(*count)++;
}

#endif
