# shellcheck shell=bash disable=SC2016,SC2154
# Sections of bypass.sh about a corrald that comes after one that was killed.

# NAME: its id.
id_of() { "$CORRAL" inspect "$1" | grep -oE '"id" ?: ?"[^"]*"' | head -1 | cut -d'"' -f4; }

# NAME COUNTER
counter_of() { "$CORRAL" inspect "$1" | grep -oE "\"$2\" ?: ?[0-9]+" | head -1 | grep -oE '[0-9]+$'; }

# NAME: the probe at /tmp/probe.
give_probe() { "$CORRAL" exec -i "$1" sh -c 'cat >/tmp/new && chmod +x /tmp/new && mv /tmp/new /tmp/probe' <"$LAB_BIN/probe"; }

kill_corrald() {
    kill -KILL "$LAB_DAEMON"
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
}

# Of every sandbox.
names_and_ids() { "$CORRAL" ps -a | cut -f1,2 | sort; }

# NAME: milliseconds from its start to its end.
lasted() {
    "$CORRAL" inspect "$1" | python3 -c '
import datetime, json, sys
sandbox = json.load(sys.stdin)
sandbox = sandbox[0] if isinstance(sandbox, list) else sandbox
start, end = (datetime.datetime.fromisoformat(sandbox[key][:26].rstrip("Z")) for key in ("createdAt", "exitedAt"))
print(round((end - start).total_seconds() * 1000))'
}

