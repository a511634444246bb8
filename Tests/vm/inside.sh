#!/bin/bash
# What vmtest.sh runs inside a machine: `N passed, N failed, N skipped` is the last line but one.
#
#   Tests/vm/inside.sh [CHECK...]      host spawn kernel[=TESTS] start cycle limits bypass[=SECTION,SECTION...]
set -uo pipefail
cd "$(dirname "$0")/../.."
# The other way round from the machine that builds: here the kernel is what is tested, and nothing may skip for want of it.
export CORRAL_REQUIRE_KERNEL=1
# Instructions of the guest take 10 to 20 of the host's, which runs other things too.
export LAB_SLOWER=${LAB_SLOWER:-10}
. Tests/lab/lab.sh
release=$(uname -r)
IFS=.- read -r major minor _ <<<"$release"

passed=0 failed=0 skipped=0 summary=
pass() {
    passed=$((passed + 1))
    printf 'ok    %-60s %s\n' "$1" "${2:-}"
}
fail() {
    failed=$((failed + 1))
    printf 'FAIL  %-60s %s\n' "$1" "${2:-}"
}
equal() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "expected $2, got $3"; fi; } # NAME WANTED GOT
expect() { # NAME COMMAND...
    local name=$1
    shift
    if "$@"; then pass "$name"; else fail "$name" "${DETAIL:-$*}"; fi
}
# LABEL COMMAND...: a suite of its own, whose counts are taken over.
suite() {
    local label=$1 counts p f s begun=$SECONDS
    shift
    "$@" 2>&1 | tee /tmp/suite
    counts=$(grep -oE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' /tmp/suite | tail -1 | grep -oE '[0-9]+' | tr '\n' ' ')
    read -r p f s <<<"$counts"
    if [ -z "${p:-}" ] || [ $((p + f)) -eq 0 ]; then
        fail "$label" "ran no test"
        return
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
    echo "-- $label: $p passed, $f failed, ${s:-0} skipped, $((SECONDS - begun)) s"
}

check_host() {
    equal "cgroup v2 is the only one" "cgroup2" "$(awk '{ for (i = 7; i < NF; i++) if ($i == "-") print $(i + 1) }' /proc/self/mountinfo | grep '^cgroup' | sort -u | tr '\n' ' ' | sed 's/ $//')"
    equal "no controller is given on by the root" "" "$(cat /sys/fs/cgroup/cgroup.subtree_control)"
    expect "the root has memory, pids and cpu" grep -qE '^(.* )?cpu .*memory .*pids' /sys/fs/cgroup/cgroup.controllers
}

check_spawn() { suite spawn build/bin/spawn-test build/bin; }

# TESTS: the kernel room's own, or some of them: verdicts against the plain reading, cgroups, spawner, probes.
check_kernel() {
    local log=/tmp/kernel p f s
    SWIFT_BACKTRACE=enable=no .build/release/corralPackageTests.xctest --testing-library swift-testing --filter "$1" >$log 2>&1
    grep -E 'recorded an issue|failed after' $log
    grep -oE 'verified [a-z]+/[a-z0-9_]+ [0-9]+' $log
    p=$(grep -cE '^[^ ]+ +Test [^r].* passed after|^[^ ]+ +Test r[^u].* passed after' $log)
    f=$(grep -cE '^[^ ]+ +Test [^r].* failed after|^[^ ]+ +Test r[^u].* failed after' $log)
    s=$(grep -cE '^[^ ]+ +Test .* skipped' $log)
    if [ $((p + f)) -eq 0 ]; then
        fail "kernel" "ran no test: $(tail -3 $log)"
        return
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    echo "-- kernel: $p passed, $f failed, $s skipped"
}

# NAME PROGRAM in|egress-ward of the sandbox's interface, as the kernel tells it, whichever way it was attached.
hook_is_on() { # INTERFACE ingress|egress PROGRAM
    in_ns "$LAB_HOST" tc filter show dev "$1" "$2" | grep -qE "bpf .*$3.* direct-action"
}

# A corrald of its own, from the first sandbox to one that outlives it.
check_start() {
    local answer
    lab_corrald --allow-test-switches || { fail "corrald starts"; return; }
    pass "corrald starts"
    "$CORRAL_BIN/corral" doctor
    answer() { "$CORRAL_BIN/corral" doctor | awk -v feature="$1" 'index($0, "  " feature "  ") { print $1 }'; }
    equal "doctor: cgroup v2 alone" yes "$(answer 'cgroup v2 alone')"
    equal "doctor: BPF LSM" yes "$(answer 'BPF LSM')"
    expect "the BPF file system has been mounted" grep -q ' /sys/fs/bpf bpf ' /proc/mounts
    equal "a sandbox runs" "hello 0" "$(run -- sh -c 'echo hello $(id -u)' 2>&1)"
    equal "an owner inside is who it is outside" 0 "$(run -- stat -c %u /usr/bin/env 2>&1)"
}

# Of one that runs; those of the pool come and go.
sandbox_interface() {
    ip -n "$LAB_HOST" -o link show | grep "alias corral:$LAB:$("$CORRAL_BIN/corral" ps -q | head -1)" | grep -oE 'crl[^:@ ]*' | head -1
}

check_cycle() {
    local events=$LAB_DIR/cycle.json i interface killed clients=()
    lab_tail "$events"
    equal "the permitted server answers" "hello from permitted" "$(run -- curl -sS -m 10 "http://$PERMITTED4/" 2>&1)"
    equal "over IPv6 too" "hello from permitted" "$(run -- curl -sS -m 10 "http://[$PERMITTED6]/" 2>&1)"
    run -- curl -sS -m 10 "http://$REFUSED4/" >/dev/null 2>&1
    equal "the refused one does not" 7 $?
    for ((i = 0; i < 50; i++)); do
        grep -q '"verdict":"deny"' "$events" && break
        sleep 0.1
    done
    expect "tail tells of the permission" grep -q "\"verdict\":\"allow\".*$PERMITTED4" "$events"
    DETAIL=$(grep '"type":"egress"' "$events") expect "tail tells of the refusal, and whose it was" \
        grep -q "\"verdict\":\"deny\".*\"comm\":\"curl\",\"exe\":\"/usr/bin/curl\".*$REFUSED4" "$events"
    expect "the refusal came from the cgroup hook" grep -q '"verdict":"deny".*"hook":"connect4"' "$events"

    lab_probe "$POLICY" -- loop "$PERMITTED4" 8000 $((60 * LAB_SLOWER)) >/dev/null 2>&1 &
    clients+=($!)
    lab_probe "$POLICY" -- loop "$REFUSED4" 8000 $((60 * LAB_SLOWER)) >/dev/null 2>&1 &
    clients+=($!)
    lab_probe "$POLICY" --test-keep-capabilities --test-no-seccomp -- loop "$REFUSED4" 8000 $((60 * LAB_SLOWER)) >/dev/null 2>&1 &
    clients+=($!)
    for ((i = 0; i < 100; i++)); do
        [ "$(pgrep -cx probe)" = 3 ] && break
        sleep 0.1
    done
    equal "three sandboxes send" 3 "$(pgrep -cx probe)"
    lab_count permitted-capture
    sleep 1
    lab_count permitted-capture
    expect "the permitted server hears them ($LAB_FRAMES frames)" test "$LAB_FRAMES" -gt 0
    interface=$(sandbox_interface)
    expect "from_sandbox is on $interface" hook_is_on "$interface" ingress from_sandbox
    expect "to_sandbox is on $interface" hook_is_on "$interface" egress to_sandbox
    lab_count refused-capture
    kill -KILL "$LAB_DAEMON"
    killed=$SECONDS
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
    lab_count permitted-capture
    sleep 3
    lab_count permitted-capture
    expect "corrald is killed: what was permitted goes on ($LAB_FRAMES frames)" test "$LAB_FRAMES" -gt 0
    lab_count refused-capture
    equal "corrald is killed: what was refused stays so" 0 "$LAB_FRAMES"
    expect "corrald is killed: from_sandbox is still on" hook_is_on "$interface" ingress from_sandbox
    expect "corrald is killed: to_sandbox is still on" hook_is_on "$interface" egress to_sandbox
    lab_corrald --allow-test-switches || { fail "corrald starts again"; return; }
    equal "a new one goes on with the old one's sandboxes" 3 "$(pgrep -cx probe)"
    lab_count permitted-capture
    sleep 2
    lab_count permitted-capture
    expect "adopted: what was permitted goes on ($LAB_FRAMES frames)" test "$LAB_FRAMES" -gt 0
    lab_count refused-capture
    equal "adopted: what was refused stays so" 0 "$LAB_FRAMES"
    expect "adopted: from_sandbox is on" hook_is_on "$interface" ingress from_sandbox
    expect "adopted: to_sandbox is on" hook_is_on "$interface" egress to_sandbox
    equal "a new one serves" "hello from permitted" "$(run -- curl -sS -m 10 "http://$PERMITTED4/" 2>&1)"
    # It first reads what it has missed, of which the sandboxes that are refused have made plenty.
    for ((i = 0; i < 1200; i++)); do
        grep -q 'corrald is back' "$events.err" && break
        sleep 0.1
    done
    echo "tail: $(tr '\n' ';' <"$events.err") after $((SECONDS - killed)) s"
    run -- bash -c "echo >/dev/udp/$REFUSED4/8003" 2>/dev/null
    for ((i = 0; i < 600; i++)); do
        grep -q '"port":8003' "$events" && break
        sleep 0.1
    done
    echo "tail: the new corrald's event after $((SECONDS - killed)) s"
    DETAIL=$(cat "$events.err") expect "tail goes on with the new one" grep -q '"port":8003' "$events"
    "$CORRAL_BIN/corral" ps -q | xargs -r "$CORRAL_BIN/corral" rm -f >/dev/null
    # Killed at once; each still has to be given the processor to die on.
    for ((i = 0; i < 100; i++)); do
        pgrep -x probe >/dev/null || break
        sleep 0.1
    done
    equal "and ends them when it is asked to" "" "$(pgrep -x probe)"
    lab_end_tails
    # The sandboxes' clients have ended with their daemon, and said so.
    wait "${clients[@]}" 2>/dev/null
}

# A sandbox's cgroup files, its name given; for what only pure v2 has.
setting() { cat /sys/fs/cgroup/corral/"$LAB"/*/"$1" 2>/dev/null | grep -vx max | sort -u | tr '\n' ' ' | sed 's/ $//'; }

check_limits() {
    local name=limits$$ events=$LAB_DIR/limits.json i status
    lab_tail "$events"
    run --name "$name" --memory 64MiB --pids 33 --cpu 0.2 -- sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 30' &
    for ((i = 0; i < 100; i++)); do
        [ "$(setting pids.max)" = 65 ] && break
        sleep 0.1
    done
    equal "memory.max" 67108864 "$(setting memory.max)"
    equal "memory.swap.max" 0 "$(setting memory.swap.max)"
    expect "memory.oom.group" grep -qx 1 /sys/fs/cgroup/corral/"$LAB"/*/memory.oom.group
    # 32 beyond what the command may have.
    equal "pids.max" 65 "$(setting pids.max)"
    equal "cpu.max" "20000 100000" "$(setting cpu.max | grep -oE '[0-9]+ 100000')"
    for inner in /sys/fs/cgroup /sys/fs/cgroup/corral "/sys/fs/cgroup/corral/$LAB"; do
        expect "$inner gives on memory, pids and cpu" grep -qE '^(.* )?cpu .*memory .*pids' "$inner/cgroup.subtree_control"
    done
    for ((i = 0; i < 100; i++)); do
        cat /sys/fs/cgroup/corral/"$LAB"/*/cpu.stat | grep -qE '^nr_throttled [1-9]' && break
        sleep 0.1
    done
    expect "a busy command is throttled" grep -qE '^nr_throttled [1-9]' <(cat /sys/fs/cgroup/corral/"$LAB"/*/cpu.stat)
    "$CORRAL_BIN/corral" kill "$name" >/dev/null
    wait $!

    # Two processes, of which one hogs: the sandbox ends whole.
    name=hog$$
    run --name "$name" --memory 64MiB -- sh -c 'head -c 300M /dev/zero | tail >/dev/null & sleep 60' >/dev/null 2>&1
    status=$?
    equal "who hogs memory is killed, and all of the sandbox with it" 137 $status
    for ((i = 0; i < 30; i++)); do
        grep "\"$name\"" "$events" | grep -q '"type":"limit"' && break
        sleep 0.1
    done
    expect "tail tells of it" grep -q "\"$name\".*\"type\":\"limit\".*oom" "$events"
    lab_end_tails
}

