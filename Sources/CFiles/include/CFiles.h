/* File calls that Swift's Glibc module does not carry. */
#ifndef CORRAL_CFILES_H
#define CORRAL_CFILES_H

#include <sys/statfs.h>
#include <sys/xattr.h>

#endif
