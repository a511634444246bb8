#!/bin/bash
# Runs the named suites and sums them: `N passed, N failed, N skipped` is the last line. A suite that ran nothing has failed.
#   Tests/run.sh [spawn] [swift] [fuzz] [bypass] [cycles] [demo] [packaging] [vm]
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
log=$(mktemp) wrong=$(mktemp)
trap 'rm -f "$log" "$wrong"' EXIT

add() { # SUITE STATUS PASSED FAILED SKIPPED
    local p=${3:-0} f=${4:-0} s=${5:-0}
    if [ "$2" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; echo "$1: ended with status $2"; fi
    if [ $((p + f + s)) -eq 0 ]; then f=1; echo "$1: ran no test"; fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    # Told once more at the end, where who reads a long log looks first.
    [ "$f" -eq 0 ] || grep -E '^ *FAIL |^.{1,4}Test .* (failed after|recorded an issue)' "$log" | sed "s/^ */$1: /" >>"$wrong"
    echo "== $1: $p passed, $f failed, $s skipped"
}

counts() { # reads the last `N passed, N failed[, N skipped]` of the log
    grep -oE '[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?' "$log" | tail -1 | grep -oE '[0-9]+' | tr '\n' ' '
}

without_root() {
    [ "$(id -u)" = 0 ] && return 1
    if [ "${CORRAL_REQUIRE_KERNEL:-}" = 1 ]; then add "$1" 1; else echo "$1: skipped, needs root"; add "$1" 0 0 0 1; fi
}

# CompilerCanaryTests fails when our flag is lost; this tells when a compiler no longer needs it.
compiler_note() {
    local dir
    dir=$(mktemp -d)
    cat >"$dir/main.swift" <<'SWIFT'
@inline(never) func first() -> Int32 {
    var bytes: (UInt8, UInt8) = (7, 1)
    return withUnsafeBytes(of: &bytes) { Int32($0[0]) }
}
print(first())
SWIFT
    if ${SWIFT:-swift}c -O "$dir/main.swift" -o "$dir/first" 2>/dev/null && [ "$("$dir/first")" = 7 ]; then
        echo "note: this compiler is right with dead-store elimination on; the Makefile's flag can go"
    fi
    rm -rf "$dir"
}

for suite in "${@:-spawn}"; do
    echo "== $suite"
    case $suite in
    spawn)
        without_root spawn && continue
        build/bin/spawn-test build/bin 2>&1 | tee "$log"
        add spawn "${PIPESTATUS[0]}" $(counts)
        ;;
    swift)
        # The crash reporter can hang after a crash; a failing test must end.
        # In two processes: tests share as many threads as there are processors, and what computes for seconds would keep those that
        # talk over sockets from answering in time.
        for part in --skip --filter; do
            # shellcheck disable=SC2086
            CORRAL_LINK_TESTS=1 SWIFT_BACKTRACE=enable=no ${SWIFT:-swift} test --skip-build ${CORRAL_SWIFT_FLAGS:?run this through make} \
                $part 'CorralPolicyTests|CorralEventsTests|CorralKernelTests|HostileMessageTests' 2>&1 | tee "$log"
            status=${PIPESTATUS[0]}
            add swift "$status" "$(grep -E ' Test .* passed after' "$log" | grep -cv ' Test run with ')" \
                "$(grep -E ' Test .* failed after' "$log" | grep -cv ' Test run with ')" "$(grep -cE '^[^ ]+ +Test .* skipped' "$log")"
        done
        compiler_note
        # The suites that follow run the executables as users get them: linked with the static runtime.
        # shellcheck disable=SC2086
        ${SWIFT:-swift} build $CORRAL_SWIFT_FLAGS >"$log" 2>&1 || { cat "$log"; add build 1; }
        ;;
    fuzz)
        if [ -x .build/release/corral-fuzz ]; then
            CORRAL_FUZZ_PROGRAM=.build/release/corral-fuzz Tests/fuzz/run.sh 2 2>&1 | tee "$log"
            add fuzz "${PIPESTATUS[0]}" $(counts)
        else
            echo "fuzz: skipped, the toolchain has no libFuzzer"
            add fuzz 0 0 0 1
        fi
        ;;
    bypass)
        without_root bypass && continue
        Tests/lab/bypass.sh 2>&1 | tee "$log"
        add bypass "${PIPESTATUS[0]}" $(counts)
        ;;
    cycles)
        without_root cycles && continue
        Tests/lab/cycles.sh 200 2>&1 | tee "$log"
        add cycles "${PIPESTATUS[0]}" $(counts)
        ;;
    demo)
        without_root demo && continue
        if Tests/lab/demo.sh >"$log" 2>&1; then add demo 0 1; else status=$?; cat "$log"; add demo "$status" 0 1; fi
        ;;
    packaging)
        without_root packaging && continue
        for script in Tests/docs/tour.sh Tests/docs/quickstart.sh Tests/packaging/install.sh Tests/packaging/deb.sh; do
            $script 2>&1 | tee "$log"
            add "$(basename "$script" .sh)" "${PIPESTATUS[0]}" $(counts)
        done
        ;;
    vm)
        without_root vm && continue
        # The oldest kernel that Corral runs on takes every program. CORRAL_REQUIRE_KERNEL is about the kernel that is here: a
        # package mirror that does not answer is no failure of ours, and skips this in CI too, with its reason.
        CORRAL_REQUIRE_KERNEL='' CORRAL_VM_SECONDS=600 CORRAL_VM_CHECKS='host kernel=VerifierCostTests' Tests/vm/vmtest.sh 6.1 2>&1 | tee "$log"
        add vm "${PIPESTATUS[0]}" $(counts)
        ;;
    *) echo "run.sh: no suite $suite" >&2; exit 2 ;;
    esac
done
cat "$wrong"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
