#!/bin/bash
# Runs the Swift tests that were built with a sanitizer.
#   Tests/fuzz/sanitize.sh address|thread BUILD-DIRECTORY      FILTER: which tests, as `swift test --filter` has it
set -uo pipefail
cd "$(dirname "$0")/../.."
sanitizer=$1 build=$2
log=$build.log
# Leaks are not looked for: Swift keeps bits of its own in some pointers, which the checker then does not see.
export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=0:exitcode=66 SWIFT_BACKTRACE=enable=no
CORRAL_LINK_TESTS=1 ${SWIFT:-swift} test --skip-build --scratch-path "$build" --sanitize "$sanitizer" \
    ${FILTER:+--filter "$FILTER"} >"$log" 2>&1
status=$?
reports=$(grep -cE 'ERROR: AddressSanitizer|WARNING: ThreadSanitizer' "$log")
echo "sanitize: $sanitizer: $(grep -E 'Test run with' "$log" | tail -n 1 | sed 's/^[^T]*//'); $reports reports"
if [ "$status" != 0 ] || [ "$reports" != 0 ]; then
    grep -E 'ERROR: AddressSanitizer|WARNING: ThreadSanitizer|SUMMARY|recorded an issue|Fatal error' "$log" | sort | uniq -c | head -n 40
    exit 1
fi
