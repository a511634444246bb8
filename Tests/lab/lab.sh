# shellcheck shell=bash
# A small internet out of network namespaces, for the demo and for the tests. Source it, then call lab_up.
#
#   client ──ctc┐                      ┌ctp── permitted  203.0.113.10            2001:db8:1::10
#               host (corrald runs here)
#   sandboxes ──┘ crl*                 └ctr── refused    203.0.113.66 198.51.100.66   2001:db8:2::66
#
# The client is a plain machine without Corral: what it sends arrives, which is how a test knows that its refused twin could
# have. The host also answers on 169.254.169.254, as a cloud's metadata service does. Nothing outside these namespaces changes.

LAB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
LAB_BIN=$LAB_ROOT/build/lab
CORRAL_BIN=${CORRAL_BIN:-$LAB_ROOT/.build/release}
# By name, not by a function: what runs in the background is then ended by its pid.
PATH=$CORRAL_BIN:$PATH
# How many times longer than on a real processor waits may last, and what has to go on throughout has to last. Tests/vm sets it.
LAB_SLOWER=${LAB_SLOWER:-1}
LAB=ct$$
LAB_HOST=${LAB}h LAB_PERMITTED=${LAB}p LAB_REFUSED=${LAB}r LAB_CLIENT=${LAB}c
LAB_DIR=
LAB_RUN=
LAB_PIDS=()
LAB_DAEMON=
PERMITTED4=203.0.113.10 PERMITTED6=2001:db8:1::10
REFUSED4=203.0.113.66 REFUSED4B=198.51.100.66 REFUSED6=2001:db8:2::66
METADATA=169.254.169.254
# The IPv4 addresses of the two servers, carried in IPv6 ones (RFC 6052, RFC 3056).
PERMITTED_NAT64=64:ff9b::cb00:710a REFUSED_NAT64=64:ff9b::cb00:7142
PERMITTED_6TO4=2002:cb00:710a::1 REFUSED_6TO4=2002:cb00:7142::1

lab_skip() {
    echo "skipped: $1"
    if [ "${CORRAL_REQUIRE_KERNEL:-}" = 1 ]; then
        echo "0 passed, 1 failed, 0 skipped"
        exit 1
    fi
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}

lab_require() {
    [ "$(id -u)" = 0 ] || lab_skip "needs root"
    [ -r /sys/kernel/btf/vmlinux ] || lab_skip "this kernel has no BTF"
    local program
    for program in "$CORRAL_BIN/corrald" "$CORRAL_BIN/corral" "$LAB_BIN/probe"; do
        [ -x "$program" ] || { echo "$program is missing: run make build lab" >&2; exit 1; }
    done
}

# `ip netns exec` would put another /sys over the host's, without bpffs and cgroups; this changes the network alone.
in_ns() {
    local ns=$1
    shift
    nsenter --net="/run/netns/$ns" -- "$@"
}

lab_namespace() {
    ip netns add "$1"
    local s
    for s in ipv6.conf.all.accept_dad=0 ipv6.conf.default.accept_dad=0 ipv6.conf.default.router_solicitations=0 \
        ipv6.conf.default.accept_ra=0; do
        in_ns "$1" sysctl -qw "net.$s"
    done
    in_ns "$1" ip link set lo up
}

# NAME-IN-HOST NAMESPACE NUMBER: a link with static neighbours, so that no frame is made that a test did not send.
lab_link() {
    local near=$1 ns=$2 n=$3
    local near_mac=02:00:00:00:0$n:01 far_mac=02:00:00:00:0$n:02
    ip -n "$LAB_HOST" link add "$near" address $near_mac type veth peer name eth0 address $far_mac netns "$ns"
    ip -n "$LAB_HOST" addr add "192.0.2.$((n * 4 + 1))/30" dev "$near"
    ip -n "$LAB_HOST" addr add "2001:db8:f$n::1/64" dev "$near" nodad
    ip -n "$ns" addr add "192.0.2.$((n * 4 + 2))/30" dev eth0
    ip -n "$ns" addr add "2001:db8:f$n::2/64" dev eth0 nodad
    ip -n "$LAB_HOST" link set "$near" up
    ip -n "$ns" link set eth0 up
    ip -n "$LAB_HOST" neigh replace "192.0.2.$((n * 4 + 2))" lladdr $far_mac nud permanent dev "$near"
    ip -n "$LAB_HOST" neigh replace "2001:db8:f$n::2" lladdr $far_mac nud permanent dev "$near"
    ip -n "$ns" neigh replace "192.0.2.$((n * 4 + 1))" lladdr $near_mac nud permanent dev eth0
    ip -n "$ns" neigh replace "2001:db8:f$n::1" lladdr $near_mac nud permanent dev eth0
    ip -n "$ns" route add default via "192.0.2.$((n * 4 + 1))"
    ip -n "$ns" -6 route add default via "2001:db8:f$n::1"
}

