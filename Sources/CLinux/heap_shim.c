#define _GNU_SOURCE
#include "heap_shim.h"

#include <malloc.h>

/*
 * Before any thread has an arena. By itself the allocator lets these two rise to the largest block that was ever freed (mallopt(3)), and
 * each arena then keeps that much: the few megabytes that a start takes for a moment would stay for good.
 */
__attribute__((constructor)) static void keep_little(void)
{
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 10);
}

struct corral_heap corral_heap(void)
{
	struct mallinfo2 info = mallinfo2();

	return (struct corral_heap){.used = info.uordblks + info.hblkhd, .free = info.fordblks};
}
