#!/bin/bash
# Runs benches and writes one result each: bench/results/NAME.json.
#   bench/run.sh quick|full [NAME...]      BENCH_RESULTS=DIRECTORY writes elsewhere
#
# A bench is bench/NAME/bench.sh. It sources bench/lib.sh, makes what it needs in namespaces and an instance of its own, and
# calls `series` and `skipped`; docs: bench/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:?quick or full}
shift
[ "$(id -u)" = 0 ] || { echo "bench: needs root" >&2; exit 1; }
results=${BENCH_RESULTS:-bench/results}
mkdir -p "$results"
names=("$@")
[ $# -gt 0 ] || names=($(for file in bench/*/bench.sh; do basename "$(dirname "$file")"; done))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
awk '$1 > 1 { print "bench: the load is " $1 ": what is measured now says little" }' /proc/loadavg
for name in "${names[@]}"; do
    echo "== $name ($mode)"
    : >"$work/$name.lines"
    from=$SECONDS
    BENCH_LOAD=$(cut -d' ' -f1 /proc/loadavg)
    export BENCH_LOAD
    if BENCH_MODE=$mode BENCH_LINES=$work/$name.lines "bench/$name/bench.sh"; then
        python3 -B bench/report.py assemble "$name" "$mode" "$work/$name.lines" "$results/$name.json"
        echo "== $name: $((SECONDS - from)) s"
    else
        echo "== $name: FAILED"
        failed=1
    fi
done
exit $failed
