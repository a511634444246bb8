#include "seccomp_shim.h"
