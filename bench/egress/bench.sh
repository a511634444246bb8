#!/bin/bash
# TCP through a veth pair: no filter, Corral, nftables sets; with 10 to 100,000 blocks. And how long a policy of 100,000 takes to
# replace. All of it in namespaces; every way has the same length: client or sandbox, host, server, with masquerading.
set -euo pipefail
cd "$(dirname "$0")/../.."
. bench/lib.sh
if quick; then rounds=3 seconds=0.7; else rounds=10 seconds=2; fi
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
LAB_POOL=2 start_corrald

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
# One sandbox a policy: it holds the program and waits for work on its standard input.
declare -A feed answer
sandbox() { # COUNT
    local in out
    mkfifo "$LAB_DIR/work.$1" "$LAB_DIR/done.$1"
    exec {in}<>"$LAB_DIR/work.$1" {out}<>"$LAB_DIR/done.$1"
    feed[$1]=$in answer[$1]=$out
    "$CORRAL_BIN/corral" run -i --name "bench-$1" --policy "$LAB_DIR/corral.$1" -- \
        sh -c 'head -c $1 >/tmp/net && chmod +x /tmp/net && while read -r pause what; do sleep $pause; /tmp/net $what 2>&1; done' net "$(stat -c %s "$BENCH_BIN/net")" \
        <"$LAB_DIR/work.$1" >"$LAB_DIR/done.$1" &
    LAB_PIDS+=($!)
    cat "$BENCH_BIN/net" >&"$in"
}
inside() { # COUNT ARG...
    local count=$1 line
    shift
    echo "0 $*" >&"${feed[$count]}"
    read -r -t 60 line <&"${answer[$count]}"
    echo "$line"
}
for count in $counts; do sandbox "$count"; done

declare -A unit=([bulk]=Gbit/s [connects]=1/s [trips]=1/s) scale=([bulk]=1.25e8 [connects]=1 [trips]=1)
declare -A what=([bulk]=throughput [connects]=connects [trips]="round trips")
for ((round = 0; round < rounds; round++)); do
    for kind in bulk connects trips; do
        client $kind $seconds $PERMITTED4 >>"$LAB_DIR/samples.none.$kind"
        for count in $counts; do inside "$count" $kind $seconds $PERMITTED4 >>"$LAB_DIR/samples.corral-$count.$kind"; done
        client $kind $seconds $PERMITTED4 >>"$LAB_DIR/samples.none.$kind"
    done
done
# What of it is the kernel's: the daemon, through which work and result go, stands still in between.
for ((round = 0; round < rounds; round++)); do
    for kind in bulk connects trips; do
        echo "0.5 $kind $seconds $PERMITTED4" >&"${feed[100000]}"
        sleep 0.25
        kill -STOP "$LAB_DAEMON"
        sleep "$(python3 -c "print(0.5 + $seconds)")"
        kill -CONT "$LAB_DAEMON"
        read -r -t 60 line <&"${answer[100000]}"
        echo "$line" >>"$LAB_DIR/samples.alone.$kind"
    done
done
# The set is there only while it is measured: its rules would stand in Corral's way too.
for count in $counts; do
    in_ns "$LAB_HOST" nft -f "$LAB_DIR/nft.$count"
    for ((round = 0; round < rounds; round++)); do
        for kind in bulk connects trips; do client $kind $seconds $PERMITTED4 >>"$LAB_DIR/samples.nft-$count.$kind"; done
    done
    in_ns "$LAB_HOST" nft delete table inet bench_filter
done
for kind in bulk connects trips; do
    series name=none "label=${what[$kind]}: no filter" "group=$kind" "unit=${unit[$kind]}" "scale=${scale[$kind]}" better=higher <"$LAB_DIR/samples.none.$kind"
    series name=corral-alone "label=${what[$kind]}: Corral, 100000 blocks, corrald stopped" "group=$kind" floor=none "unit=${unit[$kind]}" \
        "scale=${scale[$kind]}" better=higher <"$LAB_DIR/samples.alone.$kind"
    for tool in corral nft; do
        for count in $counts; do
            if [ $tool = corral ]; then label="Corral" goal=(target_ratio=0.95); else label="nftables set" goal=(); fi
            series "name=$tool-$count" "label=${what[$kind]}: $label, $count blocks" "group=$kind" floor=none "unit=${unit[$kind]}" \
                "scale=${scale[$kind]}" better=higher "${goal[@]}" <"$LAB_DIR/samples.$tool-$count.$kind"
        done
    done
done

# Replacing a policy of 100,000 blocks by another.
sed 's/24$/25/' "$LAB_DIR/corral.100000" >"$LAB_DIR/corral.other"
{ printf 'table inet bench_filter\ndelete table inet bench_filter\n'; cat "$LAB_DIR/nft.100000"; } >"$LAB_DIR/nft.again"
"$BENCH_BIN/load" exec 1 1 0 "$CORRAL_BIN/corral" policy apply bench-10 "$LAB_DIR/corral.other" >/dev/null
for ((round = 0; round < (rounds + 1) / 2; round++)); do
    for file in corral.100000 corral.other; do
        "$BENCH_BIN/load" exec 1 1 0 "$CORRAL_BIN/corral" policy apply bench-10 "$LAB_DIR/$file"
    done
done >"$LAB_DIR/samples"
series name=corral "label=replace a policy of 100,000 blocks: corral policy apply, the whole process" group=replace unit=ms scale=1e6 better=lower target=200 <"$LAB_DIR/samples"
for ((round = 0; round < (rounds + 1) / 2; round++)); do
    "$BENCH_BIN/load" exec 1 1 0 nsenter --net="/run/netns/$LAB_HOST" nft -f "$LAB_DIR/nft.again"
done >"$LAB_DIR/samples"
series name=nft "label=replace a set of 100,000 blocks: nft -f, the whole process" group=replace unit=ms scale=1e6 better=lower <"$LAB_DIR/samples"
