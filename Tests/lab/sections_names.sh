# shellcheck shell=bash disable=SC2034
# Sections of bypass.sh about names and budgets. A dnsmasq beside the permitted server is the one that knows them.

names_up() {
    [ -n "${NAMES_UP:-}" ] && return 0
    NAMES_UP=1
    # A packet socket for one protocol on all interfaces makes the kernel copy what it delivers, and a copy loses the socket
    # that it was given for.
    kill "${LAB_PID[near-capture]}" "${LAB_PID[client-capture]}"
    local record records=() long
    for record in permitted.test,$PERMITTED4,$PERMITTED6,$((300 * LAB_SLOWER)) shared.test,$PERMITTED4,$PERMITTED6 refused.test,$REFUSED4,$REFUSED6 \
        a.wild.test,$PERMITTED4,$PERMITTED6 b.deep.wild.test,$PERMITTED4 secret.wild.test,$PERMITTED4 wild.test,$PERMITTED4 \
        mixed.test,$PERMITTED4 mixed.test,10.9.9.9 rebind.test,192.168.1.1 loop.test,127.0.0.1 \
        meta.test,169.254.169.254 private.wild.test,fd12:3456::7 loop.wild.test,::1 \
        meta.wild.test,fd00:ec2::254 brief.test,$REFUSED4B,$REFUSED6,1; do
        records+=("--host-record=$record")
    done
    long=$(printf 'x%.0s' {1..200})
    for record in 1 2 3 4 5 6 7 8; do records+=("--txt-record=big.wild.test,$record$long"); done
    nsenter --net="/run/netns/$LAB_PERMITTED" -- dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts \
        --port=53 --listen-address="$PERMITTED4" --bind-interfaces --user=root --pid-file= --local-ttl=$((300 * LAB_SLOWER)) --no-negcache \
        --cache-size=0 --log-queries=extra --log-facility="$LAB_DIR/dnsmasq.log" --auth-ttl=300 \
        "${records[@]}" --cname=www.wild.test,a.wild.test --txt-record=permitted.test,words \
        --dns-rr=permitted.test,65,000100000100030268320004000402cb00710a0005 \
        --dns-rr=a.wild.test,65,0001000001000302683200040004cb00710a00050004deadbeef >/dev/null 2>&1 &
    LAB_PIDS+=($!)
    local i
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        in_ns "$LAB_HOST" dig +short +time=1 +tries=1 @$PERMITTED4 permitted.test 2>/dev/null | grep -q "$PERMITTED4" && break
        sleep 0.1
    done
    NAMES=$LAB_DIR/names.yaml
    cat >"$NAMES" <<YAML
apiVersion: corral/v1
name: names
egress:
  allow:
    - { domain: permitted.test, ports: [80, 8000] }
    - { domain: "*.wild.test", ports: [8000] }
    - { domain: mixed.test, ports: [80] }
    - { domain: rebind.test }
    - { domain: loop.test }
    - { domain: meta.test }
    - { domain: brief.test, ports: [8000], protocol: tcp }
  deny:
    - { domain: secret.wild.test }
YAML
}

# SCRIPT: in a sandbox under the names policy; `probe` and the clients are at hand.
named() {
    "$CORRAL_BIN/corral" run -q -i --policy "${NAMED_POLICY:-$NAMES}" "${@:2}" -- sh -c '
        head -c "$1" >/tmp/probe && chmod +x /tmp/probe && eval "$2"' named "$(stat -c %s "$LAB_BIN/probe")" "$1" \
        <"$LAB_BIN/probe" 2>&1
}

# NAME PATTERN SCRIPT: the sandbox's output matches.
named_says() {
    local result
    result=$(named "$3")
    DETAIL=${result:-nothing} expect "$1" grep -qE -- "$2" <<<"$result"
}

