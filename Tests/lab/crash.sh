#!/bin/bash
# Kills corrald at each of its named steps, and looks at what the next corrald makes of it.
#
# Steps are the calls of `crashPoint` in Sources; they do something in the build of `make crash-test` alone (CORRAL_CRASH_POINTS). What
# steps an action passes is found out by doing it once. Then it is done again for each of them, and the daemon killed there: on the
# first passing, and, where a step is passed four times or more, once more in the middle. A step that no action passes is a failure. A probe in
# a sandbox sends to a refused address a thousand times a second all the while.
#
#   Tests/lab/crash.sh [TABLE]     writes the table of docs/RELIABILITY.md to TABLE; `N passed, N failed, N skipped` is the last line
# CORRAL_CRASH_ACTIONS picks some of the actions of crash_actions.sh, CORRAL_CRASH_STEPS of the steps; others are not missed then.
set -uo pipefail +m
here=$(dirname "$0")
CORRAL_BIN=${CORRAL_BIN:-$(cd "$here/../.." && pwd)/build/crash/release}
. "$here/lab.sh"
. "$here/crash_actions.sh"
lab_require
CORRAL=$CORRAL_BIN/corral
TABLE=${1:-/dev/null}
passed=0 failed=0 problems=
declare -A tested=() rounds=() wrong=() names=()
problem() { problems+="${problems:+; }$1"; }

steps() { grep -rhoE 'crashPoint\("[a-z.-]+"\)' "$LAB_ROOT/Sources" | cut -d'"' -f2 | sort; }
[ -z "$(steps | uniq -d)" ] || { echo "two steps of one name:" "$(steps | uniq -d)"; exit 1; }
[ "$(steps | wc -l)" -ge 40 ] || { echo "the steps are not found"; exit 1; }

arm() { printf '%s %s\n' "$1" "$2" >"$CORRAL_CRASH_PLAN.next" && mv "$CORRAL_CRASH_PLAN.next" "$CORRAL_CRASH_PLAN"; }
disarm() { : >"$CORRAL_CRASH_PLAN"; }
# Bash may take note of its end between two looks.
is_dead() { [[ $(ps -o stat= -p "$LAB_DAEMON") =~ ^(Z.*)?$ ]]; }
die() {
    kill -KILL "$LAB_DAEMON" 2>/dev/null
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
}

# Comes up however the last one went.
daemon() {
    local log
    log=$(stat -c %s "$LAB_DIR/corrald.log" 2>/dev/null || echo 0)
    LAB_POOL=1 lab_corrald --allow-test-switches "${OBJECTS[@]}" 2>/dev/null && return
    die
    problem "corrald does not start again: $(tail -c "+$((log + 1))" "$LAB_DIR/corrald.log" | grep -v '^\[' | tail -2 | tr '\n' ' ')"
    LAB_POOL=1 lab_corrald --allow-test-switches "${OBJECTS[@]}" || exit 1
}

