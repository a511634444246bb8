#!/bin/bash
# Documents that programs write are current, manual pages and completions are well formed, and `make install` and `make uninstall`
# are each other's opposite. `N passed, N failed, N skipped` is the last line.
set -uo pipefail
cd "$(dirname "$0")/../.."
BIN=${CORRAL_BIN:-.build/release}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0 skipped=0
check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$dir/complaint" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name: $(head -c 2000 "$dir/complaint")"
    fi
}
skip() {
    skipped=$((skipped + 1))
    echo "skip  $1: $2"
}
empty() { [ ! -s "$1" ] || { cat "$1"; false; }; }

python3 -B packaging/manual.py cli "$BIN/corral" "$BIN/corrald" >"$dir/CLI.md" || exit 1
check "docs/CLI.md is what the programs say (make docs)" diff docs/CLI.md "$dir/CLI.md"
# Commands that documents show are commands that there are.
python3 -B packaging/manual.py commands "$BIN/corral" | awk '{ print $2 }' | sort -u >"$dir/commands"
grep -hoE '^(\$ )?(sudo )?corral [a-z]+' README.md docs/*.md | sed -E 's/.*corral //' | sort -u | grep -vxFf "$dir/commands" | grep -vx help >"$dir/unknown"
check "every command that a document shows is one" empty "$dir/unknown"

# Relative links lead to files.
for document in README.md CONTRIBUTING.md docs/*.md bench/*.md; do
    grep -oE '\]\([^)#]+' "$document" | sed 's/^](//' | grep -vE '^[a-z]+:' | while read -r target; do
        [ -e "$(dirname "$document")/$target" ] || echo "$document: $target"
    done
done >"$dir/dead"
check "links in documents lead to files" empty "$dir/dead"

make -s man completions BUILD="$BIN" >"$dir/out" 2>&1 || { cat "$dir/out"; exit 1; }
for page in build/man/*; do
    if command -v groff >/dev/null; then groff -man -ww -Tutf8 "$page" 2>&1 >/dev/null; fi
    if command -v mandoc >/dev/null; then mandoc -T lint -W warning "$page"; fi
done >"$dir/pages"
if command -v groff >/dev/null || command -v mandoc >/dev/null; then
    check "$(find build/man -type f | wc -l) manual pages are well formed" empty "$dir/pages"
else skip "manual pages are well formed" "neither groff nor mandoc is installed"; fi
while read -r _ command; do
    [ -z "$command" ] || [ -s "build/man/corral-$(echo "$command" | tr ' ' -).1" ] || echo "$command"
done < <(python3 -B packaging/manual.py commands "$BIN/corral") >"$dir/pageless"
check "every command has a page" empty "$dir/pageless"
for shell in bash zsh fish; do
    if command -v $shell >/dev/null; then
        for program in corral corrald; do check "$program's completions are $shell" $shell -n build/completions/$program.$shell; done
    else skip "completions are $shell" "$shell is not installed"; fi
    check "corral completion $shell prints them" bash -c "'$BIN/corral' completion $shell | sed '1{/^#!/d}' | diff - build/completions/corral.$shell"
done
# As bash asks for them.
check "bash completes a command and an option" bash -c '
    . build/completions/corral.bash
    COMP_WORDS=(corral po) COMP_CWORD=1 COMP_LINE="corral po" COMP_POINT=9
    _corral corral po corral && [[ " ${COMPREPLY[*]} " == *" policy "* ]]
    COMP_WORDS=(corral run --pol) COMP_CWORD=2 COMP_LINE="corral run --pol" COMP_POINT=16
    _corral corral --pol run && [[ " ${COMPREPLY[*]} " == *"--policy"* ]]'

if [ -d .build/release/Modules ]; then
    packaging/docc.sh >"$dir/docc" 2>&1 || echo "docc failed: $(tail -5 "$dir/docc")" >"$dir/docc.own"
    grep -A3 '[.]docc/' "$dir/docc" >>"$dir/docc.own"
    check "pages of the libraries name symbols that there are" empty "$dir/docc.own"
else skip "pages of the libraries" "nothing is built here"; fi

install=(make -s DESTDIR="$dir/root" PREFIX=/opt/corral BUILD="$BIN")
mkdir "$dir/root"
check "make install" "${install[@]}" install
check "the installed client runs" "$dir/root/opt/corral/bin/corral" --version
check "and the program beside it that speaks TLS" \
    grep -q '^corral-tls: started by corral' <<<"$("$dir/root/opt/corral/libexec/corral/corral-tls" 2>&1)"
check "the installed daemon takes the installed settings" "$dir/root/opt/corral/bin/corrald" --check --config "$dir/root/etc/corral/corrald.yaml"
check "the unit starts what was installed" grep -q '^ExecStart=/opt/corral/bin/corrald ' "$dir/root/opt/corral/lib/systemd/system/corrald.service"
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify --man=no --recursive-errors=no "$dir/root/opt/corral/lib/systemd/system/corrald.service" 2>&1 |
        grep -F corrald.service | grep -vF 'is not executable' >"$dir/unit" # what it starts is below another root
    check "systemd takes the unit" empty "$dir/unit"
fi
echo "pool: 3" >"$dir/root/etc/corral/corrald.yaml"
check "make install again" "${install[@]}" install
check "settings are not written over" grep -qx 'pool: 3' "$dir/root/etc/corral/corrald.yaml"
check "make uninstall" "${install[@]}" uninstall
find "$dir/root" ! -type d >"$dir/left"
check "only the settings are left" [ "$(cat "$dir/left")" = "$dir/root/etc/corral/corrald.yaml" ]
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
