# shellcheck shell=bash disable=SC2034
# Sections of bypass.sh about who may ask corrald for what, and what it says of its host.

ACCESS_PORT=7070 ACCESS_TLS_PORT=7071
# The host's address on its link to the client.
ACCESS_HOST4=192.0.2.13

# COMMAND...: its exit code; what it says is in LAB_DIR/said.
code_of() {
    "$@" >"$LAB_DIR/said" 2>&1
    echo $?
}

access_restart() { # FLAG...
    lab_stop_corrald
    lab_corrald --allow-test-switches "$@" || fail "corrald starts with $*"
}

# The host, by TCP: KEY-FILE ARG...
remote() {
    local key=$1
    shift
    in_ns "$LAB_HOST" "$CORRAL_BIN/corral" --host "tcp://127.0.0.1:$ACCESS_PORT" --api-key-file "$key" "$@"
}

# The client machine, by TLS: KEY-FILE ARG...
afar() {
    local key=$1
    shift
    CORRAL_CA_FILE=${ACCESS_CA:-$LAB_DIR/tls.pem} in_ns "$LAB_CLIENT" "$CORRAL_BIN/corral" \
        --host "https://$ACCESS_HOST4:$ACCESS_TLS_PORT" --api-key-file "$key" "$@"
}

# PATH ARG-OF-CURL...: the status of a request by TCP; 000 for none. The answer is in LAB_DIR/body.
status_of() {
    local path=$1
    shift
    in_ns "$LAB_HOST" curl -s -m 10 --noproxy '*' -o "$LAB_DIR/body" -w '%{http_code}' "$@" "http://127.0.0.1:$ACCESS_PORT$path"
}

# KEY-FILE: curl's arguments that send it.
bearer() { echo "Authorization: Bearer $(cat "$1")"; }

key_is_used() { corral apikey ls | grep -qE "never\s[0-9-]+T[0-9:]+Z\s$1$"; }
has_ended() { ! kill -0 "$1" 2>/dev/null; }

section_access() {
    local keys=$LAB_DIR/keys i name
    mkdir -p "$keys"
    for name in tls other; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lab -keyout "$LAB_DIR/$name.key" \
            -out "$LAB_DIR/$name.pem" -addext "subjectAltName=IP:$ACCESS_HOST4" 2>/dev/null
        chmod 600 "$LAB_DIR/$name.key"
    done
    access_restart --listen "127.0.0.1:$ACCESS_PORT" --socket-readers nogroup
    for i in read run admin; do corral apikey create --name "lab $i" --scope $i >"$keys/$i"; done
    # Of another secret, and of none.
    sed 's/.$/x/' "$keys/admin" >"$keys/wrong"
    access_keys "$keys"
    access_readers
    access_socket
    access_limits "$keys"
    access_slow
    access_tls "$keys"
    access_unit
    access_doctor
}

