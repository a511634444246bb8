#define _GNU_SOURCE
#include "heap_shim.h"

#include <malloc.h>

struct corral_heap corral_heap(void)
{
	struct mallinfo2 info = mallinfo2();

	return (struct corral_heap){.used = info.uordblks + info.hblkhd, .free = info.fordblks};
}
