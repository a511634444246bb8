# shellcheck shell=bash disable=SC2016
# Sections of bypass.sh about cgroups that Corral did not make.

# NETNS COMMAND…: in the cgroup $SERVICE, on a plain machine.
in_service_at() {
    nsenter --net="/run/netns/$1" -- sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$SERVICE" "${@:2}"
}

# On the plain machine.
in_service() { in_service_at "$LAB_CLIENT" "$@"; }

# NETNS PORT: somebody does there, by TCP.
listens() { in_ns "$1" ss -Hltn sport = ":$2" | grep -q .; }

section_enforce() {
    local v2 result id loop i
    v2=$(findmnt -n -t cgroup2 -o TARGET | head -1)
    SERVICE=$v2/ct$$-service/inner
    mkdir -p "$SERVICE"
    result=$(in_service "$LAB_BIN/probe" tcp4 "$REFUSED4" 8000)
    answered "before: the service reaches everything" "$result" '"ok":true'
    in_service "$LAB_BIN/probe" talk "$REFUSED4" 8000 $((8 * LAB_SLOWER)) >"$LAB_DIR/service.talk" &
    loop=$!
    LAB_PIDS+=($loop)
    sleep 0.3
    result=$("$CORRAL_BIN/corral" enforce --cgroup "${SERVICE%/inner}" --policy "$POLICY" 2>&1)
    DETAIL=$result expect "enforce" test "${result#cg-}" != "$result"
    id=${result%%:*}
    local mode address twin
    lab_count refused-capture
    for mode in tcp4 udp4 udp4-connected tcp6 udp6 udp6-connected mapped-tcp fastopen4 raw4-udp; do
        address=$REFUSED4 twin=$PERMITTED4
        [[ $mode == *6* ]] && address=$REFUSED6 twin=$PERMITTED6
        result=$(in_service "$LAB_BIN/probe" $mode "$address" 8000)
        answered "enforced cgroup, $mode" "$result" '"ok":false'
        [[ $mode == raw* ]] && continue
        result=$(in_service "$LAB_BIN/probe" $mode "$twin" 8000)
        answered "enforced cgroup, $mode, the allowed twin" "$result" '"ok":true'
    done
    settle
    lab_count refused-capture
    equal "enforced cgroup: nothing arrives, of what ran before either" "" "$(transport)"
    wait $loop
    DETAIL=$(cat "$LAB_DIR/service.talk") expect "a connection from before is stopped" grep -q '"stage":"recv"' "$LAB_DIR/service.talk"
    expect "it is listed" grep -q "$id.*lab" <("$CORRAL_BIN/corral" enforce --list)
    # A server of the cgroup goes on answering.
    # It ends with its stdin.
    mkfifo "$LAB_DIR/service.in"
    exec 8<>"$LAB_DIR/service.in"
    in_service "$LAB_BIN/labserver" service 8800 <&8 >"$LAB_DIR/service.server" 2>&1 &
    local server=$!
    LAB_PIDS+=($server)
    within 5 grep -qs ready "$LAB_DIR/service.server"
    equal "a server of the cgroup answers whom it accepts" "hello from service" \
        "$(in_ns "$LAB_HOST" curl -s --max-time 2 --noproxy '*' http://192.0.2.14:8800/)"
    in_service python3 -c '
import socket
listener = socket.create_server(("", 8801))
peer = listener.accept()[0].makefile("rw")
for line in peer:
    print("heard", line, end="", file=peer, flush=True)' >/dev/null 2>&1 &
    LAB_PIDS+=($!)
    mkfifo "$LAB_DIR/service.say"
    within 20 listens "$LAB_CLIENT" 8801
    in_ns "$LAB_HOST" busybox nc 192.0.2.14 8801 <"$LAB_DIR/service.say" >"$LAB_DIR/service.heard" &
    local caller=$!
    LAB_PIDS+=($caller)
    exec 7>"$LAB_DIR/service.say"
    # Apart: without a reader it is the end of who writes.
    (echo one >&7)
    # What it may do is replaced, and outlasts the daemon.
    policy_of "$LAB_DIR/wider.yaml" <<<"    - { cidr: $REFUSED4/32 }"
    result=$("$CORRAL_BIN/corral" enforce --pid "$(head -1 "$SERVICE/cgroup.procs")" --policy "$LAB_DIR/wider.yaml" 2>&1)
    DETAIL=$result expect "the cgroup of a pid" grep -q 'generation' <<<"$result"
    result=$("$CORRAL_BIN/corral" enforce --cgroup "${SERVICE%/inner}" --policy "$LAB_DIR/wider.yaml" 2>&1)
    DETAIL=$result expect "a policy replaced" grep -q "^$id: policy wider, generation 2" <<<"$result"
    for result in $("$CORRAL_BIN/corral" enforce --list | awk '!/ct'$$'-service$/ { print $1 }' | grep ^cg-); do
        "$CORRAL_BIN/corral" enforce --remove "$result" >/dev/null
    done
    result=$(in_service "$LAB_BIN/probe" tcp4 "$REFUSED4" 8000)
    answered "the wider policy lets it reach" "$result" '"ok":true'
    result=$(in_service "$LAB_BIN/probe" tcp4 "$REFUSED4B" 8000)
    answered "and nothing else" "$result" '"ok":false'
    kill -KILL "$LAB_DAEMON"
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
    result=$(in_service "$LAB_BIN/probe" tcp4 "$REFUSED4B" 8000)
    answered "without a daemon it stays under the policy" "$result" '"errno":1,'
    in_service "$LAB_BIN/probe" loop "$REFUSED4B" 8000 $((3 * LAB_SLOWER)) >"$LAB_DIR/service.loop" &
    loop=$!
    lab_count refused-capture
    lab_corrald --allow-test-switches || fail "corrald starts again"
    expect "the next daemon takes it over" grep -q "$id.*wider" <("$CORRAL_BIN/corral" enforce --list)
    wait $loop
    lab_count refused-capture
    # The wider policy lets the closing of earlier connections to the other address pass.
    equal "meanwhile nothing got past" "" "$(transport "$REFUSED4B")"
    answered "under the next daemon" "$(in_service "$LAB_BIN/probe" tcp4 "$REFUSED4B" 8000)" '"errno":1,'
    (echo two >&7)
    settle
    equal "a connection that it had accepted goes on under the next daemon" "heard one heard two" \
        "$(tr '\n' ' ' <"$LAB_DIR/service.heard" | sed 's/ $//')"
    exec 7>&-
    kill $caller 2>/dev/null
    equal "the hooks of the last daemon are gone" 1 "$(find /sys/fs/bpf/corral -path "*+enforced/*" -name connect4 | grep -c "$id")"
    lab_stop_corrald
    answered "after a stop in good order it stays under the policy" "$(in_service "$LAB_BIN/probe" tcp4 "$REFUSED4B" 8000)" '"errno":1,'
    lab_corrald --allow-test-switches || fail "corrald starts again"
    "$CORRAL_BIN/corral" enforce --remove "$id" >/dev/null
    answered "released: it reaches everything" "$(in_service "$LAB_BIN/probe" tcp4 "$REFUSED4B" 8000)" '"ok":true'
    result=$("$CORRAL_BIN/corral" enforce --cgroup /nonexistent --policy "$POLICY" 2>&1)
    DETAIL=$result expect "no such cgroup" grep -q nonexistent <<<"$result"
    exec 8>&-
    # The server itself: $server is the shell that has started it.
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        xargs -r kill <"$SERVICE/cgroup.procs" 2>/dev/null
        rmdir "$SERVICE" "${SERVICE%/inner}" 2>/dev/null
        [ -e "${SERVICE%/inner}" ] || break
        sleep 0.1
    done
    wait $server 2>/dev/null
    expect "the service's cgroup is as it was" test ! -e "${SERVICE%/inner}"
}

# A cgroup's names: asked of any server, from the network namespace of corrald and from another.
section_enforce_names() {
    local v2 ns where result id port other home i ask
    names_up
    v2=$(findmnt -n -t cgroup2 -o TARGET | head -1)
    SERVICE=$v2/ct$$-names
    mkdir "$SERVICE"
    for ns in "$LAB_HOST" "$LAB_CLIENT"; do
        # Namespaces are found by their processes: one that stays.
        in_service_at "$ns" sleep 300 &
        LAB_PIDS+=($!)
    done
    result=$(in_service_at "$LAB_CLIENT" dig +short +time=1 +tries=1 @"$PERMITTED4" refused.test A 2>&1)
    equal "before: the service resolves every name" "$REFUSED4" "$result"
    result=$("$CORRAL_BIN/corral" enforce --cgroup "$SERVICE" --policy "$NAMES" 2>&1)
    DETAIL=$result expect "a policy of names on a cgroup" test "${result#cg-}" != "$result"
    id=${result%%:*}
    lab_tail "$LAB_DIR/service.dns" "$id" -e dns
    for ns in "$LAB_HOST" "$LAB_CLIENT"; do
        where=corrald\'s\ network
        [ "$ns" = "$LAB_CLIENT" ] && where=another\ network
        ask="dig +short +time=$((2 * LAB_SLOWER)) +tries=1"
        answered "$where: an address is shut before its name is resolved" \
            "$(in_service_at "$ns" "$LAB_BIN/probe" tcp4 "$PERMITTED4" 8000)" '"errno":1,'
        # Servers that are nowhere.
        equal "$where: a permitted name, UDP over IPv4" "$PERMITTED4" "$(in_service_at "$ns" $ask @198.51.100.9 permitted.test A)"
        equal "$where: UDP over IPv6" "$PERMITTED6" "$(in_service_at "$ns" $ask @2001:db8:9::9 permitted.test AAAA)"
        equal "$where: TCP over IPv4" "$PERMITTED4" "$(in_service_at "$ns" $ask +tcp @198.51.100.9 a.wild.test A)"
        equal "$where: TCP over IPv6" "$PERMITTED4" "$(in_service_at "$ns" $ask +tcp @2001:db8:9::9 a.wild.test A)"
        DETAIL=$(in_service_at "$ns" busybox nslookup permitted.test 198.51.100.9 2>&1) expect \
            "$where: a client that looks at who answers" grep -q "$PERMITTED4" <(in_service_at "$ns" busybox nslookup permitted.test 198.51.100.9 2>&1)
        equal "$where: the socket's peer is the server that was asked" "('198.51.100.9', 53)" "$(in_service_at "$ns" python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("198.51.100.9", 53))
print(s.getpeername())')"
        answered "$where: the address is open now" \
            "$(in_service_at "$ns" "$LAB_BIN/probe" tcp4 "$PERMITTED4" 8000)" '"ok":true'
        answered "$where: the name's IPv6 address too" \
            "$(in_service_at "$ns" "$LAB_BIN/probe" tcp6 "$PERMITTED6" 8000)" '"ok":true'
        answered "$where: on the ports of the rule alone" \
            "$(in_service_at "$ns" "$LAB_BIN/probe" tcp4 "$PERMITTED4" 9000)" '"errno":1,'
        DETAIL= expect "$where: another name is refused" grep -q 'status: REFUSED' \
            <(in_service_at "$ns" dig +time=$((2 * LAB_SLOWER)) +tries=1 @198.51.100.9 refused.test A)
        equal "$where: private addresses are taken out" "" "$(in_service_at "$ns" $ask @198.51.100.9 rebind.test A)"
        answered "$where: what was not resolved stays shut" \
            "$(in_service_at "$ns" "$LAB_BIN/probe" tcp4 "$REFUSED4" 8000)" '"errno":1,'
        port=$(in_ns "$ns" ss -Hlun src 127.0.0.1 | awk '{ sub(/.*:/, "", $4); print $4 }' | sort -n | tail -1)
        expect "$where: the resolver has a port there" test -n "$port"
        for port in $(in_ns "$ns" ss -Hlun src 127.0.0.1 | awk '{ sub(/.*:/, "", $4); print $4 }'); do
            DETAIL=$port expect "$where: nobody else is answered there" grep -qE 'timed out|no servers|refused' \
                <(in_ns "$ns" dig +time=1 +tries=1 @127.0.0.1 -p "$port" permitted.test A 2>&1)
            answered "$where: nor may the service ask there itself" \
                "$(in_service_at "$ns" "$LAB_BIN/probe" udp4 127.0.0.1 "$port")" '"errno":1,'
        done
        # What one cgroup resolves opens nothing for another: the second network starts anew.
        if [ "$ns" = "$LAB_HOST" ]; then
            "$CORRAL_BIN/corral" enforce --remove "$id" >/dev/null
            result=$("$CORRAL_BIN/corral" enforce --cgroup "$SERVICE" --policy "$NAMES" 2>&1)
            id=${result%%:*}
        fi
    done
    settle
    expect "its questions are events" grep -q '"type":"dns".*"verdict":"deny".*refused.test' "$LAB_DIR/service.dns"
    # A policy of addresses alone knows no names, whoever is asked.
    result=$("$CORRAL_BIN/corral" enforce --cgroup "$SERVICE" --policy "$POLICY" 2>&1)
    DETAIL=$result expect "a policy of addresses instead" grep -q "generation 2" <<<"$result"
    equal "then a name server is an address like others" "" \
        "$(in_service_at "$LAB_CLIENT" dig +short +time=1 +tries=1 @198.51.100.9 permitted.test A 2>/dev/null | grep -F "$PERMITTED4")"
    "$CORRAL_BIN/corral" enforce --remove "$id" >/dev/null
    equal "released: it asks whom it likes" "$REFUSED4" \
        "$(in_service_at "$LAB_CLIENT" dig +short +time=1 +tries=1 @"$PERMITTED4" refused.test A 2>&1)"
    # The cgroup of corrald itself would ask itself.
    other=$v2/ct$$-daemon
    home=$v2$(sed -n 's/^0:://p' "/proc/$LAB_DAEMON/cgroup")
    mkdir "$other"
    echo "$LAB_DAEMON" >"$other/cgroup.procs"
    result=$("$CORRAL_BIN/corral" enforce --cgroup "$other" --policy "$NAMES" 2>&1)
    echo "$LAB_DAEMON" >"$home/cgroup.procs"
    DETAIL=$result expect "corrald's own cgroup is refused" grep -q "holds corrald itself" <<<"$result"
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        for port in $(cat "$SERVICE/cgroup.procs" 2>/dev/null); do kill "$port" 2>/dev/null; done
        rmdir "$SERVICE" "$other" 2>/dev/null
        [ -e "$SERVICE" ] || [ -e "$other" ] || break
        sleep 0.1
    done
    expect "nothing of it is left" test ! -e "$SERVICE"
}
