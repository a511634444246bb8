#!/bin/bash
# Starts and ends many sandboxes and shows that they leave nothing and grow nothing: Tests/lab/cycles.sh [COUNT] [AT-ONCE].
# `N passed, N failed, N skipped` is the last line.
set -uo pipefail
. "$(dirname "$0")/lab.sh"
lab_require
count=${1:-200} parallel=${2:-8}
passed=0 failed=0
check() { # NAME BEFORE AFTER SLACK
    if [ "$3" -le $(($2 + $4)) ]; then
        passed=$((passed + 1))
        printf 'ok    %-44s %s -> %s\n' "$1" "$2" "$3"
    else
        failed=$((failed + 1))
        printf 'FAIL  %-44s %s -> %s, more than %s beyond\n' "$1" "$2" "$3" "$4"
    fi
}

# Objects of the kernel's caches that a sandbox has some of; what is freed late has been waited for.
slab() { awk -v name="$1" '$1 == name { print $2 }' /proc/slabinfo; }
measure() {
    declare -gA now
    now[descriptors]=$(find "/proc/$LAB_DAEMON/fd" -mindepth 1 | wc -l)
    now[memory]=$(awk '/^(RssAnon)/ { print $2 }' "/proc/$LAB_DAEMON/status")
    now[threads]=$(find "/proc/$LAB_DAEMON/task" -mindepth 1 -maxdepth 1 | wc -l)
    now[helpers]=$(pgrep -c -P "$LAB_DAEMON")
    now[cgroups]=$(lab_cgroups | wc -l)
    now[interfaces]=$(ip -n "$LAB_HOST" -o link show | wc -l)
    now[pins]=$(find "/sys/fs/bpf/corral/$LAB" -mindepth 1 | wc -l)
    # Named network namespaces are those of whoever tests beside us.
    now[mounts]=$(grep -vc " /run/netns" /proc/mounts)
    now[namespaces]=$(slab net_namespace)
    now[unreclaimable]=$(awk '/^SUnreclaim/ { print $2 }' /proc/meminfo)
    now[run-directory]=$(find "$LAB_DIR/run" | wc -l)
}
settle() {
    local i
    for ((i = 0; i < 300; i++)); do
        "$CORRAL_BIN/corral" pool | grep -q 'being destroyed' || break
        sleep 0.1
    done
    # Namespaces and cgroups are freed by the kernel a while after their last user.
    sleep 3
}
cycles() {
    seq "$1" | xargs -P "$parallel" -I{} sh -c '"$0" run -q --memory 64MiB --pids 32 -- sh -c "echo x >/tmp/f; exit 9" >/dev/null 2>&1; [ $? = 9 ] || echo wrong' \
        "$CORRAL_BIN/corral" | grep -c wrong
}

lab_up || exit 1
lab_corrald || exit 1
# The first ones fill caches and buffers that stay.
cycles $((count / 4 > 100 ? 100 : count / 4)) >/dev/null
settle
measure
for key in "${!now[@]}"; do declare "before_${key//-/_}=${now[$key]}"; done
begun=$(date +%s%N)
wrong=$(cycles "$count")
took=$((($(date +%s%N) - begun) / 1000000))
settle
measure
echo "$count sandboxes in $took ms, $((count * 1000 / (took > 0 ? took : 1))) a second"
if [ "$wrong" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL  $wrong did not run"; fi
for key in descriptors threads helpers cgroups interfaces pins mounts run-directory; do
    name=before_${key//-/_}
    slack=0
    # Connections and helpers that are just being closed; threads of the pool.
    case $key in descriptors) slack=12 ;; threads) slack=16 ;; helpers) slack=2 ;; esac
    check "$key" "${!name}" "${now[$key]}" $slack
done
# shellcheck disable=SC2154
{
    check "network namespaces (slab objects)" "$before_namespaces" "${now[namespaces]}" 8
    # The daemon keeps the last events, and the allocator what it once had.
    check "anonymous memory of the daemon, KiB" "$before_memory" "${now[memory]}" 8192
    check "unreclaimable slab of the host, KiB" "$before_unreclaimable" "${now[unreclaimable]}" $((8192 + count))
}
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
