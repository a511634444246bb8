# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Sections of bypass.sh about what runs out: disk, addresses, descriptors, processes, tables. Each shortage is a clear error, leaves
# alone what runs, lets nothing out, and is over when it is over.

# NAME TEXT COMMAND...: fails within ten seconds, and says TEXT.
refuses() {
    local name=$1 text=$2 out status
    shift 2
    out=$(timeout 10 "$@" 2>&1)
    status=$?
    DETAIL="exit code $status: $out" expect "$name" test $status -ne 0 -a $status -ne 124
    DETAIL=$out expect "$name: it says why" grep -qE -- "$text" <<<"$out"
}

# NAME: a sandbox that asks both servers ten times a second and tells what came of it.
asking() {
    "$CORRAL" run -d --name "$1" --policy "$POLICY" -- sh -c "until [ -x /tmp/probe ]; do sleep 0.05; done
        while :; do /tmp/probe tcp4 $PERMITTED4 8000; /tmp/probe tcp4 $REFUSED4 8000; sleep 0.1; done" >/dev/null
    give_probe "$1"
}

# WHEN NAME: such a sandbox goes on under its policy.
goes_on() {
    local lines before
    before=$("$CORRAL" logs "$2" | wc -l)
    sleep 0.5
    lines=$(timeout 10 "$CORRAL" logs "$2")
    expect "$1: what runs goes on" test "$(wc -l <<<"$lines")" -gt $((before + 2))
    lines=$(tail -4 <<<"$lines")
    DETAIL=$lines expect "$1: what is permitted stays permitted" grep -q '"ok":true' <<<"$lines"
    DETAIL=$lines expect "$1: what is refused stays refused" grep -q '"errno":1,' <<<"$lines"
    DETAIL=$lines equal "$1: and nothing else comes of it" "" "$(grep -vE '"ok":true|"errno":1,' <<<"$lines")"
}

# WHEN: as if nothing had been.
starts_again() {
    expect "$1: sandboxes start again" within 15 run -q -- true 2>/dev/null
    expect "$1: and there is room" within 5 curl -sf --unix-socket "$LAB_DIR/run/corral.sock" http://corral/healthz -o /dev/null
}

# DIRECTORY: nothing more can be written below it.
fill_disk() { dd if=/dev/zero of="$1/filler" bs=64k 2>/dev/null; dd if=/dev/zero of="$1/filler2" bs=1 2>/dev/null; true; }
free_disk() { rm -f "$1/filler" "$1/filler2"; }

another_corrald() { # FLAG...
    lab_stop_corrald
    lab_corrald --allow-test-switches "$@" || fail "corrald starts with $*"
}

# TEXT: it is in the journal.
has_recorded() { "$CORRAL" tail -o json --no-follow -e audit --since 5m | grep -q "$1"; }

