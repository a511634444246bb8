# shellcheck shell=bash disable=SC2034
# Sections of bypass.sh about the audit journal, the past of events, and metrics.

# NUMBER [RUN-FLAG...]: a sandbox in which that many connections are refused.
refused_connections() {
    local count=$1
    shift
    run -q "$@" -- bash -c "for ((i = 0; i < $count; i++)); do (exec 3<>/dev/tcp/$REFUSED4/80); done 2>/dev/null; true"
}

# NAME [TAIL-FLAG...]: the numbers of a sandbox's events in the journal, sorted, on one line.
seqs() {
    local name=$1
    shift
    corral tail -o json --no-follow "$@" "$name" | grep -F "\"name\":\"$name\"" | seq_numbers
}
seq_numbers() { grep -oE '"seq":[0-9]+' | cut -d: -f2 | grep -vx 0 | sort -n | tr '\n' ' '; }

# NAME TEXT: numbers from the first to the last, each once.
gapless() {
    local first last
    first=${2%% *} last=$(awk '{ print $NF }' <<<"$2")
    equal "$1" "$(seq -s ' ' "${first:-1}" "${last:-0}")" "${2% }"
}

metric() { # NAME-WITH-LABELS
    curl -s --unix-socket "$LAB_DIR/run/corral.sock" http://corral/metrics | grep -F "$1 " | grep -v '^#' | awk '{ print $NF }'
}

# COMMAND...: until it succeeds, for 10 s.
journal_within() {
    local i
    for ((i = 0; i < 100; i++)); do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}

restart_corrald() { # KILL-SIGNAL [FLAG...]
    local signal=$1
    shift
    if [ "$signal" = KILL ]; then
        kill -KILL "$LAB_DAEMON"
        wait "$LAB_DAEMON" 2>/dev/null
        LAB_DAEMON=
        lab_sweep
    else
        lab_stop_corrald
    fi
    lab_corrald --allow-test-switches "$@" || fail "corrald starts again"
}

# More decisions than the ring holds, while nobody reads it: what is lost is counted everywhere, and refused all the same.
section_overflow() {
    local name=overflow$$ sent=40000 before full in run command i seq lost
    before=$(metric 'corral_bpf_helper_failures_total{helper="ringbuf_reserve",subject="decisions"}')
    lab_tail "$LAB_DIR/overflow.tail"
    # What it reads would come through corrald: it waits by the clock.
    run -q --rm=false --name "$name" -- python3 -c "
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
time.sleep(4)
refused = 0
for i in range($sent):
    try: s.sendto(b'x', ('$REFUSED4', 9))
    except PermissionError: refused += 1
print(refused)" >"$LAB_DIR/overflow.out" &
    run=$!
    journal_within grep -q "\"name\":\"$name\".*\"action\":\"started\"" "$LAB_DIR/overflow.tail"
    command=$(trace_command "$name")
    expect "overflow: a command waits" test -n "$command"
    lab_count refused-capture
    kill -STOP "$LAB_DAEMON"
    # The command ends by itself; corrald cannot see it.
    for ((i = 0; i < 600; i++)); do
        kill -0 "$command" 2>/dev/null || break
        sleep 0.1
    done
    kill -CONT "$LAB_DAEMON"
    wait $run
    settle
    lab_count refused-capture
    equal "overflow: $sent datagrams, each refused at once" "$sent" "$(cat "$LAB_DIR/overflow.out")"
    equal "overflow: none of them arrives" "" "$(transport)"
    full=$(($(metric 'corral_bpf_helper_failures_total{helper="ringbuf_reserve",subject="decisions"}') - before))
    expect "overflow: the ring had no room for $full" test "$full" -gt 0
    equal "overflow: they are what the sandbox has lost" "$full" "$(trace_counter "$name" eventsLost)"
    seq=$(trace_counter "$name" events)
    for ((i = 0; i < 100; i++)); do
        lost=$(grep -F "\"name\":\"$name\"" "$LAB_DIR/overflow.tail" | grep '"type":"lost"' | grep -oE '"count":[0-9]+' | awk -F: '{ n += $2 } END { print n + 0 }')
        [ $((lost + $(seqs_in "$LAB_DIR/overflow.tail" "$name"))) -ge "$seq" ] && break
        sleep 0.1
    done
    equal "overflow: delivered and lost are all $seq" "$seq" $((lost + $(seqs_in "$LAB_DIR/overflow.tail" "$name")))
    lab_end_tails
    corral rm -f "$name" >/dev/null
}

# FILE NAME: how many numbered events of a sandbox are in it.
seqs_in() { grep -F "\"name\":\"$2\"" "$1" | seq_numbers | wc -w; }