section_adopt() {
    local box=box$$ alone=alone$$ lines=lines$$ ended=ended$$ gap=gap$$ limit=limit$$ named=named$$ paused=paused$$ port=port$$
    # Seconds that the probes go on: from before the kill until the next corrald has been asked about them.
    local before after denied seq began result all last=$((9 * LAB_SLOWER)) limited=$((7 * LAB_SLOWER)) late
    names_up
    lab_count refused-capture
    lab_control udp4 "$REFUSED4" 8000 >/dev/null
    settle
    lab_count refused-capture
    expect "control: the refused server is within reach of the host" test -n "$(transport "$REFUSED4")"

    "$CORRAL" create --name $box --policy "$POLICY" >/dev/null
    give_probe $box
    "$CORRAL" run -d --name $alone --policy "$POLICY" "${SWITCHES[@]}" -- sh -c \
        "until [ -x /tmp/probe ]; do sleep 0.05; done; exec /tmp/probe ask $REFUSED4 8000 $last" >/dev/null
    "$CORRAL" run -d --name $ended -- sh -c 'echo said; exit 5' >/dev/null
    "$CORRAL" wait $ended >/dev/null
    "$CORRAL" create --name $named --policy "$NAMES" >/dev/null
    "$CORRAL" exec $named curl -s --max-time $((3 * LAB_SLOWER)) --noproxy '*' http://permitted.test/ >/dev/null
    give_probe $named
    "$CORRAL" create --name $paused --policy "$POLICY" >/dev/null
    "$CORRAL" exec -d $paused sh -c 'i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.02; done' >/dev/null
    "$CORRAL" pause $paused >/dev/null
    "$CORRAL" run -d --name $port -p 127.0.0.1:18080:8080 -- python3 -m http.server 8080 >/dev/null
    "$CORRAL" run -d --name $gap -- bash -c 'trap "echo late; exit 9" USR1; while :; do sleep 0.1; done' >/dev/null
    late=$(trace_command $gap)
    expect "before: the published port answers" within 20 in_ns "$LAB_HOST" curl -sf --max-time 2 -o /dev/null http://127.0.0.1:18080/
    give_probe $alone
    "$CORRAL" exec -d $box sh -c "/tmp/probe ask $REFUSED4 8000 $last >/tmp/refused" >/dev/null
    "$CORRAL" exec -d $box sh -c "/tmp/probe ask $PERMITTED4 8000 $last >/tmp/permitted" >/dev/null
    "$CORRAL" exec -d $box sh -c "/tmp/probe talk $PERMITTED4 8001 $last >/tmp/talk" >/dev/null
    "$CORRAL" run -d --name $lines -- sh -c 'i=0; while [ $i -lt $0 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 7' \
        $((120 * LAB_SLOWER)) >/dev/null
    "$CORRAL" run -d --name $limit --timeout ${limited}s -- sleep 1000 >/dev/null
    sleep 0.5
    before=$(names_and_ids)
    denied=$(counter_of $box denied)
    seq=$(counter_of $box events)
    expect "before: a thousand datagrams a second are refused" test "${denied:-0}" -gt 200

    kill_corrald
    kill -USR1 "$late"
    sleep 2.5
    began=$(date +%s%3N)
    lab_corrald --allow-test-switches || { fail "corrald starts again"; return; }
    printf 'ready after %s ms\n' "$(($(date +%s%3N) - began))"
    after=$(names_and_ids)
    equal "the same sandboxes, by id and name" "$before" "$after"
    equal "those that run, run" "running running running" "$(for result in $box $lines $port; do state_of $result; done | tr '\n' ' ' | sed 's/ $//')"
    equal "what had ended is known, with its exit code" "exited (5) 5" "$(state_of $ended) $("$CORRAL" wait $ended)"
    equal "what ended meanwhile too" 9 "$(timeout $((5 * LAB_SLOWER)) "$CORRAL" wait $gap)"
    expect "and what it wrote meanwhile" within 5 has_logged $gap late
    expect "counters go on" test "$(counter_of $box denied)" -gt "${denied:-0}"
    expect "and so do the numbers of events" test "$(counter_of $box events)" -ge "${seq:-0}"
    equal "a pause goes on" paused "$(state_of $paused)"
    "$CORRAL" resume $paused >/dev/null
    equal "and ends" running "$(state_of $paused)"
    expect "then it goes on counting" within 3 "$CORRAL" exec $paused sh -c 'a=$(cat /tmp/count); sleep 0.3; test "$(cat /tmp/count)" -gt "$a"'
    expect "the published port answers" within 3 in_ns "$LAB_HOST" curl -sf --max-time 2 -o /dev/null http://127.0.0.1:18080/
    answered "an address that a name had opened is open" "$("$CORRAL" exec $named /tmp/probe tcp4 "$PERMITTED4" 8000)" '"ok":true'
    expect "names are resolved" "$CORRAL" exec $named curl -sf --max-time $((3 * LAB_SLOWER)) --noproxy '*' -o /dev/null http://permitted.test/
    answered "another address is not" "$("$CORRAL" exec $named /tmp/probe tcp4 "$REFUSED4" 8000)" '"errno":1,'
    answered "before a new policy: refused" "$("$CORRAL" exec $box /tmp/probe tcp4 "$REFUSED4B" 8000)" '"errno":1,'
    equal "logs go on to the end, then the exit code" "line $((120 * LAB_SLOWER - 1)) 7" \
        "$(timeout $((40 * LAB_SLOWER)) "$CORRAL" logs -f $lines | tail -1) $("$CORRAL" wait $lines)"
    equal "a timeout ends when it would have ended" 124 "$(timeout $((limited + 5 * LAB_SLOWER)) "$CORRAL" wait $limit)"
    result=$(lasted $limit)
    DETAIL="$result ms" expect "neither sooner nor later" test "$result" -ge $((limited * 1000)) -a "$result" -lt $(((limited + 5 * LAB_SLOWER) * 1000))
    expect "the probes come to their end" within 6 "$CORRAL" exec $box sh -c 'test -s /tmp/refused && test -s /tmp/permitted && test -s /tmp/talk'
    all=$("$CORRAL" exec $box cat /tmp/refused /tmp/permitted /tmp/talk)
    printf '%s\n' "$all" >"$LAB_DIR/adopt.out"
    DETAIL=$all equal "nothing refused was answered" 0 "$(field answered "$LAB_DIR/adopt.out" "$REFUSED4")"
    DETAIL=$all expect "though it went on trying" test "$(field refused "$LAB_DIR/adopt.out" "$REFUSED4")" -gt 4000
    DETAIL=$all equal "nothing permitted was refused or lost" "0 0" "$(field refused "$LAB_DIR/adopt.out" "$PERMITTED4") $(field lost "$LAB_DIR/adopt.out" "$PERMITTED4")"
    DETAIL=$all expect "a connection went on throughout" grep -q '"mode":"talk".*"errno":0' "$LAB_DIR/adopt.out"
    "$CORRAL" wait $alone >/dev/null
    DETAIL=$("$CORRAL" logs $alone) expect "nor by BPF alone" grep -q '"answered":0,' <("$CORRAL" logs $alone)
    lab_count refused-capture
    equal "no refused packet arrived from the first to the last" "" "$(transport "$REFUSED4")"
    "$CORRAL" policy apply $box "$WIDE" >/dev/null
    answered "a new policy holds" "$("$CORRAL" exec $box /tmp/probe tcp4 "$REFUSED4B" 8000)" '"ok":true'

    # Once more, with the policy that came later.
    kill_corrald
    lab_corrald --allow-test-switches || { fail "corrald starts a third time"; return; }
    answered "it holds under the next daemon too" "$("$CORRAL" exec $box /tmp/probe tcp4 "$REFUSED4B" 8000)" '"ok":true'
    expect "as generation 2" grep -qE '"generation" ?: ?2' <("$CORRAL" inspect $box)
    "$CORRAL" rm -f $box $alone $lines $ended $gap $limit $named $paused $port >/dev/null
    expect "rm removes them all" within 5 test -z "$(names_and_ids)"
    equal "no record of them is left" "" "$(ls "$LAB_DIR/run/sandboxes" | grep '^sb-'; ls "$LAB_DIR/run/sandboxes/policies")"
}