access_keys() { # KEYS
    local keys=$1 pid text id create='{"command":["sleep","60"],"detach":true}'
    equal "by TCP, no key" 401 "$(status_of /v1/sandboxes)"
    equal "by TCP, a wrong key" 401 "$(status_of /v1/sandboxes -H "$(bearer "$keys/wrong")")"
    equal "by TCP, a right key" 200 "$(status_of /v1/sandboxes -H "$(bearer "$keys/read")")"
    equal "by TCP, a right key as X-API-Key" 200 "$(status_of /v1/sandboxes -H "X-API-Key: $(cat "$keys/read")")"
    equal "by TCP, no key: health" 200 "$(status_of /healthz)"
    equal "by TCP, no key: no word of what exists" 401 "$(status_of /v1/none)"
    equal "by TCP, read: starts nothing" 403 "$(status_of /v1/sandboxes -H "$(bearer "$keys/read")" -d "$create")"
    equal "by TCP, run: the same is started" 201 "$(status_of /v1/sandboxes -H "$(bearer "$keys/run")" -d "$create")"
    id=$(grep -oE '"id" ?: ?"sb-[a-z0-9]+"' "$LAB_DIR/body" | head -1 | cut -d'"' -f4)
    equal "by TCP, read: removes nothing" 403 "$(status_of "/v1/sandboxes/$id?force=true" -H "$(bearer "$keys/read")" -X DELETE)"
    equal "by TCP, run: the same is removed" 204 "$(status_of "/v1/sandboxes/$id?force=true" -H "$(bearer "$keys/run")" -X DELETE)"
    equal "by TCP, run: images are not its own" 403 "$(status_of '/v1/images?name=x' -H "$(bearer "$keys/run")" -T "$LAB_DIR/tls.pem" -X POST)"
    equal "by TCP, admin: is let in to them" 400 "$(status_of '/v1/images?name=x' -H "$(bearer "$keys/admin")" -T "$LAB_DIR/tls.pem" -X POST)"
    equal "the client: a command with its streams" "in 7" \
        "$(echo in | remote "$keys/run" run -i -- sh -c 'cat; exit 7' | tr '\n' ' '; echo "${PIPESTATUS[1]}")"
    equal "the client, read: looks" 0 "$(code_of remote "$keys/read" ps)"
    equal "the client, read: starts nothing" 125 "$(code_of remote "$keys/read" run -- true)"
    equal "the client, run: puts no policy on the host" 1 "$(code_of remote "$keys/run" enforce --cgroup x --policy "$POLICY")"
    equal "the client, admin: makes no keys" 1 "$(code_of remote "$keys/admin" apikey ls)"
    equal "the client, a wrong key" 1 "$(code_of remote "$keys/wrong" ps)"
    equal "the key is not in the state directory" "" "$(grep -rlF "$(cut -d_ -f3 "$keys/run")" "$LAB_DIR/state" "$LAB_DIR/corrald.log")"
    nsenter --net="/run/netns/$LAB_HOST" -- "$CORRAL_BIN/corral" --host "tcp://127.0.0.1:$ACCESS_PORT" --api-key-file "$keys/admin" tail >/dev/null 2>&1 &
    pid=$!
    LAB_PIDS+=("$pid")
    expect "a key's stream is open" within 5 key_is_used "lab admin"
    sleep 0.2
    expect "and stays" kill -0 "$pid"
    corral apikey revoke "$(cut -d_ -f2 "$keys/admin")" >/dev/null
    expect "until the key is revoked" within 5 has_ended "$pid"
    equal "which opens nothing then" 401 "$(status_of /v1/sandboxes -H "$(bearer "$keys/admin")")"
    text=$(corral tail -o json --no-follow --since 1m -e audit)
    DETAIL=$text
    expect "the journal names the key" grep -q "\"action\":\"create\",\"outcome\":\"done\",\"by\":{\"address\":\"127.0.0.1\",\"key\":\"$(cut -d_ -f2 "$keys/run")\"}" <<<"$text"
    expect "the journal has who was refused" grep -q "\"action\":\"create\",\"outcome\":\"refused\",.*\"key\":\"$(cut -d_ -f2 "$keys/read")\"" <<<"$text"
    expect "the journal has who had no key" grep -q '"action":"authenticate","outcome":"refused"' <<<"$text"
    expect "the journal has who made keys" grep -q "\"action\":\"create_key\",\"outcome\":\"done\",\"by\":{\"uid\":$(id -u)" <<<"$text"
    unset DETAIL
}

# A user without rights, but for one group.
as_reader() { setpriv --reuid 65534 --regid nogroup --clear-groups -- "$@"; }
# The same without the group.
as_other() { setpriv --reuid 65534 --regid 65533 --clear-groups -- "$@"; }

