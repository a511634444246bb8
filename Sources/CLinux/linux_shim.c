#define _GNU_SOURCE
#include "linux_shim.h"

#include <string.h>

const char *corral_errno_name(int number)
{
	return strerrorname_np(number);
}

const char *corral_errno_text(int number)
{
	return strerrordesc_np(number);
}