section_journal() {
    local name=journal$$ audit=$LAB_DIR/state/audit text i pid before head
    local denied
    denied=$(metric 'corral_verdicts_total{reason="denied_by_rule"}')
    refused_connections 20 --name "$name"
    text=$(seqs "$name")
    gapless "journal: every event of a sandbox, once" "$text"
    expect "journal: from its creation to its end" test "$(wc -w <<<"$text")" -ge 24
    text=$(corral tail -o json --no-follow --since 1m -e audit)
    DETAIL=$text
    expect "who created it" grep -qE "\"name\":\"$name\".*\"action\":\"create\",\"outcome\":\"done\",\"by\":\{\"uid\":$(id -u),\"gid\":$(id -g),\"pid\":[0-9]+\}.*\"policy_sha256\":\"$(sha256sum <"$POLICY" | cut -d' ' -f1)\"" <<<"$text"
    unset DETAIL
    corral rm "none$$" >/dev/null 2>&1
    expect "what was refused is recorded" grep -q "\"action\":\"remove\",\"outcome\":\"refused\".*\"target\":\"none$$\"" \
        <(corral tail -o json --no-follow --since 1m -e audit)
    equal "--last" 3 "$(corral tail -o json --no-follow --last 3 "$name" | wc -l)"
    expect "--last gives the newest" grep -q '"action":"destroyed"\|"action":"create"' <(corral tail -o json --no-follow --last 1 "$name")
    equal "--since in the future: nothing" 0 "$(corral tail -o json --no-follow --since 2100-01-01T00:00:00Z | wc -l)"
    equal "--input re-renders files of the journal" "$(corral tail --no-follow --color never -e egress "$name")" \
        "$(cat "$audit"/audit-*.jsonl | corral tail --input - --color never -e egress "$name")"
    (corral tail --no-follow -o json 2>"$LAB_DIR/pipe.err"; echo $? >"$LAB_DIR/pipe.status") | head -1 >/dev/null
    equal "a reader that leaves: nothing is said" "" "$(cat "$LAB_DIR/pipe.err")"
    (timeout 5 "$CORRAL_BIN/corral" tail 2>"$LAB_DIR/pipe.err"; echo $? >"$LAB_DIR/pipe.status") | true
    equal "a reader that leaves while nothing happens: tail ends" " 141" "$(cat "$LAB_DIR/pipe.err") $(cat "$LAB_DIR/pipe.status")"

    # From the past into the present.
    live through --name "through$$" --policy "$POLICY" -- "for i in \$(seq 150); do /tmp/probe tcp4 $REFUSED4 80; sleep 0.02; done >/dev/null"
    pid=$LIVE
    sleep 1
    for i in 1 2 3 4; do
        lab_tail "$LAB_DIR/through.$i" --last 100000
    done
    wait "$pid"
    journal_within grep -q "through$$.*destroyed" "$LAB_DIR/through.4"
    sleep 0.3
    for i in 1 2 3 4; do
        gapless "reader $i that began in the middle has it all, once" "$(grep -F "\"name\":\"through$$\"" "$LAB_DIR/through.$i" | seq_numbers)"
    done

    equal "verdicts are counted" "$(metric 'corral_verdicts_total{reason="denied_by_rule"}')" \
        "$((denied + 20 + $(grep -c "through$$.*denied_by_rule" "$LAB_DIR/through.1")))"
    expect "warm starts are measured" test "$(metric 'corral_sandbox_start_duration_seconds_count{start="warm"}')" -gt 0
    if command -v promtool >/dev/null; then
        DETAIL=$(curl -s --unix-socket "$LAB_DIR/run/corral.sock" http://corral/metrics | promtool check metrics 2>&1)
        equal "promtool finds nothing to say of /metrics" "" "$DETAIL"
        unset DETAIL
    else
        skip "promtool check metrics" "promtool is not installed"
    fi
    equal "the journal loses nothing" 0 "$(metric 'corral_events_lost_total{stage="journal"}')"
    head=$(corral audit head | cut -d' ' -f2)
    text=$(corral audit verify --head "$head" "$audit")
    equal "audit verify finds the journal intact" 0 $?

    # Killed, with half a line at the end.
    kill -KILL "$LAB_DAEMON"
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
    lab_sweep
    printf '{"time":"2026-' >>"$(ls "$audit"/audit-*.jsonl | tail -1)"
    lab_corrald --allow-test-switches || fail "corrald starts again"
    refused_connections 5 --name "after$$"
    text=$(corral audit verify --head "$head" "$audit")
    equal "killed: the chain goes on" 0 $?
    expect "killed: the torn line is stated" grep -q 'the last line of the journal was torn: 14 bytes' <<<"$text"
    expect "killed: that it was killed is stated" grep -q 'did not stop in good order' <<<"$text"
    gapless "killed: events before are there" "$(seqs "$name")"
    gapless "killed: events after are there" "$(seqs "after$$")"
    journal_within grep -q "after$$.*destroyed" "$LAB_DIR/through.1"
    expect "tail came back and told of the break" grep -q '"type":"gap","cause":"disconnected","from":' "$LAB_DIR/through.1"
    gapless "tail has all that came after" "$(grep -F "\"name\":\"after$$\"" "$LAB_DIR/through.1" | seq_numbers)"
    gapless "tail has nothing twice" "$(grep -F "\"name\":\"through$$\"" "$LAB_DIR/through.1" | seq_numbers)"

    # A stop in good order.
    before=$(corral audit verify "$audit" | grep -c 'did not stop')
    restart_corrald TERM
    equal "a stop is no gap" "$before" "$(corral audit verify "$audit" | grep -c 'did not stop')"
    journal_tampering "$audit"
    journal_full_disk "$audit"
}

