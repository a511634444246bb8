#!/bin/bash
# Shows Corral at work in a small internet of its own, checks that what it shows is so, and leaves nothing behind.
set -uo pipefail
. "$(dirname "$0")/lab.sh"
lab_require

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold= plain=; fi
say() { echo; echo "$bold$*$plain"; }
wrong=0
check() { # DESCRIPTION COMMAND...
    local what=$1
    shift
    if "$@"; then echo "  [ok] $what"; else
        echo "  [NOT SO] $what"
        wrong=1
    fi
}

say "1. A small internet: one permitted web server, one refused, both over IPv4 and IPv6"
lab_up || exit 1
echo "  permitted: $PERMITTED4  $PERMITTED6"
echo "  refused:   $REFUSED4  $REFUSED6"
lab_start capture "$LAB_REFUSED" "$LAB_BIN/labcapture" all eth0 || exit 1
for host in "$REFUSED4" "[$REFUSED6]"; do
    in_ns "$LAB_CLIENT" curl -s -m 5 -o "$LAB_DIR/control" "http://$host/"
    check "without Corral, http://$host/ answers: $(tr -d '\n' <"$LAB_DIR/control")" grep -q 'hello from refused' "$LAB_DIR/control"
done
sleep 0.1
lab_count capture
check "a capture beside the refused server counted $LAB_FRAMES packets" [ "$LAB_FRAMES" -gt 0 ]

say "2. corrald, under an instance name and a run directory of its own"
lab_corrald || exit 1
echo "  corrald --instance $LAB --run-dir $LAB_RUN --subnet 10.231.0.0/16 --pool 2"

cat >"$LAB_DIR/policy.yaml" <<POLICY
apiVersion: corral/v1
name: demo
egress:
  allow:
    - cidr: $PERMITTED4/32
      ports: [80]
    - cidr: $PERMITTED6/128
      ports: [80]
POLICY
say "3. The policy: nothing leaves unless a rule allows it"
sed 's/^/  /' "$LAB_DIR/policy.yaml"

"$CORRAL_BIN/corral" tail -o json >"$LAB_DIR/events.json" 2>"$LAB_DIR/tail.err" &
LAB_PIDS+=($!)
"$CORRAL_BIN/corral" tail -o compact --color never >"$LAB_DIR/events.txt" 2>>"$LAB_DIR/tail.err" &
LAB_PIDS+=($!)
sleep 0.3

visit() { # HOST
    local from to
    from=$(date +%s%N)
    echo "  \$ corral run --policy policy.yaml -- curl -sS http://$1/"
    "$CORRAL_BIN/corral" run --policy "$LAB_DIR/policy.yaml" -- curl -sS -m 10 "http://$1/" >"$LAB_DIR/out" 2>"$LAB_DIR/err"
    status=$?
    to=$(date +%s%N)
    took=$(((to - from) / 1000000))
    sed 's/^/    /' "$LAB_DIR/out" "$LAB_DIR/err"
    echo "    exit $status after $took ms"
}

say "4. The permitted server"
for host in "$PERMITTED4" "[$PERMITTED6]"; do
    visit "$host"
    check "it answered" grep -q 'hello from permitted' "$LAB_DIR/out"
    check "curl exited 0" [ "$status" -eq 0 ]
done

say "5. The refused server"
for host in "$REFUSED4" "[$REFUSED6]"; do
    visit "$host"
    check "nothing came back" [ ! -s "$LAB_DIR/out" ]
    check "curl could not connect (exit 7)" [ "$status" -eq 7 ]
    check "it failed at once, not by a timeout" [ "$took" -lt 2000 ]
done
# curl does not print errno; a shell does.
"$CORRAL_BIN/corral" run --policy "$LAB_DIR/policy.yaml" -- bash -c "echo >/dev/tcp/$REFUSED4/80" 2>"$LAB_DIR/err"
echo "  \$ corral run --policy policy.yaml -- bash -c 'echo >/dev/tcp/$REFUSED4/80'"
sed 's/^/    /' "$LAB_DIR/err"
check "connect failed with EPERM" grep -q 'Operation not permitted' "$LAB_DIR/err"
sleep 0.2
lab_count capture
check "the capture beside the refused server counted $LAB_FRAMES packets" [ "$LAB_FRAMES" -eq 0 ]

say "6. corral tail"
for ((i = 0; i < 20; i++)); do
    grep -q "$REFUSED6" "$LAB_DIR/events.json" && break
    sleep 0.1
done
grep -E 'egress' "$LAB_DIR/events.txt" | sed 's/^/  /'
echo
echo "  The same as JSON, one denial:"
grep '"verdict":"deny"' "$LAB_DIR/events.json" | head -1 | sed 's/^/  /'
event() { # VERDICT IP PATTERN
    grep '"type":"egress"' "$LAB_DIR/events.json" | grep "\"verdict\":\"$1\"" | grep -F "\"ip\":\"$2\"" | grep -q -- "$3"
}
check "the permitted connections were reported, with the rule" event allow "$PERMITTED4" 'egress.allow\[0\]'
check "over IPv6 too" event allow "$PERMITTED6" 'egress.allow\[1\]'
check "the refused ones with process and executable" event deny "$REFUSED4" '"comm":"curl".*"exe":"/usr/bin/curl"'
check "with the reason" event deny "$REFUSED4" '"reason":"no_matching_rule"'
check "with a hint" event deny "$REFUSED4" '"hint":"[^"]'
check "over IPv6 too" event deny "$REFUSED6" '"reason":"no_matching_rule"'

say "7. Cleaning up"
lab_stop_corrald
for ((i = 0; i < 50; i++)); do
    [ -z "$(lab_remains)" ] && break
    sleep 0.1
done
remains=$(lab_remains)
check "no interface, cgroup, pin, mount or process is left${remains:+: $remains}" [ -z "$remains" ]

if [ "$wrong" -eq 0 ]; then
    say "Shown: under one policy file a sandbox reached the server that a rule names and failed at once with EPERM at the other,
over IPv4 and IPv6; not one packet came near the refused server; and each decision was reported with who asked and why."
else
    say "Something above was NOT as claimed."
    [ -s "$LAB_DIR/corrald.log" ] && tail -20 "$LAB_DIR/corrald.log"
fi
exit "$wrong"