access_readers() {
    local socket=unix://$LAB_DIR/run/corral-read.sock
    chmod 711 "$LAB_DIR"
    install -m 755 "$CORRAL_BIN/corral" "$LAB_DIR/corral"
    equal "readers look" 0 "$(code_of as_reader "$LAB_DIR/corral" --host "$socket" ps)"
    equal "readers start nothing" 125 "$(code_of as_reader "$LAB_DIR/corral" --host "$socket" run -- true)"
    equal "readers do not reach the other socket" 1 "$(code_of as_reader "$LAB_DIR/corral" --host "$CORRAL_HOST" ps)"
    expect "and are told why" grep -q 'Permission denied' "$LAB_DIR/said"
    equal "others reach neither" 1 "$(code_of as_other "$LAB_DIR/corral" --host "$socket" ps)"
}

access_socket() {
    local text
    access_restart --socket-group nogroup
    equal "socket-group: owner, group, mode" "root nogroup 660" "$(stat -c '%U %G %a' "$LAB_DIR/run/corral.sock")"
    equal "socket-group: its members may" 0 "$(code_of as_reader "$LAB_DIR/corral" run -- true)"
    equal "socket-group: others may not" 125 "$(code_of as_other "$LAB_DIR/corral" run -- true)"
    journal_has_the_peer() {
        corral tail -o json --no-follow --since 1m -e audit |
            grep -E '"action":"create","outcome":"done","by":\{"uid":65534,"gid":65534,"pid":[1-9][0-9]*\}' >/dev/null
    }
    expect "the journal has the peer's uid, gid and pid" within 5 journal_has_the_peer
    access_restart --socket-group nogroup --socket-mode 0600
    equal "socket-mode: is set" 600 "$(stat -c %a "$LAB_DIR/run/corral.sock")"
    equal "socket-mode 0600: the group may not" 125 "$(code_of as_reader "$LAB_DIR/corral" run -- true)"
    access_restart --socket-owner nobody --socket-mode 0600
    equal "socket-owner: may" 0 "$(code_of as_other "$LAB_DIR/corral" run -- true)"
    chmod 700 "$LAB_DIR"
}

access_limits() { # KEYS
    local keys=$1 i pids=() before
    access_restart --listen "127.0.0.1:$ACCESS_PORT" --max-header-size 4KiB --max-body-size 64KiB --max-streams-per-client 3
    equal "a head of 3,000 bytes" 200 "$(status_of /healthz -H "X-Long: $(head -c 3000 /dev/zero | tr '\0' x)")"
    equal "a head of 5,000 bytes" 431 "$(status_of /healthz -H "X-Long: $(head -c 5000 /dev/zero | tr '\0' x)")"
    { echo '{"command":["true"]'; head -c 60000 /dev/zero | tr '\0' ' '; echo '}'; } >"$LAB_DIR/request"
    equal "a body of 60,000 bytes" 201 "$(status_of /v1/sandboxes -H "$(bearer "$keys/run")" --data-binary "@$LAB_DIR/request")"
    { echo '{"command":["true"]'; head -c 66000 /dev/zero | tr '\0' ' '; echo '}'; } >"$LAB_DIR/request"
    equal "a body of 66,000 bytes" 413 "$(status_of /v1/sandboxes -H "$(bearer "$keys/run")" --data-binary "@$LAB_DIR/request")"
    equal "the same in chunks" 413 \
        "$(status_of /v1/sandboxes -H "$(bearer "$keys/run")" -H 'Transfer-Encoding: chunked' --data-binary "@$LAB_DIR/request")"
    # Without a key, a body that never ends is not read to its end.
    before=$SECONDS
    equal "an endless body without a key" 401 \
        "$(head -c 3000000000 /dev/zero | status_of /v1/sandboxes -H 'Expect:' -H 'Transfer-Encoding: chunked' -X POST -T -)"
    expect "is cut off" test $((SECONDS - before)) -lt 5
    for i in 1 2 3; do
        nsenter --net="/run/netns/$LAB_HOST" -- curl -sN --noproxy '*' -D "$LAB_DIR/stream$i" -H "$(bearer "$keys/read")" \
            "http://127.0.0.1:$ACCESS_PORT/v1/events" >/dev/null &
        pids+=($!)
        LAB_PIDS+=($!)
        expect "stream $i of one client" within 5 grep -qs '^HTTP/1.1 200' "$LAB_DIR/stream$i"
    done
    equal "stream 4" 429 "$(status_of /v1/events -H "$(bearer "$keys/read")")"
    equal "its other requests" 200 "$(status_of /v1/pool -H "$(bearer "$keys/read")")"
    result=$(code_of corral tail --no-follow)
    DETAIL=$(tail -3 "$LAB_DIR/said") equal "another client has its own" 0 "$result"
    kill "${pids[@]}"
    wait "${pids[@]}" 2>/dev/null
    expect "when they have gone, there is room" within 9 eval \
        "[ \"\$(status_of '/v1/events?follow=false&last=1' -H '$(bearer "$keys/read")')\" = 200 ]"
}

