# shellcheck shell=bash
# What benches share. They run from the top of the sources.
. Tests/lab/lab.sh
lab_require
BENCH_BIN=$PWD/build/bench
quick() { [ "${BENCH_MODE:-quick}" = quick ]; }

# KEY=VALUE... [<samples]: one thing that was measured. Keys: name, label, unit, better (lower, higher), group (what is drawn
# together), floor (name of the series of the same group that is the physical limit), target (of p50), target99, scale (samples
# are divided by it). Samples are numbers on standard input.
series() { python3 -B bench/report.py line "$@" >>"$BENCH_LINES"; }

# NAME REASON
skipped() {
    echo "skipped: $1: $2"
    python3 -B bench/report.py line "name=$1" "skipped=$2" </dev/null >>"$BENCH_LINES"
}

# NAME VERSION: a tool beside which was measured.
tool() { python3 -B bench/report.py line "tool=$1" "version=$2" </dev/null >>"$BENCH_LINES"; }

# Waits until the pool is full.
pool_full() {
    local i
    for ((i = 0; i < 600; i++)); do
        curl -s --unix-socket "$LAB_DIR/run/corral.sock" http://corral/v1/pool |
            python3 -c 'import json, sys; pool = json.load(sys.stdin); sys.exit(pool["warm"] < pool["target"])' && return 0
        sleep 0.1
    done
    echo "bench: the pool does not fill" >&2
    return 1
}

# Starts that were cold since the daemon began.
cold_starts() {
    curl -s --unix-socket "$LAB_DIR/run/corral.sock" http://corral/v1/pool | python3 -c 'import json, sys; print(json.load(sys.stdin)["coldStarts"])'
}

# How many sandboxes have a command that runs.
running() { curl -s --unix-socket "$LAB_DIR/run/corral.sock" http://corral/v1/sandboxes | grep -o '"state":"running"' | wc -l; }

# Under `set -e`, which lab.sh is not written for. However long the end of many sandboxes takes.
stop_corrald() {
    local i
    kill -TERM "$LAB_DAEMON" 2>/dev/null || true
    for ((i = 0; i < 1800; i++)); do
        kill -0 "$LAB_DAEMON" 2>/dev/null || break
        sleep 0.1
    done
    lab_stop_corrald || true
}

# FLAG...: corrald, however long a large pool or a busy machine makes it take.
start_corrald() {
    lab_corrald "$@" 2>/dev/null && return
    local i
    for ((i = 0; i < 600; i++)); do
        curl -sf --unix-socket "$LAB_DIR/run/corral.sock" http://corral/healthz >/dev/null 2>&1 && return
        sleep 0.1
    done
    tail -20 "$LAB_DIR/corrald.log" >&2
    return 1
}

# RUNTIME DIRECTORY COMMAND...: a bundle for crun or runc. Its root is the host's /usr, as Corral's own image has it.
bundle() {
    local runtime=$1 dir=$2 name
    shift 2
    mkdir -p "$dir/rootfs"/{usr,proc,dev,sys,tmp}
    for name in bin sbin lib lib64; do [ ! -L "/$name" ] || cp -P "/$name" "$dir/rootfs/"; done
    (cd "$dir" && "$runtime" spec)
    python3 - "$dir/config.json" "$@" <<'PYTHON'
import json, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
config["process"]["terminal"] = False
config["process"]["args"] = sys.argv[2:]
config["mounts"].insert(0, {"destination": "/usr", "source": "/usr", "type": "none", "options": ["bind", "ro"]})
with open(sys.argv[1], "w") as file:
    json.dump(config, file)
PYTHON
}

# RUNTIME: how it is called, in `words`, through `view`, and what that is called, in `label`.
runtime_words() {
    words=("$1" --root "$LAB_DIR/$1.state") label="$1 run" view=()
    # crun 1.8 knows no hybrid hosts: it is shown cgroup v2 alone, and makes no cgroup.
    if [ "$1" = crun ] && [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
        words+=(--cgroup-manager=disabled)
        label="crun run, without a cgroup"
        view=(unshare --mount --propagation private -- sh -c 'mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec "$0" "$@"')
    fi
}