# DIRECTORY
journal_tampering() {
    local copy=$LAB_DIR/copy file text number
    rm -rf "$copy"
    cp -a "$1" "$copy"
    file=$(ls "$copy"/audit-*.jsonl | head -1)
    cp "$file" "$LAB_DIR/good.jsonl"
    text=$(corral audit verify "$copy")
    equal "a copy is verified without a daemon" 0 $?
    tampered() { # NAME PATTERN COMMAND...: the copy is intact again afterwards
        local name=$1 pattern=$2 status
        shift 2
        "$@"
        text=$(corral audit verify "$copy")
        status=$?
        cp "$LAB_DIR/good.jsonl" "$file"
        DETAIL=$text
        expect "audit verify, a line $name" grep -qE "$pattern" <<<"$status $text"
        unset DETAIL
    }
    tampered "removed" "^1 .*:7: before it, record 7 was removed" sed -i 7d "$file"
    tampered "altered" "^1 .*:9: record 9 was altered" sed -i '9s/"seq"/"sEq"/' "$file"
    tampered "swapped" "^1 .*:12: record 11 was moved" sed -i -n '11{h;n;G};p' "$file"
    tampered "that stands twice" "^1 .*:6: record 5 stands here once more" sed -i 5p "$file"
    tampered "put in" "^1 .*:4: is no record" sed -i '4i {}' "$file"
    tampered "at the beginning removed" "^1 .*:1: begins with record 4" sed -i 1,3d "$file"
    # By the rules of docs/AUDIT.md alone.
    text=$(sed -n 9p "$file")
    equal "a hash by sha256sum" "$(sed -E 's/.*"hash":"([0-9a-f]*)"\}$/\1/' <<<"$text")" "$(head -c -76 <<<"$text" | sha256sum | cut -d' ' -f1)"
    equal "the line after cites it" "$(sed -E 's/.*"hash":"([0-9a-f]*)"\}$/\1/' <<<"$text")" "$(sed -n 10p "$file" | sed -E 's/.*"prev":"([0-9a-f]*)".*/\1/')"
}

# DIRECTORY: the journal on a disk of 192 KiB.
journal_full_disk() {
    local audit=$1 text lost number
    lab_stop_corrald
    mv "$audit" "$audit.before"
    mkdir -m 700 "$audit"
    mount -t tmpfs -o size=192k,mode=700 tmpfs "$audit"
    lab_corrald --allow-test-switches || fail "corrald starts on a small disk"
    refused_connections 400 --name "full$$"
    journal_fails() { [ "$(metric corral_journal_failing)" = 1 ]; }
    journal_works() { [ "$(metric corral_journal_failing)" = 0 ]; }
    expect "full disk: corrald says so" journal_within journal_fails
    expect "full disk: in its log, too" grep -q 'audit journal cannot be written.*No space left' "$LAB_DIR/corrald.log"
    lab_count refused-capture
    refused_connections 5 --name "refused$$"
    settle
    lab_count refused-capture
    equal "full disk: what is refused stays refused" "" "$(transport)"
    equal "full disk: what is permitted is let through" 0 "$(run -- curl -s -m 3 -o /dev/null "http://$PERMITTED4/"; echo $?)"
    expect "full disk: the past says that it is not whole" grep -q '"cause":"write_failed","count":' \
        <(corral tail -o json --no-follow --last 5)
    mount -o remount,size=16m "$audit"
    expect "room again: it goes on" journal_within journal_works
    sleep 0.3
    text=$(corral audit verify "$audit")
    equal "room again: the chain is whole" 0 $?
    expect "room again: the gap is stated" grep -q 'the journal could not be written: since .*No space left' <<<"$text"
    gapless "room again: nothing of the first was lost" "$(seqs "full$$")"
    gapless "room again: nothing of the second was lost" "$(seqs "refused$$")"
    lab_stop_corrald
    umount "$audit"
    rmdir "$audit"
    mv "$audit.before" "$audit"
    lab_corrald --allow-test-switches || fail "corrald starts again"
    corral audit verify "$audit" >/dev/null
    equal "the journal from before goes on" 0 $?
}
