#!/bin/bash
# The rules that grep can hold.
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0
found() { # MESSAGE LINES
    [ -z "$2" ] && return
    echo "lint: $1"
    echo "$2" | sed 's/^/  /'
    bad=1
}
found "C modules belong to CorralKernel alone" \
    "$(grep -rnE 'import +(CLinux|CorralControl)\b' Sources --include='*.swift' | grep -v '^Sources/CorralKernel/')"
found "the ABI header belongs to CorralKernel and CorralEvents" \
    "$(grep -rnE 'import +CorralABI\b' Sources --include='*.swift' | grep -vE '^Sources/(CorralKernel|CorralEvents)/')"
found "the CLI and its rooms never see the engine" \
    "$(grep -rnE 'import +(CorralKernel|CorralEngine|CorralServer)\b' Sources/corral Sources/CorralAPI Sources/CorralPolicy Sources/CorralEvents --include='*.swift' 2>/dev/null)"
found "unfinished work" "$(git grep -nE '\b(TODO|FIXME|XXX)\b' -- ':!Tests/lint.sh' ':!LICENSE')"
found "paths of one machine" "$(git grep -nE '(^|[^a-z0-9.-])/(work|home/[a-z]+/|root/|opt/swift)' -- Sources Tests bpf docs Makefile '*.md' ':!Tests/lint.sh' | grep -vE '/home/user|/work(dir|er)|/root(/|fs)?["` ]')"
found "files over 500 lines" "$(git ls-files '*.swift' '*.c' '*.h' '*.sh' | xargs -r wc -l 2>/dev/null | awk '$1 > 500 && $2 != "total"')"
if [ "${1:-}" != quick ]; then
    ${SWIFT:-swift} format lint --strict --recursive --parallel --configuration .swift-format Package.swift Sources Tests || bad=1
fi
if command -v promtool >/dev/null; then promtool check rules packaging/alerts.yaml >/dev/null || bad=1; fi
[ "$bad" = 0 ] && echo "lint: clean"
exit "$bad"
