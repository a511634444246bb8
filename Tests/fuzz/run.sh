#!/bin/bash
# Runs fuzz targets one after another: their committed corpus first, then new inputs for SECONDS each.
#   Tests/fuzz/run.sh SECONDS [TARGET...]       default: all; `N passed, N failed` is the last line
# CORRAL_FUZZ_PROGRAM: where the Swift targets are, built without instrumentation. What inputs reach does not lead to others then.
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=$1
shift
build=build/fuzz
passed=0 failed=0
[ $# -gt 0 ] || set -- $(ls Tests/fuzz/corpus)
export CORRAL_FUZZ_SCRATCH
CORRAL_FUZZ_SCRATCH=$(mktemp -d /dev/shm/corral-fuzz.XXXXXX)
trap 'rm -rf "$CORRAL_FUZZ_SCRATCH"' EXIT
# The crash reporter can hang after a crash; libFuzzer reports too.
export SWIFT_BACKTRACE=enable=no
for target in "$@"; do
    corpus=Tests/fuzz/corpus/$target
    [ -d "$corpus" ] || { echo "fuzz: no target $target" >&2; exit 2; }
    grown=$build/corpus/$target
    mkdir -p "$grown" "$build/found"
    program=$build/$target
    leaks=1
    if [ ! -x "$program" ]; then
        program=${CORRAL_FUZZ_PROGRAM:-$build/swift/release/corral-fuzz}
        # Swift keeps bits of its own in some pointers, which the leak checker then does not see.
        leaks=0
    fi
    # A request has 12,920 bytes, neither more nor less.
    longest=8192
    [ "$target" = spawn ] && longest=12921
    options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len="$longest" -artifact_prefix="$build/found/$target-"
        -print_final_stats=1)
    [ -f "Tests/fuzz/dictionaries/$target.dict" ] && options+=("-dict=Tests/fuzz/dictionaries/$target.dict")
    if [ "$program" = "${CORRAL_FUZZ_PROGRAM:-}" ]; then
        grown=$CORRAL_FUZZ_SCRATCH/$target
        mkdir "$grown"
    fi
    log=$build/$target.log
    if CORRAL_FUZZ_TARGET=$target ASAN_OPTIONS=detect_leaks=$leaks nice "$program" "${options[@]}" \
        "$grown" "$corpus" >"$log" 2>&1; then
        passed=$((passed + 1))
        printf 'fuzz: %-9s clean: %s, %s\n' "$target" "$(grep -E '^Done ' "$log")" \
            "$(grep -oE 'DONE +cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | sed 's/DONE *//')"
    else
        failed=$((failed + 1))
        echo "FAIL  fuzz: $target broke:"
        grep -E 'broken:|Fatal error|ERROR|SUMMARY|Test unit written' "$log" | cut -c1-400 | sed 's/^/  /'
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
