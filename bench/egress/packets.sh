# shellcheck shell=bash disable=SC2154
# Part of bench.sh: what the programs take, a packet or a call.
pins=$(find "/sys/fs/bpf/corral/$LAB" -type d -name programs)
[ -d "$pins" ] || { echo "bench: no programs in /sys/fs/bpf/corral/$LAB" >&2; exit 1; }

# In traffic, as the kernel counts it (two readings of a clock a run included).
counted=(from_sandbox to_sandbox connect4 sock_create)
in_traffic() { # KIND
    local name runs ns
    rm -f "$LAB_DIR/stats.in" "$LAB_DIR/stats.out"
    lab_start stats "$LAB_HOST" "$BENCH_BIN/programs" stats "${counted[@]/#/$pins/}"
    inside 100000 "$1" $seconds $PERMITTED4 >/dev/null
    echo >&"${LAB_IN[stats]}"
    while read -r -t 10 name runs ns <&"${LAB_OUT[stats]}" && [ "$name" != end ]; do
        [ "$runs" -lt 100 ] || echo "$ns" >>"$LAB_DIR/samples.$1.$name"
    done
}
for ((round = 0; round < rounds; round++)); do
    for kind in trips connects; do in_traffic $kind; done
done

# By itself, with a packet of a connection that is known: BPF_PROG_TEST_RUN.
facts=$("$CORRAL_BIN/corral" exec bench-100000 -- sh -c 'cat /sys/class/net/eth0/address; sed -n "2s/.* \(..:..:[^ ]*\) .*/\1/p" /proc/net/arp')
address=$("$CORRAL_BIN/corral" inspect bench-100000 | tr -d ' \n' | grep -oE '"ipv4":"[^"]+' | cut -d'"' -f4)
interface=$(ip -n "$LAB_HOST" -o route get "$address" | grep -oE 'dev [^ ]+' | cut -d' ' -f2)
# shellcheck disable=SC2086
read -r frame_out frame_in < <(python3 - $facts "$address" "$PERMITTED4" <<'PYTHON'
import socket, struct, sys

mac, gateway = (bytes.fromhex(word.replace(":", "")) for word in sys.argv[1:3])
near, far = (socket.inet_aton(word) for word in sys.argv[3:5])

def frame(destination, source, sender, receiver, sender_port, receiver_port):
    tcp = struct.pack("!HHIIBBHHH", sender_port, receiver_port, 1, 1, 5 << 4, 0x10, 1024, 0, 0) + b"x"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0, sender, receiver)
    return (destination + source + b"\x08\x00" + ip + tcp).hex()

print(frame(gateway, mac, near, far, 40000, 9003), frame(mac, gateway, far, near, 9003, 40000))
PYTHON
)
by_itself() { # NAME PROGRAM FRAME
    in_ns "$LAB_HOST" "$BENCH_BIN/programs" run 300000 "$interface" "$2" "$3" >>"$LAB_DIR/samples.run.$1"
}
for ((round = 0; round < rounds; round++)); do
    by_itself empty empty "$frame_out"
    by_itself from_sandbox "$pins/from_sandbox" "$frame_out"
    by_itself to_sandbox "$pins/to_sandbox" "$frame_in"
done

time_series() { # NAME SAMPLES LABEL KEY=VALUE...
    series "name=$1" "label=$3" group=packet unit=ns better=lower "${@:4}" <"$LAB_DIR/samples.$2"
}
time_series empty run.empty "an empty program, run by itself"
time_series from-run run.from_sandbox "Corral, outward, run by itself: connection known" floor=empty
time_series to-run run.to_sandbox "Corral, inward, run by itself: connection known" floor=empty
time_series from-trips trips.from_sandbox "Corral, outward, in traffic: round trips"
time_series to-trips trips.to_sandbox "Corral, inward, in traffic: round trips"
time_series from-connects connects.from_sandbox "Corral, outward, in traffic: connections"
time_series to-connects connects.to_sandbox "Corral, inward, in traffic: connections"
time_series connect connects.connect4 "Corral, connect()" target=1000
time_series socket connects.sock_create "Corral, socket()"
