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
# Processors that were at work in the two seconds before: the load average still has what the bench before did.
at_work() {
    local before after
    before=$(head -1 /proc/stat)
    sleep 2
    after=$(head -1 /proc/stat)
    # user nice system idle iowait irq softirq steal; of all processors
    printf '%s\n%s\n' "$before" "$after" | awk -v count="$(nproc)" '
        { idle[NR] = $5 + $6; for (i = 2; i <= 9; i++) all[NR] += $i }
        END { span = all[2] - all[1]; printf "%.2f", span ? count * (span - idle[2] + idle[1]) / span : 0 }'
}
for name in "${names[@]}"; do
    echo "== $name ($mode)"
    : >"$work/$name.lines"
    from=$SECONDS
    BENCH_LOAD=$(at_work)
    export BENCH_LOAD
    awk -v busy="$BENCH_LOAD" 'BEGIN { if (busy > 0.5) print "bench: other work takes " busy " processors: what is measured now says little" }'
    if BENCH_MODE=$mode BENCH_LINES=$work/$name.lines "bench/$name/bench.sh"; then
        python3 -B bench/report.py assemble "$name" "$mode" "$work/$name.lines" "$results/$name.json"
        echo "== $name: $((SECONDS - from)) s"
    else
        echo "== $name: FAILED"
        failed=1
    fi
done
exit $failed
