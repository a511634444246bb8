# shellcheck shell=bash disable=SC2154
# Part of bench.sh: a policy of 100,000 blocks replaced by another. How long it takes, and what passes meanwhile.
sed 's/24$/25/' "$LAB_DIR/corral.100000" >"$LAB_DIR/corral.other"
for set in 100000 other; do
    { printf 'table inet bench_filter\ndelete table inet bench_filter\n'; sed "$([ $set = 100000 ] || echo 's#/24,#/25,#g')" "$LAB_DIR/nft.100000"; } \
        >"$LAB_DIR/nft.again.$set"
done
replace_corral() { "$BENCH_BIN/load" exec 1 1 0 "$CORRAL_BIN/corral" policy apply bench-10 "$LAB_DIR/corral.$1"; }
replace_nft() { "$BENCH_BIN/load" exec 1 1 0 nsenter --net="/run/netns/$LAB_HOST" nft -f "$LAB_DIR/nft.again.$1"; }

replace_corral other >/dev/null
for ((round = 0; round < (rounds + 1) / 2; round++)); do
    for set in 100000 other; do replace_corral $set; done
done >"$LAB_DIR/samples"
series name=corral "label=replace a policy of 100,000 blocks: corral policy apply, the whole process" group=replace unit=ms scale=1e6 better=lower target=200 <"$LAB_DIR/samples"
for ((round = 0; round < (rounds + 1) / 2; round++)); do replace_nft 100000; done >"$LAB_DIR/samples"
in_ns "$LAB_HOST" nft delete table inet bench_filter
series name=nft "label=replace a set of 100,000 blocks: nft -f, the whole process" group=replace unit=ms scale=1e6 better=lower <"$LAB_DIR/samples"

# Datagrams to a refused address and to a permitted one, while one policy replaces the other again and again. The client, which
# nothing stops yet, shows that the refused one can be reached.
lab_start good "$LAB_PERMITTED" "$BENCH_BIN/net" sink
lab_start bad "$LAB_REFUSED" "$BENCH_BIN/net" sink
arrived() { # LABEL: datagrams since the last time
    local line
    sleep 0.2
    echo >&"${LAB_IN[$1]}"
    read -r -t 10 line <&"${LAB_OUT[$1]}"
    echo "$line"
}
client probe 0.3 2000 $PERMITTED4 $REFUSED4 >/dev/null
[ "$(arrived bad)" -gt 0 ] || { echo "bench: nothing reaches $REFUSED4 even without a filter" >&2; exit 1; }
arrived good >/dev/null

length=$(quick && echo 3 || echo 10)
sent=0
swaps=0
# NAME REPLACE PROBED: what arrived at the one, and what did not at the other, while LENGTH seconds long policies were replaced.
# PROBED waits for the probe, whose result is in $LAB_DIR/probed then.
while_replaced() {
    local begun=$SECONDS tried rate
    while [ $((SECONDS - begun)) -lt "$length" ]; do
        for set in 100000 other; do
            "$2" $set >/dev/null
            swaps=$((swaps + 1))
        done
    done
    "$3"
    read -r tried _ _ _ rate <"$LAB_DIR/probed"
    [ "$rate" -ge 1000 ] || { echo "bench: the probe of $1 reached $rate/s" >&2; return 1; }
    arrived bad >>"$LAB_DIR/samples.$1.leaked"
    echo $((tried - $(arrived good))) >>"$LAB_DIR/samples.$1.failed"
    sent=$((sent + tried))
}
probe_seconds=$((length + 2))
corral_probed() { result 10 >"$LAB_DIR/probed"; }
nft_probed() { wait $probing; }
for ((round = 0; round < (rounds + 2) / 3; round++)); do
    echo "0 probe $probe_seconds 2000 $PERMITTED4 $REFUSED4" >&"${feed[10]}"
    while_replaced corral replace_corral corral_probed
done
leak_series() { # NAME LABEL REPLACED
    series "name=$1-leaked" "label=$2: to a refused address, arrived" group=leak unit=datagrams better=lower "note=of $sent sent, $swaps times replaced" "${@:3}" \
        <"$LAB_DIR/samples.$1.leaked"
    series "name=$1-failed" "label=$2: to a permitted address, failed" group=leak unit=datagrams better=lower "${@:3}" <"$LAB_DIR/samples.$1.failed"
}
leak_series corral "Corral" target=0 target99=0
sent=0 swaps=0
replace_nft 100000 >/dev/null
for ((round = 0; round < (rounds + 2) / 3; round++)); do
    client probe $probe_seconds 2000 $PERMITTED4 $REFUSED4 >"$LAB_DIR/probed" &
    probing=$!
    while_replaced nft replace_nft nft_probed
done
in_ns "$LAB_HOST" nft delete table inet bench_filter
leak_series nft "nft -f"
