#!/bin/bash
# Runs fuzz targets one after another: their committed corpus first, then new inputs for SECONDS each.
#   Tests/fuzz/run.sh SECONDS TARGET...
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=$1
shift
build=build/fuzz
failed=0
export CORRAL_FUZZ_SCRATCH
CORRAL_FUZZ_SCRATCH=$(mktemp -d /dev/shm/corral-fuzz.XXXXXX)
trap 'rm -rf "$CORRAL_FUZZ_SCRATCH"' EXIT
# The crash reporter can hang after a crash; libFuzzer reports too.
export SWIFT_BACKTRACE=enable=no
for target in "$@"; do
    corpus=Tests/fuzz/corpus/$target
    [ -d "$corpus" ] || { echo "fuzz: no target $target" >&2; exit 2; }
    mkdir -p "$build/corpus/$target" "$build/found"
    program=$build/$target
    leaks=1
    if [ ! -x "$program" ]; then
        program=$build/swift/release/corral-fuzz
        # Swift keeps bits of its own in some pointers, which the leak checker then does not see.
        leaks=0
    fi
    # A request has 12,920 bytes, neither more nor less.
    longest=8192
    [ "$target" = spawn ] && longest=12921
    options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len="$longest" -artifact_prefix="$build/found/$target-"
        -print_final_stats=1)
    [ -f "Tests/fuzz/dictionaries/$target.dict" ] && options+=("-dict=Tests/fuzz/dictionaries/$target.dict")
    log=$build/$target.log
    if CORRAL_FUZZ_TARGET=$target ASAN_OPTIONS=detect_leaks=$leaks nice "$program" "${options[@]}" \
        "$build/corpus/$target" "$corpus" >"$log" 2>&1; then
        printf 'fuzz: %-9s clean: %s, %s\n' "$target" "$(grep -E '^Done ' "$log")" \
            "$(grep -oE 'DONE +cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | sed 's/DONE *//')"
    else
        failed=$((failed + 1))
        echo "fuzz: $target broke:"
        grep -E 'broken:|Fatal error|ERROR|SUMMARY|Test unit written' "$log" | cut -c1-400 | sed 's/^/  /'
    fi
done
[ "$failed" = 0 ]