state() { "$CORRAL" ps -a --filter "name=$1" | awk -F'\t' -v name="$1" '$2 == name { print $3 }'; }
# Until nothing goes on in the background that an earlier action has begun.
quiet() {
    local i
    for ((i = 0; i < 100; i++)); do
        ! "$CORRAL" pool | grep -q 'being destroyed' && break
        sleep 0.1
    done
    sleep 0.2
}
ids() { "$CORRAL" ps -aq | sort; }
denied() { "$CORRAL" inspect kept | grep -oE '"denied" ?: ?[0-9]+' | grep -oE '[0-9]+$'; }
refused_packets() { grep -oE "\"dst\":\"$REFUSED4\",\"proto\":(6|17),[^}]*" <<<"$LAB_CAPTURED"; }
metric() { curl -s --unix-socket "$LAB_RUN/corral.sock" http://corral/metrics | awk -v name="$1" '$1 == name { print $2 }'; }

# What is there that belongs to neither a sandbox nor an enforced cgroup nor the pool; nothing when all is well.
leftovers() {
    local pinned known entries
    comm -3 <(ids) <(ls "$LAB_RUN/sandboxes" | sed -n 's/^\(sb-[a-z0-9]*\)\.json$/\1/p' | sort) | grep . && return
    pinned=$(ls "/sys/fs/bpf/corral/$LAB/sandboxes" | sort)
    comm -3 <(echo "$pinned") <(lab_cgroups | sed -n 's,.*/\(sb-[a-z0-9]*\)$,\1,p' | sort -u) | grep . && return
    [ "$(wc -w <<<"$pinned")" -le $(($(ids | wc -l) + 1)) ] || { echo "more than the pool holds"; return; }
    known=$(printf '%s\n' "$pinned" "$("$CORRAL" enforce --list | grep -o '^cg-[a-z0-9]*')" | sort)
    ls "$LAB_RUN"/{denials,init,names} | grep -oE '^(sb|cg)-[a-z0-9]+' | sort -u | comm -13 <(echo "$known") - | grep . && return
    find "$LAB_RUN/" "$LAB_DIR/state" "/sys/fs/bpf/corral/$LAB" \( -name '.unfinished*' -o -name '*.new' -o -name '*+new' \) 2>/dev/null | grep . && return
    # One whose command has ended has none any more.
    ip -n "$LAB_HOST" -o link show | grep -oE "alias corral:$LAB:sb-[a-z0-9]+" | sed 's/.*://' | sort | comm -13 <(echo "$pinned") - | grep . && return
    entries=$(metric 'corral_bpf_map_entries{map="published"}')
    [ "${entries:-0}" = "$("$CORRAL" ps -aq | xargs -r -n1 "$CORRAL" inspect | grep -c '"hostPort"')" ] || echo "$entries published ports in the kernel"
}

# ACTION: what holds after any crash. `status` is what the client was told.
check() {
    local found i
    if [ -n "$KEPT" ]; then
        [ "$(state kept)" = running ] && [ "$("$CORRAL" ps -q --filter name=kept)" = "$KEPT" ] || problem "the other sandbox is lost"
        [ "$(denied)" -gt "$before" ] || problem "its counters went back"
    fi
    SEEN=$(state box)
    "after_$1"
    if [ "$SEEN" = running ] && [[ $1 != start && $1 != stop ]]; then
        [ "$(timeout 5 "$CORRAL" exec box echo alive 2>&1)" = alive ] || problem "box takes no command"
        [ "$(timeout 5 "$CORRAL" exec box curl -s --max-time 1 --noproxy '*' "http://$REFUSED4/" -o /dev/null -w '%{http_code}' 2>/dev/null)" = 000 ] ||
            problem "box reaches what is refused"
    fi
    for ((i = 0; i < 60; i++)); do
        found=$(leftovers)
        [ -n "$found" ] || break
        sleep 0.1
    done
    [ -z "$found" ] || problem "left over: $(tr '\n\t' '  ' <<<"$found")"
    lab_count refused-capture
    [ -z "$(refused_packets)" ] || problem "a refused packet arrived"
}

# ACTION STEP NUMBER
round() {
    local action=$1 step=$2 number=$3 i
    problems='' status=1 before=0
    "before_$action"
    [ -z "$LAB_DAEMON" ] || quiet
    [ -z "$KEPT" ] || before=$(denied)
    # A daemon that starts finds the plan there.
    case $action in start | upgrade | first) die ;; esac
    arm "$step" "$number"
    "begin_$action" >"$LAB_DIR/answer" 2>&1
    status=$?
    for ((i = 0; i < 200; i++)); do
        is_dead && break
        sleep 0.05
    done
    disarm
    if is_dead; then
        wait "$LAB_DAEMON" 2>/dev/null
        [ $? = 137 ] || problem "it ended without passing the step"
    else
        problem "the step was not passed: $(tail -1 "$LAB_DIR/answer")"
    fi
    die
    daemon
    check "$action"
    "reset_$action"
    tested[$step]=1
    rounds[$action]=$((${rounds[$action]:-0} + 1))
    [[ " ${names[$action]:-} " == *" $step "* ]] || names[$action]+="${names[$action]:+ }$step"
    if [ -z "$problems" ]; then
        passed=$((passed + 1))
        printf 'ok    %-12s %-24s %s\n' "$action" "$step" "$number"
    else
        failed=$((failed + 1))
        wrong[$action]=$((${wrong[$action]:-0} + 1))
        printf 'FAIL  %-12s %-24s %s  %s\n' "$action" "$step" "$number" "$problems"
    fi
}

# ACTION: the steps that it passes, and how often, into `passes`.
discover() {
    local action=$1
    problems='' status=0
    "before_$action"
    [ -z "$LAB_DAEMON" ] || quiet
    case $action in start | upgrade | first) die ;; esac
    disarm
    : >"$CORRAL_CRASH_PLAN.passed"
    "begin_$action" >"$LAB_DIR/answer" 2>&1 || { echo "crash: $action does not succeed: $(cat "$LAB_DIR/answer")"; exit 1; }
    # What goes on in the background after the answer.
    sleep 1.2
    passes=$(sort "$CORRAL_CRASH_PLAN.passed" | uniq -c)
    case $action in stop) wait "$LAB_DAEMON" 2>/dev/null; daemon ;; esac
    "reset_$action"
    [ -z "$problems" ] || { echo "crash: $action: $problems"; exit 1; }
}

