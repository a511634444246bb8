# shellcheck shell=bash disable=SC2034
# Sections of bypass.sh about what changes while a sandbox lives: policies, budgets, names, published ports.

# NAME [RUN-FLAG...] -- SCRIPT: a sandbox with the probe at /tmp/probe that runs a shell script; its output goes to
# $LAB_DIR/NAME.out, its pid into LIVE.
live() {
    local name=$1 flags=()
    shift
    while [ "$1" != -- ]; do
        flags+=("$1")
        shift
    done
    "$CORRAL_BIN/corral" run -i --name "$name$$" "${flags[@]}" -- sh -c '
        head -c "$1" >/tmp/probe && chmod +x /tmp/probe && eval "$2"' live "$(stat -c %s "$LAB_BIN/probe")" "$2" \
        <"$LAB_BIN/probe" >"$LAB_DIR/$name.out" 2>"$LAB_DIR/$name.err" &
    LIVE=$!
    LAB_PIDS+=("$LIVE")
}

# FILE: a policy of the permitted server alone, and as much more of `egress` as stdin holds.
policy_of() {
    {
        printf 'apiVersion: corral/v1\nname: %s\negress:\n  allow:\n' "$(basename "$1" .yaml)"
        printf '    - { cidr: %s, ports: [80, 8000] }\n' "$PERMITTED4/32" "$PERMITTED6/128"
        cat
    } >"$1"
}

apply() { "$CORRAL_BIN/corral" policy apply "$1$$" "$2" 2>&1; }

# The line of a probe in a file: FIELD FILE TARGET -> number
field() { grep -F "\"target\":\"$3\"" "$2" | grep -oE "\"$1\":[0-9]+" | head -1 | cut -d: -f2; }

# The TCP and UDP of the last count, to one address if one is given. What else a server hears is from the host: that a peer
# it still writes to is gone.
transport() { grep -oE "\"dst\":\"${1:-[^\"]*}\",\"proto\":(6|17),[^}]*" <<<"$LAB_CAPTURED"; }

section_live() {
    local both=$LAB_DIR/both.yaml narrow=$LAB_DIR/narrow.yaml result frames i out=$LAB_DIR/live.out
    policy_of "$both" <<<"    - { cidr: $REFUSED4B/32 }
    - { cidr: $REFUSED6/128 }"
    policy_of "$narrow" </dev/null
    live live --policy "$both" -- "
        /tmp/probe talk $PERMITTED4 8000 4 & /tmp/probe talk $PERMITTED6 8000 4 &
        /tmp/probe talk $REFUSED4B 8000 4 & /tmp/probe talk $REFUSED6 8000 4 &
        /tmp/probe ask $PERMITTED4 8000 4 >/tmp/p4 & /tmp/probe ask $REFUSED6 8000 4 >/tmp/r6 &
        wait; cat /tmp/p4 /tmp/r6 >&2"
    sleep 1.2
    lab_count refused-capture
    expect "before: what the policy permits flows" test "$LAB_FRAMES" -gt 500
    result=$(apply live "$narrow")
    DETAIL=$result expect "policy apply" test "${result##*generation }" = 2
    settle
    lab_count refused-capture
    sleep 0.5
    lab_count refused-capture
    equal "a narrowed policy: nothing more arrives" "" "$(transport)"
    wait $LIVE
    equal "its command ends well" 0 $?
    for i in $REFUSED4B $REFUSED6; do
        DETAIL=$(cat "$out") expect "TCP to $i, which it refuses, was reset at once" grep -qE \
            "\"target\":\"$i\",\"exchanges\":[0-9]+,\"stage\":\"(send|recv)\",\"errno\":10[34]}" "$out"
    done
    for i in $PERMITTED4 $PERMITTED6; do
        DETAIL=$(cat "$out") expect "TCP to $i went on undisturbed" grep -qE \
            "\"target\":\"$i\",\"exchanges\":[0-9]{3,},\"stage\":\"\",\"errno\":0}" "$out"
    done
    DETAIL=$(cat "$LAB_DIR/live.err")
    expect "UDP to $PERMITTED4 went on undisturbed" test "$(field lost "$LAB_DIR/live.err" $PERMITTED4)$(field refused "$LAB_DIR/live.err" $PERMITTED4)" = 00
    expect "UDP to $REFUSED6 was refused" test "$(field refused "$LAB_DIR/live.err" $REFUSED6)" -gt 100
    unset DETAIL

    # Swaps under load: no packet gets past between two policies, and none is lost.
    printf 'apiVersion: corral/v1\nname: bad\nnonsense: 1\n' >"$LAB_DIR/bad-live.yaml"
    live swaps --policy "$narrow" -- "/tmp/probe ask $PERMITTED4 8000 5 & /tmp/probe ask $REFUSED6 8000 5 & /tmp/probe talk $PERMITTED6 8000 5 & wait"
    live swaps-bpf --policy "$narrow" --test-keep-capabilities --test-no-seccomp -- "/tmp/probe packet-udp $REFUSED4 8000; sleep 4"
    sleep 0.7
    lab_count refused-capture
    for i in $(seq 60); do
        apply swaps "$POLICY" >/dev/null
        result=$(apply swaps "$narrow")
    done
    equal "120 swaps, the last generation" 121 "${result##*generation }"
    result=$(apply swaps "$LAB_DIR/bad-live.yaml")
    DETAIL=$result expect "a bad policy is refused" grep -q 'bad-live.yaml:3' <<<"$result"
    wait $LIVE 2>/dev/null
    while [ -z "$(field lost "$LAB_DIR/swaps.out" $REFUSED6)" ] && ((i++ < 100)); do sleep 0.1; done
    lab_count refused-capture
    equal "during the swaps nothing reaches the refused host" "" "$(transport)"
    DETAIL=$(cat "$LAB_DIR/swaps.out")
    expect "during the swaps each question to the refused host was refused" test "$(field answered "$LAB_DIR/swaps.out" $REFUSED6)$(field lost "$LAB_DIR/swaps.out" $REFUSED6)" = 00
    expect "during the swaps each question to the permitted host was answered" test \
        "$(field lost "$LAB_DIR/swaps.out" $PERMITTED4)$(field refused "$LAB_DIR/swaps.out" $PERMITTED4)" = 00 -a \
        "$(field answered "$LAB_DIR/swaps.out" $PERMITTED4)" -gt 1000
    unset DETAIL
}