# What cannot be gone on with.
section_orphans() {
    local v2 whole=whole$$ damaged=damaged$$ half=half$$ ruined=ruined$$ whole_id damaged_id half_id ruined_id later pids=() instance dir ours=sb-orphan
    v2=$(findmnt -n -t cgroup2 -o TARGET | head -1)
    "$CORRAL" create --name $whole --policy "$POLICY" >/dev/null
    give_probe $whole
    "$CORRAL" create --name $damaged --policy "$WIDE" >/dev/null
    give_probe $damaged
    # Its last record tells of a policy, the one before of that which it had.
    "$CORRAL" policy apply $damaged "$POLICY" >/dev/null
    "$CORRAL" create --name $ruined --policy "$POLICY" >/dev/null
    "$CORRAL" create --name $half --policy "$POLICY" >/dev/null
    whole_id=$(id_of $whole) damaged_id=$(id_of $damaged) half_id=$(id_of $half) ruined_id=$(id_of $ruined)
    expect "a record holds no more than root may read" test "$(stat -c %a "$LAB_DIR/run/sandboxes" "$LAB_DIR/run/sandboxes/$whole_id.json" | tr '\n' ' ')" = "700 600 "

    # One of a later corrald: nothing is touched.
    kill_corrald
    later=$(cat "$LAB_DIR/run/sandboxes/$whole_id.json")
    sed 's/"version":1/"version":2/' <<<"$later" >"$LAB_DIR/run/sandboxes/$whole_id.json"
    expect "a record of a later corrald: this one does not start" test -z "$(lab_corrald 2>/dev/null && echo started)"
    DETAIL=$(tail -3 "$LAB_DIR/corrald.log") expect "and says why" grep -q 'is of version 2; this corrald reads 1' "$LAB_DIR/corrald.log"
    wait "$LAB_DAEMON" 2>/dev/null
    expect "its sandbox goes on" grep -q . "$v2/corral/$LAB/$whole_id/cgroup.procs"
    printf '%s' "$later" >"$LAB_DIR/run/sandboxes/$whole_id.json"

    echo '{"version":1,"id":' >"$LAB_DIR/run/sandboxes/$damaged_id.json"
    echo '{"version":1,"id":' >"$LAB_DIR/run/sandboxes/$ruined_id.json"
    echo '{"version":1,"id":' >"$LAB_DIR/run/sandboxes/$ruined_id.json.previous"
    rm "$LAB_DIR/run/sandboxes/$half_id.json"
    # Ours by its name, and of an instance whose name begins as ours does.
    for instance in "$LAB" "${LAB}x"; do
        dir=$v2/corral/$instance/$ours
        mkdir -p "$dir" "/sys/fs/bpf/corral/$instance/sandboxes/$ours"
        sleep 300 &
        pids+=($!)
        echo $! >"$dir/cgroup.procs"
        ip -n "$LAB_HOST" link add "${instance: -6}o" type veth peer name "${instance: -6}p"
        ip -n "$LAB_HOST" link set "${instance: -6}o" alias "corral:$instance:$ours"
    done
    lab_corrald --allow-test-switches || { fail "corrald starts again"; return; }
    equal "a whole sandbox is taken over" running "$(state_of $whole)"
    answered "and its policy holds" "$("$CORRAL" exec $whole /tmp/probe tcp4 "$REFUSED4" 8000)" '"errno":1,'
    answered "both ways" "$("$CORRAL" exec $whole /tmp/probe tcp4 "$PERMITTED4" 8000)" '"ok":true'
    equal "nothing else is listed" "$(printf '%s\n' "$damaged_id" "$whole_id" | sort)" "$("$CORRAL" ps -aq | sort)"
    equal "one whose last record is damaged goes on" running "$(state_of $damaged)"
    answered "under the policy that the kernel has" "$("$CORRAL" exec $damaged /tmp/probe tcp4 "$REFUSED4" 8000)" '"errno":1,'
    answered "both ways" "$("$CORRAL" exec $damaged /tmp/probe tcp4 "$PERMITTED4" 8000)" '"ok":true'
    DETAIL=$("$CORRAL" inspect $damaged) expect "by its name" grep -qE '"name" ?: ?"lab"' <("$CORRAL" inspect $damaged)
    expect "and generation" grep -qE '"generation" ?: ?2' <("$CORRAL" inspect $damaged)
    expect "a damaged record is set aside" test -e "$LAB_DIR/run/sandboxes/$damaged_id.json.damaged"
    DETAIL=$(tail -5 "$LAB_DIR/corrald.log") expect "and complained of" grep -q "$damaged_id.json cannot be read and is set aside" "$LAB_DIR/corrald.log"
    expect "one whose last two records are damaged is ended" test ! -e "$v2/corral/$LAB/$ruined_id"
    expect "one without a record too" test ! -e "$v2/corral/$LAB/$half_id"
    equal "their hooks are gone" "$(printf '%s\n' "$damaged_id" "$whole_id" | sort)" "$(ls "/sys/fs/bpf/corral/$LAB/sandboxes" | grep -E "$whole_id|$damaged_id|$ruined_id|$half_id|$ours" | sort)"
    expect "an orphan of ours is gone: cgroup" test ! -e "$v2/corral/$LAB/$ours"
    expect "process" test ! -e "/proc/${pids[0]}/cgroup" -o "$(ps -o stat= -p "${pids[0]}" | cut -c1)" = Z
    expect "interface" test -z "$(ip -n "$LAB_HOST" -o link show "${LAB: -6}o" 2>/dev/null)"
    expect "another's is as it was: cgroup" test -e "$v2/corral/${LAB}x/$ours"
    expect "process of another's" kill -0 "${pids[1]}"
    instance=${LAB}x
    expect "interface of another's" ip -n "$LAB_HOST" link show "${instance: -6}o"
    expect "pins of another's" test -d "/sys/fs/bpf/corral/$instance/sandboxes/$ours"
    kill "${pids[@]}" 2>/dev/null
    wait "${pids[@]}" 2>/dev/null
    ip -n "$LAB_HOST" link del "${instance: -6}o"
    rmdir "$v2/corral/$instance/$ours" "$v2/corral/$instance" "/sys/fs/bpf/corral/$instance/sandboxes/$ours" \
        "/sys/fs/bpf/corral/$instance/sandboxes" "/sys/fs/bpf/corral/$instance"
    "$CORRAL" rm -f $whole $damaged >/dev/null
}

