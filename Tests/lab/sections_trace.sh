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
    lab_tail "$out"
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
    lab_end_tails
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
    lab_tail "$out"
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
    lab_end_tails
    expect "a flood: $seq events, $n delivered, $lost lost" test "$seq" -gt 200000 -a $((n + lost)) = "$seq"
}

# NAME PROGRAM POLICY ARG...: a program of the lab in a sandbox.
trace_program() {
    local name=$1 program=$LAB_BIN/$2 policy=$3
    shift 3
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -q -i --rm=false --policy "$policy" --name "$name" -- sh -c \
        'head -c "$0" >/tmp/program; chmod +x /tmp/program; exec /tmp/program "$@"' "$(stat -c %s "$program")" "$@" <"$program"
}

# Ways into the kernel that are not the system calls of x86-64.
section_ways() {
    local ring=$LAB_DIR/ring.yaml abis=$LAB_DIR/abis.yaml out=$LAB_DIR/ways.tail rows
    cat >"$ring" <<YAML
apiVersion: corral/v1
name: ring
egress: { allow: [ { cidr: $PERMITTED4/32 } ] }
syscalls: { allow: [io_uring_setup, io_uring_enter, io_uring_register] }
trace: { syscalls: [io_uring_enter] }
YAML
    trace_policy "$abis" '[getpid]'
    lab_tail "$out"
    trace_program "ring$$" probe "$ring" ring-tcp "$PERMITTED4" 8000 >"$LAB_DIR/ways.probe" 2>&1
    expect "io_uring, permitted: a connection by a ring" grep -q '"ok":true' "$LAB_DIR/ways.probe"
    trace_program "closed$$" probe "$POLICY" ring-tcp "$PERMITTED4" 8000 >"$LAB_DIR/ways.probe" 2>&1
    expect "and refused by default" grep -q '"stage":"io_uring_setup","errno":1,' "$LAB_DIR/ways.probe"
    trace_program "abis$$" fence "$abis" i386 x32 >"$LAB_DIR/ways.fence" 2>&1
    trace_await "$out" "\"name\":\"abis$$\".*\"action\":\"exited\""
    DETAIL=$(grep "ring$$" "$out" | tail -4)
    expect "an operation of a ring is told: its opcode and descriptor" grep -qE \
        "\"name\":\"ring$$\".*\"name\":\"IORING_OP_CONNECT\",\"abi\":\"io_uring\",\"args\":\[\"[0-9]+\",\"user_data=0\"\]}$" "$out"
    expect "the call that submitted it too" grep -qE "\"name\":\"ring$$\".*\"name\":\"io_uring_enter\",\"abi\":\"x86_64\"" "$out"
    rows=$(curl -s --unix-socket "$LAB_DIR/run/corral.sock" "http://corral/v1/sandboxes/ring$$/syscalls" |
        grep -oE '\{[^{}]*"abi":"io_uring"[^{}]*\}' | grep -oE '"(calls|name)":[^,]*' | tr '\n' ' ')
    equal "and counted" '"calls":1 "name":"IORING_OP_CONNECT" "calls":1 "name":"IORING_OP_SEND" ' "$rows"
    DETAIL=$(grep "abis$$" "$out" | grep getpid)
    for abi in i386 x32; do
        equal "a call of $abi is told as one: refused" 1 "$(grep "\"name\":\"abis$$\"" "$out" |
            grep -cE "\"verdict\":\"deny\".*\"name\":\"getpid\",\"abi\":\"$abi\".*\"error\":\"ENOSYS\"")"
    done
    unset DETAIL
    lab_end_tails
    "$CORRAL_BIN/corral" rm -f "ring$$" "closed$$" "abis$$" >/dev/null 2>&1
}

# NAME -> host pid of the sandbox's command
trace_command() {
    local init
    init=$("$CORRAL_BIN/corral" inspect "$1" | grep -oE '"hostPid" *: *[0-9]+' | grep -oE '[0-9]+')
    ps -o pid= --ppid "$init" | head -1 | tr -d ' '
}

# FILE: the rows of corral's table, as `call calls errors`
trace_rows() {
    awk 'NR > 2 && !/^------/ && substr($0, 62) != "total" { e = substr($0, 42, 9); gsub(/ /, "", e)
        c = substr($0, 32, 9); gsub(/ /, "", c); print substr($0, 62), c, e == "" ? 0 : e }' "$1" | sort
}