# Many connections that send a byte now and then, and never a whole head.
access_slow() {
    local begun took
    access_restart --listen "127.0.0.1:$ACCESS_PORT" --header-timeout 1s --max-connections-per-client 50
    cat >"$LAB_DIR/dribble.py" <<'PYTHON'
import collections, select, socket, sys, time
all = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(60)]
for s in all: s.send(b"GET / HTTP/1.1\r\nX-Long: ")
left, answers, end = set(all), collections.defaultdict(bytes), time.time() + 8
print("open", flush=True)
while left and time.time() < end:
    for s in list(left):
        try: s.send(b"x")
        except OSError: pass
    for s in select.select(list(left), [], [], 0.05)[0]:
        try: got = s.recv(4096)
        except OSError: got = b""
        answers[s] += got
        if not got: left.discard(s)
    time.sleep(0.05)
print(sorted(collections.Counter((a.split() + [b"", b""])[1].decode() for a in answers.values()).items()), len(left), "left")
PYTHON
    begun=$(date +%s%N)
    in_ns "$LAB_HOST" python3 "$LAB_DIR/dribble.py" $ACCESS_PORT >"$LAB_DIR/slow" 2>&1 &
    local pid=$!
    LAB_PIDS+=("$pid")
    expect "sixty clients dribble their heads" within 5 grep -q open "$LAB_DIR/slow"
    equal "while they do, others are served" 0 "$(code_of corral ps)"
    equal "and start commands" 0 "$(code_of corral run -- true)"
    wait "$pid"
    took=$((($(date +%s%N) - begun) / 1000000))
    equal "fifty are there until their time is over, ten were too many" "[('408', 50), ('429', 10)] 0 left" "$(tail -1 "$LAB_DIR/slow")"
    expect "which the header timeout sets" test $took -lt 5000
    expect "then their address is served again" within 3 eval "[ \"\$(status_of /healthz)\" = 200 ]"
}

