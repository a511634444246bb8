#!/bin/bash
# Runs the Swift tests that were built with a sanitizer.
#   Tests/fuzz/sanitize.sh address|thread BUILD-DIRECTORY      FILTER: which tests, as `swift test --filter` has it
set -uo pipefail
cd "$(dirname "$0")/../.."
sanitizer=$1 build=$2
log=$build.log
# Leaks are not looked for: Swift keeps bits of its own in some pointers, which the checker then does not see.
export ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no
export TSAN_OPTIONS=halt_on_error=0:exitcode=66:suppressions=$PWD/Tests/fuzz/thread.suppressions
# What measures time does not hold at a sanitizer's pace.
# shellcheck disable=SC2086
CORRAL_LINK_TESTS=1 ${SWIFT:-swift} test ${CORRAL_SWIFT_FLAGS:?run this through make} --skip-build --scratch-path "$build" --sanitize "$sanitizer" \
    --skip 'InTime|Quickly|LargePolicyTests' ${FILTER:+--filter "$FILTER"} >"$log" 2>&1
status=$?
reports=$(grep -cE 'ERROR: AddressSanitizer|WARNING: ThreadSanitizer' "$log")
summary=$(grep -oE 'Test run with .*' "$log" | tail -n 1)
echo "sanitize: $sanitizer: ${summary:-no test ran}; $reports reports"
if [ "$status" != 0 ] || [ "$reports" != 0 ] || [ -z "$summary" ]; then
    grep -E 'ERROR: AddressSanitizer|WARNING: ThreadSanitizer|SUMMARY|recorded an issue|Fatal error' "$log" | sort | uniq -c | head -n 40
    exit 1
fi