# NAME COMMAND: one run of a command, counted by corral and by strace on the host at once, both from the moment when it waits
# for a line to begin. Rows of strace's have to be corral's too. What corral has beside them does not return, and strace counts
# what returns: exit and exit_group.
trace_beside_strace() {
    local name=$1 command=$2 in run pid tool table i
    mkfifo "$LAB_DIR/go.$name"
    exec {in}<>"$LAB_DIR/go.$name"
    "$CORRAL_BIN/corral" run -q -i --policy "$POLICY" --name "beside-$name" -- \
        bash -c 'read -r line; eval "$1"' beside "$command" <"$LAB_DIR/go.$name" >"$LAB_DIR/beside.out" 2>&1 &
    run=$!
    for ((i = 0; i < 100; i++)); do
        pid=$(trace_command "beside-$name" 2>/dev/null)
        [ -n "$pid" ] && grep -q bash "/proc/$pid/comm" 2>/dev/null && break
        sleep 0.05
    done
    # In read(2).
    sleep 0.3
    strace -f -c -U name,calls,errors -o "$LAB_DIR/beside.strace" -p "$pid" 2>"$LAB_DIR/strace.err" &
    tool=$!
    trace_await "$LAB_DIR/strace.err" attached
    # It interrupts the call that it finds; the end of that is not ours to count.
    sleep 0.3
    "$CORRAL_BIN/corral" trace "beside-$name" -c >"$LAB_DIR/beside.table" 2>&1 &
    table=$!
    for ((i = 0; i < 100; i++)); do
        [ "$(metric corral_traced_sandboxes)" = 1 ] && break
        sleep 0.1
    done
    echo >&"$in"
    wait $run
    i=$?
    exec {in}>&-
    wait $table $tool
    equal "$name: the command itself" 0 "$i"
    awk 'NR > 2 && !/^-/ && $1 != "total" { print $1, $2, $3 + 0 }' "$LAB_DIR/beside.strace" | sort >"$LAB_DIR/beside.theirs"
    trace_rows "$LAB_DIR/beside.table" >"$LAB_DIR/beside.ours"
    DETAIL=$(diff "$LAB_DIR/beside.theirs" "$LAB_DIR/beside.ours" | grep '^[<>]' | tr '\n' ' ')
    expect "$name: strace counted something" test "$(wc -l <"$LAB_DIR/beside.theirs")" -gt 5
    equal "$name: every row of strace's" "" "$(comm -23 "$LAB_DIR/beside.theirs" "$LAB_DIR/beside.ours" | tr '\n' ' ')"
    equal "$name: beside them, only what does not return" "" \
        "$(comm -13 "$LAB_DIR/beside.theirs" "$LAB_DIR/beside.ours" | grep -vE '^exit(_group)? ' | tr '\n' ' ')"
    pass "$name: $(awk '{ n += $2 } END { print n }' "$LAB_DIR/beside.ours") calls in $(wc -l <"$LAB_DIR/beside.ours") rows"
    unset DETAIL
}

# Five programs as they are.
section_strace() {
    command -v strace >/dev/null || { skip "counts beside strace's" "strace is not installed"; return; }
    trace_beside_strace ls 'ls -R /etc >/dev/null'
    trace_beside_strace python3 'python3 -c "import json; print(sum(range(100)), json.dumps({}))"'
    trace_beside_strace curl "curl -s --max-time 5 --noproxy '*' http://$PERMITTED4/"
    trace_beside_strace git 'cd /tmp && git init -q r && cd r && echo a >a && git add a && git -c user.name=a -c user.email=a@b commit -qm a'
    trace_beside_strace tar 'tar cf /tmp/x.tar /etc 2>/dev/null; tar tf /tmp/x.tar >/dev/null'
}

