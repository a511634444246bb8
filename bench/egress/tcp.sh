# shellcheck shell=bash disable=SC2154,SC2034
# Part of bench.sh: throughput, connections and round trips.
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
        result 100000 >>"$LAB_DIR/samples.alone.$kind"
    done
done
# A peer's rules are there only while it is measured: they would stand in Corral's way too.
measure_peer() { # NAME
    local round kind
    for ((round = 0; round < rounds; round++)); do
        for kind in bulk connects trips; do client $kind $seconds $PERMITTED4 >>"$LAB_DIR/samples.$1.$kind"; done
    done
}
for count in $counts; do
    in_ns "$LAB_HOST" nft -f "$LAB_DIR/nft.$count"
    measure_peer "nft-$count"
    in_ns "$LAB_HOST" nft delete table inet bench_filter
done
# One rule after another, the server's the last, as scripts without sets make them.
iptables_rules() {
    printf '*filter\n:FORWARD ACCEPT\n-A FORWARD -i ctc -m conntrack --ctstate ESTABLISHED -j ACCEPT\n'
    sed 's/.*/-A FORWARD -i ctc -d & -j ACCEPT/' "$LAB_DIR/blocks.1000"
    printf -- '-A FORWARD -i ctc -j DROP\nCOMMIT\n'
}
if ! command -v iptables-restore >/dev/null; then
    skipped iptables "iptables is not installed"
elif iptables_rules | in_ns "$LAB_HOST" iptables-restore 2>"$LAB_DIR/err"; then
    tool iptables "$(iptables --version)"
    measure_peer iptables-1000
    printf '*filter\n:FORWARD ACCEPT\nCOMMIT\n' | in_ns "$LAB_HOST" iptables-restore
else skipped iptables "does not run here: $(tail -1 "$LAB_DIR/err")"; fi

for kind in bulk connects trips; do
    tcp_series() { # NAME SAMPLES LABEL KEY=VALUE...
        series "name=$1" "label=${what[$kind]}: $3" "group=$kind" "unit=${unit[$kind]}" "scale=${scale[$kind]}" better=higher "${@:4}" \
            <"$LAB_DIR/samples.$2.$kind"
    }
    tcp_series none none "no filter"
    tcp_series corral-alone alone "Corral, 100000 blocks, corrald stopped" floor=none
    for count in $counts; do tcp_series "corral-$count" "corral-$count" "Corral, $count blocks" floor=none target_ratio=0.95; done
    for count in $counts; do tcp_series "nft-$count" "nft-$count" "nftables set, $count blocks" floor=none; done
    [ ! -e "$LAB_DIR/samples.iptables-1000.$kind" ] || tcp_series iptables-1000 iptables-1000 "iptables, a list of 1000 rules" floor=none
done