# What a port of the host answers: FAMILY-AGNOSTIC URL, from the plain machine.
fetch_published() { in_ns "$LAB_CLIENT" curl -s --max-time 3 --noproxy '*' "http://$1/"; }

# NAMESPACE ADDRESS PORT [COUNT]: what a UDP port answers, from the address that was asked and no other.
ask_datagram() {
    in_ns "$1" python3 - "$2" "$3" "${4:-1}" <<'PYTHON'
import socket, sys
family, _, _, _, peer = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_DGRAM)[0]
client = socket.socket(family, socket.SOCK_DGRAM)
client.settimeout(1.5)
client.connect(peer)
for number in range(int(sys.argv[3])):
    try:
        client.send(b"datagram %d" % number)
        print(client.recv(100).decode())
    except OSError:
        break
PYTHON
}

# PORTS RUN-FLAG...: a server in the sandbox published$$, whose client is $SERVING.
serve_published() {
    local ports=$1 i
    shift
    : >"$LAB_DIR/published"
    # shellcheck disable=SC2016
    corral run -q -i --name "published$$" "$@" -- sh -c '
        head -c "$0" >/tmp/labserver && chmod +x /tmp/labserver && sleep 60 | /tmp/labserver inside $1' \
        "$(stat -c %s "$LAB_BIN/labserver")" "$ports" <"$LAB_BIN/labserver" >"$LAB_DIR/published" 2>&1 &
    SERVING=$!
    LAB_PIDS+=($SERVING)
    for ((i = 0; i < 50; i++)); do
        grep -q ready "$LAB_DIR/published" && break
        sleep 0.1
    done
}

# TRANSPORT PORT: the host's port that leads there.
published_port() {
    "$CORRAL_BIN/corral" inspect "published$$" | python3 -c '
import json, sys
for port in json.load(sys.stdin)[0]["published"]:
    if (port["protocol"], port["sandboxPort"]) == (sys.argv[1], int(sys.argv[2])): print(port["hostPort"])' "$1" "$2"
}

