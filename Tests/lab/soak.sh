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

declare -A now
measure() {
    now[descriptors]=$(find "/proc/$LAB_DAEMON/fd" -mindepth 1 | wc -l)
    now[memory]=$(awk '/^RssAnon/ { print $2 }' "/proc/$LAB_DAEMON/status")
    now[threads]=$(find "/proc/$LAB_DAEMON/task" -mindepth 1 -maxdepth 1 | wc -l)
    now[slab]=$(awk '/^SUnreclaim/ { print $2 }' /proc/meminfo)
    now[cgroups]=$(lab_cgroups | wc -l)
    now[interfaces]=$(ip -n "$LAB_HOST" -o link show | grep -c crl)
}
note() { printf '%s: %s KiB anonymous, %s descriptors, %s threads, %s cgroups, %s interfaces, %s KiB slab\n' "$1" "${now[memory]}" \
    "${now[descriptors]}" "${now[threads]}" "${now[cgroups]}" "${now[interfaces]}" "${now[slab]}"; }
settle() {
    local i
    for ((i = 0; i < 600; i++)); do
        "$CORRAL_BIN/corral" pool | grep -q 'being destroyed' || break
        sleep 0.1
    done
    sleep 5
}

lab_up || exit 1
lab_start refused-capture "$LAB_REFUSED" "$LAB_BIN/labcapture" all eth0 || exit 1
LAB_POOL=8 lab_corrald || exit 1
driver() { python3 -B "$LAB_ROOT/Tests/lab/soak.py" "$LAB_DIR/run/corral.sock" "$PERMITTED4" "$REFUSED4" "$@"; }
# What is counted afterwards is not to be what the first ones fill.
driver warm 20 $((sandboxes / 5)) "$clients" >/dev/null || { echo "soak: the first calls fail" >&2; exit 1; }
settle
measure
note before
for key in "${!now[@]}"; do declare "before_$key=${now[$key]}"; done
lab_count refused-capture
driver run "$seconds" "$sandboxes" "$clients" | tee "$LAB_DIR/soak.out"
status=${PIPESTATUS[0]}
lab_count refused-capture
check "frames at the far side of what is refused" 0 "$LAB_FRAMES"
check "calls that were not answered as they should be" 0 "$(awk '$1 == "wrong" { n += $2 } END { print n + 0 }' "$LAB_DIR/soak.out")"
check "the driver's exit" 0 "$status"
kill -0 "$LAB_DAEMON" 2>/dev/null
check "corrald lives" 0 $?
settle
measure
note after
# shellcheck disable=SC2154
{
    check "descriptors" $((before_descriptors + 16)) "${now[descriptors]}"
    check "threads" $((before_threads + 32)) "${now[threads]}"
    check "cgroups" "$before_cgroups" "${now[cgroups]}"
    check "interfaces" "$before_interfaces" "${now[interfaces]}"
    # The allocator keeps some of what it once had.
    check "anonymous memory of corrald, KiB" $((before_memory + 32768)) "${now[memory]}"
    check "unreclaimable slab of the host, KiB" $((before_slab + 32768)) "${now[slab]}"
}
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