exhausted_disks() {
    local box=disk$$ other=other$$ image=$LAB_DIR/exhausted.tar
    lab_stop_corrald
    mount -t tmpfs -o size=4m,mode=700 state "$LAB_DIR/state"
    mount -t tmpfs -o size=4m,mode=755 run "$LAB_DIR/run"
    lab_corrald --allow-test-switches || { fail "corrald starts on small disks"; return; }
    mkdir -p "$LAB_DIR/tree/bin"
    cp "$LAB_BIN/probe" "$LAB_DIR/tree/bin/"
    tar -C "$LAB_DIR/tree" -cf "$image" .
    asking $box
    "$CORRAL" exec $box sh -c 'echo kept >/tmp/file'
    "$CORRAL" create --name $other --policy "$POLICY" >/dev/null
    give_probe $other

    fill_disk "$LAB_DIR/state"
    goes_on "state directory full" $box
    equal "state directory full: sandboxes start" 0 "$(run -q -- true; echo $?)"
    refuses "state directory full: an image" 'No space left' "$CORRAL" image import small$$ "$image"
    refuses "state directory full: a snapshot" 'No space left' "$CORRAL" snapshot $box full$$
    free_disk "$LAB_DIR/state"
    expect "then an image can be imported" "$CORRAL" image import small$$ "$image"
    expect "and a snapshot taken" "$CORRAL" snapshot $box whole$$
    equal "which holds what it should" kept "$("$CORRAL" run -q --from whole$$ -- cat /tmp/file)"
    expect "the journal goes on" within 10 has_recorded '"action":"import_image","outcome":"done"'
    expect "and is whole" "$CORRAL" audit verify "$LAB_DIR/state/audit"

    fill_disk "$LAB_DIR/run"
    goes_on "run directory full" $box
    refuses "run directory full: a start" 'No space left' "$CORRAL" run --policy "$POLICY" -q -- true
    refuses "run directory full: a command" 'No space left' "$CORRAL" exec $box true
    refuses "run directory full: a policy" 'No space left' "$CORRAL" policy apply $other "$WIDE"
    free_disk "$LAB_DIR/run"
    answered "the old policy holds" "$("$CORRAL" exec $other /tmp/probe tcp4 "$REFUSED4B" 8000)" '"errno":1,'
    starts_again "run directory"
    "$CORRAL" policy apply $other "$WIDE" >/dev/null
    answered "and the new policy can be applied" "$("$CORRAL" exec $other /tmp/probe tcp4 "$REFUSED4B" 8000)" '"ok":true'
    "$CORRAL" rm -f $box $other >/dev/null
    expect "run directory: nothing is left over" within 5 test -z "$("$CORRAL" ps -aq)"
    lab_stop_corrald
    umount "$LAB_DIR/state" "$LAB_DIR/run"
}

exhausted_addresses() {
    local i
    LAB_POOL=0 another_corrald --subnet 10.231.0.0/28 || return
    asking few1
    for ((i = 2; i <= 14; i++)); do "$CORRAL" create --name "few$i" --policy "$POLICY" >/dev/null || break; done
    equal "a /28 holds 14 sandboxes" 15 $i
    refuses "the fifteenth" 'no address is left in 10.231.0.0/28' "$CORRAL" run --policy "$POLICY" -q -- true
    goes_on "no address left" few1
    "$CORRAL" rm -f few2 >/dev/null
    starts_again "an address is free"
    "$CORRAL" ps -aq | xargs -r "$CORRAL" rm -f >/dev/null
}

# NUMBER: corrald may open that many more; its hard limit stays.
allow_descriptors() {
    prlimit --pid "$LAB_DAEMON" --nofile="$(seq 0 4096 | grep -vxFf <(find "/proc/$LAB_DAEMON/fd" -mindepth 1 -printf '%f\n') | sed -n "$(($1 + 1))p"):"
}

exhausted_descriptors() {
    local box=files$$ soft number waiting
    LAB_POOL=0 another_corrald || return
    asking $box
    soft=$(prlimit --pid "$LAB_DAEMON" --nofile --noheadings -o SOFT)
    for number in 2 5 9 13 20; do
        allow_descriptors $number
        refuses "descriptors used up, $number left: a start" 'Too many open files' "$CORRAL" run --policy "$POLICY" -q -- true
        [ $number -lt 9 ] && refuses "descriptors used up, $number left: a command" 'Too many open files' "$CORRAL" exec $box true
    done
    equal "descriptors used up: a command that there is room for" 0 "$("$CORRAL" exec $box true; echo $?)"
    # Long enough for all that is done again and again; not one descriptor can be opened.
    allow_descriptors 0
    timeout 20 "$CORRAL" ps -q >"$LAB_DIR/waiting" 2>&1 &
    waiting=$!
    sleep 7
    prlimit --pid "$LAB_DAEMON" --nofile="$soft:"
    expect "no descriptor left: corrald lives" kill -0 "$LAB_DAEMON"
    wait $waiting
    equal "a client that came in it is answered" "0 1" "$? $(grep -c ^sb- "$LAB_DIR/waiting")"
    starts_again "descriptors"
    goes_on "descriptors" $box
    "$CORRAL" rm -f $box >/dev/null
}

