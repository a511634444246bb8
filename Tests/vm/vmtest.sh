#!/bin/bash
# Runs Corral's release binaries under other kernels: Debian's own, each in a virtual machine of its own, with cgroup v2 alone
# and no network but what the tests make. Nothing is installed but the packages below, nothing leaves build/vm.
#
#   Tests/vm/vmtest.sh [KERNEL...]      default: 6.1 6.12
#
# KERNEL is a series, of which the newest cloud kernel in the apt sources is taken, or a release in full
# (6.12.117+deb12-cloud-amd64). The machines run side by side. Output of each goes to build/vm/KERNEL.log, its kernel's to
# build/vm/KERNEL.dmesg, and the tables of docs/RELIABILITY.md to build/vm/matrix.md: results, and what each program costs each verifier, this
# machine's too.
#
#   CORRAL_VM_SECONDS   limit for each machine, 3600; it takes a third of that where nothing else runs
#   CORRAL_VM_CHECKS    what Tests/vm/inside.sh runs
#   CORRAL_VM_ACCEL     how QEMU runs it: tcg,thread=single, which works everywhere; kvm is ten times faster where there is KVM
#   CORRAL_REQUIRE_KERNEL=1   what cannot run has failed
set -uo pipefail
cd "$(dirname "$0")/../.."
. Tests/vm/machine.sh
. Tests/vm/matrix.sh

CORRAL_VM_SECONDS=${CORRAL_VM_SECONDS:-3600}
passed=0 failed=0 skipped=0
table=()
logs=()
# KERNEL RESULT SECONDS PASSED FAILED SKIPPED
row() {
    table+=("$(printf '%-30s %5s s %7s %7s %8s   %s' "$1" "$3" "$4" "$5" "$6" "$2")")
    matrix_row "$1" "$3" "$4" "$5" "$6" "$2"
    passed=$((passed + $4)) failed=$((failed + $5)) skipped=$((skipped + $6))
}
finish() {
    echo
    printf '%-30s %7s %7s %7s %8s\n' kernel time passed failed skipped
    printf '%s\n' "${table[@]}"
    matrix_write "${logs[@]}" >"$VM_DIR/matrix.md"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
# KERNEL REASON
impossible() {
    echo "vmtest: $2" >&2
    if [ "${CORRAL_REQUIRE_KERNEL:-}" = 1 ]; then row "$1" "not run: $2" 0 0 1 0; else row "$1" "not run: $2" 0 0 0 1; fi
}

[ $# -gt 0 ] || set -- 6.1 6.12
for program in .build/release/{corrald,corral,corralPackageTests.xctest} build/lab/probe build/bin/spawn-test; do
    [ -x $program ] || { echo "vmtest: $program is missing: run make vmtest" >&2; exit 1; }
done
if ! reason=$(vm_prepare); then
    impossible "$*" "$reason"
    finish
fi
trap vm_cleanup EXIT
trap 'exit 130' INT TERM
vm_root || { echo "vmtest: the disk's contents cannot be put together" >&2; exit 1; }

# What this machine's own kernel says of the programs, for the table.
.build/release/corralPackageTests.xctest --testing-library swift-testing --filter VerifierCostTests >"$VM_DIR/here.log" 2>&1
logs+=("$(uname -r | cut -d. -f1,2)=$VM_DIR/here.log")
releases=()
for wanted; do
    if ! release=$(vm_kernel "$wanted"); then
        impossible "$wanted" "$release"
    elif ! vm_disk "$release"; then
        row "$release" "no disk could be made" 0 0 1 0
    else
        releases+=("$release")
    fi
done
machines=()
rm -f "$VM_DIR"/*.end
for release in "${releases[@]}"; do
    (
        trap 'vm_stop; exit 143' TERM
        begun=$SECONDS
        vm_run "$release" "$VM_DIR/$release.log" "$VM_DIR/$release.dmesg"
        echo "$? $((SECONDS - begun))" >"$VM_DIR/$release.end"
    ) &
    machines+=($!)
done
VM_CHILDREN=("${machines[@]}")
wait "${machines[@]}"
VM_CHILDREN=()
for release in "${releases[@]}"; do
    log=$VM_DIR/$release.log dmesg=$VM_DIR/$release.dmesg
    logs+=("$(cut -d. -f1,2 <<<"$release")=$log")
    status=stopped took=0
    [ ! -e "$VM_DIR/$release.end" ] || read -r status took <"$VM_DIR/$release.end"
    # The guest's own last line, whatever was printed before it.
    counts=$(grep -aoE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -1 | grep -oE '[0-9]+' | tr '\n' ' ')
    end=$(grep -aoE '^vm: ended with [0-9]+$' "$log" | grep -oE '[0-9]+$')
    read -r p f s <<<"${counts:-0 0 0}"
    # What the kernel itself takes for a bug, of its own or of who drives it.
    if grep -aE '(BUG|WARNING): |Oops|INFO: (task|rcu)' "$dmesg"; then f=$((f + 1)); fi
    if [ "$status" = 124 ]; then
        row "$release" "not done after $CORRAL_VM_SECONDS s" "$took" "$p" $((f + 1)) "$s"
    elif [ -z "$end" ]; then
        echo "-- the machine of $release ended without a result (qemu: $status); its kernel's last lines:"
        tail -n 30 "$dmesg"
        row "$release" "no result" "$took" "$p" $((f + 1)) "$s"
    elif [ "$end" != 0 ] && [ "$f" = 0 ]; then
        row "$release" "ended with $end" "$took" "$p" 1 "$s"
    elif [ $((p + f + s)) = 0 ]; then
        row "$release" "ran no test" "$took" 0 1 0
    else
        row "$release" "$(grep -aoE '^vm: summary .*$' "$log" | cut -d' ' -f3-)" "$took" "$p" "$f" "$s"
    fi
done
finish