# NAMESPACE NUMBER ADDRESS...: addresses that live behind a link.
lab_addresses() {
    local ns=$1 n=$2 a
    shift 2
    for a; do
        if [[ $a == *:* ]]; then
            ip -n "$ns" addr add "$a/128" dev lo nodad
            ip -n "$LAB_HOST" -6 route add "$a/128" via "2001:db8:f$n::2"
        else
            ip -n "$ns" addr add "$a/32" dev lo
            ip -n "$LAB_HOST" route add "$a/32" via "192.0.2.$((n * 4 + 2))"
        fi
    done
}

# LABEL NAMESPACE PROGRAM ARG...: starts it in the namespace with FIFOs for stdin and stdout, waits for its "ready".
# The file descriptors are in LAB_IN[LABEL] and LAB_OUT[LABEL].
declare -A LAB_IN LAB_OUT LAB_PID
lab_start() {
    local label=$1 ns=$2 in out line
    shift 2
    mkfifo "$LAB_DIR/$label.in" "$LAB_DIR/$label.out"
    exec {in}<>"$LAB_DIR/$label.in" {out}<>"$LAB_DIR/$label.out"
    LAB_IN[$label]=$in LAB_OUT[$label]=$out
    nsenter --net="/run/netns/$ns" -- "$@" <"$LAB_DIR/$label.in" >"$LAB_DIR/$label.out" 2>>"$LAB_DIR/$label.err" &
    LAB_PIDS+=($!)
    LAB_PID[$label]=$!
    if ! read -r -t $((5 * LAB_SLOWER)) line <&"$out" || [ "$line" != ready ]; then
        echo "lab: $label did not start: $(cat "$LAB_DIR/$label.err")" >&2
        return 1
    fi
}

lab_up() {
    LAB_DIR=$(mktemp -d "/tmp/corral-lab.XXXXXX")
    trap lab_down EXIT
    # In memory, as /run is.
    LAB_RUN=$(mktemp -d "/dev/shm/corral-lab.XXXXXX")
    ln -s "$LAB_RUN" "$LAB_DIR/run"
    trap 'exit 130' INT TERM
    local ns
    for ns in "$LAB_HOST" "$LAB_PERMITTED" "$LAB_REFUSED" "$LAB_CLIENT"; do lab_namespace "$ns"; done
    # The host forwards, and takes source-routed packets too, so that they arrive wherever Corral does not stop them.
    local s
    for s in ipv4.ip_forward=1 ipv6.conf.all.forwarding=1 ipv6.conf.default.forwarding=1 \
        ipv4.conf.all.accept_source_route=1 ipv4.conf.default.accept_source_route=1 \
        ipv4.conf.all.rp_filter=0 ipv4.conf.default.rp_filter=0 \
        ipv6.conf.all.accept_source_route=1 ipv6.conf.default.accept_source_route=1; do
        in_ns "$LAB_HOST" sysctl -qw "net.$s"
    done
    in_ns "$LAB_CLIENT" sysctl -qw net.ipv4.ping_group_range="0 2147483647"
    lab_link ctp "$LAB_PERMITTED" 1
    lab_link ctr "$LAB_REFUSED" 2
    lab_link ctc "$LAB_CLIENT" 3
    lab_addresses "$LAB_PERMITTED" 1 $PERMITTED4 $PERMITTED6 $PERMITTED_NAT64 $PERMITTED_6TO4
    lab_addresses "$LAB_REFUSED" 2 $REFUSED4 $REFUSED4B $REFUSED6 $REFUSED_NAT64 $REFUSED_6TO4
    ip -n "$LAB_HOST" addr add $METADATA/32 dev lo
    lab_start permitted "$LAB_PERMITTED" "$LAB_BIN/labserver" permitted 80 443 8000-8003
    lab_start refused "$LAB_REFUSED" "$LAB_BIN/labserver" refused 80 443 8000-8003
    lab_start host "$LAB_HOST" "$LAB_BIN/labserver" host 80 8000
}

