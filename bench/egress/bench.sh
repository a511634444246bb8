#!/bin/bash
# What leaves a sandbox, over a veth pair: how fast, what of it each packet pays, what happens while a policy is replaced, and how
# names are resolved. Beside no filter, nftables sets and a list of iptables rules. All of it in namespaces; every way has the same
# length: client or sandbox, host, server, with masquerading.
set -euo pipefail
cd "$(dirname "$0")/../.."
. bench/lib.sh
if quick; then rounds=3 seconds=0.5; else rounds=10 seconds=2; fi
tool nft "$(nft --version)"

lab_up
lab_start net "$LAB_PERMITTED" "$BENCH_BIN/net" serve
in_ns "$LAB_HOST" nft -f - <<'NFT'
table inet bench_nat {
  chain post {
    type nat hook postrouting priority srcnat
    iifname "ctc" masquerade
  }
}
NFT
LAB_POOL=4 start_corrald

# COUNT: blocks that never meet, from 11.0.0.0 on, and the server's address.
blocks() {
    python3 -c "
for i in range($1 - 1):
    n = (11 << 24) + i * 512
    print(f'{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.0/{24 + i % 8}')
print('$PERMITTED4/32')"
}
counts="10 1000 100000"
for count in $counts; do
    blocks "$count" >"$LAB_DIR/blocks.$count"
    { printf 'apiVersion: corral/v1\nname: bench\negress:\n  allow:\n'; sed 's/^/    - cidr: /' "$LAB_DIR/blocks.$count"; } >"$LAB_DIR/corral.$count"
    {
        cat <<NFT
table inet bench_filter {
  set permitted {
    type ipv4_addr
    flags interval
    elements = { $(paste -sd, "$LAB_DIR/blocks.$count") }
  }
  chain forward {
    type filter hook forward priority 0
    iifname "ctc" ct state established accept
    iifname "ctc" ip daddr @permitted accept
    iifname "ctc" drop
  }
}
NFT
    } >"$LAB_DIR/nft.$count"
done

client() { in_ns "$LAB_CLIENT" "$BENCH_BIN/net" "$@"; }
# NAME POLICY: a sandbox that holds the program and waits for work on its standard input.
declare -A feed answer
sandbox() {
    local in out
    mkfifo "$LAB_DIR/work.$1" "$LAB_DIR/done.$1"
    exec {in}<>"$LAB_DIR/work.$1" {out}<>"$LAB_DIR/done.$1"
    feed[$1]=$in answer[$1]=$out
    "$CORRAL_BIN/corral" run -q -i --name "bench-$1" --policy "$2" -- \
        sh -c 'head -c $1 >/tmp/net && chmod +x /tmp/net && while read -r pause what; do sleep $pause; /tmp/net $what 2>&1; done' net "$(stat -c %s "$BENCH_BIN/net")" \
        <"$LAB_DIR/work.$1" >"$LAB_DIR/done.$1" &
    LAB_PIDS+=($!)
    cat "$BENCH_BIN/net" >&"$in"
}
result() { # NAME: of the work that was given to it
    local line
    read -r -t 60 line <&"${answer[$1]}"
    echo "$line"
}
inside() { # NAME ARG...
    echo "0 ${*:2}" >&"${feed[$1]}"
    result "$1"
}
for count in $counts; do sandbox "$count" "$LAB_DIR/corral.$count"; done

. bench/egress/tcp.sh
echo "  TCP: done"
. bench/egress/packets.sh
echo "  packets: done"
. bench/egress/replace.sh
echo "  replacing: done"
. bench/egress/names.sh
