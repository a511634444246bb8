#!/bin/bash
# What many idle sandboxes cost: memory by kind, and how starts and the API answer beside them. crun and Docker beside them.
set -euo pipefail
cd "$(dirname "$0")/../.."
. bench/lib.sh
. bench/docker.sh
load=$BENCH_BIN/load
if quick; then levels=(100 1000) rounds=60; else levels=(100 1000 5000) rounds=300; fi
kinds=(SReclaimable SUnreclaim PageTables KernelStack Percpu AnonPages Shmem)

# KEY: MiB. What is freed late is waited for.
meminfo() { awk -v key="$1:" '$1 == key { print $2 / 1024 }' /proc/meminfo; }
settle() {
    sleep 3
    sync
}
note_memory() {
    before_available=$(meminfo MemAvailable)
    local kind
    for kind in "${kinds[@]}"; do before[$kind]=$(meminfo "$kind"); done
}
# NAME: of every sandbox, a line each.
field() { curl -s --unix-socket "$socket" http://corral/v1/sandboxes | grep -oE "\"$1\":\"?[^,\"]+" | sed 's/.*[:"]//'; }
each() { python3 -c "print(($1) / $2)"; } # MIB COUNT

lab_up
socket=$LAB_DIR/run/corral.sock
# crun, fifty that sleep.
if command -v crun >/dev/null; then
    tool crun "$(crun --version | head -1)"
    bundle crun "$LAB_DIR/crun" /bin/sleep 120
    runtime_words crun
    declare -A before
    started=0
    settle
    note_memory
    for ((i = 0; i < 50; i++)); do
        "${view[@]}" "${words[@]}" run --detach --bundle "$LAB_DIR/crun" "$LAB-idle-$i" </dev/null >/dev/null 2>"$LAB_DIR/err" || break
        started=$((started + 1))
    done
    settle
    if [ $started = 50 ]; then
        each "$before_available - $(meminfo MemAvailable)" 50 |
            series name=memory-crun-50 "label=$label, no interface, 50 alive" group=memory unit=MB better=lower
    else skipped crun "does not run here: $(tail -1 "$LAB_DIR/err" | sed "s#$LAB_DIR#…#g")"; fi
    for ((i = 0; i < started; i++)); do "${view[@]}" "${words[@]}" delete --force "$LAB-idle-$i" || true; done
else skipped crun "crun is not installed"; fi
# Docker, fifty too; dockerd itself, which has run one before, is not counted.
if docker_up; then
    declare -A before
    settle
    note_memory
    seq 50 | xargs -P 4 -I {} docker "${DOCKER_RUN[@]}" --detach --name "$LAB-idle-{}" $DOCKER_IMAGE /bin/sleep 600 >/dev/null 2>"$LAB_DIR/err" || true
    settle
    started=$(docker ps --quiet | wc -l)
    if [ "$started" = 50 ]; then
        each "$before_available - $(meminfo MemAvailable)" 50 |
            series name=memory-docker-50 "label=docker run, no interface, 50 alive" group=memory unit=MB better=lower
    else skipped docker "does not run here: $(tail -1 "$LAB_DIR/err" | sed "s#$LAB_DIR#…#g")"; fi
    docker_down
fi

LAB_POOL=16 start_corrald
pool_full
settle
declare -A before
note_memory
corrald_before=$(awk '/^RssAnon/ { print $2 / 1024 }' "/proc/$LAB_DAEMON/status")
alive=0
for level in "${levels[@]}"; do
    "$load" burst $((level - alive)) 8 "$socket" '{}' >/dev/null
    alive=$level
    pool_full
    settle
    available=$(meminfo MemAvailable)
    each "$before_available - $available" "$level" |
        series "name=memory-$level" "label=Corral, $level alive" group=memory unit=MB better=lower target=0.5
    [ "$level" != "${levels[0]}" ] || first_available=$available
    id=$(field id | sed -n 1p)
    "$load" get $((rounds * 5)) 1 2 "$socket" "/v1/sandboxes/$id" |
        series "name=api-$level" "label=GET of one sandbox, $level alive" group=api unit=ms scale=1e6 better=lower target=5
    "$load" api "$rounds" 1 10 "$socket" '{"command":["/bin/true"]}' |
        series "name=start-$level" "label=API request to first instruction, $level alive" group=starts unit=ms scale=1e6 better=lower
done
each "$first_available - $available" $((level - levels[0])) |
    series name=memory-slope "label=Corral, each from ${levels[0]} to $level alive" group=memory unit=MB better=lower target=0.5
# By kind, and the sum of what cannot be reclaimed, in which anonymous memory is that of corrald and corral-init alone.
kind_series() { # NAME LABEL KEY=VALUE... <samples
    series "name=$1" "label=$2" group=kinds unit=MB better=lower "${@:3}"
}
for kind in "${kinds[@]}"; do
    each "$(meminfo "$kind") - ${before[$kind]}" "$alive" >"$LAB_DIR/kind.$kind"
    kind_series "$kind" "$kind" <"$LAB_DIR/kind.$kind"
done
awk -v before="$corrald_before" -v count="$alive" '/^RssAnon/ { print ($2 / 1024 - before) / count }' "/proc/$LAB_DAEMON/status" >"$LAB_DIR/kind.corrald"
kind_series corrald "corrald (RssAnon; part of AnonPages)" <"$LAB_DIR/kind.corrald"
field hostPid | sed -n 1,200p | while read -r pid; do
    awk '/^Pss:/ { print $2 / 1024 }' "/proc/$pid/smaps_rollup"
done >"$LAB_DIR/init"
kind_series init "corral-init (PSS; part of AnonPages)" <"$LAB_DIR/init"
awk '{ sum += $1; count++ } END { print sum / count }' "$LAB_DIR/init" >"$LAB_DIR/kind.init"
rm "$LAB_DIR/kind.AnonPages" "$LAB_DIR/kind.SReclaimable"
awk '{ sum += $1 } END { print sum }' "$LAB_DIR"/kind.* | kind_series sum "sum, without SReclaimable and what others hold" target=0.5
stop_corrald