# corrald's log is LAB_DIR/corrald.log.
lab_corrald() { # EXTRA-FLAG...
    export CORRAL_HOST=unix://$LAB_RUN/corral.sock
    mkdir -p "$LAB_DIR/state"
    nsenter --net="/run/netns/$LAB_HOST" -- "$CORRAL_BIN/corrald" --instance "$LAB" --run-dir "$LAB_RUN" \
        --state-dir "$LAB_DIR/state" --subnet 10.231.0.0/16 --subnet6 fdc0:44a1:231::/64 --pool "${LAB_POOL:-2}" \
        --dns-servers "$PERMITTED4" --dns-ttl-floor 1 --dns-grace 1 "$@" \
        >>"$LAB_DIR/corrald.log" 2>&1 &
    LAB_DAEMON=$!
    local i
    for ((i = 0; i < 200 * LAB_SLOWER; i++)); do
        curl -sf --unix-socket "$LAB_DIR/run/corral.sock" http://corral/healthz >/dev/null 2>&1 && return 0
        kill -0 $LAB_DAEMON 2>/dev/null || break
        sleep 0.05
    done
    echo "lab: corrald did not start:" >&2
    tail -20 "$LAB_DIR/corrald.log" >&2
    return 1
}

lab_stop_corrald() {
    [ -n "$LAB_DAEMON" ] || return 0
    local i
    kill -TERM "$LAB_DAEMON" 2>/dev/null
    for ((i = 0; i < 200 * LAB_SLOWER; i++)); do
        kill -0 "$LAB_DAEMON" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$LAB_DAEMON" 2>/dev/null
    wait "$LAB_DAEMON" 2>/dev/null
    LAB_DAEMON=
}

lab_cgroups() {
    find /sys/fs/cgroup -type d \( -path "*/corral/$LAB" -o -path "*/corral/$LAB/*" \) 2>/dev/null
}

# Prints each thing of this instance that still exists on the machine; nothing when all is gone.
lab_remains() {
    ip -n "$LAB_HOST" -o link show 2>/dev/null | grep -o 'crl[^:@ ]*' | sed 's/^/interface /'
    lab_cgroups | sed 's/^/cgroup /'
    find "/sys/fs/bpf/corral/$LAB" -mindepth 1 2>/dev/null | sed 's/^/pin /'
    grep -F -e "$LAB_DIR" -e "$LAB_RUN" /proc/mounts | sed 's/^/mount /'
    local p
    for p in /proc/[0-9]*; do
        case $(readlink "$p/exe" 2>/dev/null; cat "$p/comm" 2>/dev/null) in
        *corral-init* | *corral-spawn*)
            grep -qsE "/corral/$LAB(/|$)" "$p/cgroup" && echo "process ${p#/proc/} $(cat "$p/comm")"
            ;;
        esac
    done
}

# Ends what a killed corrald left: processes in this instance's cgroups, then the cgroups and pins themselves.
lab_sweep() {
    local pid dir try
    for try in 1 2 3 4 5; do
        while read -r dir; do
            while read -r pid; do [ "$pid" != 0 ] && kill -KILL "$pid" 2>/dev/null; done <"$dir/cgroup.procs"
        done < <(lab_cgroups)
        while read -r dir; do rmdir "$dir" 2>/dev/null; done < <(lab_cgroups | sort -r)
        [ -z "$(lab_cgroups)" ] && break
        sleep 0.1
    done
    rm -rf --one-file-system "/sys/fs/bpf/corral/${LAB:?}" "/sys/fs/bpf/corral/${LAB:?}+enforced"
}

lab_down() {
    local status=$?
    trap - EXIT
    set +e
    lab_stop_corrald
    lab_sweep
    local pid ns
    for pid in "${LAB_PIDS[@]}"; do kill "$pid" 2>/dev/null; done
    wait "${LAB_PIDS[@]}" 2>/dev/null
    for ns in "$LAB_HOST" "$LAB_PERMITTED" "$LAB_REFUSED" "$LAB_CLIENT"; do
        ip netns del "$ns" 2>/dev/null
    done
    umount "$LAB_DIR/state" "$LAB_DIR/run" 2>/dev/null   # a section may have put a small one there
    if [ $status -ne 0 ] && [ -n "${LAB_KEEP_LOG:-}" ]; then cp "$LAB_DIR/corrald.log" "$LAB_KEEP_LOG"; fi
    [ -n "$LAB_DIR" ] && rm -rf --one-file-system "$LAB_DIR" "$LAB_RUN"
    exit $status
}