section_names() {
    local result pid i
    names_up
    local get="curl -s --max-time $((3 * LAB_SLOWER)) --noproxy '*'"
    # Real clients, unmodified.
    named_says "curl by name, IPv4" 'hello from permitted' "$get -4 http://permitted.test/"
    named_says "curl by name, IPv6" 'hello from permitted' "$get -6 http://permitted.test/"
    named_says "a name in capitals with a dot at its end" 'hello from permitted' "$get http://PERMITTED.Test./"
    named_says "getent" "$PERMITTED4" "getent ahostsv4 permitted.test"
    named_says "python urllib" 'hello from permitted' \
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://permitted.test/\", timeout=3).read().decode())'"
    named_says "busybox nslookup" "$PERMITTED4" "busybox nslookup permitted.test"
    named_says "dig" "status: NOERROR" "dig permitted.test"
    named_says "an alias, and a wildcard" "^$PERMITTED4" "dig +short www.wild.test A"
    named_says "a wildcard at any depth" "^$PERMITTED4" "dig +short b.deep.wild.test A"
    named_says "the wildcard's apex is none of it" "status: REFUSED" "dig wild.test"
    named_says "deny beats allow" "status: REFUSED" "dig secret.wild.test"
    named_says "an unlisted name" "status: REFUSED" "dig refused.test"
    named_says "an unlisted name, TCP" "status: REFUSED" "dig +tcp refused.test"
    # Whatever server a program asks, ours answers in its name.
    named_says "8.8.8.8 answers, and it is ours" "status: NOERROR" "dig @8.8.8.8 permitted.test +time=$((2 * LAB_SLOWER)) +tries=1"
    named_says "with the address that was asked" "SERVER: 8.8.8.8#53" "dig @8.8.8.8 permitted.test +time=$((2 * LAB_SLOWER)) +tries=1"
    named_says "over TCP too" "SERVER: 9.9.9.9#53.*TCP" "dig +tcp @9.9.9.9 permitted.test +time=$((2 * LAB_SLOWER)) +tries=1"
    named_says "over IPv6" "SERVER: 2001:4860:4860::8888#53" "dig @2001:4860:4860::8888 permitted.test AAAA +time=$((2 * LAB_SLOWER)) +tries=1"
    named_says "over IPv6 and TCP" "status: NOERROR" "dig +tcp @2001:4860:4860::8888 permitted.test AAAA +time=$((2 * LAB_SLOWER)) +tries=1"
    named_says "a refused host's own port 53" "status: REFUSED" "dig @$REFUSED4 refused.test +time=$((2 * LAB_SLOWER)) +tries=1"
    lab_count refused-capture
    named "dig @$REFUSED4 permitted.test +time=1 +tries=1; dig +tcp @$REFUSED6 refused.test +time=1 +tries=1" >/dev/null
    settle
    lab_count refused-capture
    equal "nothing of it arrives at that server" "" "$(transport | grep '"dport":53,')"
    result=$("$CORRAL_BIN/corral" run -q -i --policy "$POLICY" -- sh -c "dig @8.8.8.8 permitted.test +time=1 +tries=1" 2>&1)
    DETAIL=$result expect "a policy without names: the query fails" test "${result/status: /}" = "$result"
    named_says "a big answer comes by TCP" "^\"8x*\"" "dig +short big.wild.test TXT | sort"
    named_says "ANY is refused" "status: (REFUSED|NOTIMP)" "dig permitted.test ANY +time=$((2 * LAB_SLOWER)) +tries=1"
    named_says "a zone transfer is refused" "Transfer failed|REFUSED" "dig permitted.test AXFR +time=$((2 * LAB_SLOWER)) +tries=1"
    named_says "another class is refused" "status: (REFUSED|NOTIMP)" "dig -c CH permitted.test TXT +time=$((2 * LAB_SLOWER)) +tries=1"
    # What an answer may hold.
    named_says "rebinding: a private address is removed" "ANSWER: 0" "dig rebind.test"
    named_says "rebinding: loopback" "ANSWER: 0" "dig loop.test"
    named_says "rebinding: cloud metadata" "ANSWER: 0" "dig meta.test"
    for i in private loop meta; do named_says "rebinding, IPv6: $i" "ANSWER: 0" "dig $i.wild.test AAAA"; done
    named_says "its public twin, IPv6" "^$PERMITTED6" "dig +short a.wild.test AAAA"
    named_says "of two addresses the public one stays" "^$PERMITTED4\$" "dig +short mixed.test A | grep -v 10.9 || true; dig +short mixed.test | wc -l"
    equal "and the private one does not" "" "$(named "dig +short mixed.test A" | grep 10.9.9.9)"
    named_says "an HTTPS record keeps its hint" "TYPE65|HTTPS" "dig a.wild.test TYPE65 +noall +answer"
    equal "and loses its ECH keys" "" "$(named "dig a.wild.test TYPE65 +noall +answer" | tr -d ' ' | grep -i deadbeef)"
    # What a name opens.
    named_says "an address before its name is resolved" '"errno":1,' "/tmp/probe tcp4 $PERMITTED4 8000"
    named_says "after it is" '"ok":true' "getent ahosts permitted.test >/dev/null; /tmp/probe tcp4 $PERMITTED4 8000"
    named_says "IPv6 after it is" '"ok":true' "getent ahosts permitted.test >/dev/null; /tmp/probe tcp6 $PERMITTED6 8000"
    named_says "UDP after it is" '"ok":true' "getent ahosts permitted.test >/dev/null; /tmp/probe udp4 $PERMITTED4 8000"
    named_says "its ports only" '"errno":1,' "getent ahosts permitted.test >/dev/null; /tmp/probe tcp4 $PERMITTED4 8001"
    named_says "a rule's protocol only" '"errno":1,' "getent ahosts brief.test >/dev/null; /tmp/probe udp4 $REFUSED4B 8000"
    named_says "another name of the same address opens nothing" '"errno":1,' \
        "getent ahosts shared.test; dig shared.test >/dev/null; /tmp/probe tcp4 $PERMITTED4 8000"
    named_says "the same over IPv6" '"errno":1,' "dig shared.test AAAA >/dev/null; /tmp/probe tcp6 $PERMITTED6 8000"
    named_says "a wildcard's ports on the shared address" '"errno":1,' \
        "getent ahosts a.wild.test >/dev/null; /tmp/probe tcp4 $PERMITTED4 80"
    named_says "both names, both rules" '"ok":true.*"ok":true' \
        "getent ahosts a.wild.test >/dev/null; getent ahosts permitted.test >/dev/null
        (/tmp/probe tcp4 $PERMITTED4 80; /tmp/probe tcp4 $PERMITTED4 8000) | tr '\n' ' '"
    # One sandbox opens nothing for another.
        : >"$LAB_DIR/opened.out"
    live opened --policy "$NAMES" -- "getent ahosts permitted.test >/dev/null; /tmp/probe tcp4 $PERMITTED4 8000; sleep $((3 * LAB_SLOWER))"
    pid=$LIVE
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        grep -q ok "$LAB_DIR/opened.out" && break
        sleep 0.1
    done
    answered "sandbox A resolves and reaches" "$(cat "$LAB_DIR/opened.out")" '"ok":true'
    named_says "sandbox B still does not" '"errno":1,' "/tmp/probe tcp4 $PERMITTED4 8000"
    named_says "sandbox B still does not, IPv6" '"errno":1,' "/tmp/probe tcp6 $PERMITTED6 8000"
    wait "$pid"
    # Raw frames to port 53 are no way out either.
    lab_count refused-capture
    result=$(named "/tmp/probe packet-udp $REFUSED4 53" "${SWITCHES[@]}")
    settle
    lab_count refused-capture
    equal "AF_PACKET to port 53 of a refused host (BPF alone)" "" "$(transport | grep '"dport":53,')"
    answered "it was sent" "$result" '"ok":true'
}

