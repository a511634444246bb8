#!/bin/bash
# Writes Sources/CorralPolicy/SyscallNumbers.swift from the kernel headers of this machine (linux-libc-dev): `make syscalls`.
set -euo pipefail
cd "$(dirname "$0")/.."
include=/usr/include
multiarch=$include/$(gcc -print-multiarch)

# Calls that are younger than some distributions' headers. Since number 424 all architectures share numbers
# (scripts/syscall.tbl of Linux 6.18).
young="451 cachestat 452 fchmodat2 453 map_shadow_stack 454 futex_wake 455 futex_wait 456 futex_requeue 457 statmount
458 listmount 459 lsm_get_self_attr 460 lsm_set_self_attr 461 lsm_list_modules 462 mseal 463 setxattrat 464 getxattrat
465 listxattrat 466 removexattrat 467 open_tree_attr 468 file_getattr 469 file_setattr"

# HEADER FLAG... -> "number name" lines, as the compiler sees them
numbers() {
    local header=$1
    shift
    gcc -E -dM "$@" -include "$header" -x c /dev/null | awk '/^#define __NR_/ { print substr($2, 6) }' | sort -u |
        grep -vE '^(syscalls|arch_specific_syscall)$' | {
        while read -r name; do printf 'corral_%s __NR_%s\n' "$name" "$name"; done | gcc -E -P "$@" -include "$header" -x c -
    } | sed -n 's/^corral_\([a-z0-9_]*\) (*\([0-9x+() ]*\)$/\2 \1/p' | tr -d '()' |
        while read -r words; do
            name=${words##* } value=${words% *}
            echo "$((value & ~0x40000000)) $name"
        done
}

# One name per number, in columns; a number stands before a name that does not follow the last.
table() {
    { cat; xargs -n2 <<<"$young"; } | sort -n -k1,1 -s | awk '
        seen[$1]++ { next }
        { print ($1 == next_number ? "" : $1 ":") $2; next_number = $1 + 1 }' | fmt -w 108 | sed 's/^/        /'
}

{
    cat <<'SWIFT'
// Written by bpf/syscalls.sh from the kernel's headers.

/// Names in the order of their numbers; a number and a colon stand before a name that does not follow the last.
enum SyscallNumbers {
    static let amd64 = """
SWIFT
    numbers "$multiarch/asm/unistd_64.h" | table
    printf '        """\n\n    /// Numbers without __X32_SYSCALL_BIT. Those from 512 on are calls whose arguments differ from those of x86-64.\n'
    printf '    static let x32 = """\n'
    numbers "$multiarch/asm/unistd_x32.h" -D__X32_SYSCALL_BIT=0x40000000 | table
    printf '        """\n\n    static let i386 = """\n'
    numbers "$multiarch/asm/unistd_32.h" | table
    printf '        """\n\n    static let arm64 = """\n'
    # What arch/arm64/include/uapi/asm/unistd.h asks the common header for.
    numbers "$include/asm-generic/unistd.h" -D__BITS_PER_LONG=64 -D__ARCH_WANT_RENAMEAT -D__ARCH_WANT_NEW_STAT \
        -D__ARCH_WANT_SET_GET_RLIMIT -D__ARCH_WANT_TIME32_SYSCALLS -D__ARCH_WANT_SYS_CLONE3 -D__ARCH_WANT_MEMFD_SECRET | table
    printf '        """\n}\n'
} >Sources/CorralPolicy/SyscallNumbers.swift
