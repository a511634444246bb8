# shellcheck shell=bash
# Section of bypass.sh about learned policies.

# POLICY SCRIPT [plain]: the workload, with the probe unless it is plain, under a policy; what it was refused stands in LEARN_DENIALS.
learn_replay() {
    local traced=$LAB_DIR/replay.yaml
    # What is refused is to be told.
    { cat "$1"; echo 'trace: { syscalls: first }'; } >"$traced"
    LEARN_REPLAYS=$((${LEARN_REPLAYS:-0} + 1))
    local id="replay$LEARN_REPLAYS-$$"
    lab_tail "$LAB_DIR/replay.calls" -e syscall --verdict deny "$id"
    if [ "${3:-}" = plain ]; then
        LEARN_OUT=$("$CORRAL_BIN/corral" run -q --name "$id" --policy "$traced" -- sh -c "$2" 2>&1)
    else
        LEARN_OUT=$(NAMED_POLICY=$traced named "$2" --name "$id")
    fi
    sleep 0.3
    LEARN_DENIALS=$("$CORRAL_BIN/corral" tail -o json --no-follow --since 30s --verdict deny "$id")
    LEARN_DENIALS=$(grep -F '"verdict":"deny"' <<<"$LEARN_DENIALS")
    lab_end_tails
    # Those of calls, by their names: what the default profile answers with ENOSYS is so here, and programs do without it.
    LEARN_CALLS=$(grep -F '"reason":"syscall_not_allowed"' "$LAB_DIR/replay.calls" | grep -v '"error":"ENOSYS"' | grep -oE '"name":"[a-z0-9_]+","abi"' |
        cut -d'"' -f4 | sort | uniq -c | tr -s ' \n' ' ')
}

