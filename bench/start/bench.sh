#!/bin/bash
# How long a start takes: Corral warm and cold, beside bubblewrap, crun, runc, Docker, and fork and exec alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
. bench/lib.sh
. bench/docker.sh
load=$BENCH_BIN/load
if quick; then rounds=150 pause=10; else rounds=1000 pause=20; fi
body='{"command":["/bin/true"]}'

lab_up
# NAME LABEL GROUP FLOOR ROUNDS CONCURRENCY PAUSE-MS COMMAND...    `through` goes before the program that measures.
through=()
command_series() {
    local name=$1 label=$2 group=$3 floor=$4
    shift 4
    "${through[@]}" "$load" exec "$@" >"$LAB_DIR/samples"
    series "name=$name" "label=$label" "group=$group" "floor=$floor" unit=ms scale=1e6 better=lower ${target:+"target=$target"} <"$LAB_DIR/samples"
}

peers() { # GROUP ROUNDS CONCURRENCY PAUSE-MS
    local group=$1
    shift
    command_series fork "fork and exec" "$group" "" "$@" /bin/true
    if command -v bwrap >/dev/null; then
        command_series bwrap bubblewrap "$group" fork "$@" bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib \
            --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp --unshare-all --die-with-parent /bin/true
    else skipped bwrap "bubblewrap is not installed"; fi
    local runtime
    for runtime in crun runc; do
        if ! command -v "$runtime" >/dev/null; then
            skipped "$runtime" "$runtime is not installed"
            continue
        fi
        [ -d "$LAB_DIR/$runtime" ] || bundle "$runtime" "$LAB_DIR/$runtime" /bin/true
        # runc takes tens of milliseconds, and is given a part of the rounds.
        local count=$1
        [ "$runtime" = crun ] || count=$((($1 + 4) / 5))
        runtime_words "$runtime"
        if "${view[@]}" "${words[@]}" run --bundle "$LAB_DIR/$runtime" "$LAB-probe" </dev/null >"$LAB_DIR/err" 2>&1; then
            through=("${view[@]}")
            command_series "$runtime" "$label" "$group" fork "$count" "$2" "$3" \
                "${words[@]}" run --bundle "$LAB_DIR/$runtime" "$LAB-$runtime-$group-%d"
            through=()
        else skipped "$runtime" "does not run here: $(tail -1 "$LAB_DIR/err" | sed "s#$LAB_DIR#…#g")"; fi
    done
    # Docker takes a fifth of a second or more.
    if [ -n "$docker" ]; then
        if quick && [ "$2" = 50 ]; then skipped docker-50 "50 at once: in bench-full"; else
            command_series docker "docker run" "$group" fork "$((($1 + 19) / 20))" "$2" "$3" docker "${DOCKER_RUN[@]}" $DOCKER_IMAGE /bin/true
        fi
    fi
}
for peer in bwrap crun runc; do tool "$peer" "$($peer --version 2>/dev/null | head -1)"; done
docker=
if docker_up; then docker=yes; fi

LAB_POOL=64 start_corrald
pool_full
for concurrency in 1 20 50; do
    group=c$concurrency count=$(((rounds + concurrency - 1) / concurrency))
    if [ "$concurrency" = 1 ]; then wait=$pause; else wait=$((concurrency * 10)); fi
    before=$(cold_starts)
    if [ "$concurrency" = 1 ]; then targets=(target=0.5 target99=2); else targets=(); fi
    "$load" api "$count" "$concurrency" "$wait" "$LAB_DIR/run/corral.sock" "$body" >"$LAB_DIR/samples"
    cold=$(($(cold_starts) - before))
    series name=api-warm "label=Corral, warm: API request to first instruction" "group=$group" floor=fork unit=ms scale=1e6 \
        better=lower "${targets[@]}" "note=$cold of $((count * concurrency)) starts were cold" <"$LAB_DIR/samples"
    pool_full
    target=
    command_series cli-warm "corral run, warm: the whole process" "$group" fork "$count" "$concurrency" "$wait" "$CORRAL_BIN/corral" run -- /bin/true
    peers "$group" "$count" "$concurrency" 0
    echo "  $concurrency at once: done"
done
docker_down
stop_corrald

LAB_POOL=0 start_corrald
"$load" api "$rounds" 1 1 "$LAB_DIR/run/corral.sock" "$body" >"$LAB_DIR/samples"
series name=api-cold "label=Corral, cold: API request to first instruction" group=c1 floor=fork unit=ms scale=1e6 better=lower target=3 <"$LAB_DIR/samples"
stop_corrald

# 500 that stay, out of a full pool and out of none.
available() { sync; awk '/^MemAvailable/ { print $2 / 1024 }' /proc/meminfo; }
for pool in 500 0; do
    if [ $pool = 0 ]; then what=cold; else what=warm; fi
    : >"$LAB_DIR/times"
    : >"$LAB_DIR/memory"
    for ((i = 0; i < $(quick && echo 2 || echo 5); i++)); do
        before=$(available)
        LAB_POOL=$pool start_corrald
        [ $pool = 0 ] || pool_full
        "$load" burst 500 20 "$LAB_DIR/run/corral.sock" '{"command":["/bin/sleep","120"]}' >>"$LAB_DIR/times"
        alive=$(running)
        [ "$alive" = 500 ] || { echo "bench: $alive of 500 run" >&2; exit 1; }
        python3 -c "print($before - $(available))" >>"$LAB_DIR/memory"
        stop_corrald
        sleep 1
    done
    series "name=burst-$what" "label=500 starts, $what, 20 connections: all running" group=burst unit=ms scale=1e6 better=lower target=1000 <"$LAB_DIR/times"
    series "name=burst-memory-$what" "label=memory of 500 running sleep, daemon included, $what" group=memory unit=MB better=lower target=300 <"$LAB_DIR/memory"
done
