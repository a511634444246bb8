# shellcheck shell=bash
# Section of bypass.sh about the trace of system calls.

# FILE SELECTION: a policy that lets nothing out and traces.
trace_policy() { printf 'apiVersion: corral/v1\nname: traced\ntrace: { syscalls: %s }\n' "$2" >"$1"; }

# NAME -> the sandbox's counter FIELD, from the API
trace_counter() {
    "$CORRAL_BIN/corral" inspect "$1" | tr -d ' \n' | grep -oE "\"$2\":[0-9]+" | cut -d: -f2
}

# Waits until FILE holds PATTERN, five seconds at most.
trace_await() {
    local i
    for ((i = 0; i < 100; i++)); do
        grep -qE -- "$2" "$1" && return 0
        sleep 0.05
    done
    return 1
}

section_trace() {
    local list=$LAB_DIR/trace-list.yaml counts=$LAB_DIR/trace-counts.yaml out=$LAB_DIR/trace.tail line n lost seq i
    trace_policy "$list" '[openat, "@process"]'
    trace_policy "$counts" counts

    # What a policy asks for, in the stream of events.
    "$CORRAL_BIN/corral" tail -o json >"$out" 2>&1 &
    local tail=$!
    LAB_PIDS+=($tail)
    sleep 0.3
    "$CORRAL_BIN/corral" run --policy "$list" --name "traced$$" -- cat /etc/hostname >/dev/null
    "$CORRAL_BIN/corral" run --name "quiet$$" -- cat /etc/hostname >/dev/null
    trace_await "$out" "\"name\":\"quiet$$\".*\"action\":\"destroyed\""
    DETAIL=$(grep "traced$$" "$out" | tail -5)
    expect "a traced cat: openat with path and result" grep -qE \
        "\"name\":\"traced$$\".*\"type\":\"syscall\".*\"comm\":\"cat\".*\"name\":\"openat\".*\"args\":\[\"AT_FDCWD\",\"\\\\\"/etc/hostname\\\\\"\",\"O_RDONLY[A-Z_|]*\"\],\"result\":[0-9]+,\"duration_ns\":[0-9]+" "$out"
    expect "its program: exec with arguments and directory" grep -qE \
        "\"name\":\"traced$$\".*\"type\":\"process\",\"action\":\"exec\".*\"exe\":\"/usr/bin/cat\".*\"args\":\[\"cat\",\"/etc/hostname\"\],\"cwd\":\"/home/user\"" "$out"
    expect "and its end" grep -qE "\"name\":\"traced$$\".*\"action\":\"exit\".*\"exit_code\":0,\"rusage\":" "$out"
    expect "calls that are not on the list are not told" test "$(grep "traced$$" "$out" | grep -cE '"name":"(read|write|mmap)"')" = 0
    equal "an untraced sandbox beside it: no such event" 0 "$(grep "\"name\":\"quiet$$\"" "$out" | grep -cE '"type":"(syscall|process)"')"
    kill $tail 2>/dev/null
    wait $tail 2>/dev/null
    unset DETAIL

    # corral trace, whatever the policy says.
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -i --name "watched$$" -- sh -c 'head -c "$0" >/tmp/calls; chmod +x /tmp/calls; sleep 1.5
        cat /etc/hostname; /tmp/calls 1000 7 || true' "$(stat -c %s "$LAB_BIN/calls")" <"$LAB_BIN/calls" >"$LAB_DIR/watched.out" 2>&1 &
    local run=$!
    sleep 0.7
    "$CORRAL_BIN/corral" trace "watched$$" >"$LAB_DIR/trace.lines" 2>&1 &
    local all=$!
    "$CORRAL_BIN/corral" trace "watched$$" -c >"$LAB_DIR/trace.table" 2>&1 &
    local table=$!
    "$CORRAL_BIN/corral" trace "watched$$" -e add_key,@network >"$LAB_DIR/trace.some" 2>&1 &
    local some=$!
    wait $run $all $table $some
    DETAIL=$(tail -3 "$LAB_DIR/trace.lines"; cat "$LAB_DIR/watched.out")
    expect "corral trace: a line as strace writes it" grep -qE \
        '^\[pid +[0-9]+\] openat\(AT_FDCWD, "/etc/hostname", O_RDONLY[A-Z_|]*\) = [0-9]+ <0\.[0-9]{6}>$' "$LAB_DIR/trace.lines"
    expect "a call that fails" grep -qE '\) = -1 ENOENT <' "$LAB_DIR/trace.lines"
    equal "calls that seccomp refused are marked" 7 "$(grep -cE 'add_key\(.*\) = -1 EPERM \(refused by seccomp\)$' "$LAB_DIR/trace.lines")"
    equal "each call of a loop is there" 1000 "$(grep -cE '^\[pid +[0-9]+\] getppid\(\) = ' "$LAB_DIR/trace.lines")"
    expect "the ends of processes" grep -qE '^\[pid +[0-9]+\] \+\+\+ exited with 0 \+\+\+$' "$LAB_DIR/trace.lines"
    equal "nothing was lost" 0 "$(grep -c ' lost' "$LAB_DIR/trace.lines")"
    DETAIL=$(cat "$LAB_DIR/trace.table")
    expect "-c: counts that are exact" grep -qE '^ *[0-9.]+ +[0-9.]+ +[0-9]+ +1000 +getppid$' "$LAB_DIR/trace.table"
    expect "-c: refusals" grep -qE ' 7 +7 +7 add_key$' "$LAB_DIR/trace.table"
    DETAIL=$(cat "$LAB_DIR/trace.some")
    equal "-e: the calls asked for" 7 "$(grep -c add_key "$LAB_DIR/trace.some")"
    equal "-e: and no others" 0 "$(grep -cE 'openat|getppid' "$LAB_DIR/trace.some")"
    unset DETAIL
    line=$("$CORRAL_BIN/corral" trace "watched$$" -e opneat 2>&1)
    expect "a misspelt call is refused: $line" grep -q 'opneat.*did you mean openat' <<<"$line"

    # Counts alone, from the policy.
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -i --rm=false --policy "$counts" --name "counted$$" -- sh -c \
        'head -c "$0" >/tmp/calls; chmod +x /tmp/calls; /tmp/calls 0 4321' "$(stat -c %s "$LAB_BIN/calls")" <"$LAB_BIN/calls" >/dev/null 2>&1
    n=$(curl -s --unix-socket "$LAB_DIR/run/corral.sock" "http://corral/v1/sandboxes/counted$$/syscalls" |
        grep -oE '\{[^{}]*"name":"add_key"[^{}]*\}' | grep -oE '"(calls|refused)":[0-9]+' | tr '\n' ' ')
    equal "policy counts: exact" '"calls":4321 "refused":4321 ' "$n"
    "$CORRAL_BIN/corral" rm -f "counted$$" >/dev/null 2>&1

    # As fast as the sandbox can, and every number accounted for.
    trace_policy "$LAB_DIR/trace-flood.yaml" '[getppid]'
    "$CORRAL_BIN/corral" tail -o json >"$out" 2>&1 &
    tail=$!
    LAB_PIDS+=($tail)
    sleep 0.3
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -i --rm=false --policy "$LAB_DIR/trace-flood.yaml" --name "flood$$" -- sh -c \
        'head -c "$0" >/tmp/calls; chmod +x /tmp/calls; /tmp/calls 200000 0' "$(stat -c %s "$LAB_BIN/calls")" <"$LAB_BIN/calls" >/dev/null 2>&1
    seq=$(trace_counter "flood$$" events)
    # A slow machine is not done with it yet. What a reader has missed is told before its next event, what the kernel has lost
    # five times a second.
    for ((i = 0; i < 30; i++)); do
        "$CORRAL_BIN/corral" run --name "behind$$" -- true
        sleep 0.5
        n=$(grep "\"name\":\"flood$$\"" "$out" | grep -oE '"seq":[0-9]+' | awk -F: -v most="$seq" '$2 > 0 && $2 <= most' | sort -u | wc -l)
        lost=$(grep '"type":"lost"' "$out" | grep -oE '"count":[0-9]+' | awk -F: '{ sum += $2 } END { print sum + 0 }')
        [ $((n + lost)) -ge "$seq" ] && break
    done
    "$CORRAL_BIN/corral" rm -f "flood$$" >/dev/null 2>&1
    kill $tail 2>/dev/null
    wait $tail 2>/dev/null
    expect "a flood: $seq events, $n delivered, $lost lost" test "$seq" -gt 200000 -a $((n + lost)) = "$seq"
}
