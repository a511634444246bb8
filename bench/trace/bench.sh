#!/bin/bash
# What the trace of system calls carries and what it costs: getppid calls of one process, each a line in a file, beside strace,
# bpftrace and a supervisor by seccomp user notification.
set -euo pipefail
cd "$(dirname "$0")/../.."
. bench/lib.sh
producer=$LAB_BIN/producer
if quick; then rounds=2 seconds=1.5 turns=3 moment=0.3; else rounds=5 seconds=5 turns=10 moment=1; fi
asked=550000

for peer in strace bpftrace; do
    if command -v "$peer" >/dev/null; then tool "$peer" "$("$peer" --version | head -1)"; else skipped "$peer" "$peer is not installed"; fi
done

lab_up
put() { echo "$2" >>"$LAB_DIR/samples.$1"; }
policy() { printf 'apiVersion: corral/v1\nname: bench\ntrace: { syscalls: %s }\n' "$1" >"$LAB_DIR/policy.yaml"; }

# [RUN-FLAG...] -- RATE SECONDS: the producer in a sandbox of its own, which is gone afterwards.
inside() {
    local flags=()
    while [ "$1" != -- ]; do flags+=("$1"); shift; done
    shift
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -q -i "${flags[@]}" -- sh -c 'head -c "$0" >/tmp/producer && chmod +x /tmp/producer && exec /tmp/producer "$@"' \
        "$(stat -c %s "$producer")" "$@" <"$producer"
}
# Of what the producer prints: "N calls in M ms, C ns each, B ns at best".
made() { cut -d' ' -f1 <<<"$1"; }
took() { awk '{ print $4 / 1000 }' <<<"$1"; }
best() { awk '{ print $(NF - 3) }' <<<"$1"; }
# FILE: when nothing has come for a while.
await_end() {
    local size=-1 new
    while new=$(stat -c %s "$1") && [ "$new" != $size ]; do
        size=$new
        sleep 0.5
    done
}

# NAME FILE PATTERN PRODUCED: lines a second, and the share that is missing.
note_told() {
    local lines
    lines=$(grep -c "$3" "$2") || [ "$lines" = 0 ]
    [ "$lines" -gt 0 ] || { echo "bench: $1 told nothing of '$4'" >&2; return 1; }
    put "rate.$1" "$(awk -v lines="$lines" -v time="$(took "$4")" 'BEGIN { print lines / time }')"
    put "loss.$1" "$(awk -v lines="$lines" -v made="$(made "$4")" 'BEGIN { print 100 * (made - lines) / made }')"
}

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
# NAME RATE: into one `corral tail`.
tell_corral() {
    local tail daemon_ticks tail_ticks result
    "$CORRAL_BIN/corral" tail -e syscall -o json >"$LAB_DIR/out" 2>/dev/null &
    tail=$!
    LAB_PIDS+=("$tail")
    sleep 0.5
    daemon_ticks=$(ticks "$LAB_DAEMON") tail_ticks=$(ticks "$tail")
    result=$(inside --policy "$LAB_DIR/policy.yaml" -- "$2" "$seconds")
    await_end "$LAB_DIR/out"
    put "processor.corrald-$1" "$(awk -v ticks=$(($(ticks "$LAB_DAEMON") - daemon_ticks)) -v time="$(took "$result")" 'BEGIN { print ticks / time }')"
    put "processor.tail-$1" "$(awk -v ticks=$(($(ticks "$tail") - tail_ticks)) -v time="$(took "$result")" 'BEGIN { print ticks / time }')"
    kill "$tail"
    wait "$tail" 2>/dev/null || true
    note_told "$1" "$LAB_DIR/out" '"comm":"producer".*"name":"getppid"' "$result"
    rm -f "$LAB_DIR/out"
}

printf '%s\n' 'tracepoint:syscalls:sys_enter_getppid /comm == "producer"/ { @start[tid] = nsecs; }' \
    'tracepoint:syscalls:sys_exit_getppid /@start[tid]/ {' \
    'printf("{\"time\":%lu,\"pid\":%d,\"comm\":\"%s\",\"name\":\"getppid\",\"result\":%d,\"duration_ns\":%lu}\n", nsecs, pid, comm, args->ret, nsecs - @start[tid]);' \
    'delete(@start[tid]); }' >"$LAB_DIR/getppid.bt"
tell_bpftrace() {
    local other result i
    : >"$LAB_DIR/out"
    bpftrace -o "$LAB_DIR/out" "$LAB_DIR/getppid.bt" >"$LAB_DIR/bpftrace.err" 2>&1 &
    other=$!
    LAB_PIDS+=("$other")
    for ((i = 0; i < 200; i++)); do
        grep -qs Attaching "$LAB_DIR/out" "$LAB_DIR/bpftrace.err" && break
        kill -0 "$other" 2>/dev/null || break
        sleep 0.1
    done
    sleep 1
    result=$("$producer" 0 "$seconds")
    await_end "$LAB_DIR/out"
    kill -INT "$other" 2>/dev/null || true
    wait "$other" || true
    if grep -q getppid "$LAB_DIR/out"; then
        note_told bpftrace "$LAB_DIR/out" '"name":"getppid"' "$result"
        put call.bpftrace "$(best "$result")"
    else skipped bpftrace "does not run here: $(tail -1 "$LAB_DIR/bpftrace.err" | sed "s#$LAB_DIR#…#g")"; fi
}

