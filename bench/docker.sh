# shellcheck shell=bash disable=SC2034
# Docker, to measure beside: a dockerd of its own, with everything that it keeps under LAB_DIR, without a bridge and without rules of
# a firewall. Sourced after lib.sh; call after lab_up.
DOCKER_PID=
# Options of `docker run` for what crun and runc get too: the host's /usr and no interface.
DOCKER_RUN=(run --rm --network none --volume /usr:/usr:ro)
DOCKER_IMAGE=bench:1

# 1 and a reason where it does not run.
docker_up() {
    local dir=$LAB_DIR/docker name i
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
        skipped docker "dockerd is not installed"
        return 1
    fi
    mkdir -p "$dir/root"/{usr,proc,dev,sys,tmp,etc}
    for name in bin sbin lib lib64; do [ ! -L "/$name" ] || cp -P "/$name" "$dir/root/"; done
    tar -C "$dir/root" -cf "$dir/image.tar" .
    export DOCKER_HOST=unix://$dir/docker.sock DOCKER_CONFIG=$dir/config
    trap 'bench_status=$?; set +e; docker_down; (exit $bench_status); lab_down' EXIT
    nsenter --net="/run/netns/$LAB_HOST" -- dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" --host "$DOCKER_HOST" \
        --bridge=none --iptables=false --ip6tables=false --ip-forward=false --cgroup-parent="$LAB-docker" >"$dir/log" 2>&1 &
    DOCKER_PID=$!
    for ((i = 0; i < 300; i++)); do
        docker version >/dev/null 2>&1 && break
        kill -0 "$DOCKER_PID" 2>/dev/null || break
        sleep 0.1
    done
    if docker import "$dir/image.tar" $DOCKER_IMAGE >/dev/null 2>"$dir/err" && docker "${DOCKER_RUN[@]}" $DOCKER_IMAGE /bin/true 2>"$dir/err"; then
        tool docker "$(dockerd --version)"
        return 0
    fi
    skipped docker "does not run here: $(tail -1 "$dir/err" | sed "s#$LAB_DIR#…#g")"
    docker_down
    return 1
}

# Ends it, and all that it started: it ends its containerd, and containers that are still there.
docker_down() {
    [ -n "$DOCKER_PID" ] || return 0
    local i cgroup pid
    docker ps --quiet | xargs --no-run-if-empty -P 8 -n 4 docker kill >/dev/null 2>&1 || true
    kill -TERM "$DOCKER_PID" 2>/dev/null || true
    for ((i = 0; i < 300; i++)); do
        kill -0 "$DOCKER_PID" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$DOCKER_PID" "$(cat "$LAB_DIR/docker/exec/containerd/containerd.pid" 2>/dev/null)" 2>/dev/null || true
    wait "$DOCKER_PID" 2>/dev/null || true
    for ((i = 0; i < 20; i++)); do
        find /sys/fs/cgroup -depth -type d -path "*/$LAB-docker*" -exec rmdir {} + 2>/dev/null
        [ -n "$(find /sys/fs/cgroup -type d -path "*/$LAB-docker*")" ] || break
        sleep 0.1
    done || true
    DOCKER_PID=
}