# How many of this instance's sandboxes run the probe.
probes() {
    lab_cgroups | sed 's,$,/cgroup.procs,' | xargs -r cat 2>/dev/null | sort -u | sed 's,.*,/proc/&/comm,' |
        xargs -r grep -shx probe | wc -l
}

section_killed() {
    local permitted control i
    lab_count refused-capture
    control=$(lab_control udp4 "$REFUSED4" 8000)
    settle
    lab_count refused-capture
    expect "control: the refused server is within reach of the host" test "$LAB_FRAMES" -gt 0
    lab_probe "$POLICY" -- loop "$REFUSED4" 8000 60 >/dev/null 2>&1 &
    lab_probe "$POLICY" -- loop "$PERMITTED4" 8000 60 >/dev/null 2>&1 &
    lab_probe "$POLICY" "${SWITCHES[@]}" -- loop "$REFUSED4" 8000 60 >/dev/null 2>&1 &
    for ((i = 0; i < 100; i++)); do
        [ "$(probes)" -eq 3 ] && break
        sleep 0.1
    done
    lab_count permitted-capture
    sleep 1
    lab_count permitted-capture
    expect "before: the permitted traffic flows" test "$LAB_FRAMES" -gt 0
    lab_count refused-capture
    kill -KILL "$LAB_DAEMON"
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
    lab_count permitted-capture
    sleep 1.5
    equal "corrald killed: all three go on trying" 3 "$(probes)"
    lab_count permitted-capture
    permitted=$LAB_FRAMES
    lab_count refused-capture
    DETAIL=$LAB_CAPTURED equal "corrald killed: the refused traffic stays refused" 0 "$LAB_FRAMES"
    expect "corrald killed: the permitted traffic goes on" test "$permitted" -gt 0
    lab_count refused-capture
    lab_corrald --allow-test-switches || fail "corrald starts again after it was killed"
    equal "the next corrald: all three go on trying" 3 "$(probes)"
    lab_count permitted-capture
    sleep 1
    lab_count permitted-capture
    expect "the next corrald: the permitted traffic goes on" test "$LAB_FRAMES" -gt 0
    lab_count refused-capture
    DETAIL=$LAB_CAPTURED equal "the next corrald: the refused traffic stays refused" 0 "$LAB_FRAMES"
    run -- true
    equal "a new corrald serves" 0 $?
    "$CORRAL_BIN/corral" ps -q | xargs -r "$CORRAL_BIN/corral" rm -f >/dev/null
}
