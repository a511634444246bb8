# shellcheck shell=bash disable=SC2154
# Part of bench.sh: names, asked of the sandbox's resolver, which asks a name server, and of that server directly.
if ! command -v dnsmasq >/dev/null; then
    skipped names "dnsmasq is not installed"
else
    tool dnsmasq "$(dnsmasq --version | head -1 | cut -d' ' -f1-3)"
    in_ns "$LAB_PERMITTED" dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --port=53 --listen-address="$PERMITTED4" \
        --bind-interfaces --user=root --pid-file= --local-ttl=300 --cache-size=0 --address=/bench.test/"$PERMITTED4" >/dev/null 2>&1 &
    LAB_PIDS+=($!)
    for ((i = 0; i < 100; i++)); do
        client ask 1 1 "$PERMITTED4" ready.bench.test >/dev/null 2>&1 && break
        sleep 0.05
    done
    printf 'apiVersion: corral/v1\nname: names\negress:\n  allow:\n    - domain: "*.bench.test"\n' >"$LAB_DIR/corral.names"
    # FILE ANSWER: "RATE LATENCY..." of `net ask`.
    note_answers() {
        [[ $2 =~ ^[0-9]+\ [0-9] ]] || { echo "bench: $1: $2" >&2; return 1; }
        cut -d' ' -f1 <<<"$2" >>"$LAB_DIR/samples.$1.rate"
        cut -d' ' -f2- <<<"$2" | tr ' ' '\n' >>"$LAB_DIR/samples.$1.latency"
    }
    # What a sandbox may ask at once is limited (docs/POLICY.md): one a round, and 340 questions of it.
    for ((round = 0; round < rounds; round++)); do
        sandbox "names-$round" "$LAB_DIR/corral.names"
        note_answers direct "$(client ask 100 1 "$PERMITTED4" "n$round-%d.bench.test")"
        note_answers direct-8 "$(client ask 140 8 "$PERMITTED4" "m$round-%d.bench.test")"
        note_answers new "$(inside "names-$round" ask 100 1 resolver "n$round-%d.bench.test")"
        note_answers known "$(inside "names-$round" ask 100 1 resolver "n$round-1.bench.test")"
        note_answers new-8 "$(inside "names-$round" ask 140 8 resolver "m$round-%d.bench.test")"
    done
    answers() { # NAME LABEL latency|rate KEY=VALUE...
        if [ "$3" = latency ]; then local keys=(group=names unit=us better=lower); else local keys=(group=lookups unit=1/s better=higher); fi
        series "name=$1" "label=$2" "${keys[@]}" "${@:4}" <"$LAB_DIR/samples.$1.$3"
    }
    answers direct "the name server, asked directly" latency
    answers new "Corral's resolver in between: a new name" latency floor=direct
    answers known "Corral's resolver: a name that it knows" latency floor=direct
    answers direct-8 "the name server, asked directly, eight at a time" rate
    answers new-8 "Corral's resolver in between, eight at a time" rate floor=direct-8
fi