# A sandbox that makes as many calls as it can, all traced, beside one that is denied 100 connections; one reader for both.
section_flood() {
    local seconds=${FLOOD_SECONDS:-10} out=$LAB_DIR/flood.out run reader seq delivered lost denials order late
    trace_policy "$LAB_DIR/all.yaml" all
    mkfifo "$LAB_DIR/flood.fifo"
    python3 -c '
import re, sys, time
calls = {}
for line in sys.stdin.buffer:
    if b"\"type\":\"syscall\"" in line:
        name = line[line.index(b"\"name\":\"") + 8:][:40].split(b"\"")[0]
        calls[name] = calls.get(name, 0) + 1
    else:
        sys.stdout.write("%d %s" % (time.time_ns(), line.decode()))
        sys.stdout.flush()
for name, count in calls.items(): print("calls", name.decode(), count)
' <"$LAB_DIR/flood.fifo" >"$out" &
    reader=$!
    LAB_PIDS+=($reader)
    lab_tail "$LAB_DIR/flood.fifo"
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -q -i --rm=false --policy "$LAB_DIR/all.yaml" --name "flooder$$" -- sh -c \
        'head -c "$0" >/tmp/p; chmod +x /tmp/p; exec /tmp/p 0 "$1"' "$(stat -c %s "$LAB_BIN/producer")" "$seconds" \
        <"$LAB_BIN/producer" >"$LAB_DIR/flood.rate" 2>&1 &
    run=$!
    sleep 2
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -q -i --rm=false --policy "$POLICY" --name "victim$$" -- sh -c \
        'head -c "$1" >/tmp/probe && chmod +x /tmp/probe && for i in $(seq 100); do /tmp/probe tcp4 "$2" 80; sleep 0.02; done' victim \
        "$(stat -c %s "$LAB_BIN/probe")" "$REFUSED4" <"$LAB_BIN/probe" >/dev/null 2>&1
    wait $run
    "$CORRAL_BIN/corral" rm -f "victim$$" >/dev/null 2>&1
    # Its counters are read once it is sure that nothing of it is on its way: its own last event has arrived, and the kernel's
    # losses are told five times a second.
    trace_await "$out" "\"name\":\"flooder$$\".*\"action\":\"exited\""
    sleep 1
    seq=$(trace_counter "flooder$$" events)
    "$CORRAL_BIN/corral" rm -f "flooder$$" >/dev/null 2>&1
    trace_await "$out" "\"name\":\"flooder$$\".*\"action\":\"destroyed\""
    sleep 0.5
    lab_end_tails
    wait $reader 2>/dev/null
    lost=$(grep "\"name\":\"flooder$$\".*\"type\":\"lost\"" "$out" | grep -oE '"count":[0-9]+' | awk -F: '{ n += $2 } END { print n + 0 }')
    delivered=$(($(awk -v name="flooder$$" '$1 == "calls" && $2 == name { print $3 }' "$out") + $(grep -F "\"name\":\"flooder$$\"" "$out" |
        grep -oE '"seq":[0-9]+' | awk -F: -v most="$seq" '$2 > 0 && $2 <= most' | wc -l)))
    grep -F "\"name\":\"victim$$\"" "$out" | grep -F '"verdict":"deny"' >"$LAB_DIR/flood.denials"
    denials=$(wc -l <"$LAB_DIR/flood.denials")
    order=$(grep -oE '"seq":[0-9]+' "$LAB_DIR/flood.denials" | cut -d: -f2)
    # The lateness of each, in milliseconds.
    late=$(python3 -c '
import datetime, sys
for line in sys.stdin:
    arrived, event = line.split(" ", 1)
    text = event[9:39]
    whole = datetime.datetime.fromisoformat(text[:19] + "+00:00").timestamp()
    print((int(arrived) - (int(whole) * 10**9 + int(text[20:29]))) // 10**6)
' <"$LAB_DIR/flood.denials" | sort -n | tail -1)
    DETAIL=$(cat "$LAB_DIR/flood.rate")
    expect "a flood of calls: $(cut -d' ' -f1 "$LAB_DIR/flood.rate") in $seconds s" test "$seq" -gt $((seconds * 50000))
    unset DETAIL
    equal "beside it, 100 denials: all of them" 100 "$denials"
    equal "in their order" "$order" "$(sort -n <<<"$order")"
    expect "each within 100 ms of happening; the latest after $late ms" test "${late:-1000}" -le 100
    equal "the flood's $seq events are delivered ($delivered) or lost ($lost)" "$seq" $((delivered + lost))
    equal "nobody else lost any" 0 "$(grep '"type":"lost"' "$out" | grep -vcF "\"name\":\"flooder$$\"")"
}