access_tls() { # KEYS
    local keys=$1 sum
    equal "another machine's address without TLS is refused" 2 \
        "$(code_of "$CORRAL_BIN/corrald" --check --listen "$ACCESS_HOST4:$ACCESS_TLS_PORT")"
    equal "and with TLS is not" 0 \
        "$(code_of "$CORRAL_BIN/corrald" --check --listen "$ACCESS_HOST4:$ACCESS_TLS_PORT" --tls-certificate "$LAB_DIR/tls.pem" --tls-key "$LAB_DIR/tls.key")"
    access_restart --listen "127.0.0.1:$ACCESS_PORT,$ACCESS_HOST4:$ACCESS_TLS_PORT" --tls-certificate "$LAB_DIR/tls.pem" --tls-key "$LAB_DIR/tls.key"
    head -c 5000000 /dev/urandom >"$LAB_DIR/random"
    sum=$(sha256sum <"$LAB_DIR/random")
    equal "by TLS: five megabytes there and back" "$sum" "$(afar "$keys/run" run -i -- cat <"$LAB_DIR/random" | sha256sum)"
    equal "by TLS: exit codes" 9 "$(code_of afar "$keys/run" run -- sh -c 'exit 9')"
    afar "$keys/run" create --name tls$$ >/dev/null
    equal "by TLS: a file goes in" 0 "$(code_of afar "$keys/run" cp "$LAB_DIR/random" "tls$$:/tmp/random")"
    equal "by TLS: and out" "$sum" "$(afar "$keys/run" cp "tls$$:/tmp/random" "$LAB_DIR/random2" && sha256sum <"$LAB_DIR/random2")"
    equal "by TLS: it goes" 0 "$(code_of afar "$keys/run" rm -f tls$$)"
    equal "by TLS: no key" 401 "$(in_ns "$LAB_CLIENT" curl -sk -m 3 --noproxy '*' -o /dev/null -w '%{http_code}' "https://$ACCESS_HOST4:$ACCESS_TLS_PORT/v1/pool")"
    equal "by TLS: without trust in the certificate" 1 \
        "$(code_of in_ns "$LAB_CLIENT" "$CORRAL_BIN/corral" --host "https://$ACCESS_HOST4:$ACCESS_TLS_PORT" --api-key-file "$keys/run" ps)"
    equal "by TLS: with trust in another" 1 "$(ACCESS_CA=$LAB_DIR/other.pem code_of afar "$keys/run" ps)"
    DETAIL=$(cat "$LAB_DIR/said") expect "and says so" grep -qi certificate "$LAB_DIR/said"
    equal "clear text is not answered" 000 \
        "$(in_ns "$LAB_CLIENT" curl -s -m 3 --noproxy '*' -o /dev/null -w '%{http_code}' "http://$ACCESS_HOST4:$ACCESS_TLS_PORT/healthz")"
    equal "a key does not leave in clear text" 1 \
        "$(code_of in_ns "$LAB_CLIENT" "$CORRAL_BIN/corral" --host "tcp://$ACCESS_HOST4:$ACCESS_TLS_PORT" --api-key-file "$keys/run" ps)"
    # curl --insecure: the wall is the policy, not the certificate.
    corral run -q --policy "$WIDE" -- curl -sk -m 3 --noproxy '*' -o /dev/null "https://$ACCESS_HOST4:$ACCESS_TLS_PORT/healthz"
    expect "from a sandbox under a policy that allows everything: not reached" test $? -ne 0
    equal "the same from the client" 200 \
        "$(in_ns "$LAB_CLIENT" curl -sk -m 3 --noproxy '*' -o /dev/null -w '%{http_code}' "https://$ACCESS_HOST4:$ACCESS_TLS_PORT/healthz")"
}

# The rights that packaging/corrald.service leaves.
access_unit() {
    local rights
    rights=$(sed -n 's/^CapabilityBoundingSet=//p' "$LAB_ROOT/packaging/corrald.service" | tr ' ' '\n' | sed 's/^CAP_/+/' | tr 'A-Z' 'a-z' | paste -sd,)
    lab_stop_corrald
    CORRAL_BIN_BEFORE=$CORRAL_BIN
    mkdir -p "$LAB_DIR/unit"
    ln -sf "$CORRAL_BIN/corral" "$LAB_DIR/unit/corral"
    printf '#!/bin/sh\nexec setpriv --no-new-privs --bounding-set=-all,%s -- %s "$@"\n' "$rights" "$CORRAL_BIN/corrald" >"$LAB_DIR/unit/corrald"
    chmod +x "$LAB_DIR/unit/corrald"
    CORRAL_BIN=$LAB_DIR/unit
    lab_corrald || fail "corrald starts with the unit's capabilities"
    DETAIL=$(grep -E '^Cap(Bnd|Eff)|NoNewPrivs' "/proc/$LAB_DAEMON/status")
    expect "corrald has the unit's capabilities and no more" test "$(sed -n 's/^CapBnd:\t//p' "/proc/$LAB_DAEMON/status")" != 000001ffffffffff
    unset DETAIL
    equal "with these, sandboxes start" "done" "$(corral run -q --policy "$POLICY" -- echo "done")"
    equal "what is permitted is reached" 0 "$(run -q -- curl -s -m 3 --noproxy '*' -o /dev/null "http://$PERMITTED4/"; echo $?)"
    expect "what is refused is not" test "$(run -q -- curl -s -m 3 --noproxy '*' -o /dev/null "http://$REFUSED4/"; echo $?)" -ne 0
    equal "ports below 1024 are published" 0 "$(code_of corral run --publish 127.0.0.1:81:81 -- true)"
    corral run -q --memory 64MiB --pids 50 -- true
    equal "limits are set" 0 $?
    CORRAL_BIN=$CORRAL_BIN_BEFORE
}

