/* Gives the header a translation unit, so that its size assertions are checked in the Swift build too. */
#include "corral_control.h"