section_expiry() {
    local result
    names_up
    # corrald runs with --dns-ttl-floor 1 --dns-grace 1.
    result=$(named "/tmp/probe tcp4 $REFUSED4B 8000; getent ahosts brief.test >/dev/null
        /tmp/probe talk $REFUSED4B 8000 6 & /tmp/probe tcp4 $REFUSED4B 8000; sleep 3.2
        /tmp/probe tcp4 $REFUSED4B 8000; getent ahosts brief.test >/dev/null; /tmp/probe tcp4 $REFUSED4B 8000; wait" | tr '\n' ' ')
    DETAIL=$result
    expect "before, while it lasts, after its end, resolved again" grep -qE \
        '"errno":1,.*"ok":true.*"errno":1,.*"ok":true' <<<"$result"
    expect "a connection outlives the pin" grep -qE '"mode":"talk"[^}]*"exchanges":[0-9]{3,},"stage":"","errno":0' <<<"$result"
    unset DETAIL
    result=$(named "getent ahosts brief.test >/dev/null; /tmp/probe tcp6 $REFUSED6 8000; sleep 3.2; /tmp/probe tcp6 $REFUSED6 8000" | tr '\n' ' ')
    DETAIL=$result expect "IPv6: while it lasts, after its end" grep -qE '"ok":true.*"errno":1,' <<<"$result"
    # A policy that comes later keeps what it permits by name, and ends what it does not.
    local without=$LAB_DIR/without.yaml
    policy_of "$without" </dev/null
    live renamed --policy "$NAMES" -- "getent ahosts permitted.test >/dev/null; getent ahosts brief.test >/dev/null
        /tmp/probe talk $PERMITTED4 8000 $((4 * LAB_SLOWER)) & /tmp/probe talk $REFUSED4B 8000 $((4 * LAB_SLOWER)) & wait; echo done"
    sleep $LAB_SLOWER
    "$CORRAL_BIN/corral" policy apply "renamed$$" "$NAMES" >/dev/null
    sleep 0.5
    sed '/brief.test/d' "$NAMES" >"$LAB_DIR/narrower.yaml"
    "$CORRAL_BIN/corral" policy apply "renamed$$" "$LAB_DIR/narrower.yaml" >/dev/null
    wait "$LIVE"
    DETAIL=$(cat "$LAB_DIR/renamed.out")
    expect "a name that stays goes on through two policies" grep -qE "$PERMITTED4\",\"exchanges\":[0-9]{3,},\"stage\":\"\"" "$LAB_DIR/renamed.out"
    expect "a name that goes ends its connections" grep -qE "$REFUSED4B\",\"exchanges\":[0-9]+,\"stage\":\"(send|recv)\"" "$LAB_DIR/renamed.out"
    unset DETAIL
    # Without a daemon no name is resolved and nothing opens; what is open stays so until its time is over.
    : >"$LAB_DIR/orphan.out"
    live orphan --policy "$NAMES" -- "getent ahosts permitted.test >/dev/null; getent ahosts brief.test >/dev/null; echo ready
        while [ ! -e /tmp/go ]; do sleep 0.1; [ \$((n = n + 1)) -gt $((25 * LAB_SLOWER)) ] && break; done
        dig a.wild.test +time=1 +tries=1 | grep -o 'status: [A-Z]*'; dig +tcp @8.8.8.8 a.wild.test +time=1 +tries=1 | grep -o 'status: [A-Z]*'
        /tmp/probe tcp4 $PERMITTED4 8000 >/tmp/r; cat /tmp/r; /tmp/probe tcp4 $REFUSED4B 8000; sleep 1; echo end" >/dev/null
    local orphan=$LIVE i
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        grep -q ready "$LAB_DIR/orphan.out" && break
        sleep 0.1
    done
    # Its output goes on into the pipes; the file that it writes inside is read through its own root.
    local init
    init=$("$CORRAL_BIN/corral" inspect "orphan$$" | grep -oE '"hostPid" ?: ?[0-9]+' | grep -oE '[0-9]+')
    kill -KILL "$LAB_DAEMON"
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
    lab_count refused-capture
    sleep $((6 * LAB_SLOWER))
    result=$(cat "/proc/$init/root/tmp/r" 2>/dev/null)
    answered "without a daemon an open address stays open for its time" "$result" '"ok":true'
    lab_count refused-capture
    equal "and one whose time is over is shut" "" "$(transport "$REFUSED4B")"
    wait "$orphan" 2>/dev/null
    lab_sweep
    lab_corrald --allow-test-switches || fail "corrald starts again"
    named_says "the next daemon resolves names" 'hello from permitted' \
        "curl -s --max-time $((3 * LAB_SLOWER)) --noproxy '*' http://permitted.test/"
}

section_budgets() {
    local result budget=$LAB_DIR/budget.yaml events=$LAB_DIR/budget.events
    names_up
    lab_tail "$events"
    budget_of() { # LIMITS
        printf 'apiVersion: corral/v1\nname: budget\negress:\n  allow:\n    - { domain: permitted.test }\n    - { cidr: %s, ports: [8000, 80] }\n    - { cidr: %s }\n  limits: { %s }\n' \
            "$PERMITTED4/32" "$PERMITTED6/128" "$1" >"$budget"
    }
    NAMED_POLICY=$budget
    budget_of "connections: 3"
    result=$(named "for i in 1 2 3 4 5; do /tmp/probe tcp4 $PERMITTED4 8000; done; /tmp/probe udp6 $PERMITTED6 8000")
    equal "connections: as many as the budget" 3 "$(grep -c '"ok":true' <<<"$result")"
    equal "connections: the rest fails at once" 3 "$(grep -c '"errno":1,' <<<"$result")"
    # Sends bytes over TCP to a server that sends them back; prints what came back until the end, an error or the time.
    cat >"$LAB_DIR/echo.py" <<'PY'
import socket, sys, threading, time
address, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.create_connection((address, 8000), timeout=seconds)
start, back = time.monotonic(), 0
def send():
    try:
        s.sendall(b'x' * count)
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
threading.Thread(target=send, daemon=True).start()
try:
    while time.monotonic() - start < seconds and (data := s.recv(65536)):
        back += len(data)
except OSError:
    pass
print('back', back, 'ms', int((time.monotonic() - start) * 1000))
PY
    local echo
    echo="cat >/tmp/echo.py <<'PY'
$(cat "$LAB_DIR/echo.py")
PY
python3 /tmp/echo.py $PERMITTED4"
    budget_of "bytes: 64KiB"
    result=$(named "$echo 200000 1.5; /tmp/probe tcp4 $PERMITTED4 8000")
    DETAIL=$result
    expect "bytes: an upload beyond it stops" test "$(grep -oE 'back [0-9]+' <<<"$result" | cut -d' ' -f2)" -lt 65536
    expect "bytes: an upload gets as far as it" test "$(grep -oE 'back [0-9]+' <<<"$result" | cut -d' ' -f2)" -gt 20000
    budget_of "bytes: 1MiB"
    result=$(named "$echo 200000 3")
    DETAIL=$result expect "bytes: within it all of it arrives" grep -q 'back 200000' <<<"$result"
    unset DETAIL
    budget_of "bytes: 1KiB"
    result=$(named "i=0; while [ \$i -lt 30 ]; do /tmp/probe udp4 $PERMITTED4 8000; i=\$((i+1)); done")
    DETAIL=$(tail -1 <<<"$result")
    expect "bytes: until they are used up datagrams arrive" test "$(grep -c '"ok":true' <<<"$result")" -ge 15
    answered "bytes: once they are the last calls fail" "$(tail -1 <<<"$result")" '"ok":false'
    unset DETAIL
    result=$(named "i=0; while [ \$i -lt 30 ]; do /tmp/probe udp6 $PERMITTED6 8000; i=\$((i+1)); done")
    answered "bytes, IPv6: once they are used up calls fail" "$(tail -1 <<<"$result")" '"ok":false'
    answered "bytes, IPv6: before they are not" "$(head -1 <<<"$result")" '"ok":true'
    # What is used is shown beside the limit.
    budget_of "bytes: 1MiB, connections: 7, dnsQueries: 9, rate: 8Mbit"
    live shown --policy "$budget" -- "dig +short permitted.test A; /tmp/probe udp4 $PERMITTED4 8000; sleep 2"
    sleep 1
    result=$("$CORRAL_BIN/corral" inspect "shown$$" | tr -d ' \n')
    DETAIL=$result
    expect "inspect shows budgets" grep -qE '"budgets":\{"bytes":\{"limit":1048576,"used":[1-9][0-9]*\},"connections":\{"limit":7,"used":1\},"dnsQueries":\{"limit":9,"used":1\},"rate":8000000\}' <<<"$result"
    DETAIL=$("$CORRAL_BIN/corral" stats "shown$$")
    expect "stats shows budgets" grep -qE '[0-9]+/1048576.*1/7.*1/9' <<<"$DETAIL"
    unset DETAIL
    wait "$LIVE"
    budget_of "dnsQueries: 3"
    result=$(named "for i in 1 2 3 4 5; do dig permitted.test +time=1 +tries=1 | grep -o 'status: [A-Z]*'; done")
    equal "names: as many as the budget" 3 "$(grep -c NOERROR <<<"$result")"
    equal "names: the rest is refused" 2 "$(grep -c REFUSED <<<"$result")"
    budget_of "rate: 4Mbit"
    result=$(named "$echo 1500000 20")
    # 1.5 MB at 4 Mbit/s are three seconds, less what may go at once.
    DETAIL=$result
    expect "rate: all of it arrives" grep -q 'back 1500000' <<<"$result"
    expect "rate: it is kept" test "$(grep -oE 'ms [0-9]+' <<<"$result" | cut -d' ' -f2)" -gt 2400
    unset DETAIL
    sleep 0.6
    lab_end_tails
    for result in connections bytes rate dnsQueries; do
        expect "a limit event tells of $result" grep -q "\"type\":\"limit\",\"limit\":\"budget\",\"budget\":\"$result\",\"value\":" "$events"
    done
    expect "refusals carry the reason" grep -q '"verdict":"deny","reason":"limit_exhausted"' "$events"
    unset DETAIL NAMED_POLICY
}

# mode: audit lets everything pass that enforce would refuse, and says so.
section_audit() {
    local audit=$LAB_DIR/audit.yaml events=$LAB_DIR/audit.events result
    names_up
    sed 's/^name: .*/name: audit\nmode: audit/' "$NAMES" >"$audit"
    lab_tail "$events"
    result=$(NAMED_POLICY=$audit named "/tmp/probe tcp4 $REFUSED4 8000; /tmp/probe tcp6 $REFUSED6 8000; /tmp/probe udp4 $REFUSED4B 8000
        dig +short refused.test A; curl -s --max-time $((3 * LAB_SLOWER)) --noproxy '*' http://refused.test:8000/; /tmp/probe udp4 $METADATA 80")
    equal "audit: what would be refused passes" 3 "$(head -3 <<<"$result" | grep -c '"ok":true')"
    DETAIL=$result
    expect "audit: a name that would be refused is resolved" grep -qx "$REFUSED4" <<<"$result"
    expect "audit: and reached" grep -q 'hello from refused' <<<"$result"
    sleep 0.3
    lab_end_tails
    DETAIL=$(tail -3 "$events")
    expect "audit: would_deny, with the reason" grep -q "\"verdict\":\"would_deny\",\"reason\":\"no_matching_rule\".*\"ip\":\"$REFUSED4\"" "$events"
    expect "audit: would_deny of a name" grep -q '"type":"dns","verdict":"would_deny","reason":"name_not_allowed"' "$events"
    equal "audit: nothing is denied" 0 "$(grep -c '"verdict":"deny"' "$events")"
    unset DETAIL
    answered "enforce refuses the same" "$(named "/tmp/probe tcp4 $REFUSED4 8000")" '"errno":1,'
}

# The commands on policy files, in the way a pipeline calls them.
section_policies() {
    local cases=$LAB_DIR/cases.yaml
    names_up
    cat >"$cases" <<YAML
  - { to: "permitted.test:80", expect: allow }
  - { to: "permitted.test:81", expect: deny }
  - { to: "refused.test:80", expect: deny }
  - { to: "$REFUSED4:443/tcp", expect: deny, reason: no_matching_rule }
YAML
    "$CORRAL_BIN/corral" policy test "$NAMES" "$cases" >"$LAB_DIR/cases.out" 2>&1
    DETAIL=$(cat "$LAB_DIR/cases.out") equal "policy test: all as expected" 0 $?
    sed -i 's/81", expect: deny/81", expect: allow/' "$cases"
    "$CORRAL_BIN/corral" policy test "$NAMES" "$cases" >"$LAB_DIR/cases.out" 2>&1
    equal "policy test: one is not" 1 $?
    echo '[{ to: nowhere }]' >"$cases"
    "$CORRAL_BIN/corral" policy test "$NAMES" "$cases" >"$LAB_DIR/cases.out" 2>&1
    equal "policy test: a bad file of cases" 2 $?
    "$CORRAL_BIN/corral" policy diff "$NAMES" "$NAMES" >/dev/null
    equal "policy diff: the same" 0 $?
    sed '/brief.test/d' "$NAMES" >"$LAB_DIR/less.yaml"
    "$CORRAL_BIN/corral" policy diff "$NAMES" "$LAB_DIR/less.yaml" >"$LAB_DIR/diff.out"
    equal "policy diff: another" 1 $?
    expect "policy diff: names what changes" grep -q 'brief.test' "$LAB_DIR/diff.out"
}
