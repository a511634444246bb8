# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# Section of bypass.sh about a corrald whose maps are laid out in another way than those of the one before: build/lab/next holds
# programs whose flows have a field more, whose table of opened addresses is twice as large, and whose version is one higher.

map_of() { "$LAB_BIN/fill" show "/sys/fs/bpf/corral/$LAB/maps/$1"; }

# NAME SECONDS: sends to the refused server and to the permitted one, a thousand times a second each, and talks over one connection.
probing() {
    "$CORRAL" create --name "$1" --policy "$POLICY" >/dev/null
    give_probe "$1"
    "$CORRAL" exec -d "$1" sh -c "/tmp/probe ask $REFUSED4 8000 $2 >/tmp/refused"
    "$CORRAL" exec -d "$1" sh -c "/tmp/probe ask $PERMITTED4 8000 $2 >/tmp/permitted"
    "$CORRAL" exec -d "$1" sh -c "/tmp/probe talk $PERMITTED4 8001 $2 >/tmp/talk"
} >/dev/null

# WHEN NAME LEAST CHANGES
probed() {
    expect "$1: the probes come to their end" within 15 "$CORRAL" exec "$2" sh -c 'test -s /tmp/refused && test -s /tmp/permitted && test -s /tmp/talk'
    "$CORRAL" exec "$2" cat /tmp/refused /tmp/permitted /tmp/talk >"$LAB_DIR/upgrade.out"
    DETAIL=$(cat "$LAB_DIR/upgrade.out")
    equal "$1: nothing refused was answered" 0 "$(field answered "$LAB_DIR/upgrade.out" "$REFUSED4")"
    expect "$1: though it went on trying" test "$(field refused "$LAB_DIR/upgrade.out" "$REFUSED4")" -gt "$3"
    equal "$1: nothing permitted was refused" 0 "$(field refused "$LAB_DIR/upgrade.out" "$PERMITTED4")"
    # Each question is a flow of its own, one at a time. One that begins in the moment in which the hooks of its sandbox change from one
    # table of flows to the other gets no answer.
    expect "$1: nothing permitted was lost but what began at a change of tables" test "$(field lost "$LAB_DIR/upgrade.out" "$PERMITTED4")" -le "$4"
    expect "$1: a connection went on throughout" grep -q '"mode":"talk".*"errno":0' "$LAB_DIR/upgrade.out"
    unset DETAIL
}

