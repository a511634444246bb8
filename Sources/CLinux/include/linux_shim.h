#ifndef CORRAL_LINUX_SHIM_H
#define CORRAL_LINUX_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* "EPERM" and "Operation not permitted"; NULL for a number that is no errno. Both live forever. */
const char *corral_errno_name(int number);
const char *corral_errno_text(int number);

#endif
