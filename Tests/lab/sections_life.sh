# shellcheck shell=bash disable=SC2034,SC2154
# Sections of bypass.sh about the life of a sandbox: further commands, output, terminals, pauses, and what is left at its end.

CORRAL=$CORRAL_BIN/corral

# NAME: its state, as ps prints it.
state_of() { "$CORRAL" ps -a --filter "name=$1" | cut -f3; }

# NAME: processes in its cgroup, corral-init included.
processes_of() {
    local id
    id=$("$CORRAL" inspect "$1" | grep -oE '"id" ?: ?"[^"]*"' | head -1 | cut -d'"' -f4)
    find /sys/fs/cgroup -path "*/corral/$LAB/$id/cgroup.procs" -exec cat {} + 2>/dev/null | sort -u | grep -c .
}

# SECONDS COMMAND...: until the command succeeds.
within() {
    local deadline=$((SECONDS + $1 * LAB_SLOWER))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# NAME NUMBER: its last line is a larger number.
has_logged_more() { [ "$("$CORRAL" logs --tail 1 "$1")" -gt "$2" ]; }

# NAME TEXT
has_logged() { "$CORRAL" logs "$1" 2>&1 | grep -q "$2"; }

# NAME: it is not there any more.
is_gone() { [ -z "$(state_of "$1")" ]; }

section_commands() {
    local id out status i box=box$$ bytes=$LAB_DIR/life-bytes
    id=$("$CORRAL" create --name $box --policy "$POLICY" -e FROM=create)
    expect "create prints an id" grep -qE '^sb-[a-z0-9]{6}$' <<<"$id"
    equal "it runs without a command" running "$(state_of $box)"
    equal "exec: output" hello "$("$CORRAL" exec $box echo hello)"
    "$CORRAL" exec $box sh -c 'exit 7'
    equal "exec: exit code" 7 $?
    "$CORRAL" exec $box nothing-of-this-name 2>/dev/null
    equal "exec: not found" 127 $?
    "$CORRAL" exec $box /etc/passwd 2>/dev/null
    equal "exec: not executable" 126 $?
    "$CORRAL" exec $box sh -c 'kill -KILL $$'
    equal "exec: killed" 137 $?
    "$CORRAL" exec "nobody$$" true 2>/dev/null
    equal "exec: no such sandbox" 125 $?
    equal "exec: by a beginning of the id" ok "$("$CORRAL" exec "${id:0:8}" echo ok)"
    equal "exec: environment, over that of create" "create exec" "$("$CORRAL" exec -e OWN=exec $box sh -c 'echo $FROM $OWN')"
    equal "exec: directory" /usr "$("$CORRAL" exec -w /usr $box pwd)"
    equal "exec: user" "1000 100" "$("$CORRAL" exec -u 1000:100 $box sh -c 'echo $(id -u) $(id -g)')"
    equal "exec: stdin" "through" "$(echo through | "$CORRAL" exec -i $box cat)"
    equal "exec: without -i there is none" "" "$(echo through | "$CORRAL" exec $box cat)"
    equal "the policy holds for it" 7 "$("$CORRAL" exec $box sh -c "curl -s --max-time 2 --noproxy '*' http://$REFUSED4/; echo \$?")"
    "$CORRAL" exec $box sh -c 'echo kept >/tmp/file'
    equal "files stay between commands" kept "$("$CORRAL" exec $box cat /tmp/file)"
    # A client that leaves.
    "$CORRAL" exec $box sh -c 'echo begun; while :; do echo x; sleep 0.01; done' >"$LAB_DIR/left" &
    out=$!
    within 5 grep -q begun "$LAB_DIR/left"
    kill -KILL $out
    wait $out 2>/dev/null
    sleep 0.3
    expect "an exec goes on when its client leaves" "$CORRAL" exec $box sh -c 'grep -qa "while :" /proc/[0-9]*/cmdline'
    # 64 at once; the one above runs, and the sandbox's init holds the rest.
    for i in $(seq 70); do "$CORRAL" exec -d $box sleep 100 >/dev/null 2>>"$LAB_DIR/many"; done
    equal "63 more are held, seven are refused" 7 "$(grep -c 'runs 64 commands' "$LAB_DIR/many")"
    "$CORRAL" rm -f $box >/dev/null
    expect "rm ends them all" within 5 is_gone $box

    # Main command and others.
    id=$("$CORRAL" run -d --name $box -- sh -c 'echo first; sleep 0.4; echo second >&2; sleep 0.6; exit 5')
    "$CORRAL" exec $box sleep 100 &
    out=$!
    equal "names are unique" 1 "$("$CORRAL" create --name $box 2>&1 | grep -c 'is taken')"
    equal "logs -f follows to the end" "first second" "$("$CORRAL" logs -f $box 2>&1 | tr '\n' ' ' | sed 's/ $//')"
    equal "wait tells the exit code" 5 "$("$CORRAL" wait $box)"
    wait $out
    equal "an exec ends with the main command" 137 $?
    equal "logs keep both streams apart" "first" "$("$CORRAL" logs $box 2>/dev/null)"
    equal "logs --tail" second "$("$CORRAL" logs --tail 1 $box 2>&1)"
    equal "logs --since" "" "$("$CORRAL" logs --since "$(date -u +%FT%T.%NZ)" $box 2>&1)"
    equal "run -d keeps the sandbox" "exited (5)" "$(state_of $box)"
    "$CORRAL" exec $box true 2>"$LAB_DIR/err"
    equal "no exec in one that has ended" "125 1" "$? $(grep -c 'not running' "$LAB_DIR/err")"
    "$CORRAL" run -d --rm true --name "gone$$" -- true >/dev/null
    expect "with --rm true it is gone at once" within 3 is_gone "gone$$"
    equal "rm of several" 2 "$("$CORRAL" create --name "other$$" >/dev/null && "$CORRAL" rm -f $box "other$$" 2>&1 | grep -c "$$")"

    # Nobody reads a detached command, and it is not held up; who reads holds it up.
    "$CORRAL" run -d --name $box -- sh -c 'head -c 20000000 /dev/zero; echo end' >/dev/null
    equal "a detached command never blocks on its output" 0 "$(timeout 10 "$CORRAL" wait $box)"
    equal "logs hold the last mebibyte" "1 end" "$("$CORRAL" logs $box 2>/dev/null | tail -c 1048576 | tr -d '\0' | grep -c end) $("$CORRAL" logs --tail 1 $box 2>/dev/null | tr -d '\0')"
    expect "and not much more" test "$("$CORRAL" logs $box 2>/dev/null | wc -c)" -lt 1400000
    "$CORRAL" rm $box >/dev/null
    # Several readers, one writer.
    "$CORRAL" run -d -i --name $box -- sh -c 'while read -r line; do echo "got $line"; done; sleep 0.3' >/dev/null
    "$CORRAL" attach --no-stdin $box >"$LAB_DIR/reader" &
    out=$!
    (sleep 0.3; echo one; sleep 0.3; echo two) | "$CORRAL" attach $box >"$LAB_DIR/writer"
    equal "attach ends with the command's exit code" 0 $?
    wait $out
    equal "every reader gets what is written" "got one got two got one got two" "$(cat "$LAB_DIR/reader" "$LAB_DIR/writer" | tr '\n' ' ' | sed 's/ $//')"
    "$CORRAL" rm $box >/dev/null
    "$CORRAL" run -d -i --name $box -- cat >/dev/null
    sleep 5 | "$CORRAL" attach $box >/dev/null &
    out=$!
    sleep 0.4
    equal "a second writer is refused" 1 "$("$CORRAL" attach $box </dev/null 2>&1 | grep -c 'writes the stdin')"
    "$CORRAL" rm -f $box >/dev/null
    wait $out
    # Byte for byte.
    python3 -c '
import sys, random
random.seed(1)
block = random.randbytes(1 << 20) + bytes(range(256)) * 4096 + b"\0" * 12345
for _ in range(480): sys.stdout.buffer.write(block)' >"$bytes"
    equal "1 GiB of any bytes, unchanged" "$(sha256sum <"$bytes")" "$("$CORRAL" run -i -- cat <"$bytes" | sha256sum)"
    expect "of at least 1 GiB" test "$(stat -c %s "$bytes")" -ge 1000000000
    rm "$bytes"
    # A reader that stops: the command waits, the daemon does not.
    "$CORRAL" run --name $box -- sh -c 'head -c 100000000 /dev/zero; echo done >&2' 2>"$LAB_DIR/err" | sleep 3 &
    out=$!
    sleep 1.5
    equal "a reader that stops blocks the command" 0 "$(grep -c done "$LAB_DIR/err")"
    equal "and not the daemon" "still here" "$(timeout 2 "$CORRAL" run -- echo still here)"
    wait $out
}

section_pause() {
    local box=paused$$ i out status before
    "$CORRAL" run -d --name $box -- sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done' >/dev/null
    sleep 0.2
    "$CORRAL" pause $box >/dev/null
    equal "paused" paused "$(state_of $box)"
    before=$("$CORRAL" logs --tail 1 $box)
    sleep 0.3
    equal "nothing runs" "$before" "$("$CORRAL" logs --tail 1 $box)"
    equal "no exec meanwhile" 1 "$("$CORRAL" exec $box true 2>&1 | grep -c 'is paused')"
    equal "no second pause" 1 "$("$CORRAL" pause $box 2>&1 | grep -c 'is paused')"
    equal "no TERM" 1 "$("$CORRAL" kill -s TERM $box 2>&1 | grep -c 'is paused')"
    "$CORRAL" resume $box >/dev/null
    equal "resumed" running "$(state_of $box)"
    expect "and it goes on" within 3 has_logged_more $box "$before"
    expect "and can be spoken to" test "$("$CORRAL" exec $box echo yes)" = yes
    "$CORRAL" pause $box >/dev/null
    "$CORRAL" kill $box >/dev/null
    equal "a paused one is killed" 137 "$(timeout 5 "$CORRAL" wait $box)"
    "$CORRAL" rm $box >/dev/null
    "$CORRAL" create --name $box >/dev/null
    "$CORRAL" pause $box >/dev/null
    "$CORRAL" rm -f $box >/dev/null
    expect "a paused one is removed" within 5 is_gone $box
    "$CORRAL" create --name $box --timeout 1s >/dev/null
    "$CORRAL" pause $box >/dev/null
    equal "its timeout goes on" 124 "$(timeout 5 "$CORRAL" wait $box)"
    "$CORRAL" rm $box >/dev/null
    equal "events tell of it" "paused resumed" "$("$CORRAL" tail --no-follow --last 400 -e sandbox -o json "$box" | grep -oE '"action":"(paused|resumed)"' | cut -d'"' -f4 | head -2 | tr '\n' ' ' | sed 's/ $//')"
    # Signals.
    "$CORRAL" run -d --name $box -- sh -c 'trap "echo usr1" USR1; echo ready; while :; do sleep 0.02; done' >/dev/null
    within 5 has_logged $box ready
    "$CORRAL" kill -s USR1 $box >/dev/null
    expect "kill -s reaches the main command" within 3 has_logged $box usr1
    out=$("$CORRAL" exec -d $box sh -c 'trap "exit 9" USR2; while :; do sleep 0.02; done')
    sleep 0.2
    "$CORRAL" kill -s USR2 --exec "$out" $box >/dev/null
    equal "and one of exec" 9 "$(timeout 5 "$CORRAL" wait --exec "$out" $box)"
    equal "ps --filter" "$box" "$("$CORRAL" ps --filter state=running --filter "name=$box" | cut -f2)"
    equal "ps --filter leaves out the others" "" "$("$CORRAL" ps -q --filter state=paused)"
    "$CORRAL" rm -f $box >/dev/null
}

section_cleanup() {
    # The length of their sleep tells these processes from any other's.
    local box=clean$$ i before after began nap=$((100000 + $$))
    # SCRIPT NAME: what it leaves behind goes with it, and `run` does not wait for it.
    local names=(
        "a daemon of its own session" "setsid sh -c 'sleep $nap' >/dev/null 2>&1 & echo said"
        "a double fork" "(setsid sh -c '(sleep $nap &) ' &) ; echo said"
        "one that ignores TERM, HUP and INT" "sh -c 'trap \"\" TERM HUP INT; sleep $nap' & echo said"
        "one that holds the output open" "sleep $nap & echo said"
        "one that writes on for ever" "sh -c 'while :; do echo late; sleep 1; done' & echo said; sleep 0.1"
        "a process that is stopped" "sleep $nap & kill -STOP \$!; echo said"
    )
    for ((i = 0; i < ${#names[@]}; i += 2)); do
        began=$SECONDS
        equal "${names[i]}: run returns with what was said" said "$(timeout 10 "$CORRAL" run -- sh -c "${names[i + 1]}" 2>/dev/null | head -1)"
        expect "${names[i]}: at once" test $((SECONDS - began)) -lt 4
    done
    expect "and nothing of them is left" within 5 sh -c "! grep -qsa '^sleep.$nap' /proc/[0-9]*/cmdline"
    # A bomb that a limit holds.
    timeout 20 "$CORRAL" run --pids 64 --timeout 2s -- sh -c 'f() { f | f & }; f; sleep 30' >/dev/null 2>&1
    equal "a fork bomb is ended by its timeout" 124 $?
    "$CORRAL" run -d --name $box --pids 64 -- sh -c 'f() { f | f & }; f; while :; do sleep 1; done' >/dev/null 2>&1
    sleep 0.5
    equal "the daemon answers beside one" fine "$(timeout 10 "$CORRAL" run -- echo fine)"
    timeout 10 "$CORRAL" rm -f $box >/dev/null
    equal "and removes it" 0 $?
    expect "no process of any of them remains" within 10 sh -c "! find /sys/fs/cgroup -path '*/corral/$LAB/*' -name cgroup.procs -exec cat {} + | while read -r p; do tr '\0' ' ' </proc/\$p/cmdline; echo; done | grep -qE '^(sh|sleep) '"
    # Descriptors of corrald: what a hundred runs open is closed again.
    before=$(find "/proc/$LAB_DAEMON/fd" | wc -l)
    for i in $(seq 100); do "$CORRAL" run -- true; done
    sleep 1
    after=$(find "/proc/$LAB_DAEMON/fd" | wc -l)
    expect "a hundred runs leave no descriptor in corrald" test $((after - before)) -lt 12
    DETAIL="$before before, $after after"
}

section_terminal() {
    "$LAB_ROOT/Tests/lab/terminal.py" "$CORRAL" >"$LAB_DIR/terminal.out" 2>&1
    local line
    while IFS=$'\t' read -r verdict name detail; do
        case $verdict in
        ok) pass "$name" ;;
        FAIL) fail "$name" "$detail" ;;
        esac
    done <"$LAB_DIR/terminal.out"
    expect "the harness ran to its end" grep -q '^end' "$LAB_DIR/terminal.out"
    grep -q '^end' "$LAB_DIR/terminal.out" || tail -5 "$LAB_DIR/terminal.out"
}

section_timing() {
    local out=$LAB_DIR/timing.out
    sleep 0.5
    "$CORRAL" run --timing -- echo hi >/dev/null 2>"$out"
    expect "--timing tells a warm start" grep -q 'warm start' "$out"
    for stage in "parse arguments" connect "corrald: policy" "corrald: claim" "corrald: limits" "corrald: bind" "corrald: exec" "first byte" exit "total since main"; do
        expect "stage: $stage" grep -qE "$stage +[0-9.]+" "$out"
    done
    # The policy is in force at the first instruction, although the claim does not wait for the kernel's grace period.
    local reached=0 i
    for i in $(seq 20); do
        run -- curl -s --max-time 3 --noproxy '*' "http://$PERMITTED4/" >/dev/null && reached=$((reached + 1))
    done
    equal "twenty starts, each reaches at once what its policy permits" 20 $reached
    # Between the claim and the command: no process, no file read, no netlink message.
    command -v strace >/dev/null || { skip "the start path under strace" "no strace"; return; }
    "$CORRAL" run -- true
    sleep 0.5
    strace -f -tt -e trace=execve,fork,vfork,clone,clone3,openat,open,socket,sendto,sendmsg,connect,epoll_wait,read,recvfrom -o "$LAB_DIR/strace" -p "$LAB_DAEMON" 2>/dev/null &
    local tracer=$!
    sleep 1
    "$CORRAL" run -- true
    sleep 0.2
    kill $tracer
    wait $tracer 2>/dev/null
    if ! grep -qF '\1\0\21\0' "$LAB_DIR/strace"; then
        skip "the start path under strace" "strace saw no start: $(head -c 200 "$LAB_DIR/strace")"
        return
    fi
    # From the request to the message that has the command executed.
    expect "strace saw the request" grep -q 'POST /v1/sandboxes' "$LAB_DIR/strace"
    equal "before a warm start: no process, no file, no netlink message" "" \
        "$(awk '/POST \/v1\/sandboxes/ { asked = 1 } /\\1\\0\\21\\0/ { exit } asked && /execve|fork|clone|open|nlmsg/ { print }' "$LAB_DIR/strace")"
}