section_upgrade() {
    local box=up$$ named=named$$ port=port$$ next=(--allow-test-switches --test-objects "$LAB_BIN/next") before denied seq
    names_up
    lab_count refused-capture
    lab_control udp4 "$REFUSED4" 8000 >/dev/null
    settle
    lab_count refused-capture
    expect "control: the refused server is within reach of the host" test -n "$(transport "$REFUSED4")"
    another_corrald
    "$CORRAL" create --name $named --policy "$NAMES" >/dev/null
    give_probe $named
    "$CORRAL" exec $named curl -s --max-time 3 --noproxy '*' http://permitted.test/ >/dev/null
    "$CORRAL" run -d --name $port -p 127.0.0.1:18081:8080 -- python3 -m http.server 8080 >/dev/null
    probing $box 12
    sleep 1
    before=$(names_and_ids) denied=$(counter_of $box denied) seq=$(counter_of $box events)
    equal "flows and addresses before" "16 262144" "$(map_of flows | cut -d' ' -f2) $(map_of pins | cut -d' ' -f3)"

    kill_corrald
    lab_corrald "${next[@]}" || { fail "the next version starts"; return; }
    equal "the next version: flows and addresses" "24 524288" "$(map_of flows | cut -d' ' -f2) $(map_of pins | cut -d' ' -f3)"
    equal "the next version: the same sandboxes" "$before" "$(names_and_ids)"
    expect "the next version: counters go on" test "$(counter_of $box denied)" -gt "${denied:-0}"
    expect "and the numbers of events" test "$(counter_of $box events)" -ge "${seq:-0}"
    answered "an address that a name had opened is open" "$("$CORRAL" exec $named /tmp/probe tcp4 "$PERMITTED4" 8000)" '"ok":true'
    answered "another address is not" "$("$CORRAL" exec $named /tmp/probe tcp4 "$REFUSED4" 8000)" '"errno":1,'
    expect "names are resolved" "$CORRAL" exec $named curl -sf --max-time 3 --noproxy '*' -o /dev/null http://permitted.test/
    expect "the published port answers" within 3 in_ns "$LAB_HOST" curl -sf --max-time 2 -o /dev/null http://127.0.0.1:18081/
    equal "sandboxes start" 0 "$(run -q -- true; echo $?)"

    # Back again: refused, and nothing is touched.
    kill_corrald
    expect "the version before: it does not start" test -z "$(lab_corrald --allow-test-switches 2>/dev/null && echo started)"
    wait "$LAB_DAEMON" 2>/dev/null
    DETAIL=$(tail -4 "$LAB_DIR/corrald.log") expect "and says why" grep -q 'the maps are of version 3; this corrald has 2' "$LAB_DIR/corrald.log"
    expect "and what to do" grep -q 'end them with the corrald that made them, or start that one again' "$LAB_DIR/corrald.log"
    sleep 1
    lab_corrald "${next[@]}" || { fail "the next version starts again"; return; }
    equal "the next version again: the same sandboxes" "$before" "$(names_and_ids)"
    probed "over all of it" $box 4000 1

    # Killed in the middle of it.
    "$CORRAL" ps -aq | xargs -r "$CORRAL" rm -f >/dev/null
    another_corrald
    probing $box 12
    kill_corrald
    nsenter --net="/run/netns/$LAB_HOST" -- timeout 20 strace -f -qq -o /dev/null -e trace=rename -e inject=rename:signal=SIGKILL \
        -P "/sys/fs/bpf/corral/$LAB/maps/flows+new" \
        "$CORRAL_BIN/corrald" --instance "$LAB" --run-dir "$LAB_RUN" --state-dir "$LAB_DIR/state" --subnet 10.231.0.0/16 \
        --subnet6 fdc0:44a1:231::/64 --dns-servers "$PERMITTED4" "${next[@]}" >>"$LAB_DIR/corrald.log" 2>&1
    equal "killed between two maps" "16 524288" "$(map_of flows | cut -d' ' -f2) $(map_of pins | cut -d' ' -f3)"
    expect "the version before: it does not start" test -z "$(lab_corrald --allow-test-switches 2>/dev/null && echo started)"
    wait "$LAB_DAEMON" 2>/dev/null
    lab_corrald "${next[@]}" || { fail "the next version starts after that"; return; }
    equal "then both are carried over" "24 524288" "$(map_of flows | cut -d' ' -f2) $(map_of pins | cut -d' ' -f3)"
    probed "killed in the middle" $box 4000 2
    lab_count refused-capture
    DETAIL=$LAB_CAPTURED equal "no refused packet arrived from the first to the last" "" "$(transport "$REFUSED4")"

    # A corral-init of another protocol.
    kill_corrald
    sed -i.kept 's/"control":1,/"control":2,/' "$LAB_DIR/run/sandboxes/$(ls "$LAB_DIR/run/sandboxes" | grep -m1 '^sb-.*json$')"
    expect "a corral-init of another version: corrald does not start" test -z "$(lab_corrald "${next[@]}" 2>/dev/null && echo started)"
    wait "$LAB_DAEMON" 2>/dev/null
    DETAIL=$(tail -4 "$LAB_DIR/corrald.log") expect "and says why" grep -q 'speaks version 2 of the protocol; this corrald speaks 1' "$LAB_DIR/corrald.log"
    find "$LAB_DIR/run/sandboxes" -name '*.kept' | while read -r before; do mv "$before" "${before%.kept}"; done
    lab_corrald "${next[@]}" || { fail "with the record as it was it starts"; return; }
    equal "with the record as it was its sandbox is taken over" running "$(state_of $box)"
    "$CORRAL" rm -f $box >/dev/null
    another_corrald
}