section_publish() {
    local result port i
    serve_published "80 8000 9000" --policy "$POLICY" --publish 7080:80 --publish 127.0.0.1::8000
    equal "a published port answers from outside, IPv4" "hello from inside" "$(fetch_published 192.0.2.13:7080)"
    equal "a published port answers from outside, IPv6" "hello from inside" "$(fetch_published '[2001:db8:f3::1]:7080')"
    port=$(published_port tcp 8000)
    equal "a port published on loopback answers the host" "hello from inside" \
        "$(in_ns "$LAB_HOST" curl -s --max-time 3 --noproxy '*' "http://127.0.0.1:$port/")"
    equal "and nobody else" "" "$(fetch_published "192.0.2.13:$port")"
    local inside
    inside=$("$CORRAL_BIN/corral" inspect "published$$" | grep -oE '"ipv4" ?: ?"[0-9.]+"' | grep -oE '[0-9.]{7,}')
    equal "the host reaches the published port itself" "hello from inside" \
        "$(in_ns "$LAB_HOST" curl -s --max-time 2 --noproxy '*' "http://$inside:80/")"
    equal "a port that is not published stays shut" "" \
        "$(in_ns "$LAB_HOST" curl -s --max-time 1 --noproxy '*' "http://$inside:9000/")"
    result=$("$CORRAL_BIN/corral" run --publish 7080:81 -- true 2>&1)
    DETAIL=$result expect "a port that is taken is refused" grep -q '7080' <<<"$result"
    "$CORRAL_BIN/corral" rm -f "published$$" >/dev/null
    wait $SERVING 2>/dev/null
    equal "gone with its sandbox" "" "$(fetch_published 192.0.2.13:7080)"
    section_publish_datagrams
    # What it answers counts as sent.
    printf 'apiVersion: corral/v1\nname: brief\negress:\n  limits: { bytes: 4KiB }\n' >"$LAB_DIR/brief.yaml"
    serve_published "80 5300" --policy "$LAB_DIR/brief.yaml" --publish 7080:80 --publish 7080:5300/udp
    equal "within the budget a published UDP port answers" "datagram 0" "$(ask_datagram "$LAB_CLIENT" 192.0.2.13 7080)"
    equal "within the budget a published port answers" "hello from inside" "$(fetch_published 192.0.2.13:7080)"
    for ((i = 0; i < 20; i++)); do fetch_published 192.0.2.13:7080 >/dev/null || break; done
    equal "beyond the budget of bytes a published UDP port does not answer" "" "$(ask_datagram "$LAB_CLIENT" 192.0.2.13 7080)"
    expect "beyond the budget of bytes it does not" test $i -lt 20
    result=$("$CORRAL_BIN/corral" inspect "published$$" | tr -d ' \n' | grep -oE '"exhausted":[0-9]+')
    DETAIL=$result expect "and that is counted" test "${result#*:}" -gt 0
    "$CORRAL_BIN/corral" rm -f "published$$" >/dev/null
    wait $SERVING 2>/dev/null
}

section_publish_datagrams() {
    local result inside number
    serve_published "80 5300 9000" --policy "$POLICY" --publish 7080:80 --publish 7080:5300/udp --publish 127.0.0.1::9000/udp
    inside=$("$CORRAL_BIN/corral" inspect "published$$" | grep -oE '"ipv4" ?: ?"[0-9.]+"' | grep -oE '[0-9.]{7,}')
    equal "a published UDP port answers from outside, IPv4" "datagram 0 datagram 1 datagram 2" \
        "$(ask_datagram "$LAB_CLIENT" 192.0.2.13 7080 3 | xargs)"
    equal "a published UDP port answers from outside, IPv6" "datagram 0 datagram 1 datagram 2" \
        "$(ask_datagram "$LAB_CLIENT" 2001:db8:f3::1 7080 3 | xargs)"
    equal "and from another address of the host" "datagram 0 datagram 1" \
        "$(ask_datagram "$LAB_CLIENT" "192.0.2.5" 7080 2 | xargs)"
    equal "TCP on the same number is a port of its own" "hello from inside" "$(fetch_published 192.0.2.13:7080)"
    number=$(published_port udp 9000)
    equal "a UDP port published on loopback answers the host" "datagram 0" "$(ask_datagram "$LAB_HOST" 127.0.0.1 "$number")"
    equal "and nobody else" "" "$(ask_datagram "$LAB_CLIENT" 192.0.2.13 "$number")"
    equal "the host reaches the published UDP port itself" "datagram 0" "$(ask_datagram "$LAB_HOST" "$inside" 5300)"
    equal "a port published for TCP is none for UDP" "" "$(ask_datagram "$LAB_HOST" "$inside" 80)"
    expect "one published for UDP is none for TCP" test -z "$(in_ns "$LAB_HOST" curl -s --max-time 1 --noproxy '*' "http://$inside:5300/")"
    result=$("$CORRAL_BIN/corral" run --publish 7080:81/udp -- true 2>&1)
    DETAIL=$result expect "a UDP port that is taken is refused" grep -q '7080' <<<"$result"
    "$CORRAL_BIN/corral" rm -f "published$$" >/dev/null
    wait $SERVING 2>/dev/null
    equal "the UDP port is gone with its sandbox" "" "$(ask_datagram "$LAB_CLIENT" 192.0.2.13 7080)"
}