# A cgroup that bounds processes, for corrald itself; empty where there is no such controller.
processes_cgroup() {
    local v1
    v1=$(findmnt -n -t cgroup -O pids -o TARGET | head -1)
    if [ -n "$v1" ]; then echo "$v1/$LAB-bound"; return; fi
    v1=$(findmnt -n -t cgroup2 -o TARGET | head -1)
    grep -qw pids "$v1/cgroup.subtree_control" && echo "$v1/$LAB-bound"
}

exhausted_processes() {
    local box=tasks$$ cgroup pid
    cgroup=$(processes_cgroup)
    [ -n "$cgroup" ] || { skip "no process left" "no pids controller"; return; }
    LAB_POOL=0 another_corrald || return
    asking $box
    mkdir "$cgroup"
    for pid in "$LAB_DAEMON" $(pgrep -P "$LAB_DAEMON"); do echo "$pid" >"$cgroup/cgroup.procs"; done
    cat "$cgroup/pids.current" >"$cgroup/pids.max"
    refuses "no process left: a start" 'temporarily unavailable' "$CORRAL" run --policy "$POLICY" -q -- true
    goes_on "no process left" $box
    expect "no process left: the daemon answers" within 5 "$CORRAL" ps
    echo max >"$cgroup/pids.max"
    starts_again "processes"
    "$CORRAL" rm -f $box >/dev/null
    lab_stop_corrald
    rmdir "$cgroup"
}

is_settled() { ! "$CORRAL" pool | grep -q 'being destroyed'; }

# MAP: it is full.
fill_table() { "$LAB_BIN/fill" add "/sys/fs/bpf/corral/$LAB/maps/$1" >/dev/null; }
free_table() { "$LAB_BIN/fill" remove "/sys/fs/bpf/corral/$LAB/maps/$1" >/dev/null; }

exhausted_tables() {
    local box=table$$ map
    names_up
    LAB_POOL=0 another_corrald || return
    asking $box
    "$CORRAL" create --name named$$ --policy "$NAMES" >/dev/null
    give_probe named$$
    "$CORRAL" exec named$$ curl -s --max-time 3 --noproxy '*' http://permitted.test/ >/dev/null

    expect "the table of opened addresses can be filled" fill_table pins
    answered "it is full: what a name has opened stays open" "$("$CORRAL" exec named$$ /tmp/probe tcp4 "$PERMITTED4" 8000)" '"ok":true'
    equal "it is full: another name fails" SERVFAIL "$("$CORRAL" exec named$$ dig +tries=1 +time=3 brief.test | grep -oE 'SERVFAIL|NOERROR')"
    free_table pins
    equal "then it is resolved" NOERROR "$("$CORRAL" exec named$$ dig +tries=1 +time=3 brief.test | grep -oE 'SERVFAIL|NOERROR')"

    for map in slot_by_cgroup slot_by_ifindex; do
        expect "$map: nothing is being destroyed" within 5 is_settled
        expect "$map can be filled" fill_table $map
        refuses "$map is full: a start" "$map.*table is full" "$CORRAL" run --policy "$POLICY" -q -- true
        goes_on "$map is full" $box
        free_table $map
        starts_again "$map"
    done
    expect "the table of published ports can be filled" fill_table published
    refuses "it is full: a start with a port" 'published.*full' "$CORRAL" run --policy "$POLICY" -q -p 127.0.0.1:0:80 -- true
    equal "it is full: one without starts" 0 "$(run -q -- true; echo $?)"
    free_table published
    equal "then a port is published" 0 "$(run -q -p 127.0.0.1:0:80 -- true; echo $?)"
    "$CORRAL" ps -aq | xargs -r "$CORRAL" rm -f >/dev/null
}

section_exhaustion() {
    local part
    lab_count refused-capture
    lab_control udp4 "$REFUSED4" 8000 >/dev/null
    settle
    lab_count refused-capture
    expect "control: the refused server is within reach of the host" test -n "$(transport "$REFUSED4")"
    for part in disks addresses descriptors processes tables; do
        lab_count refused-capture
        "exhausted_$part"
        lab_count refused-capture
        DETAIL=$LAB_CAPTURED equal "$part: no refused packet arrived" "" "$(transport "$REFUSED4")"
    done
    another_corrald
}