# Corral's own sandboxes in this shell; the bypass suite brings its own.
with_lab() {
    [ -n "${POLICY:-}" ] && return
    lab_require
    lab_up && lab_start permitted-capture "$LAB_PERMITTED" "$LAB_BIN/labcapture" all eth0 &&
        lab_start refused-capture "$LAB_REFUSED" "$LAB_BIN/labcapture" all eth0 || return
    POLICY=$LAB_DIR/lab.yaml
    cat >"$POLICY" <<YAML
apiVersion: corral/v1
name: lab
egress:
  allow:
    - cidr: $PERMITTED4/32
      ports: [80, 8000]
    - cidr: $PERMITTED6/128
      ports: [80, 8000]
YAML
}
run() { "$CORRAL_BIN/corral" run --policy "$POLICY" "$@"; }

checks=("$@")
# Of the bypass suite, what another kernel may answer differently. Left out: what measures time (live, expiry, budgets) on a
# processor that is emulated, what does not ask the kernel (life, publish, refusals, events), and killed, which is `cycle`.
[ $# -gt 0 ] || checks=(host spawn kernel start cycle limits
    bypass=paths,paths-bpf-alone,addresses,names,enforce,isolation,limits,ways,lsm,files,adopt,leftovers)
for check in "${checks[@]}"; do
    echo "-- $check"
    begun=$SECONDS
    case $check in
    host | spawn) "check_$check" ;;
    kernel) check_kernel CorralKernelTests ;;
    kernel=*) check_kernel "${check#*=}" ;;
    start | cycle | limits)
        # `start` is about how it starts; the others go on with it, or with one of their own.
        if with_lab && { [ "$check" = start ] || [ -n "$LAB_DAEMON" ] || lab_corrald --allow-test-switches; }; then "check_$check"; else fail "$check" "the test network could not be made"; fi
        ;;
    bypass) suite bypass Tests/lab/bypass.sh ;;
    bypass=*) IFS=, read -ra sections <<<"${check#*=}" && suite bypass Tests/lab/bypass.sh "${sections[@]}" ;;
    script=*) expect "${check#*=}" bash "${check#*=}" ;;
    *) fail "$check" "no such check" ;;
    esac
    summary+=" $check $((SECONDS - begun)) s,"
done
if [ $failed -ne 0 ] && [ -n "${LAB_DIR:-}" ]; then
    echo "-- corrald's log"
    tail -15 "$LAB_DIR/corrald.log"
fi
echo "vm: summary${summary%,}"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