# Bash tells of each process that was killed.
exec 2> >(grep -v ' Killed ' >&2)
lab_up || exit 1
lab_start refused-capture "$LAB_REFUSED" "$LAB_BIN/labcapture" all eth0 || exit 1
export CORRAL_CRASH_PLAN=$LAB_DIR/plan
disarm
prepare_lab
lab_count refused-capture
lab_control udp4 "$REFUSED4" 8000 >/dev/null
sleep 0.1
lab_count refused-capture
[ -n "$(refused_packets)" ] || { echo "the refused server is out of reach of the host: nothing would be shown"; exit 1; }
for action in ${CORRAL_CRASH_ACTIONS:-$CRASH_ACTIONS}; do
    discover "$action"
    while read -r count step; do
        [ -n "$step" ] && [[ " ${CORRAL_CRASH_STEPS:-$step} " == *" $step "* ]] || continue
        # How a sandbox is made is the same whatever it is made for, and a start the same but for what is not shown yet.
        [[ -z ${tested[$step]:-} || ! $step =~ ^(make|hooks|veth|detach|destroy)\. ]] || continue
        [[ -z ${tested[$step]:-} || ! $action =~ ^(upgrade|first|stop)$ ]] || continue
        round "$action" "$step" 1
        [ "$count" -lt 4 ] || round "$action" "$step" $((count / 2 + 1))
    done <<<"$passes"
done
if [ -z "${CORRAL_CRASH_ACTIONS:-}${CORRAL_CRASH_STEPS:-}" ]; then
    for step in $(steps); do
        [ -n "${tested[$step]:-}" ] && continue
        failed=$((failed + 1))
        echo "FAIL  $step is never passed"
    done
fi
{
    printf '| while | killed at | kills | something wrong |\n|---|---|--:|--:|\n'
    for action in $CRASH_ACTIONS; do
        [ -n "${names[$action]:-}" ] || continue
        printf '| %s | %s | %s | %s |\n' "${TITLES[$action]}" "$(sed 's/[^ ]*/`&`/g; s/ /, /g' <<<"${names[$action]}")" "${rounds[$action]}" "${wrong[$action]:-0}"
    done
} >"$TABLE"
"$CORRAL" ps -aq | xargs -r "$CORRAL" rm -f >/dev/null
[ $failed -eq 0 ] || tail -5 "$LAB_DIR/corrald.log"
echo "crash: ${#tested[@]} of $(steps | wc -l) steps"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