access_doctor() {
    local socket
    # The name server that the lab's corrald asks; and what else has packet sockets goes.
    names_up
    access_restart
    equal "doctor: nothing needed is missing" 0 "$(code_of corral doctor)"
    DETAIL=$(cat "$LAB_DIR/said")
    expect "doctor: says what it is not" grep -q 'lsm: absent' "$LAB_DIR/said"
    expect "doctor: the name server answers" grep -qE '^yes +name server' "$LAB_DIR/said"
    expect "doctor: no packet socket" grep -qE '^yes +no packet socket' "$LAB_DIR/said"
    expect "doctor: nothing is left" grep -qE '^yes +nothing left of earlier daemons' "$LAB_DIR/said"
    unset DETAIL
    equal "doctor -o json" BTF "$(corral doctor -o json | grep -oE '"feature" ?: ?"BTF"' | cut -d'"' -f4)"
    # What it finds is made, and then unmade.
    doctor_finds() { # NAME PATTERN
        code_of corral doctor >/dev/null
        DETAIL=$(cat "$LAB_DIR/said")
        expect "doctor: $1" grep -qE "$2" "$LAB_DIR/said"
        unset DETAIL
    }
    in_ns "$LAB_HOST" ip route add 10.231.7.0/24 dev ctp
    doctor_finds "a route into the subnet" '^no .*10\.231\.7\.0/24 by ctp'
    in_ns "$LAB_HOST" ip route del 10.231.7.0/24 dev ctp
    in_ns "$LAB_HOST" ip addr add 10.231.9.9/32 dev lo
    doctor_finds "an address in the subnet" '^NO .*10\.231\.9\.9'
    in_ns "$LAB_HOST" ip addr del 10.231.9.9/32 dev lo
    nsenter --net="/run/netns/$LAB_HOST" -- python3 -c 'import socket, time; s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)); time.sleep(60)' &
    socket=$!
    LAB_PIDS+=("$socket")
    sleep 0.5
    doctor_finds "a packet socket" '^no .*packet socket.*IPv4, inode'
    kill "$socket"
    in_ns "$LAB_HOST" sysctl -qw net.ipv4.ip_forward=0
    equal "doctor: forwarding is off: exit code" 1 "$(code_of corral doctor)"
    doctor_finds "forwarding is off" '^NO +IPv4 forwarding'
    in_ns "$LAB_HOST" sysctl -qw net.ipv4.ip_forward=1
    in_ns "$LAB_HOST" nft flush ruleset
    in_ns "$LAB_HOST" nft delete table inet "corral_$LAB" 2>/dev/null
    doctor_finds "the masquerade rule is gone" '^NO +nftables masquerade'
    expect "doctor: and what to do" grep -q 'to do: restart corrald' "$LAB_DIR/said"
    access_restart
    equal "doctor: all is well again" 0 "$(code_of corral doctor)"
}
