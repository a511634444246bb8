#!/bin/bash
# What the trace carries and what it costs, beside strace and bpftrace doing the same job, in one run. README.md says how to read it.
#
#   bench/trace/run.sh [SECONDS [costs]]      costs: the last table alone; as root, after make build lab; the machine should have nothing else to do
set -uo pipefail
SECONDS_EACH=${1:-10}
ROUNDS=${ROUNDS:-5}
. "$(dirname "$0")/../../Tests/lab/lab.sh"
lab_require
PRODUCER=$LAB_BIN/producer
[ -x "$PRODUCER" ] || { echo "$PRODUCER is missing: run make lab" >&2; exit 1; }
lab_up || exit 1
lab_corrald --allow-test-switches || exit 1

policy() { printf 'apiVersion: corral/v1\nname: bench\ntrace: { syscalls: %s }\n' "$1" >"$LAB_DIR/policy.yaml"; }

# NAME [RUN-FLAG...] -- RATE SECONDS: the producer in a sandbox
produce() {
    local name=$1 flags=()
    shift
    while [ "$1" != -- ]; do flags+=("$1"); shift; done
    shift
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -q -i --rm=false --name "$name" "${flags[@]}" -- sh -c \
        'head -c "$0" >/tmp/p && chmod +x /tmp/p && exec /tmp/p "$@"' "$(stat -c %s "$PRODUCER")" "$@" <"$PRODUCER"
}
field() { "$CORRAL_BIN/corral" inspect "$1" | tr -d ' \n' | grep -oE "\"$2\":[0-9]+" | cut -d: -f2; }
# "N calls in M ms, C ns each" -> calls a second
rate() { awk '{ printf "%d", $1 * 1000 / $4 }' <<<"$1"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

echo "kernel $(uname -r), $(nproc) CPUs, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), load $(cut -d' ' -f1 /proc/loadavg)"
if [ "${2:-}" != costs ]; then
echo
echo "## Events a second into one JSON file"
echo
echo "| asked for | made, calls/s | lines in the file | lost | file, MB/s | CPU of corrald, % | CPU of corral tail, % |"
echo "|---|---|---|---|---|---|---|"
policy '[getppid]'
for asked in 100000 250000 500000 600000 0; do
    name=rate$asked out=$LAB_DIR/out.json
    "$CORRAL_BIN/corral" tail -e syscall -o json >"$out" 2>/dev/null &
    tail=$!
    sleep 0.5
    d=$(ticks $LAB_DAEMON) t=$(ticks $tail)
    result=$(produce $name --policy "$LAB_DIR/policy.yaml" -- $asked "$SECONDS_EACH")
    sleep 1
    d=$(($(ticks $LAB_DAEMON) - d)) t=$(($(ticks $tail) - t))
    kill $tail
    wait $tail 2>/dev/null
    made=${result%% *}
    lines=$(grep -c '"name":"getppid"' "$out")
    # The shell that starts the producer calls it once, too.
    told=$(grep '"type":"lost"' "$out" | grep -oE '"count":[0-9]+' | awk -F: '{ n += $2 } END { print n + 0 }')
    echo "| $([ $asked = 0 ] && echo "as fast as it can" || echo $asked) | $(rate "$result") | $lines of $((made + 1)) | $told, kernel: $(field $name eventsLost) |" \
        "$(($(stat -c %s "$out") / 1000000 / SECONDS_EACH)) | $((d / SECONDS_EACH)) | $((t / SECONDS_EACH)) |"
    "$CORRAL_BIN/corral" rm -f $name >/dev/null
    rm -f "$out"
done

echo
echo "## The same job by others: each getppid of one process as a line in a file"
echo
echo "| | made, calls/s | lines | lost | a call takes, ns |"
echo "|---|---|---|---|---|"
result=$("$PRODUCER" 0 "$SECONDS_EACH")
echo "| nobody | $(rate "$result") | - | - | $(grep -oE '[0-9]+ ns each' <<<"$result" | cut -d' ' -f1) |"
"$CORRAL_BIN/corral" tail -e syscall -o json >"$LAB_DIR/out" 2>/dev/null &
tail=$!
sleep 0.5
result=$(produce beside --policy "$LAB_DIR/policy.yaml" -- 0 "$SECONDS_EACH")
sleep 1
kill $tail
wait $tail 2>/dev/null
echo "| corral tail -o json | $(rate "$result") | $(($(grep -c '"name":"getppid"' "$LAB_DIR/out") - 1)) | $((${result%% *} + 1 - $(grep -c '"name":"getppid"' "$LAB_DIR/out"))) | $(grep -oE '[0-9]+ ns each' <<<"$result" | cut -d' ' -f1) |"
"$CORRAL_BIN/corral" rm -f beside >/dev/null
if command -v strace >/dev/null; then
    result=$(strace -f -ttt -T -e trace=getppid -o "$LAB_DIR/out" "$PRODUCER" 0 "$SECONDS_EACH")
    lines=$(grep -c getppid "$LAB_DIR/out")
    echo "| strace -f -ttt -T | $(rate "$result") | $lines | $((${result%% *} - lines)) | $(grep -oE '[0-9]+ ns each' <<<"$result" | cut -d' ' -f1) |"
fi
if command -v bpftrace >/dev/null; then
    printf '%s\n' 'tracepoint:syscalls:sys_enter_getppid /comm == "producer"/ { @start[tid] = nsecs; }' \
        'tracepoint:syscalls:sys_exit_getppid /@start[tid]/ {' \
        'printf("{\"time\":%lu,\"pid\":%d,\"comm\":\"%s\",\"name\":\"getppid\",\"result\":%d,\"duration_ns\":%lu}\n", nsecs, pid, comm, args->ret, nsecs - @start[tid]);' \
        'delete(@start[tid]); }' >"$LAB_DIR/getppid.bt"
    for asked in 500000 0; do
        bpftrace -o "$LAB_DIR/out" "$LAB_DIR/getppid.bt" >"$LAB_DIR/bpftrace.err" 2>&1 &
        other=$!
        for ((i = 0; i < 100; i++)); do grep -q Attaching "$LAB_DIR/out" "$LAB_DIR/bpftrace.err" 2>/dev/null && break; sleep 0.1; done
        sleep 1
        result=$("$PRODUCER" $asked "$SECONDS_EACH")
        sleep 2
        kill -INT $other 2>/dev/null
        wait $other
        lines=$(grep -c getppid "$LAB_DIR/out")
        [ "$lines" -gt 0 ] || { echo "| bpftrace $(bpftrace --version | cut -d' ' -f2) | does not run here: $(tail -1 "$LAB_DIR/bpftrace.err") |"; break; }
        echo "| bpftrace, $([ $asked = 0 ] && echo "as fast as it can" || echo "$asked calls/s") | $(rate "$result") | $lines | $((${result%% *} - lines)) | $(grep -oE '[0-9]+ ns each' <<<"$result" | cut -d' ' -f1) |"
    done
fi
rm -f "$LAB_DIR/out"
fi

echo
echo "## What a call costs (getppid; the quickest of some ten thousand batches of 1,000, taken in $ROUNDS turns with all the others)"
echo
echo "| | ns | added |"
echo "|---|---|---|"
# NAME COMMAND...: one second of it; the least of all turns is kept.
declare -A least
measure() {
    local name=$1 ns
    shift
    ns=$("$@" | grep -oE '[0-9]+ ns at best' | cut -d' ' -f1)
    [ -n "$ns" ] || { echo "$name: nothing was measured" >&2; return; }
    [ "$ns" -ge "${least[$name]:-$ns}" ] || least[$name]=$ns
    : "${least[$name]:=$ns}"
}
inside() { # [RUN-FLAG...]
    produce "cost" "$@" -- 0 1
    "$CORRAL_BIN/corral" rm -f cost >/dev/null
}
keep_traced() {
    policy counts
    "$CORRAL_BIN/corral" run -q --rm=false --name "kept" --policy "$LAB_DIR/policy.yaml" -- sleep 1000 &
    kept=$!
    # On a busy machine that takes a while, and what is measured before is no host with a trace.
    for ((i = 0; i < 300; i++)); do
        curl -s --unix-socket "$LAB_DIR/run/corral.sock" http://corral/metrics | grep -qx 'corral_traced_sandboxes 1' && return
        sleep 0.1
    done
    echo "no sandbox is traced after 30 s" >&2
    exit 1
}
let_go() {
    "$CORRAL_BIN/corral" rm -f kept >/dev/null
    wait $kept 2>/dev/null
}
# The programs are not loaded yet; from the first trace on they are, and attached to nothing between two traces.
for ((turn = 0; turn < ROUNDS; turn++)); do measure never "$PRODUCER" 0 1; done
for ((turn = 0; turn < ROUNDS; turn++)); do
    measure host "$PRODUCER" 0 1
    measure sandbox inside
    keep_traced
    measure host-beside "$PRODUCER" 0 1
    measure beside inside
    let_go
    measure after "$PRODUCER" 0 1
    for mode in counts first '[openat]' '[getppid]'; do
        policy "$mode"
        measure "$mode" inside --policy "$LAB_DIR/policy.yaml"
    done
done
row() { echo "| $1 | ${least[$2]} | $([ "$2" = "$3" ] || echo "+$((${least[$2]} - ${least[$3]}))") |"; }
row "a process of the host, before any trace" never never
row "a process of the host, after the last trace has ended" after never
row "a process of the host, no trace anywhere" host host
row "a process of the host, while some sandbox is traced" host-beside host
row "a sandbox, no trace anywhere" sandbox sandbox
row "a sandbox that is not traced, beside one that is" beside sandbox
row "a traced sandbox: counted" counts sandbox
row "a traced sandbox: the first of each thread is told" first sandbox
row "a traced sandbox: a call that is not on the list" '[openat]' sandbox
row "a traced sandbox: an event each" '[getppid]' sandbox
if command -v strace >/dev/null; then
    measure strace strace -f -o /dev/null "$PRODUCER" 0 1
    row "strace -f -o /dev/null" strace host
fi
