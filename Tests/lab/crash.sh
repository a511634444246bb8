#!/bin/bash
# Kills corrald at named steps, each of them a system call by which it changes something (a map, a pin, a name of a file, a
# directory, an interface, a message to a sandbox), and looks at what the next corrald makes of it.
#
# The daemon is the shipped one: strace delivers SIGKILL when a thread of it enters its N-th call of a kind, before the call is
# done. A probe in a sandbox sends to a refused address a thousand times a second all the while.
#
#   Tests/lab/crash.sh [TABLE]     writes the table of docs/RELIABILITY.md to TABLE; `N passed, N failed, N skipped` is the last line
set -uo pipefail +m
. "$(dirname "$0")/lab.sh"
lab_require
command -v strace >/dev/null || lab_skip "needs strace"
CORRAL=$CORRAL_BIN/corral
TABLE=${1:-/dev/null}
passed=0 failed=0
problem() { problems+="${problems:+; }$1"; }

lab_up || exit 1
lab_start refused-capture "$LAB_REFUSED" "$LAB_BIN/labcapture" all eth0 || exit 1
LAB_POOL=1 lab_corrald || exit 1
cat >"$LAB_DIR/narrow.yaml" <<YAML
apiVersion: corral/v1
name: narrow
egress:
  allow: [{ cidr: $PERMITTED4/32, ports: [80, 8000] }]
YAML
sed 's/name: narrow/name: other/' "$LAB_DIR/narrow.yaml" >"$LAB_DIR/other.yaml"

state() { "$CORRAL" ps -a --filter "name=$1" | awk -F'\t' -v name="$1" '$2 == name { print $3 }'; }
ids() { "$CORRAL" ps -aq | sort; }
refused_packets() { grep -oE "\"dst\":\"$REFUSED4\",\"proto\":(6|17),[^}]*" <<<"$LAB_CAPTURED"; }

# The sandbox that must not be lost: its probe at work, and a command whose end is waited for.
"$CORRAL" create --name kept --policy "$LAB_DIR/narrow.yaml" >/dev/null
"$CORRAL" exec -i kept sh -c 'cat >/tmp/probe && chmod +x /tmp/probe' <"$LAB_BIN/probe"
"$CORRAL" exec -d kept sh -c "exec /tmp/probe ask $REFUSED4 8000 100000" >/dev/null
KEPT=$("$CORRAL" ps -q --filter name=kept)

# What is being done when the daemon dies, on a sandbox `box` that there is unless it is being made; each as a client would.
begin() {
    case $1 in
    create) timeout 5 "$CORRAL" create --name box --policy "$LAB_DIR/narrow.yaml" ;;
    run) timeout 5 "$CORRAL" run -d --name box --policy "$LAB_DIR/narrow.yaml" -p 127.0.0.1:0:80 -- sleep 100 ;;
    exec) timeout 5 "$CORRAL" exec -d box sleep 100 ;;
    apply) timeout 5 "$CORRAL" policy apply box "$LAB_DIR/other.yaml" ;;
    pause) timeout 5 "$CORRAL" pause box ;;
    end) timeout 5 "$CORRAL" kill box && sleep 0.3 ;;
    rm) timeout 5 "$CORRAL" rm -f box && sleep 0.3 ;;
    esac >"$LAB_DIR/answer" 2>&1
}

