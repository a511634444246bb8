/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Gives the header a translation unit, so that its size assertions are checked in the Swift build too. */
#include "corral_abi.h"
