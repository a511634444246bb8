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

# Network namespaces of the whole host, wherever they are held, once they have been as many for three seconds: the kernel frees them some
# time after the last one has let go, and since 6.14 not before another one goes, so one is made for it. It counts what its processors keep
# for the next one as in use, tens of them; a shrunk cache has none of those.
namespaces() {
    local count last= same=0 i
    for ((i = 0; i < 60 && same < 6; i++)); do
        unshare -n true
        sleep 0.1
        echo 1 >/sys/kernel/slab/net_namespace/shrink
        count=$(awk '$1 == "net_namespace" { print $2 }' /proc/slabinfo)
        if [ "$count" = "$last" ]; then same=$((same + 1)); else same=0; fi
        last=$count
        sleep 0.5
    done
    echo "$count"
}
measure() {
    lab_measure
    LAB_HELD[helpers]=$(pgrep -c -P "$LAB_DAEMON")
    LAB_HELD[pins]=$(find "/sys/fs/bpf/corral/$LAB" -mindepth 1 | wc -l)
    # Named network namespaces are those of whoever tests beside us.
    LAB_HELD[mounts]=$(grep -vc " /run/netns" /proc/mounts)
    LAB_HELD[namespaces]=$(namespaces)
    LAB_HELD[run-directory]=$(find "$LAB_DIR/run/" | wc -l)
}
cycles() {
    seq "$1" | xargs -P "$parallel" -I{} sh -c '"$0" run -q --memory 64MiB --pids 32 -- sh -c "echo x >/tmp/f; exit 9" >/dev/null 2>&1; [ $? = 9 ] || echo wrong' \
        "$CORRAL_BIN/corral" | grep -c wrong
}

lab_up || exit 1
lab_corrald || exit 1
# The first ones fill caches and buffers that stay.
cycles $((count / 4 > 100 ? 100 : count / 4)) >/dev/null
lab_settle
measure
for key in "${!LAB_HELD[@]}"; do declare "before_${key//-/_}=${LAB_HELD[$key]}"; done
begun=$(date +%s%N)
wrong=$(cycles "$count")
took=$((($(date +%s%N) - begun) / 1000000))
lab_settle
measure
# What is being written has a name of its own for a moment; what is left over stays, and is named.
for ((i = 0; i < 20 && LAB_HELD[run-directory] > before_run_directory; i++)); do
    sleep 0.5
    LAB_HELD[run-directory]=$(find "$LAB_DIR/run/" | wc -l)
done
[ "${LAB_HELD[run-directory]}" -le "$before_run_directory" ] || find "$LAB_DIR/run/"
echo "$count sandboxes in $took ms, $((count * 1000 / (took > 0 ? took : 1))) a second"
if [ "$wrong" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL  $wrong did not run"; fi
for key in descriptors threads helpers cgroups interfaces pins mounts run-directory; do
    name=before_${key//-/_}
    slack=0
    # Connections and helpers that are just being closed; threads of the pool.
    case $key in descriptors) slack=12 ;; threads) slack=16 ;; helpers) slack=2 ;; esac
    check "$key" "${!name}" "${LAB_HELD[$key]}" $slack
done
# shellcheck disable=SC2154
{
    check "network namespaces of the host" "$before_namespaces" "${LAB_HELD[namespaces]}" 2
    # The daemon keeps the last events, and the allocator what it once had.
    check "anonymous memory of the daemon, KiB" "$before_memory" "${LAB_HELD[memory]}" 8192
    check "unreclaimable slab of the host, KiB" "$before_unreclaimable" "${LAB_HELD[unreclaimable]}" $((8192 + count))
}
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