section_refusals() {
    local script="curl -s --max-time 2 --noproxy '*' http://$REFUSED4/ ; curl -s --max-time 2 --noproxy '*' http://$REFUSED4/
        curl -s --max-time 2 --noproxy '*' http://$PERMITTED4/ >/dev/null; sleep 0.2; cat /run/corral/denials.jsonl"
    run -- sh -c "$script; echo x 2>/dev/null >/run/corral/denials.jsonl && echo written" \
        >"$LAB_DIR/refusals.out" 2>"$LAB_DIR/refusals.err"
    DETAIL=$(cat "$LAB_DIR/refusals.out" "$LAB_DIR/refusals.err")
    equal "a sandbox reads its own refusals" 2 "$(grep -c "\"verdict\":\"deny\".*\"ip\":\"$REFUSED4\"" "$LAB_DIR/refusals.out")"
    equal "and nothing that was allowed" 0 "$(grep -c "$PERMITTED4" "$LAB_DIR/refusals.out")"
    equal "it cannot write there" 0 "$(grep -c written "$LAB_DIR/refusals.out")"
    expect "run sums them up on stderr" grep -qF "corral:   tcp $REFUSED4:80 denied_by_rule ×2: " "$LAB_DIR/refusals.err"
    unset DETAIL
    equal "with -q it does not" "" "$(run -q -- sh -c "$script" 2>&1 >/dev/null)"
    equal "where nothing was refused there is nothing to say" "" "$(run -- true 2>&1)"
    equal "the next sandbox starts with none" "" "$(run -- cat /run/corral/denials.jsonl)"
}

# A policy of 100,000 blocks and 1,000 names comes into force while the probes go on.
section_large() {
    local large=$LAB_DIR/large.yaml i result
    names_up
    {
        printf 'apiVersion: corral/v1\nname: large\negress:\n  allow:\n'
        printf '    - { cidr: %s, ports: [80, 8000] }\n' "$PERMITTED4/32" "$PERMITTED6/128"
        awk 'BEGIN { for (i = 0; i < 100000; i++) printf "    - { cidr: %d.%d.%d.0/24, ports: [443] }\n", 16 + i / 65536, i / 256 % 256, i % 256 }'
        awk 'BEGIN { for (i = 0; i < 1000; i++) printf "    - { domain: host%d.wild.test, ports: [8000] }\n", i }'
        printf '    - { domain: "*.wild.test", ports: [8000] }\n'
    } >"$large"
    policy_of "$LAB_DIR/small.yaml" </dev/null
    live large --policy "$LAB_DIR/small.yaml" -- "/tmp/probe ask $PERMITTED4 8000 12 & /tmp/probe ask $REFUSED6 8000 12 &
        /tmp/probe talk $PERMITTED6 8000 12 & /tmp/probe loop $REFUSED4B 8000 12 >&2 & wait"
    sleep 0.7
    lab_count refused-capture
    for i in 1 2 3; do
        result=$(apply large "$large")
        [ $i = 3 ] || result=$(apply large "$LAB_DIR/small.yaml")
    done
    DETAIL=$result expect "a policy of 100,000 blocks and 1,000 names is applied" grep -q 'policy large, generation 6' <<<"$result"
    wait "$LIVE"
    lab_count refused-capture
    equal "meanwhile nothing reaches the refused host" "" "$(transport)"
    DETAIL=$(cat "$LAB_DIR/large.out")
    expect "each question to it was refused" test "$(field answered "$LAB_DIR/large.out" $REFUSED6)$(field lost "$LAB_DIR/large.out" $REFUSED6)" = 00
    expect "they came at 1 kHz or nearly" test "$(field refused "$LAB_DIR/large.out" $REFUSED6)" -gt 6000
    expect "each question to the permitted host was answered" test \
        "$(field lost "$LAB_DIR/large.out" $PERMITTED4)$(field refused "$LAB_DIR/large.out" $PERMITTED4)" = 00
    expect "a connection to it went on" grep -qE "$PERMITTED6\",\"exchanges\":[0-9]{3,},\"stage\":\"\"" "$LAB_DIR/large.out"
    unset DETAIL
    NAMED_POLICY=$large named_says "its names and its blocks decide" '"ok":true.*"errno":1,' \
        "getent ahosts a.wild.test >/dev/null; (/tmp/probe tcp4 $PERMITTED4 8000; /tmp/probe tcp4 $REFUSED4B 8000) | tr '\n' ' '"
}