section_learn() {
    local policy=$LAB_DIR/learned.yaml again=$LAB_DIR/learned2.yaml saved=$LAB_DIR/learn.events work more
    names_up
    # Names over v4 and v6, addresses of both families, a datagram, a question without a connection, a name that does not exist
    # and an address that nobody should reach. It sleeps, as dig does when its threads are slow to end.
    work="curl -s -4 --max-time 3 http://permitted.test/; curl -s -6 --max-time 3 http://permitted.test/
        curl -s -4 --max-time 3 http://a.wild.test:8000/; /tmp/probe tcp4 $REFUSED4 8001; /tmp/probe tcp6 $REFUSED6 8002
        /tmp/probe udp4 $REFUSED4B 8003; dig +short brief.test A; dig +short none.test A; sleep 0.01"
    more="$work; /tmp/probe udp4 $METADATA 80; true"
    "$CORRAL_BIN/corral" policy learn -i --output "$policy" -- sh -c \
        'head -c "$1" >/tmp/probe && chmod +x /tmp/probe && eval "$2"' learn "$(stat -c %s "$LAB_BIN/probe")" "$more" \
        <"$LAB_BIN/probe" >"$LAB_DIR/learn.out" 2>"$LAB_DIR/learn.err"
    equal "learn: the command's exit status" 0 $?
    DETAIL="$(cat "$LAB_DIR/learn.err" "$policy")"
    equal "learn: the command reached what it asked for" 3 "$(grep -c 'hello from permitted' "$LAB_DIR/learn.out")"
    equal "learn: nothing is missing" "" "$(grep missing "$LAB_DIR/learn.err")"
    expect "learn: a name, its port, and who used it when" grep -qE \
        '^    - \{ domain: permitted.test, ports: \[80\] \}  # [0-9]+ times, 20[0-9T:-]+Z to 20[0-9T:-]+Z, by /usr/bin/curl$' "$policy"
    expect "learn: a name below another is itself alone" grep -qF '{ domain: a.wild.test, ports: [8000], protocol: tcp }' "$policy"
    expect "learn: an IPv4 address" grep -qF "{ cidr: $REFUSED4/32, ports: [8001], protocol: tcp }" "$policy"
    expect "learn: an IPv6 address" grep -qF "{ cidr: \"$REFUSED6/128\", ports: [8002], protocol: tcp }" "$policy"
    expect "learn: a datagram" grep -qE "\\{ cidr: $REFUSED4B/32, ports: \\[8003\\], protocol: udp \\}  # once, .* by /tmp/probe" "$policy"
    expect "learn: a name that was only asked for" grep -qF '{ domain: brief.test, ports: [53] }' "$policy"
    expect "learn: a name that does not exist" grep -qF '{ domain: none.test, ports: [53] }' "$policy"
    equal "learn: no more rules than that" 7 "$(grep -c '^    - {' "$policy")"
    expect "learn: a call, how often it was made, since when and by which programs" grep -qE \
        '^    - socket  # [0-9]+ times, first 20[0-9T:-]+Z, by .*/usr/bin/curl.*' "$policy"
    expect "learn: a call of one program" grep -qE '^    - getppid  # .*, by /usr/bin/(da)?sh' "$policy"
    expect "learn: no call that was not made" test -z "$(grep -E '^    - (mkdirat|mkdir|setpriority|symlinkat|inotify_init1) ' "$policy")"
    expect "learn: what is reserved is a comment with its reason" grep -qE "^#   $METADATA:80/udp: reserved_address; " "$policy"
    unset DETAIL
    expect "the learned policy is valid" "$CORRAL_BIN/corral" policy validate "$policy"

    # The same again under it, and one thing more.
    learn_replay "$policy" "$work"
    DETAIL=$LEARN_OUT
    equal "the same workload: reaches the same" 3 "$(grep -c 'hello from permitted' <<<"$LEARN_OUT")"
    equal "the same workload: no denial" "" "$LEARN_DENIALS"
    DETAIL=$(cat "$policy" "$LAB_DIR/replay.calls") equal "the same workload: no call is refused" "" "$LEARN_CALLS"
    learn_replay "$policy" "$work; /tmp/probe call setpriority 141"
    DETAIL="$LEARN_OUT $(cat "$LAB_DIR/replay.calls")" equal "one call more: that is refused, and nothing else" " 1 setpriority " "$LEARN_CALLS"
    expect "one call more: told with its process" grep -qE '"comm":"probe".*"name":"setpriority"' "$LAB_DIR/replay.calls"
    learn_replay "$policy" "$work; /tmp/probe call mkdirat 258"
    equal "another call more: that is refused, and nothing else" " 1 mkdirat " "$LEARN_CALLS"
    DETAIL=$LEARN_OUT
    learn_replay "$policy" "$work; /tmp/probe tcp4 $REFUSED4 8000"
    equal "one port more: that is refused, and nothing else" 1 "$(wc -l <<<"$LEARN_DENIALS")"
    expect "one port more: refused there" grep -q "\"reason\":\"port_not_allowed\".*\"ip\":\"$REFUSED4\",\"port\":8000" <<<"$LEARN_DENIALS"
    learn_replay "$policy" "$work; /tmp/probe tcp6 2001:db8:2::67 8002"
    equal "one address more: that is refused, and nothing else" 1 "$(wc -l <<<"$LEARN_DENIALS")"
    expect "one address more: refused there" grep -q '"reason":"no_matching_rule".*"ip":"2001:db8:2::67"' <<<"$LEARN_DENIALS"
    learn_replay "$policy" "$work; dig +short b.deep.wild.test A"
    equal "one name more: that is refused, and nothing else" 1 "$(wc -l <<<"$LEARN_DENIALS")"
    expect "one name more: refused there" grep -q '"reason":"name_not_allowed".*"b.deep.wild.test"' <<<"$LEARN_DENIALS"
    learn_replay "$policy" "$more"
    equal "what was never permitted: refused" 1 "$(grep -c '"reason":"reserved_address"' <<<"$LEARN_DENIALS")"

    # From what a tail has saved.
    "$CORRAL_BIN/corral" tail -o json --no-follow --since 60s "replay1-$$" >"$saved"
    "$CORRAL_BIN/corral" policy learn --input "$saved" --name again >"$again" 2>"$LAB_DIR/learn.err"
    equal "from saved events: exit status" 0 $?
    DETAIL=$(diff <(sed 's/  #.*//' "$policy") <(sed 's/  #.*//' "$again"))
    equal "from saved events of the same workload: the same rules" "$(grep '^    - {' "$policy" | sed 's/  #.*//' | sort)" \
        "$(grep '^    - {' "$again" | sed 's/  #.*//' | sort)"
    unset DETAIL
    "$CORRAL_BIN/corral" policy learn --syscalls none -- sh -c 'exit 3' >"$again" 2>/dev/null
    equal "learn: an exit status that is not 0" 3 $?
    equal "learn: nothing used, nothing permitted" 0 "$(grep -cE 'egress|syscalls' "$again")"
    section_learn_calls
}

