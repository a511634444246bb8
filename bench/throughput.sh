#!/bin/bash
# How fast a command's output comes out of `corral run`, beside `cat` through a pipe in the same run. As root; needs make build.
#
#   bench/throughput.sh [MEBIBYTES]     4096 by default; the median of five rounds, both kinds in turn
set -euo pipefail
. "$(dirname "$0")/../Tests/lab/lab.sh"
lab_require
size=${1:-4096}
lab_up
LAB_POOL=4 lab_corrald

# COMMAND...: MB/s of what it writes into a pipe.
rate() {
    local begun ended
    begun=$(date +%s%N)
    "$@" | head -c "${size}M" >/dev/null
    ended=$(date +%s%N)
    echo $((size * 1048576 * 1000 / (ended - begun)))
}
produce="head -c ${size}M /dev/zero"
native() { sh -c "$produce" | cat; }
sandboxed() { "$CORRAL_BIN/corral" run -- sh -c "$produce"; }
typed() { "$CORRAL_BIN/corral" run -i -- cat </dev/zero 2>/dev/null; }
median() { sort -n | sed -n 3p; }

for _ in 1 2 3 4 5; do
    rate native >>"$LAB_DIR/native"
    rate sandboxed >>"$LAB_DIR/sandboxed"
done
native=$(median <"$LAB_DIR/native") sandboxed=$(median <"$LAB_DIR/sandboxed")
echo "cat through a pipe   $native MB/s   ($(sort -n "$LAB_DIR/native" | tr '\n' ' '))"
echo "corral run           $sandboxed MB/s   ($(sort -n "$LAB_DIR/sandboxed" | tr '\n' ' '))"
echo "ratio                $((sandboxed * 100 / native)) %"