# Until nothing is being destroyed any more, by corrald and by the kernel, which frees namespaces and cgroups a while after
# their last user.
lab_settle() {
    local i
    for ((i = 0; i < 600; i++)); do
        "$CORRAL_BIN/corral" pool | grep -q 'being destroyed' || break
        sleep 0.1
    done
    sleep 5
}

# What corrald and its sandboxes hold now, into LAB_HELD; sizes in KiB.
declare -A LAB_HELD
lab_measure() {
    LAB_HELD[descriptors]=$(find "/proc/$LAB_DAEMON/fd" -mindepth 1 | wc -l)
    # What is allocated; the anonymous memory is that, and what the allocator keeps.
    LAB_HELD[heap]=$(curl -s --unix-socket "$LAB_DIR/run/corral.sock" http://corral/metrics |
        awk '$1 == "corral_heap_used_bytes" { printf "%d", $2 / 1024 }')
    LAB_HELD[memory]=$(awk '/^RssAnon/ { print $2 }' "/proc/$LAB_DAEMON/status")
    LAB_HELD[threads]=$(find "/proc/$LAB_DAEMON/task" -mindepth 1 -maxdepth 1 | wc -l)
    LAB_HELD[cgroups]=$(lab_cgroups | wc -l)
    LAB_HELD[interfaces]=$(ip -n "$LAB_HOST" -o link show | wc -l)
    LAB_HELD[unreclaimable]=$(awk '/^SUnreclaim/ { print $2 }' /proc/meminfo)
}

# FILE ARG...: a `corral tail` in the background that writes its JSON lines into the file and complaints into FILE.err; it has
# connected when this returns.
# Ended by lab_end_tails, after the section that asked for it: it would follow corrald through every restart, and as a client.
LAB_TAILS=()
lab_tail() {
    local file=$1 i
    shift
    "$CORRAL_BIN/corral" tail -o json "$@" >"$file" 2>"$file.err" &
    LAB_TAILS+=($!)
    LAB_PIDS+=($!)
    for ((i = 0; i < 200 * LAB_SLOWER; i++)); do
        ss -xpH state connected 2>/dev/null | grep -q "pid=${LAB_TAILS[-1]}," && break
        sleep 0.05
    done
    # corrald has yet to read what it asks for.
    sleep 0.3
}

lab_end_tails() {
    [ ${#LAB_TAILS[@]} -gt 0 ] || return 0
    kill "${LAB_TAILS[@]}" 2>/dev/null
    wait "${LAB_TAILS[@]}" 2>/dev/null
    LAB_TAILS=()
}

# LABEL: frames counted since the last time, and starts from zero. The whole answer is in LAB_CAPTURED.
lab_count() {
    echo reset >&"${LAB_IN[$1]}"
    read -r -t 60 LAB_CAPTURED <&"${LAB_OUT[$1]}" || { echo "lab: capture $1 does not answer" >&2; exit 1; }
    [[ $LAB_CAPTURED =~ \"frames\":([0-9]+),\"dropped\":([0-9]+) ]] || { echo "lab: $LAB_CAPTURED" >&2; exit 1; }
    [ "${BASH_REMATCH[2]}" = 0 ] || { echo "lab: capture $1 lost frames" >&2; exit 1; }
    LAB_FRAMES=${BASH_REMATCH[1]}
}

# ARG...: the probe, run from the plain machine.
lab_control() { in_ns "$LAB_CLIENT" "$LAB_BIN/probe" "$@"; }

# POLICY-FILE [RUN-FLAG...] -- ARG...: the probe, run in a sandbox.
lab_probe() {
    local policy=$1 flags=()
    shift
    while [ "$1" != -- ]; do
        flags+=("$1")
        shift
    done
    shift
    "$CORRAL_BIN/corral" run -i --policy "$policy" "${flags[@]}" -- \
        sh -c 'head -c $1 >/tmp/probe && chmod +x /tmp/probe && shift && exec /tmp/probe "$@"' probe \
        "$(stat -c %s "$LAB_BIN/probe")" "$@" <"$LAB_BIN/probe"
}
