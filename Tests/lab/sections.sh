# shellcheck shell=bash disable=SC2034
# What bypass.sh runs. Uses lab.sh and the counters of bypass.sh.

SWITCHES=(--test-keep-capabilities --test-no-seccomp)

# The twins: what must arrive when asked of the permitted server by the same kind of socket.
TWIN_TCP4="tcp4 $PERMITTED4 8000" TWIN_TCP6="tcp6 $PERMITTED6 8000"
TWIN_UDP4="udp4 $PERMITTED4 8000" TWIN_UDP6="udp6 $PERMITTED6 8000"

settle() { sleep 0.03; }
attempts=0

# CAPTURE: until nothing comes any more, answers to what a slow machine has just sent.
quiet() {
    local i
    for ((i = 0; i < 20; i++)); do
        settle
        lab_count "$1"
        [ "$LAB_FRAMES" -eq 0 ] && return
    done
}

# NAME WHERE ERRNO "ATTEMPT" "TWIN" ["TWIN WITH CAPABILITIES"]
#   WHERE  the capture that must see the control and must not see the attempt: refused, permitted, or link (no router passes
#          it on: counted right behind the veth). Behind the veth nothing may be seen in any case, but with `refused+`,
#          where a part of the attempt is permitted.
#   ERRNO  what the sandbox must be told; `-` when the call itself may succeed, or fail in more than one way.
path() {
    local name=$1 where=$2 errno=$3 attempt=$4 twin=$5
    local flags=() capture=${where%+}-capture control near=0 far result attempted policy=$POLICY
    [ "$capture" = link-capture ] && capture=client-capture
    if [ -n "$ALONE" ]; then
        flags=("${SWITCHES[@]}") policy=$UNFENCED
        twin=${6:-$twin}
        name="$name (BPF alone)"
    fi

    lab_count "$capture"
    # shellcheck disable=SC2086
    control=$(lab_control $attempt)
    settle
    lab_count "$capture"
    if [ "$LAB_FRAMES" -eq 0 ]; then
        if [[ $control == *'"stage":"IPV6_RTHDR"'* ||
            $attempt =~ ^(mptcp|udplite) && $control == *'"stage":"socket"'* ]]; then skip "$name" "this kernel does not send it: $control"; else
            fail "$name" "the control did not arrive: $control"
        fi
        return
    fi

    quiet "$capture"
    lab_count near-capture
    attempts=$((attempts + 1))
    # shellcheck disable=SC2086
    result=$(lab_probe "$policy" "${flags[@]}" --name "attempt$attempts" -- $attempt 2>&1)
    attempted=$result
    settle
    lab_count near-capture
    [ "$where" = refused+ ] || near=$LAB_FRAMES
    local seen=$LAB_CAPTURED
    far=0
    if [ "$where" != link ]; then
        lab_count "$capture"
        far=$LAB_FRAMES
        seen+=" $LAB_CAPTURED"
    fi
    if [[ $result != '{"mode"'* ]]; then
        fail "$name" "the probe did not run: $result"
        return
    fi
    if [ "$far" -ne 0 ] || [ "$near" -ne 0 ]; then
        fail "$name" "$far frames arrived, $near passed the veth: $result $seen"
        return
    fi
    if [ "$errno" != - ] && [[ $result != *"\"errno\":$errno,"* ]]; then
        fail "$name" "expected errno $errno: $result"
        return
    fi
    if [ "$errno" != - ] && [[ $result != *'"ok":false'* ]]; then
        fail "$name" "it succeeded: $result"
        return
    fi

    # A frame that no cgroup hook sees must have been sent, or nothing was proven about the veth.
    if [ -n "$ALONE" ] && [[ $attempt == packet* && $result != *'"ok":true'* ]]; then
        fail "$name" "the frame was not sent: $result"
        return
    fi

    lab_count permitted-capture
    # shellcheck disable=SC2086
    result=$(lab_probe "$policy" "${flags[@]}" -- $twin 2>&1)
    settle
    lab_count near-capture
    near=$LAB_FRAMES
    lab_count permitted-capture
    if [ "$near" -eq 0 ]; then
        fail "$name" "the capture behind the veth did not see the allowed twin: $result"
        return
    fi
    if [ "$LAB_FRAMES" -eq 0 ] || [[ $result != *'"ok":true'* ]]; then
        fail "$name" "the allowed twin did not arrive ($LAB_FRAMES frames): $result"
        return
    fi
    local stopped
    stopped=$(stopped_by "attempt$attempts" "$attempted")
    pass "$name" "0 frames, control and twin arrived; stopped by $stopped"
    printf '%s\t%s\t%s\n' "${name% (BPF alone)}" "${ALONE:-as run}" "$stopped" >>"$LAB_DIR/table"
}

