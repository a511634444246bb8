# shellcheck shell=bash disable=SC2034
# Sections of bypass.sh about who may ask corrald for what, and what it says of its host.

ACCESS_PORT=7070 ACCESS_TLS_PORT=7071
# The host's address on its link to the client.
ACCESS_HOST4=192.0.2.13

# COMMAND...: its exit code; what it says is in LAB_DIR/said.
said() {
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
    CORRAL_CA_FILE=$LAB_DIR/tls.pem in_ns "$LAB_CLIENT" "$CORRAL_BIN/corral" --host "https://$ACCESS_HOST4:$ACCESS_TLS_PORT" \
        --api-key-file "$key" "$@"
}

# PATH FIELD...: the status of a request by TCP.
status_of() {
    local path=$1 flags=()
    shift
    while [ $# -gt 0 ]; do
        flags+=(-H "$1")
        shift
    done
    in_ns "$LAB_HOST" curl -s -o "$LAB_DIR/body" -w '%{http_code}' "${flags[@]}" "http://127.0.0.1:$ACCESS_PORT$path"
}

section_access() {
    local keys=$LAB_DIR/keys pid i text sum
    mkdir -p "$keys"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lab -keyout "$LAB_DIR/tls.key" \
        -out "$LAB_DIR/tls.pem" -addext "subjectAltName=IP:$ACCESS_HOST4" 2>/dev/null
    chmod 600 "$LAB_DIR/tls.key"
    equal "another machine's address without TLS is refused" 2 \
        "$("$CORRAL_BIN/corrald" --check --listen "$ACCESS_HOST4:$ACCESS_PORT" >/dev/null 2>&1; echo $?)"
    access_restart --listen "127.0.0.1:$ACCESS_PORT" --socket-readers nogroup
    for i in read run admin; do corral apikey create --name "lab $i" --scope $i >"$keys/$i"; done
    sed 's/.$/x/' "$keys/admin" >"$keys/wrong"

    equal "by TCP, run: a command with its streams" "in 7" \
        "$(echo in | remote "$keys/run" run -i -- sh -c 'cat; exit 7' | tr '\n' ' '; echo "${PIPESTATUS[1]}")"
    equal "by TCP, read: looks" 0 "$(said remote "$keys/read" ps)"
    equal "by TCP, read: starts nothing" 125 "$(said remote "$keys/read" run -- true)"
    equal "by TCP, run: puts no policy on the host" 1 "$(said remote "$keys/run" enforce --cgroup x --policy "$POLICY")"
    equal "by TCP, admin: makes no keys" 1 "$(said remote "$keys/admin" apikey ls)"
    equal "by TCP, a wrong key" 1 "$(said remote "$keys/wrong" ps)"
    equal "by TCP, no key" 401 "$(status_of /v1/sandboxes)"
    equal "by TCP, no key: health" 200 "$(status_of /healthz)"
    equal "X-API-Key" 200 "$(status_of /v1/sandboxes "X-API-Key: $(cat "$keys/read")")"
    equal "the key is not in the state directory" "" "$(grep -rlF "$(cut -d_ -f3 "$keys/run")" "$LAB_DIR/state" "$LAB_DIR/corrald.log")"
    remote "$keys/admin" tail >/dev/null 2>"$LAB_DIR/revoked.err" &
    pid=$!
    LAB_PIDS+=("$pid")
    within grep -q "lab admin.*T.*Z" <(corral apikey ls)
    sleep 0.3
    corral apikey revoke "$(cut -d_ -f2 "$keys/admin")" >/dev/null
    expect "a revoked key's stream ends" within eval "! kill -0 $pid 2>/dev/null"
    text=$(corral tail -o json --no-follow --since 1m -e audit)
    DETAIL=$text
    expect "the journal names the key" grep -q "\"action\":\"create\",\"outcome\":\"done\",\"by\":{\"address\":\"127.0.0.1\",\"key\":\"$(cut -d_ -f2 "$keys/run")\"}" <<<"$text"
    expect "the journal has who was refused" grep -q "\"action\":\"create\",\"outcome\":\"refused\",.*\"key\":\"$(cut -d_ -f2 "$keys/read")\"" <<<"$text"
    expect "the journal has who had no key" grep -q '"action":"authenticate","outcome":"refused"' <<<"$text"
    expect "the journal has who made keys" grep -q "\"action\":\"create_key\",\"outcome\":\"done\",\"by\":{\"uid\":$(id -u)" <<<"$text"
    unset DETAIL

    access_readers
    access_slow
    access_tls "$keys"
    access_unit
    access_doctor
}

# A user without rights, but for the group of readers.
as_reader() { setpriv --reuid 65534 --regid nogroup --clear-groups -- "$@"; }

access_readers() {
    chmod 711 "$LAB_DIR"
    install -m 755 "$CORRAL_BIN/corral" "$LAB_DIR/corral"
    equal "readers look" 0 "$(said as_reader "$LAB_DIR/corral" --host "unix://$LAB_DIR/run/corral-read.sock" ps)"
    equal "readers start nothing" 125 "$(said as_reader "$LAB_DIR/corral" --host "unix://$LAB_DIR/run/corral-read.sock" run -- true)"
    equal "readers do not reach the other socket" 1 "$(said as_reader "$LAB_DIR/corral" --host "unix://$LAB_DIR/run/corral.sock" ps)"
    expect "and are told why" grep -q 'Permission denied' "$LAB_DIR/said"
    equal "others reach neither" 1 \
        "$(said setpriv --reuid 65534 --regid 65533 --clear-groups -- "$LAB_DIR/corral" --host "unix://$LAB_DIR/run/corral-read.sock" ps)"
    chmod 700 "$LAB_DIR"
}

# Many connections that send a byte now and then.
access_slow() {
    access_restart --listen "127.0.0.1:$ACCESS_PORT" --header-timeout 1s --max-connections-per-client 50
    local begun took
    begun=$(date +%s%N)
    # shellcheck disable=SC2016
    in_ns "$LAB_HOST" bash -c '
        for ((i = 0; i < 200; i++)); do exec {c}<>/dev/tcp/127.0.0.1/'$ACCESS_PORT' && printf "GET / HTTP/1.1\r\nX-" >&$c; done
        sleep 0.3; curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1:'$ACCESS_PORT'/healthz' >"$LAB_DIR/slow" 2>/dev/null &
    local pid=$!
    LAB_PIDS+=("$pid")
    sleep 0.5
    equal "while they stay, others are served" 0 "$(said corral ps)"
    wait "$pid"
    expect "their own address gets no more" grep -qE '429|000' "$LAB_DIR/slow"
    expect "when their time is over, it does" within test 200 = "$(status_of /healthz)"
    took=$((($(date +%s%N) - begun) / 1000000))
    expect "within the header timeout" test $took -lt 8000
}

access_tls() { # KEYS
    local keys=$1 sum
    access_restart --listen "127.0.0.1:$ACCESS_PORT,$ACCESS_HOST4:$ACCESS_TLS_PORT" --tls-certificate "$LAB_DIR/tls.pem" --tls-key "$LAB_DIR/tls.key"
    head -c 5000000 /dev/urandom >"$LAB_DIR/random"
    sum=$(sha256sum <"$LAB_DIR/random")
    equal "by TLS: five megabytes there and back" "$sum" "$(afar "$keys/run" run -i -- cat <"$LAB_DIR/random" | sha256sum)"
    equal "by TLS: exit codes" 9 "$(said afar "$keys/run" run -- sh -c 'exit 9')"
    equal "by TLS: without trust in the certificate" 1 \
        "$(said in_ns "$LAB_CLIENT" "$CORRAL_BIN/corral" --host "https://$ACCESS_HOST4:$ACCESS_TLS_PORT" --api-key-file "$keys/run" ps)"
    equal "a key does not leave in clear text" 1 \
        "$(said in_ns "$LAB_CLIENT" "$CORRAL_BIN/corral" --host "tcp://$ACCESS_HOST4:$ACCESS_TLS_PORT" --api-key-file "$keys/run" ps)"
    # curl --insecure: the wall is the policy, not the certificate.
    run --policy "$WIDE" -- curl -sk -m 3 -o /dev/null "https://$ACCESS_HOST4:$ACCESS_TLS_PORT/healthz"
    expect "from a sandbox under a policy that allows everything: not reached" test $? -ne 0
    equal "the same from the client" 200 \
        "$(in_ns "$LAB_CLIENT" curl -sk -m 3 -o /dev/null -w '%{http_code}' "https://$ACCESS_HOST4:$ACCESS_TLS_PORT/healthz")"
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
    equal "what is permitted is reached" 0 "$(run --policy "$POLICY" -- curl -s -m 3 -o /dev/null "http://$PERMITTED4/"; echo $?)"
    expect "what is refused is not" test "$(run --policy "$POLICY" -- curl -s -m 3 -o /dev/null "http://$REFUSED4/"; echo $?)" -ne 0
    equal "ports below 1024 are published" 0 "$(said corral run --publish 127.0.0.1:81:81 -- true)"
    corral run -q --memory 64MiB --pids 50 -- true
    equal "limits are set" 0 $?
    CORRAL_BIN=$CORRAL_BIN_BEFORE
}

access_doctor() {
    local socket
    access_restart
    equal "doctor: nothing needed is missing" 0 "$(said corral doctor)"
    DETAIL=$(cat "$LAB_DIR/said")
    expect "doctor: says what it is not" grep -q 'lsm: absent' "$LAB_DIR/said"
    expect "doctor: name servers answer" grep -qE '^yes +name server' "$LAB_DIR/said"
    unset DETAIL
    equal "doctor -o json" "tcx" "$(corral doctor -o json | grep -o '"feature" : "tcx"' | cut -d'"' -f4)"
    # What it finds is made, and then unmade.
    doctor_finds() { # NAME PATTERN
        said corral doctor >/dev/null
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
    in_ns "$LAB_HOST" python3 -c 'import socket, time; s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)); time.sleep(60)' &
    socket=$!
    LAB_PIDS+=("$socket")
    sleep 0.5
    doctor_finds "a packet socket" '^no .*packet socket.*IPv4, inode'
    kill "$socket"
    in_ns "$LAB_HOST" sysctl -qw net.ipv4.ip_forward=0
    equal "doctor: forwarding is off: exit code" 1 "$(said corral doctor)"
    doctor_finds "forwarding is off" '^NO +IPv4 forwarding'
    in_ns "$LAB_HOST" sysctl -qw net.ipv4.ip_forward=1
    in_ns "$LAB_HOST" nft flush ruleset
    in_ns "$LAB_HOST" nft delete table inet "corral_$LAB" 2>/dev/null
    doctor_finds "the masquerade rule is gone" '^NO +nftables masquerade'
    expect "doctor: and what to do" grep -q 'to do: restart corrald' "$LAB_DIR/said"
    access_restart
    equal "doctor: all is well again" 0 "$(said corral doctor)"
}