policy '[getppid]'
LAB_POOL=2 start_corrald
for ((round = 0; round < rounds; round++)); do
    result=$("$producer" 0 "$seconds")
    put rate.plain "$(awk -v made="$(made "$result")" -v time="$(took "$result")" 'BEGIN { print made / time }')"
    tell_corral corral-$asked $asked
    tell_corral corral-most 0
    if command -v strace >/dev/null; then
        result=$(strace -f -ttt -T -e trace=getppid -o "$LAB_DIR/out" "$producer" 0 "$seconds")
        note_told strace "$LAB_DIR/out" 'getppid()' "$result"
        put call.strace "$(best "$result")"
    fi
    result=$("$BENCH_BIN/notify" "$LAB_DIR/out" "$producer" 0 "$seconds")
    note_told notify "$LAB_DIR/out" '"name":"getppid"' "$result"
    put call.notify "$(best "$result")"
    if command -v bpftrace >/dev/null; then tell_bpftrace; fi
done
rm -f "$LAB_DIR/out"
stop_corrald
echo "  rates: done"

# What a call costs: the quickest batch of a moment, of each kind in turn, so that other work of the machine counts little.
last=
# NAME COMMAND...
measure() {
    local name=$1 result
    shift
    result=$("$@")
    last=$(best "$result")
    put "call.$name" "$last"
}
added() { put "added.$1" $((last - $2)); } # NAME FLOOR
for ((turn = 0; turn < turns; turn++)); do
    measure host "$producer" 0 $moment
    host=$last
    start_corrald
    measure sandbox inside -- 0 $moment
    sandbox=$last
    policy counts
    "$CORRAL_BIN/corral" run -q --name kept --policy "$LAB_DIR/policy.yaml" -- sleep 1000 &
    LAB_PIDS+=($!)
    for ((i = 0; i < 200; i++)); do [ "$(running)" = 1 ] && break; sleep 0.05; done
    [ "$(running)" = 1 ] || { echo "bench: the traced sandbox does not run" >&2; exit 1; }
    measure host-beside "$producer" 0 $moment
    added host-beside "$host"
    measure beside inside -- 0 $moment
    added beside "$sandbox"
    "$CORRAL_BIN/corral" rm -f kept >/dev/null
    # A trace has been, and is over.
    measure host-quiet "$producer" 0 $moment
    added host-quiet "$host"
    for mode in counts first '[openat]' '[getppid]'; do
        policy "$mode"
        name=$(tr -d '[]' <<<"$mode")
        measure "$name" inside --policy "$LAB_DIR/policy.yaml" -- 0 $moment
        added "$name" "$sandbox"
    done
    stop_corrald
done

rate() { series "name=$1" "label=$2" group=rate unit=1/s better=higher "${@:3}" <"$LAB_DIR/samples.rate.$1"; }
rate plain "made, and told by nobody"
rate corral-$asked "corral tail -o json, of $asked that were made" floor=plain target=500000
rate corral-most "corral tail -o json, as fast as they can be made" floor=plain
declare -A peers=([strace]="strace -f -ttt -T" [bpftrace]="bpftrace, printf" [notify]="seccomp user notification")
for peer in strace bpftrace notify; do [ ! -e "$LAB_DIR/samples.rate.$peer" ] || rate "$peer" "${peers[$peer]}" floor=plain; done
loss() { series "name=$1" "label=$2" group=loss unit=% better=lower "${@:3}" <"$LAB_DIR/samples.loss.$1"; }
loss corral-$asked "corral tail -o json, of $asked a second" target=0 target99=0
loss corral-most "corral tail -o json, as fast as they can be made"
for peer in strace bpftrace notify; do [ ! -e "$LAB_DIR/samples.loss.$peer" ] || loss "$peer" "${peers[$peer]}"; done
for program in corrald tail; do
    for name in corral-$asked corral-most; do
        series "name=$program-$name" "label=$program, $([ $name = corral-most ] && echo "as fast as they can be made" || echo "$asked a second")" \
            group=processor unit=% better=lower <"$LAB_DIR/samples.processor.$program-$name"
    done
done
call() { series "name=$1" "label=$2" group=call unit=ns better=lower "${@:3}" <"$LAB_DIR/samples.call.$1"; }
call host "the host, no corrald"
call host-quiet "the host, corrald runs and nobody traces" floor=host
call host-beside "the host, Corral traces a sandbox" floor=host
call sandbox "Corral's sandbox, no trace anywhere" floor=host
call beside "Corral's sandbox, not traced, beside one that is" floor=host
call counts "Corral's sandbox, traced: counted" floor=host
call first "Corral's sandbox, traced: the first of each thread" floor=host
call openat "Corral's sandbox, traced: not on the list" floor=host
call getppid "Corral's sandbox, traced: an event each" floor=host
for peer in strace bpftrace notify; do [ ! -e "$LAB_DIR/samples.call.$peer" ] || call "$peer" "${peers[$peer]}" floor=host; done
cost() { series "name=$1" "label=$2" group=added unit=ns better=lower "${@:3}" <"$LAB_DIR/samples.added.$1"; }
cost host-quiet "the host, corrald runs and nobody traces" target=2
cost host-beside "the host, Corral traces a sandbox" target=150
cost beside "Corral's sandbox, not traced, beside one that is" target=150
cost counts "Corral's sandbox, traced: counted" target=350
cost first "Corral's sandbox, traced: the first of each thread" target=350
cost openat "Corral's sandbox, traced: not on the list" target=350
cost getppid "Corral's sandbox, traced: an event each" target=350