# ACTION CALL NUMBER
round() {
    local action=$1 call=$2 number=$3 tracer status deadline died=no seen found problems= before i
    "$CORRAL" rm -f box >/dev/null 2>&1
    case $action in
    create | run) ;;
    *) "$CORRAL" run -d --name box --policy "$LAB_DIR/narrow.yaml" -- sleep 100 >/dev/null || problem "no sandbox to begin with" ;;
    esac
    sleep 0.1
    before=$("$CORRAL" inspect kept | grep -oE '"denied" ?: ?[0-9]+' | grep -oE '[0-9]+$')
    if [ "$action" = start ]; then
        kill -KILL "$LAB_DAEMON"
        wait "$LAB_DAEMON" 2>/dev/null
        nsenter --net="/run/netns/$LAB_HOST" -- strace -f -qq -o /dev/null -e trace="$call" -e "inject=$call:signal=SIGKILL:when=$number" \
            "$CORRAL_BIN/corrald" --instance "$LAB" --run-dir "$LAB_RUN" --state-dir "$LAB_DIR/state" --subnet 10.231.0.0/16 \
            --subnet6 fdc0:44a1:231::/64 --pool 1 --dns-servers "$PERMITTED4" >>"$LAB_DIR/corrald.log" 2>&1 &
        tracer=$!
        LAB_DAEMON=
        for ((i = 0; i < 100; i++)); do
            kill -0 $tracer 2>/dev/null || { died=yes; break; }
            curl -sf --unix-socket "$LAB_DIR/run/corral.sock" http://corral/healthz >/dev/null 2>&1 && break
            sleep 0.05
        done
        [ $died = yes ] || kill -KILL "$(pgrep -P $tracer)" 2>/dev/null
        wait $tracer 2>/dev/null
    else
        strace -f -qq -o /dev/null -e trace="$call" -e "inject=$call:signal=SIGKILL:when=$number" -p "$LAB_DAEMON" 2>/dev/null &
        tracer=$!
        deadline=$((SECONDS + 5))
        until [ "$(awk '/TracerPid/ { print $2 }' "/proc/$LAB_DAEMON/status" 2>/dev/null)" != 0 ] || [ $SECONDS -gt $deadline ]; do sleep 0.02; done
        sleep 0.1
        begin "$action"
        status=$?
        for ((i = 0; i < 20; i++)); do
            kill -0 "$LAB_DAEMON" 2>/dev/null && [ "$(ps -o stat= -p "$LAB_DAEMON" | cut -c1)" != Z ] || { died=yes; break; }
            sleep 0.02
        done
        [ $died = yes ] || kill -KILL "$LAB_DAEMON"
        wait "$LAB_DAEMON" 2>/dev/null
        wait $tracer 2>/dev/null
        LAB_DAEMON=
    fi
    if [ $died = no ]; then
        # The step is not on the way of this action: nothing is shown.
        LAB_POOL=1 lab_corrald || exit 1
        return
    fi
    LAB_POOL=1 lab_corrald || { problem "corrald does not start again"; LAB_POOL=1 lab_corrald || exit 1; }

    seen=$(state box)
    [ "$(state kept)" = running ] && [ "$("$CORRAL" ps -q --filter name=kept)" = "$KEPT" ] || problem "the other sandbox is lost"
    [ "$("$CORRAL" inspect kept | grep -oE '"denied" ?: ?[0-9]+' | grep -oE '[0-9]+$')" -gt "$before" ] || problem "its counters went back"
    # What the client was told holds; what it was not told is done, or is not.
    case $action:${status:-1} in
    create:0 | run:0 | exec:* | apply:* | start:*) [ "$seen" = running ] || problem "box is '$seen'" ;;
    pause:0) [ "$seen" = paused ] || problem "box is '$seen'" ;;
    pause:*) [[ $seen =~ ^(paused|running)$ ]] || problem "box is '$seen'" ;;
    end:*) [[ $seen =~ ^(running|exited.*)$ ]] || problem "box is '$seen'" ;;
    rm:0) [ -z "$seen" ] || problem "box is '$seen'" ;;
    *) [[ -z $seen || $seen =~ ^(running|exited.*)$ ]] || problem "box is '$seen'" ;;
    esac
    if [ "$seen" = running ] && [ "$action" != start ]; then
        [ "$(timeout 5 "$CORRAL" exec box echo alive 2>&1)" = alive ] || problem "box takes no command"
        [ "$(timeout 5 "$CORRAL" exec box curl -s --max-time 1 --noproxy '*' "http://$REFUSED4/" -o /dev/null -w '%{http_code}' 2>/dev/null)" = 000 ] || problem "box reaches what is refused"
    fi
    # Nothing is there that is neither a sandbox nor in the pool.
    for ((i = 0; i < 40; i++)); do
        found=$(comm -3 <(ids) <(ls "$LAB_DIR/run/sandboxes" | sed -n 's/^\(sb-[a-z0-9]*\)\.json$/\1/p' | sort))
        [ -n "$found" ] || found=$(comm -3 <(ls "/sys/fs/bpf/corral/$LAB/sandboxes" | sort) <(lab_cgroups | sed -n 's,.*/\(sb-[a-z0-9]*\)$,\1,p' | sort -u))
        [ -n "$found" ] || [ "$(ls "/sys/fs/bpf/corral/$LAB/sandboxes" | wc -l)" -le $(($(ids | wc -l) + 1)) ] || found="more than the pool holds"
        [ -n "$found" ] || break
        sleep 0.1
    done
    [ -z "$found" ] || problem "left over: $(tr '\n\t' '  ' <<<"$found")"
    lab_count refused-capture
    [ -z "$(refused_packets)" ] || problem "a refused packet arrived"
    if [ -z "$problems" ]; then
        passed=$((passed + 1))
        printf 'ok    %-8s %-12s %s\n' "$action" "$call" "$number"
    else
        failed=$((failed + 1))
        printf 'FAIL  %-8s %-12s %s  %s\n' "$action" "$call" "$number" "$problems"
    fi
    printf '| %s | `%s`, %s | %s | %s |\n' "$action" "$call" "$number" "${seen:-not there}" "${problems:-none}" >>"$LAB_DIR/rounds"
}

lab_count refused-capture
lab_control udp4 "$REFUSED4" 8000 >/dev/null
sleep 0.1
lab_count refused-capture
[ -n "$(refused_packets)" ] || { echo "the refused server is out of reach of the host: nothing would be shown"; exit 1; }
: >"$LAB_DIR/rounds"
for step in ${CORRAL_CRASH_STEPS:-create:bpf:1-8 create:rename:1-2 create:sendmsg:1-3 create:mkdir:1 run:rename:1-3 run:bpf:1-8 run:bind:1 run:sendmsg:1-2 \
    exec:rename:1-3 exec:sendmsg:1 apply:rename:1-2 apply:bpf:1-4 pause:rename:1 end:rename:1-2 end:write:1-3 rm:unlink:1-4 \
    rm:bpf:1-4 rm:rmdir:1-2 rm:write:1-2 start:bpf:5,25,45,60,80,100 start:mkdir:2 start:rename:1-2 start:unlink:2,6,10 start:connect:1 start:sendmsg:1-6}; do
    IFS=: read -r action call numbers <<<"$step"
    for number in ${numbers//,/ }; do
        for number in $(seq "${number%-*}" "${number#*-}"); do round "$action" "$call" "$number"; done
    done
done
{
    printf '| while | killed on entering, N-th of a thread | `box` afterwards | wrong |\n|---|---|---|---|\n'
    cat "$LAB_DIR/rounds"
} >"$TABLE"
"$CORRAL" ps -aq | xargs -r "$CORRAL" rm -f >/dev/null
[ $failed -eq 0 ] || tail -5 "$LAB_DIR/corrald.log"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