# Real programs: what they were seen to call is enough for them; a call that the profile refused is permitted on request.
section_learn_calls() {
    local policy=$LAB_DIR/calls.yaml work name
    # shellcheck disable=SC2016
    for work in 'python3 -c "import json, threading, subprocess; t = threading.Thread(target=print, args=(6 * 7,)); t.start(); t.join(); print(subprocess.run([\"ls\", \"/etc\"], capture_output=True).returncode)"' \
        'cd /tmp && mkdir d && echo x >d/f && tar cf - d | tar tf - && ls -R d && rm -r d' \
        'cd /tmp && echo "c b a" | tr " " "\n" | sort | md5sum; date +%s >/dev/null; find / -maxdepth 2 2>/dev/null | wc -l'; do
        name=$(grep -oE 'python3|tar|sort' <<<"$work" | head -1)
        "$CORRAL_BIN/corral" policy learn --output "$policy" -- sh -c "$work" >"$LAB_DIR/learn.out" 2>"$LAB_DIR/learn.err"
        equal "learn $name: exit status" 0 $?
        learn_replay "$policy" "$work" plain
        DETAIL="$LEARN_OUT $(cat "$policy")" equal "$name: again under it: no call is refused" "" "$LEARN_CALLS"
        equal "$name: again under it: the same output" "$(cat "$LAB_DIR/learn.out")" "$LEARN_OUT"
    done
    work="/tmp/probe call acct 163; true"
    "$CORRAL_BIN/corral" policy learn -i --output "$policy" -- sh -c 'head -c "$1" >/tmp/probe && chmod +x /tmp/probe && eval "$2"' learn \
        "$(stat -c %s "$LAB_BIN/probe")" "$work" <"$LAB_BIN/probe" >/dev/null 2>&1
    DETAIL=$(cat "$policy")
    expect "learn: a call that the profile refused is a comment" grep -qE '^#   acct: syscall_not_allowed; .* \(once, .*, by /tmp/probe\)' "$policy"
    equal "learn: and not permitted" 0 "$(grep -cE '^    - acct' "$policy")"
    "$CORRAL_BIN/corral" policy learn -i --syscalls tried --output "$policy" -- sh -c 'head -c "$1" >/tmp/probe && chmod +x /tmp/probe && eval "$2"' learn \
        "$(stat -c %s "$LAB_BIN/probe")" "$work" <"$LAB_BIN/probe" >/dev/null 2>&1
    DETAIL=$(cat "$policy")
    expect "learn --syscalls tried: it is permitted" grep -qE '^    - acct  # once' "$policy"
    unset DETAIL
}

# Policies that are replaced, as readers are told of them.
section_policy_events() {
    local wider=$LAB_DIR/wider.yaml events name=changed$$ run i
    printf 'apiVersion: corral/v1\nname: wider\negress: { allow: [{ cidr: 203.0.113.0/24, ports: [80] }, { domain: permitted.test, ports: [443] }] }\n' >"$wider"
    "$CORRAL_BIN/corral" run -q --name "$name" -- sleep 2 &
    run=$!
    for ((i = 0; i < 50; i++)); do "$CORRAL_BIN/corral" inspect "$name" >/dev/null 2>&1 && break; sleep 0.05; done
    "$CORRAL_BIN/corral" policy apply "$name" "$wider" >/dev/null
    sed 's/cidr: .*/cidr: nowhere }] }/' "$wider" >"$wider.bad"
    "$CORRAL_BIN/corral" policy apply "$name" "$wider.bad" >/dev/null 2>&1
    equal "a bad policy is refused" 1 $?
    sleep 0.3
    events=$("$CORRAL_BIN/corral" tail -o json --no-follow --since 20s -e policy "$name")
    wait $run
    DETAIL=$events
    expect "a policy that is applied: who it is and what changes" grep -qE \
        '"type":"policy","action":"applied","policy":\{"name":"wider","generation":1,"rule":null\},"changes":\["allowed 203.0.113.0/24: [^"]*80[^"]*",.*"allowed permitted.test: ' <<<"$events"
    expect "one that is refused: which one stays, and why" grep -qE \
        '"action":"refused","policy":\{"name":"wider","generation":1,"rule":null\},"error":"[^"]+"' <<<"$events"
    unset DETAIL
}

section_top() {
    local name=busy$$ out
    "$CORRAL_BIN/corral" run -q --name "$name" --policy "$POLICY" -- sh -c \
        "while :; do curl -s -m 1 -o /dev/null http://$REFUSED4/; done" &
    local run=$!
    sleep 0.5
    out=$("$CORRAL_BIN/corral" top --once -d 700ms)
    DETAIL=$out
    expect "top --once: a line of tabs a sandbox, with rates" grep -qE \
        "^$name	running	[1-9][0-9.]*	[0-9.]+[KM]?	[2-9]	[0-9.]+K?	[0-9.]+K?	[1-9][0-9.]*	[1-9][0-9.]*$" <<<"$out"
    out=$("$CORRAL_BIN/corral" top -n 2 -d 200ms -o json --sort denials "$name")
    DETAIL=$out
    equal "top -o json: an object a refresh" 2 "$(wc -l <<<"$out")"
    expect "with what was measured and what it comes to in a second" grep -qE \
        '"rates":\{"cpuPercent":[0-9.]+,"denials":[0-9.]+.*"stats":\{"counters":\{.*"cpuNs":[0-9]+,.*"name":"'"$name"'"' <<<"$out"
    "$CORRAL_BIN/corral" top </dev/null >/dev/null 2>"$LAB_DIR/top.err"
    expect "top without a terminal says what to do instead" grep -q -- '--once' "$LAB_DIR/top.err"
    out=$(timeout 5 script -qec "timeout -s INT 1.5 $CORRAL_BIN/corral top -d 300ms" /dev/null </dev/null | tr '\033\r' '^ ')
    DETAIL=$out
    expect "on a terminal: drawn again and again, and left as it was" test "$(grep -oF '^[H' <<<"$out" | wc -l)" -ge 3 -a "$(grep -cF '^[?1049l' <<<"$out")" = 1
    unset DETAIL
    "$CORRAL_BIN/corral" rm -f "$name" >/dev/null
    wait $run 2>/dev/null
}
