#!/bin/bash
# Many clients do everything at random against one corrald with many live sandboxes, and what they leave is looked at:
#   Tests/lab/soak.sh [SECONDS] [SANDBOXES] [CLIENTS]
# Every call must be answered as the API says, nothing may grow, nothing that is refused may come out. `N passed, N failed, N skipped`
# is the last line.
set -uo pipefail
. "$(dirname "$0")/lab.sh"
lab_require
seconds=${1:-600} sandboxes=${2:-500} clients=${3:-50}
passed=0 failed=0
check() { # NAME LIMIT FOUND
    if [ "$3" -le "$2" ]; then
        passed=$((passed + 1))
        printf 'ok    %-52s %s\n' "$1" "$3"
    else
        failed=$((failed + 1))
        printf 'FAIL  %-52s %s, more than %s\n' "$1" "$3" "$2"
    fi
}

note() { printf '%s: %s KiB allocated, %s KiB anonymous, %s descriptors, %s threads, %s cgroups, %s interfaces, %s KiB slab\n' "$1" "${LAB_HELD[heap]}" "${LAB_HELD[memory]}" \
    "${LAB_HELD[descriptors]}" "${LAB_HELD[threads]}" "${LAB_HELD[cgroups]}" "${LAB_HELD[interfaces]}" "${LAB_HELD[unreclaimable]}"; }

lab_up || exit 1
lab_start refused-capture "$LAB_REFUSED" "$LAB_BIN/labcapture" all eth0 || exit 1
LAB_POOL=8 lab_corrald || exit 1
driver() { python3 -B "$LAB_ROOT/Tests/lab/soak.py" "$LAB_DIR/run/corral.sock" "$PERMITTED4" "$REFUSED4" "$@"; }
# Equal load first: what is counted afterwards is not to be what the first ones fill. A leak grows with the time, caches do not.
first=$((seconds / 5 > 20 ? seconds / 5 : 20))
driver warm $first "$sandboxes" "$clients" >/dev/null || { echo "soak: the first calls fail" >&2; exit 1; }
lab_settle
lab_measure
note before
for key in "${!LAB_HELD[@]}"; do declare "before_$key=${LAB_HELD[$key]}"; done
lab_count refused-capture
driver run "$seconds" "$sandboxes" "$clients" | tee "$LAB_DIR/soak.out"
status=${PIPESTATUS[0]}
lab_count refused-capture
check "frames at the far side of what is refused" 0 "$LAB_FRAMES"
check "calls that were not answered as they should be" 0 "$(awk '$1 == "wrong" { n += $2 } END { print n + 0 }' "$LAB_DIR/soak.out")"
check "the driver's exit" 0 "$status"
kill -0 "$LAB_DAEMON" 2>/dev/null
check "corrald lives" 0 $?
lab_settle
lab_measure
note after
# shellcheck disable=SC2154
{
    check "descriptors" $((before_descriptors + 16)) "${LAB_HELD[descriptors]}"
    check "threads" $((before_threads + 32)) "${LAB_HELD[threads]}"
    check "cgroups" "$before_cgroups" "${LAB_HELD[cgroups]}"
    check "interfaces" "$before_interfaces" "${LAB_HELD[interfaces]}"
    check "memory that corrald has allocated, KiB" $((before_heap + 2048)) "${LAB_HELD[heap]}"
    # The allocator keeps some of what it once had.
    check "anonymous memory of corrald, KiB" $((before_memory + 16384)) "${LAB_HELD[memory]}"
    check "unreclaimable slab of the host, KiB" $((before_unreclaimable + 32768)) "${LAB_HELD[unreclaimable]}"
}
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
