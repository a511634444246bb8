#ifndef CORRAL_HEAP_SHIM_H
#define CORRAL_HEAP_SHIM_H

#include <stddef.h>

/* What the allocator has given out, and what it holds and has not; bytes. */
struct corral_heap {
	size_t used;
	size_t free;
};

struct corral_heap corral_heap(void);

#endif