# SANDBOX PROBE-OUTPUT: hook and reason of the first denial of a sandbox; without one, the call that failed.
stopped_by() {
    local i line
    for ((i = 0; i < 15; i++)); do
        line=$(grep -m1 -F "\"name\":\"$1\"},\"type\":\"egress\",\"verdict\":\"deny\"" "$LAB_DIR/events")
        if [[ $line =~ \"reason\":\"([a-z_]+)\",\"hook\":\"([a-z_0-9]+)\" ]]; then
            echo "${BASH_REMATCH[2]}, ${BASH_REMATCH[1]}"
            return
        fi
        # What the sandbox's own seccomp filter or capabilities refuse never reaches a hook.
        [[ $2 =~ \"stage\":\"(socket|setsockopt|io_uring_setup|ioctl|netlink)\",\"errno\":([0-9]+) ]] && break
        sleep 0.02
    done
    if [[ $2 =~ \"stage\":\"([a-z_A-Z0-9]+)\",\"errno\":([0-9]+) ]]; then
        echo "the sandbox itself, ${BASH_REMATCH[1]}"
    else
        echo "veth_egress, no event"
    fi
}

# NAME PROBE-OUTPUT PART: passes when the probe ran and its line contains the part.
answered() {
    if [[ $2 == '{"mode"'* && $2 == *"$3"* ]]; then pass "$1"; else fail "$1" "expected $3: $2"; fi
}

section_paths() {
    ALONE=$1
    local r4=$REFUSED4 r6=$REFUSED6 p4=$PERMITTED4 p6=$PERMITTED6 m
    path "TCP v4, denied by a rule" refused 1 "tcp4 $r4 8000" "$TWIN_TCP4"
    path "TCP v4, no rule" refused 1 "tcp4 $REFUSED4B 8000" "$TWIN_TCP4"
    path "TCP v4, port not allowed" permitted 1 "tcp4 $p4 443" "$TWIN_TCP4"
    path "TCP v6" refused 1 "tcp6 $r6 8000" "$TWIN_TCP6"
    path "UDP v4, unconnected" refused 1 "udp4 $r4 8000" "$TWIN_UDP4"
    path "UDP v4, connected" refused 1 "udp4-connected $r4 8000" "udp4-connected $p4 8000"
    path "UDP v6, unconnected" refused 1 "udp6 $r6 8000" "$TWIN_UDP6"
    path "UDP v6, connected" refused 1 "udp6-connected $r6 8000" "udp6-connected $p6 8000"
    path "v4-mapped v6, TCP" refused 1 "mapped-tcp $r4 8000" "mapped-tcp $p4 8000"
    path "v4-mapped v6, UDP unconnected" refused 1 "mapped-udp $r4 8000" "mapped-udp $p4 8000"
    path "v4-mapped v6, UDP connected" refused 1 "mapped-udp-connected $r4 8000" "mapped-udp-connected $p4 8000"
    path "MSG_FASTOPEN v4" refused 1 "fastopen4 $r4 8000" "fastopen4 $p4 8000"
    path "MSG_FASTOPEN v6" refused 1 "fastopen6 $r6 8000" "fastopen6 $p6 8000"
    path "UDP connected to one, sent to another" refused 1 "elsewhere $r4 8000 $p4" "$TWIN_UDP4"
    path "sendmmsg, second message" refused+ 1 "sendmmsg $r4 8000 $p4" "$TWIN_UDP4"
    path "IPv4 source routing (LSRR), UDP" refused - "lsrr-udp $p4 8000 $r4" "$TWIN_UDP4"
    path "IPv4 source routing (LSRR), TCP" refused - "lsrr-tcp $p4 8000 $r4" "$TWIN_TCP4"
    path "IPv6 routing header type 2, UDP" refused - "rthdr2-udp $p6 8000 $r6" "$TWIN_UDP6"
    path "IPv6 routing header type 4, UDP" refused - "rthdr4-udp $p6 8000 $r6" "$TWIN_UDP6"
    path "IPv6 routing header type 4, TCP" refused - "rthdr4-tcp $p6 8000 $r6" "$TWIN_TCP6"
    path "fragments v4, refused host" refused - "fragmented4 $r4 8000" "$TWIN_UDP4"
    path "fragments v4, permitted host" permitted - "fragmented4 $p4 8000" "$TWIN_UDP4"
    path "fragments v6, permitted host" permitted - "fragmented6 $p6 8000" "$TWIN_UDP6"
    path "multicast v4" link 1 "mcast4 224.0.0.251 5353" "$TWIN_UDP4"
    path "multicast v6" link 1 "mcast6 ff02::fb 5353" "$TWIN_UDP6"
    path "broadcast" link 1 "bcast4 255.255.255.255 9" "$TWIN_UDP4"
    # Neither TCP nor UDP by number, though they speak it on the wire or nearly so: refused as sockets.
    path "MPTCP v4" refused 1 "mptcp4 $r4 8000" "$TWIN_TCP4"
    path "MPTCP v6" refused 1 "mptcp6 $r6 8000" "$TWIN_TCP6"
    path "MPTCP, permitted host" permitted 1 "mptcp4 $p4 8000" "$TWIN_TCP4"
    path "UDP-Lite" refused 1 "udplite4 $r4 8000" "$TWIN_UDP4"
    path "UDP-Lite, permitted host" permitted 1 "udplite4 $p4 8000" "$TWIN_UDP4"
    path "connected to one, then to another" refused 1 "reconnect $r4 8000 $p4" "reconnect $p4 8000 $p4"
    path "NAT64 address of a refused host" refused 1 "tcp6 $REFUSED_NAT64 8000" "tcp6 $PERMITTED_NAT64 8000"
    path "6to4 address of a refused host" refused 1 "tcp6 $REFUSED_6TO4 8000" "tcp6 $PERMITTED_6TO4 8000"
    path "SO_BINDTODEVICE" refused - "bindtodevice $r4 8000" "bindtodevice $p4 8000"
    path "IPV6_FREEBIND, source spoof" permitted - "freebind6 $p6 8000 2001:db8:9::7" "$TWIN_UDP6"
    path "io_uring connect" refused - "ring-tcp $r4 8000" "$TWIN_TCP4" "ring-tcp $p4 8000"
    path "ping socket" refused - "ping4 $r4 0" "$TWIN_UDP4"
    path "raw socket, UDP v4" refused 1 "raw-udp $r4 8000" "$TWIN_UDP4"
    path "raw socket, TCP v4" refused 1 "raw-tcp $r4 8000" "$TWIN_TCP4"
    path "raw socket, UDP v6" refused 1 "raw-udp $r6 8000" "$TWIN_UDP6"
    path "raw socket, ICMP echo" refused 1 "raw-icmp $r4 0" "$TWIN_UDP4"
    path "raw socket, source spoof" permitted 1 "raw-spoofip $p4 8000 198.51.100.77" "$TWIN_UDP4"
    path "raw socket, GRE" permitted 1 "raw-gre $p4 0" "$TWIN_UDP4"
    path "raw socket, IP in IP" permitted 1 "raw-ipip $p4 0" "$TWIN_UDP4"
    path "raw socket, SCTP" permitted 1 "raw-sctp $p4 0" "$TWIN_UDP4"
    path "AF_PACKET, UDP v4" refused - "packet-udp $r4 8000" "$TWIN_UDP4" "packet-udp $p4 8000"
    path "AF_PACKET, TCP v4" refused - "packet-tcp $r4 8000" "$TWIN_TCP4" "packet-tcp $p4 8000"
    path "AF_PACKET, UDP v6" refused - "packet-udp $r6 8000" "$TWIN_UDP6" "packet-udp $p6 8000"
    path "AF_PACKET, past the qdisc" refused - "packet-bypass-udp $r4 8000" "$TWIN_UDP4" "packet-bypass-udp $p4 8000"
    path "AF_PACKET, ICMP echo" refused - "packet-icmp $r4 0" "$TWIN_UDP4" "packet-icmp $p4 0"
    # A host that masquerades holds lone fragments back for the rest, so these are counted at the veth.
    for m in fragfirst fraglater; do
        path "AF_PACKET, $m, permitted host" link - "packet-$m $p4 8000" "$TWIN_UDP4" "packet-udp $p4 8000"
    done
    path "AF_PACKET, IPv6 fragment, permitted host" link - "packet-fragment $p6 8000" "$TWIN_UDP6" "packet-udp $p6 8000"
    for m in spoofmac options gre ipip sctp; do
        path "AF_PACKET, $m, permitted host" permitted - "packet-$m $p4 8000" "$TWIN_UDP4" "packet-udp $p4 8000"
    done
    path "AF_PACKET, source spoof" permitted - "packet-spoofip $p4 8000 198.51.100.77" "$TWIN_UDP4" "packet-udp $p4 8000"
    path "AF_PACKET, VLAN tag" link - "packet-vlan $p4 8000" "$TWIN_UDP4" "packet-udp $p4 8000"
    for m in hopbyhop dstopts; do
        path "AF_PACKET, IPv6 $m, permitted host" permitted - "packet-$m $p6 8000" "$TWIN_UDP6" "packet-udp $p6 8000"
    done
    path "AF_PACKET, forged ARP" link - "packet-arp $r4 0" "$TWIN_UDP4" "packet-udp $p4 8000"
    path "AF_PACKET, unknown ethertype" link - "packet-ethertype $r4 0" "$TWIN_UDP4" "packet-udp $p4 8000"
    path "address of its own choice" permitted - "ownaddress $p4 8000 10.9.9.9" "$TWIN_UDP4"
}

# A policy that allows everything still reaches no host service, no metadata service and no neighbour.
section_addresses() {
    local address mode result flags
    for address in $METADATA 192.0.2.5 192.0.2.9 192.0.2.13 2001:db8:f1::1 2001:db8:f3::1; do
        mode=tcp4
        [[ $address == *:* ]] && mode=tcp6
        if ! result=$(lab_control $mode "$address" 80); then
            fail "host address $address" "the control did not arrive: $result"
            continue
        fi
        for flags in "" "${SWITCHES[*]}"; do
            # shellcheck disable=SC2086
            result=$(lab_probe "$WIDE" $flags -- $mode "$address" 80 2>&1)
            answered "host address $address ${flags:+(BPF alone)}" "$result" '"errno":1,'
            # shellcheck disable=SC2086
            result=$(lab_probe "$WIDE" $flags -- "${mode/tcp/udp}" "$address" 80 2>&1)
            answered "host address $address, UDP ${flags:+(BPF alone)}" "$result" '"errno":1,'
        done
    done
    result=$(lab_probe "$WIDE" -- $TWIN_TCP4 2>&1)
    answered "the same policy reaches a server" "$result" '"ok":true'

    : >"$LAB_DIR/listener"
    # A neighbour that listens: its address comes from inside, its readiness too.
    "$CORRAL_BIN/corral" run -i --policy "$WIDE" --name "listener$$" -- sh -c '
        head -c "$0" >/tmp/labserver && chmod +x /tmp/labserver
        ip -o addr show scope global
        sleep $1 | /tmp/labserver neighbour 8000' "$(stat -c %s "$LAB_BIN/labserver")" $((60 * LAB_SLOWER)) <"$LAB_BIN/labserver" >"$LAB_DIR/listener" 2>&1 &
    local listener=$! i a4 a6
    LAB_PIDS+=($listener)
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        grep -q ready "$LAB_DIR/listener" && break
        sleep 0.1
    done
    a4=$(grep -oE 'inet [0-9.]+' "$LAB_DIR/listener" | awk '{print $2; exit}')
    a6=$(grep -oE 'inet6 [0-9a-f:]+' "$LAB_DIR/listener" | awk '{print $2; exit}')
    DETAIL=$(cat "$LAB_DIR/listener") expect "a neighbour listens" \
        test -n "$a4" -a -n "$a6" -a -n "$(grep ready "$LAB_DIR/listener")"
    lab_count near-capture
    for flags in "" "${SWITCHES[*]}"; do
        for address in $a4 $a6; do
            mode=tcp4
            [[ $address == *:* ]] && mode=tcp6
            # shellcheck disable=SC2086
            result=$(lab_probe "$WIDE" $flags -- $mode "$address" 8000 2>&1)
            answered "sandbox to sandbox, $mode ${flags:+(BPF alone)}" "$result" '"errno":1,'
        done
        if [ -n "$flags" ]; then
            # shellcheck disable=SC2086
            result=$(lab_probe "$WIDE" $flags -- packet-udp "$a4" 8000 2>&1)
            answered "sandbox to sandbox, AF_PACKET was sent" "$result" '"ok":true'
        fi
    done
    settle
    lab_count near-capture
    equal "sandbox to sandbox, frames behind the veth" 0 "$LAB_FRAMES"
    # From outside nothing reaches a sandbox that it did not ask for.
    result=$(in_ns "$LAB_HOST" "$LAB_BIN/probe" tcp4 "$a4" 8000)
    answered "nothing unsolicited comes in" "$result" '"ok":false'
    "$CORRAL_BIN/corral" rm -f "listener$$" >/dev/null 2>&1
    wait $listener 2>/dev/null

    # An address that the host takes later is reserved from then on, for sandboxes that live already.
    local in out answer
    mkfifo "$LAB_DIR/later.in" "$LAB_DIR/later.out"
    exec {in}<>"$LAB_DIR/later.in" {out}<>"$LAB_DIR/later.out"
    "$CORRAL_BIN/corral" run -i --policy "$WIDE" --name "later$$" -- bash -c '
        while read -r address; do (exec 3<>/dev/tcp/$address/80) 2>&1 | tail -1 | grep . || echo connected; done' \
        <"$LAB_DIR/later.in" >"$LAB_DIR/later.out" 2>&1 &
    local later=$!
    LAB_PIDS+=($later)
    echo 198.51.100.77 >&"$in"
    read -r -t $((5 * LAB_SLOWER)) answer <&"$out"
    DETAIL=$answer expect "an address that is nobody's is not the host's" test "${answer%not permitted}" = "$answer" -a -n "$answer"
    ip -n "$LAB_HOST" addr add 198.51.100.77/32 dev lo
    for ((i = 0; i < 20; i++)); do
        echo 198.51.100.77 >&"$in"
        read -r -t $((5 * LAB_SLOWER)) answer <&"$out"
        [[ $answer == *"not permitted" ]] && break
        sleep 0.05
    done
    DETAIL=$answer expect "once the host has it, it is refused" test "${answer%not permitted}" != "$answer"
    ip -n "$LAB_HOST" addr del 198.51.100.77/32 dev lo
    for ((i = 0; i < 20; i++)); do
        echo 198.51.100.77 >&"$in"
        read -r -t $((5 * LAB_SLOWER)) answer <&"$out"
        [[ $answer != *"not permitted" ]] && break
        sleep 0.05
    done
    DETAIL=$answer expect "once the host has it no more, it is as before" test "${answer%not permitted}" = "$answer"
    "$CORRAL_BIN/corral" rm -f "later$$" >/dev/null 2>&1
    wait $later 2>/dev/null
    exec {in}>&- {out}>&-

    # Who is connected to an address when the host takes it hears of it, without having to send; and nobody else does.
    "$CORRAL_BIN/corral" run -q --policy "$WIDE" -- bash -c "
        for address in $PERMITTED4 $PERMITTED6; do
            (exec 3<>/dev/tcp/\$address/8000 && echo open >&3 && timeout 4 cat <&3 2>&1; echo \$address \$?) &
        done
        wait" >"$LAB_DIR/taken.out" &
    later=$!
    sleep 1.2
    ip -n "$LAB_HOST" addr add "$PERMITTED4/32" dev lo
    sleep 1
    ip -n "$LAB_HOST" addr del "$PERMITTED4/32" dev lo
    wait $later
    answer=$(cat "$LAB_DIR/taken.out")
    DETAIL=$answer expect "a connection to an address that the host takes is reset" test \
        "$(grep -cE '(reset by peer|caused connection abort)$' <<<"$answer") $(grep -cF "$PERMITTED4 1" <<<"$answer")" = "1 1"
    DETAIL=$answer expect "another one is not" grep -qxF "$PERMITTED6 124" <<<"$answer"
}

run() { "$CORRAL_BIN/corral" run --policy "$POLICY" "$@"; }

section_life() {
    local file=$LAB_DIR/bytes pid status
    run -- true
    equal "exit code 0" 0 $?
    run -- sh -c 'exit 3'
    equal "exit code of the command" 3 $?
    run -- /etc/passwd 2>/dev/null
    equal "not executable" 126 $?
    run -- /nowhere/at/all 2>/dev/null
    equal "not found" 127 $?
    run --timeout 1s -- sleep 30 2>/dev/null
    equal "timed out" 124 $?
    run -- sh -c 'kill -KILL $$' 2>/dev/null
    equal "killed" 137 $?
    CORRAL_HOST=unix://$LAB_DIR/nobody.sock run -- true 2>/dev/null
    equal "no daemon" 125 $?
    "$CORRAL_BIN/corral" run --policy "$LAB_DIR/absent.yaml" -- true 2>/dev/null
    equal "no policy file" 125 $?
    head -c 20000000 /dev/urandom >"$file"
    timeout 60 "$CORRAL_BIN/corral" run -i --policy "$POLICY" -- cat <"$file" | cmp - "$file"
    equal "20 MB through stdin and stdout" "0 0" "${PIPESTATUS[*]}"
    equal "a silent command sees the end of stdin" 300000 "$(head -c 300000 /dev/zero | timeout 10 "$CORRAL_BIN/corral" run -i -- wc -c)"
    equal "stdout and stderr apart" "out" "$(run -- sh -c 'echo out; echo err >&2' 2>/dev/null)"
    equal "stderr" "err" "$(run -- sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)"
    equal "environment" "yes" "$(run --env ANSWER=yes -- sh -c 'echo $ANSWER')"
    env --default-signal=INT "$CORRAL_BIN/corral" run --policy "$POLICY" -- \
        sh -c 'trap "echo interrupted; exit 7" INT; echo waiting; while :; do sleep 0.05; done' >"$LAB_DIR/interrupted" &
    pid=$!
    local i
    for ((i = 0; i < 100 * LAB_SLOWER; i++)); do
        grep -q waiting "$LAB_DIR/interrupted" && break
        sleep 0.05
    done
    kill -INT $pid
    wait $pid
    status=$?
    equal "^C reaches the command" "7 interrupted" "$status $(tail -1 "$LAB_DIR/interrupted")"
    run --name "longer$$" -- sleep 60 &
    pid=$!
    for ((i = 0; i < 100 * LAB_SLOWER; i++)); do
        "$CORRAL_BIN/corral" ps 2>/dev/null | grep -q "longer$$" && break
        sleep 0.05
    done
    expect "ps shows it" grep -q "longer$$" <("$CORRAL_BIN/corral" ps)
    expect "inspect shows it" grep -q "longer$$" <("$CORRAL_BIN/corral" inspect "longer$$")
    "$CORRAL_BIN/corral" kill "longer$$" >/dev/null
    wait $pid
    equal "kill ends it" 137 $?
}

section_limits() {
    local out
    run --memory 64MiB -- sh -c 'head -c 300M /dev/zero | tail >/dev/null; exit $?' >/dev/null 2>&1
    expect "a memory hog is ended" test $? -ne 0
    run --memory 512MiB -- sh -c 'head -c 30M /dev/zero | tail >/dev/null'
    equal "less memory than the limit is granted" 0 $?
    out=$(run --pids 20 -- sh -c 'i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done' 2>&1)
    expect "processes are bounded" grep -qiE 'fork|resource' <<<"$out"
    out=$(run --pids 100 -- sh -c 'i=0; while [ $i -lt 60 ]; do sleep 0.1 & i=$((i+1)); done; wait; echo all' 2>&1)
    equal "fewer than the limit are granted" all "$out"
}

section_isolation() {
    local status
    status=$(run -- cat /proc/self/status)
    expect "no effective capability" grep -qE '^CapEff:\s0+$' <<<"$status"
    expect "no capability to gain" grep -qE '^CapBnd:\s0+$' <<<"$status"
    expect "no new privileges" grep -qE '^NoNewPrivs:\s1$' <<<"$status"
    expect "seccomp filters" grep -qE '^Seccomp:\s2$' <<<"$status"
    equal "root inside" 0 "$(run -- id -u)"
    expect "not root outside" test "$(run -- awk '{print $2; exit}' /proc/self/uid_map)" -ge 65536
    equal "the host's processes are out of sight" "" "$(run -- sh -c 'ls -d /proc/[0-9]*' | awk -F/ '$3 > 50')"
    expect "/usr is read-only" grep -q 'Read-only' <(run -- sh -c 'echo >/usr/x' 2>&1)
    equal "/tmp is writable" x "$(run -- sh -c 'echo x >/tmp/f && cat /tmp/f')"
    equal "nothing of another sandbox" absent "$(run -- sh -c 'cat /tmp/f 2>/dev/null || echo absent')"
    equal "no host /root" "" "$(run -- sh -c 'ls -A /root 2>/dev/null')"
    equal "no host /home but the user's" user "$(run -- ls /home)"
    expect "/etc/shadow is not the host's" test -z "$(run -- cat /etc/shadow 2>/dev/null)"
    expect "no user namespace of its own" grep -qi 'not permitted' <(run -- unshare -U true 2>&1)
    # The fourth is the directory that ls itself reads.
    equal "no descriptor but the three" "0 1 2 3" "$(run -- ls /proc/self/fd | tr '\n' ' ' | sed 's/ $//')"
}

section_events() {
    local events=$LAB_DIR/events.json name=events$$ i
    lab_tail "$events"
    run --name "$name" -- sh -c "
        curl -s -m 3 -o /dev/null http://$PERMITTED4/
        curl -s -m 3 http://$REFUSED4/; curl -s -m 3 http://$REFUSED4B/; curl -s -m 3 http://$PERMITTED4:443/; true"
    for ((i = 0; i < 30 * LAB_SLOWER; i++)); do
        grep "\"$name\"" "$events" | grep -q port_not_allowed && break
        sleep 0.1
    done
    sleep 0.1
    local mine
    mine=$(grep "\"$name\"" "$events")
    event() { grep '"type":"egress"' <<<"$mine" | grep "\"verdict\":\"$1\"" | grep -F "\"ip\":\"$2\"" | grep -q -- "$3"; }
    DETAIL=$mine
    expect "an allowed connection, with its rule" event allow "$PERMITTED4" '"reason":"allowed_by_rule".*egress.allow\[0\]'
    expect "denied by a rule, with the rule" event deny "$REFUSED4" '"reason":"denied_by_rule".*egress.deny\[0\]'
    expect "no matching rule" event deny "$REFUSED4B" '"reason":"no_matching_rule"'
    expect "port not allowed" event deny "$PERMITTED4" '"reason":"port_not_allowed"'
    expect "with process and executable" event deny "$REFUSED4" '"comm":"curl".*"exe":"/usr/bin/curl"'
    expect "with a hint" event deny "$REFUSED4" '"hint":"[^"]'
    local sequence
    sequence=$(grep -oE '"seq":[0-9]+' <<<"$mine" | cut -d: -f2 | sort -n)
    DETAIL=$(tr '\n' ' ' <<<"$sequence")
    expect "seq has no gap" test "$(wc -l <<<"$sequence")" -gt 4 -a \
        "$(($(tail -1 <<<"$sequence") - $(head -1 <<<"$sequence") + 1))" = "$(uniq <<<"$sequence" | wc -l)"
    unset DETAIL
    lab_end_tails

    expect "policy validate accepts" grep -q . <("$CORRAL_BIN/corral" policy validate "$POLICY" >/dev/null 2>&1 && echo accepted)
    printf 'apiVersion: corral/v1\nname: bad\negress:\n  allow:\n    - cidr: nonsense\n' >"$LAB_DIR/bad.yaml"
    expect "policy validate names file and line" grep -q 'bad.yaml:5' <("$CORRAL_BIN/corral" policy validate "$LAB_DIR/bad.yaml" 2>&1)
    expect "policy explain: allowed" grep -q 'egress.allow\[0\]' <("$CORRAL_BIN/corral" policy explain "$POLICY" "$PERMITTED4:80/tcp")
    expect "policy explain: denied" grep -q 'egress.deny\[0\]' <("$CORRAL_BIN/corral" policy explain "$POLICY" "$REFUSED4:80/tcp")
}

# The things of this instance that exist when only its pool does.
section_leftovers() {
    local wrong i remains
    wrong=$(seq 200 | xargs -P 8 -I{} sh -c '"$0" run --policy "$1" -- sh -c "exit 9" 2>&1; [ $? = 9 ] || echo wrong' \
        "$CORRAL_BIN/corral" "$POLICY" | grep -c .)
    equal "200 sandboxes ran" 0 "$wrong"
    # A namespace goes with its last process unless somebody holds it open or has mounted it. corrald does so until it destroys the
    # sandbox, together with others.
    for ((i = 0; i < 100 * LAB_SLOWER; i++)); do
        remains=$(ls -l /proc/"$LAB_DAEMON"/fd 2>/dev/null | grep -oE '(net|user|mnt|pid|ipc|uts|cgroup):\[[0-9]+\]')
        [ -z "$remains" ] && break
        sleep 0.1
    done
    equal "nothing holds a namespace open" "" "$remains"
    equal "no namespace is mounted" "" "$(grep nsfs /proc/mounts | grep -vF /run/netns/)"
    lab_stop_corrald
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        remains=$(lab_remains)
        [ -z "$remains" ] && break
        sleep 0.1
    done
    equal "they left no interface, cgroup, pin, mount or process" "" "$(head -5 <<<"$remains" | tr '\n' ' ' | sed 's/ $//')"
    lab_sweep
    if ! lab_corrald --allow-test-switches; then
        fail "corrald starts again"
        return
    fi
    run -- true
    equal "corrald starts again" 0 $?
}
