#!/bin/bash
# Runs every block of commands of docs/QUICKSTART.md, in order, in the lab. A line must succeed, or fail where it begins with `!`.
# `N passed, N failed, N skipped` is the last line.
set -uo pipefail
cd "$(dirname "$0")/../.."
. Tests/docs/setting.sh
document=$PWD/docs/QUICKSTART.md
setting_up

# `<!-- file: NAME -->` before a block puts it into a file; a block of `sh` is a step.
awk '
    /^<!-- file: .* -->$/ { file = $3; next }
    /^```$/ && inside { inside = 0; close(out); next }
    /^```sh$/ { out = sprintf("step.%02d", ++steps); inside = 1; next }
    /^```yaml$/ && file != "" { out = file; file = ""; inside = 1; next }
    inside { print >out }' "$document"
passed=0 failed=0
for step in step.*; do
    # Lines that go on with a backslash or a quote are one command; `set -e` takes no notice of a `!` that succeeds.
    if out=$(in_ns "$LAB_HOST" bash -euo pipefail -c '
        while IFS= read -r line; do
            while [[ $line == *\\ ]]; do IFS= read -r more; line=${line%\\}$more; done
            [ -n "$line" ] || continue
            eval "$line" </dev/null || { echo "failed: $line"; exit 1; }
        done <"$0"' "$step" 2>&1); then
        passed=$((passed + 1))
        echo "ok    $(head -1 "$step")"
    else
        failed=$((failed + 1))
        echo "FAIL  $step: $out"
    fi
done
[ $((passed + failed)) -gt 5 ] || failed=$((failed + 1))
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
