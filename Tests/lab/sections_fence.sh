# shellcheck shell=bash disable=SC2034
# Sections of bypass.sh about what a sandbox may ask of the kernel, what it may use, and what the pool does.

# [RUN-FLAG...] -- NAME...: build/lab/fence in a sandbox.
fence() {
    local flags=()
    while [ "$1" != -- ]; do
        flags+=("$1")
        shift
    done
    shift
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -q -i "${flags[@]}" -- sh -c \
        'head -c $1 >/tmp/fence && chmod +x /tmp/fence && shift && exec /tmp/fence "$@"' fence \
        "$(stat -c %s "$LAB_BIN/fence")" "$@" <"$LAB_BIN/fence"
}

# NAME: a policy whose fields beyond the first come from stdin. Prints where it is.
fence_policy() {
    { printf 'apiVersion: corral/v1\nname: %s\n' "$1"; cat; } >"$LAB_DIR/$1.yaml"
    echo "$LAB_DIR/$1.yaml"
}

# TITLE EXPECTED TRIES...: what fence said of each, in FENCED.
fenced() {
    local title=$1 wanted=$2 name got
    shift 2
    for name; do
        got=$(awk -v name="$name" '$1 == name { print $2 }' <<<"$FENCED")
        case $wanted in
        !*) expect "$title: $name" test -n "$got" -a "$got" != "${wanted#!}" ;;
        *) equal "$title: $name" "$wanted" "$got" ;;
        esac
    done
}

section_calls() {
    local refused="io_uring bpf vsock packet alg netfilter add_key keyctl userfaultfd init_module kexec perf handle mounts
        user_namespace clone_namespace trace_child tiocsti tioclinux personality dispatch"
    local init="trace_init kill_init stop_init limit_init nice_init memory_init environment_init descriptor_init read_init"
    local granted="route local tiocgwinsz getppid sysv owner" policy result
    # shellcheck disable=SC2086
    FENCED=$(fence -- $refused $granted clone3 i386 x32)
    # shellcheck disable=SC2086
    {
        fenced "default refuses" 1 $refused
        fenced "default permits" 0 $granted
        fenced "default has no" 38 clone3 i386 x32
    }
    # shellcheck disable=SC2086
    FENCED=$(fence -- $init getppid)
    # shellcheck disable=SC2086
    fenced "pid 1 is out of reach" !0 $init
    fenced "and the command goes on" 0 getppid

    policy=$(fence_policy unconfined <<<'syscalls: { profile: unconfined }')
    # shellcheck disable=SC2086
    FENCED=$(fence --policy "$policy" -- bpf vsock add_key keyctl trace_child personality dispatch $granted i386 x32 $init user_namespace)
    fenced "unconfined permits" 0 user_namespace trace_child personality keyctl
    # shellcheck disable=SC2086
    {
        fenced "unconfined permits" 0 $granted
        fenced "unconfined: pid 1 is out of reach all the same" !0 $init
    }
    fenced "unconfined has no" 38 i386 x32
    equal "unconfined: no capability and no new privileges" "0 1" \
        "$("$CORRAL_BIN/corral" run -q --policy "$policy" -- sh -c \
            "awk '/CapEff|CapBnd/ { sum += \$2 } /NoNewPrivs/ { new = \$2 } END { print sum + 0, new }' /proc/self/status")"

    policy=$(fence_policy tracer <<<'syscalls: { allow: [ptrace], deny: [{ name: getppid }, { name: "@ipc", action: errno }] }')
    FENCED=$(fence --policy "$policy" -- trace_child trace_init getppid sysv local)
    fenced "allow: [ptrace] permits" 0 trace_child local
    fenced "allow: [ptrace] permits no more" !0 trace_init
    fenced "deny refuses" 1 getppid sysv
    policy=$(fence_policy killer <<<'syscalls: { deny: [{ name: shmget, action: kill }] }')
    FENCED=$(fence --policy "$policy" -- local sysv)
    equal "deny with action kill ends the command" 159 $?
    fenced "and nothing before it" 0 local
    policy=$(fence_policy logger <<<'syscalls: { deny: [{ name: getppid, action: log }, { name: ptrace, action: log }] }')
    FENCED=$(fence --policy "$policy" -- getppid trace_child)
    fenced "action log lets pass" 0 getppid
    fenced "action log opens nothing" 1 trace_child

    policy=$(fence_policy strict <<<'syscalls: { profile: strict }')
    FENCED=$(fence --policy "$policy" -- inet local route sysv owner trace_child user_namespace getppid tiocgwinsz)
    fenced "strict refuses" 1 inet local route sysv owner trace_child user_namespace
    fenced "strict permits" 0 getppid tiocgwinsz
    result=$("$CORRAL_BIN/corral" run -q --policy "$policy" -- python3 -c '
import os, threading, subprocess, hashlib
t = threading.Thread(target=lambda: subprocess.run(["true"], check=True)); t.start(); t.join()
open("/tmp/x", "w").write("x"); os.rename("/tmp/x", "/tmp/y"); os.mkdir("/tmp/d"); os.listdir("/tmp")
print(hashlib.sha256(open("/tmp/y", "rb").read()).hexdigest()[:8])' 2>&1)
    equal "strict runs an interpreter" 2d711642 "$result"

    "$CORRAL_BIN/corral" policy explain --syscalls "$LAB_DIR/killer.yaml" >"$LAB_DIR/explained"
    DETAIL=$(head -5 "$LAB_DIR/explained")
    expect "explain --syscalls tells of the action" grep -qx '  shmget' <(sed -n '/^killed/,/^[^ ]/p' "$LAB_DIR/explained")
    expect "explain --syscalls tells of conditions" grep -q '^  socket: allowed: AF_UNIX' "$LAB_DIR/explained"
    equal "diff tells what changes" "syscalls  getppid: allowed -> allowed, logged
syscalls  shmget: killed -> allowed" "$("$CORRAL_BIN/corral" policy diff "$LAB_DIR/killer.yaml" "$LAB_DIR/logger.yaml" | grep ^syscalls)"
    printf 'apiVersion: corral/v1\nname: bad\nsyscalls: { allow: [ptrase] }\n' >"$LAB_DIR/bad-calls.yaml"
    result=$("$CORRAL_BIN/corral" run --policy "$LAB_DIR/bad-calls.yaml" -- true 2>&1)
    DETAIL=$result expect "an unknown call is refused with the nearest" grep -q 'expected ptrace' <<<"$result"
    unset DETAIL

    # What is refused shows where calls are traced.
    policy=$(fence_policy watched <<<'trace: { syscalls: [add_key] }')
    lab_tail "$LAB_DIR/calls.json" -e syscall
    fence --name "watched$$" --policy "$policy" -- add_key >/dev/null
    settle_file "$LAB_DIR/calls.json" syscall_not_allowed
    expect "a refusal is told as syscall_not_allowed" grep -q '"add_key".*syscall_not_allowed\|syscall_not_allowed.*"add_key"' "$LAB_DIR/calls.json"
}

# FILE PATTERN: until it is there, three seconds at most.
settle_file() {
    local i
    for ((i = 0; i < 60; i++)); do
        grep -q -- "$2" "$1" && return
        sleep 0.05
    done
}

# NAME: limit events of a sandbox.
limits_of() { grep '"type":"limit"' "$LAB_DIR/limits.json" | grep -F "\"name\":\"$1\""; }

section_bounds() {
    local begun result policy name
    lab_tail "$LAB_DIR/limits.json" -e limit,sandbox
    begun=$(date +%s%N)
    "$CORRAL_BIN/corral" run -q --name "oom$$" --memory 64MiB -- sh -c 'sh -c "head -c 300M /dev/zero | tail >/dev/null" & sleep 20' >/dev/null 2>&1
    equal "out of memory, the sandbox ends as a whole" 137 $?
    expect "and soon" test $((($(date +%s%N) - begun) / 1000000)) -lt 10000
    "$CORRAL_BIN/corral" run -q --name "pids$$" --pids 16 -- sh -c '(for i in $(seq 40); do sleep 2 & done); sleep 2' >/dev/null 2>&1
    "$CORRAL_BIN/corral" run -q --name "disk$$" --disk 4MiB -- sh -c 'head -c 8M /dev/zero >/tmp/f; sleep 1.6' >/dev/null 2>&1
    "$CORRAL_BIN/corral" run -q --name "cpu$$" --cpu 0.2 --timeout 2s -- sh -c 'while :; do :; done' >/dev/null 2>&1
    result=$("$CORRAL_BIN/corral" run -q --open-files 32 -- sh -c 'ulimit -n; i=3; while [ $i -lt 40 ]; do eval "exec $i</dev/null" || break; i=$((i+1)); done' 2>&1)
    expect "open files are bounded" grep -qiE '^32$' <<<"$result"
    result=$(fence --disk 4MiB -- files /tmp 5000)
    expect "files are bounded" test "${result#* }" = 28 -a "${result% *}" -le 1024
    result=$(fence --disk 64MiB -- files /tmp 5000)
    equal "fewer than the limit are granted" "5000 0" "$result"
    "$CORRAL_BIN/corral" run -q --name "within$$" --memory 256MiB --pids 64 --disk 64MiB --cpu 2 --open-files 256 --cpu-weight 50 --timeout 10s -- \
        sh -c 'for i in $(seq 20); do sleep 1.2 & done; head -c 8M /dev/zero >/tmp/f; wait' >/dev/null 2>&1
    equal "what stays within its limits runs" 0 $?
    settle_file "$LAB_DIR/limits.json" "within$$.*exited"
    for name in oom:67108864 pids:16 disk:4194304 cpu:200; do
        DETAIL=$(cat "$LAB_DIR/limits.json")
        expect "limit event: ${name%:*}" grep -q "\"limit\":\"${name%:*}\",\"value\":${name#*:}" <(limits_of "${name%:*}$$")
    done
    expect "with how often, where the kernel counts" grep -q '"count":[1-9]' <(limits_of "cpu$$")
    equal "and none for what stays within" "" "$(limits_of "within$$")"
    unset DETAIL
    policy=$(fence_policy disks <<<'limits: { io: { write: 1MiB } }')
    result=$("$CORRAL_BIN/corral" run -q --policy "$policy" -- echo ran 2>&1)
    if grep -qw io "$(findmnt -n -t cgroup2 -o TARGET | head -1)/cgroup.controllers"; then
        equal "limits.io is kept" ran "$result"
    else
        DETAIL=$result expect "limits.io is refused where nothing keeps it" grep -q 'no io controller' <<<"$result"
    fi
}

# Milliseconds that a command takes.
took() {
    local begun
    begun=$(date +%s%N)
    "$@" >/dev/null 2>&1
    echo $((($(date +%s%N) - begun) / 1000000))
}

section_siege() {
    local i time pid
    fence --name "siege$$" --pids 64 --cpu 1 -- bomb >/dev/null 2>&1 &
    pid=$!
    for ((i = 0; i < 100 * LAB_SLOWER; i++)); do
        "$CORRAL_BIN/corral" ps 2>/dev/null | grep -q "siege$$.*running" && break
        sleep 0.05
    done
    sleep 1
    if "$CORRAL_BIN/corral" exec --help >/dev/null 2>&1; then
        time=$(took "$CORRAL_BIN/corral" exec "siege$$" /tmp/fence getppid)
        DETAIL="$time ms" expect "under a fork bomb and hogs, exec works within a second" test "$time" -lt 1000
        equal "and its command runs" "getppid 0" "$("$CORRAL_BIN/corral" exec "siege$$" /tmp/fence getppid 2>&1)"
    fi
    time=$(took "$CORRAL_BIN/corral" run -q -- true)
    DETAIL="$time ms" expect "others start within a second" test "$time" -lt 1000
    time=$(took "$CORRAL_BIN/corral" kill "siege$$")
    DETAIL="$time ms" expect "kill works within a second" test "$time" -lt 1000
    wait $pid
    equal "and ends it" 137 $?
    unset DETAIL
}

section_apart() {
    local a b uid_a uid_b
    "$CORRAL_BIN/corral" run -q --name "a$$" -- sh -c 'echo mine >/tmp/f; chmod 600 /tmp/f; exec sleep 30' &
    LAB_PIDS+=($!)
    "$CORRAL_BIN/corral" run -q --name "b$$" -- sh -c 'echo mine >/tmp/f; exec sleep 30' &
    LAB_PIDS+=($!)
    sleep 0.7
    host_pid() { "$CORRAL_BIN/corral" inspect "$1" | grep -oE '"hostPid" ?: ?[0-9]+' | grep -oE '[0-9]+$'; }
    a=$(host_pid "a$$") b=$(host_pid "b$$")
    uid_a=$(stat -c %u "/proc/$a/root/tmp/f") uid_b=$(stat -c %u "/proc/$b/root/tmp/f")
    expect "root inside is nobody outside" test "$uid_a" -ge 65536 -a "$uid_b" -ge 65536
    expect "and another one in each sandbox" test "$((uid_a > uid_b ? uid_a - uid_b : uid_b - uid_a))" -ge 65536
    equal "the host's files look like root's inside, and are not theirs" "0 0" \
        "$("$CORRAL_BIN/corral" run -q -- stat -c '%u %g' /usr/bin/env)"
    equal "control: its own user reads the file" mine "$(setpriv --reuid "$uid_a" --regid "$uid_a" --clear-groups cat <"/proc/$a/root/tmp/f")"
    equal "another sandbox's user does not" "" "$(setpriv --reuid "$uid_b" --regid "$uid_b" --clear-groups cat "/proc/$a/root/tmp/f" 2>/dev/null)"
    "$CORRAL_BIN/corral" rm -f "a$$" "b$$" >/dev/null 2>&1 || { "$CORRAL_BIN/corral" rm -f "a$$"; "$CORRAL_BIN/corral" rm -f "b$$"; } >/dev/null 2>&1
}

section_secrets() {
    local secret=hush-$RANDOM$RANDOM$RANDOM result
    printf %s "$secret" >"$LAB_DIR/token"
    lab_tail "$LAB_DIR/secret.json"
    # shellcheck disable=SC2016
    "$CORRAL_BIN/corral" run -q --name "secret$$" --secret "token=$LAB_DIR/token" --secret "again=$LAB_DIR/token" --rm=false -- sh -c '
        cat /run/secrets/token; echo; stat -c "%n %a %u" /run/secrets/token; env; tr "\0" " " </proc/self/cmdline; tr "\0" " " </proc/1/cmdline
        grep " /run/secrets " /proc/mounts; grep -rl hush- /tmp /etc /home /run/corral 2>/dev/null' >"$LAB_DIR/secret.out" 2>&1
    DETAIL=$(cat "$LAB_DIR/secret.out")
    equal "a secret is delivered" "$secret" "$(head -1 "$LAB_DIR/secret.out")"
    expect "for its user alone" grep -qx '/run/secrets/token 400 0' "$LAB_DIR/secret.out"
    expect "on a file system of its own" grep -q '/run/secrets tmpfs rw,nosuid,nodev,noexec' "$LAB_DIR/secret.out"
    equal "and stands nowhere else inside" 1 "$(grep -c "$secret" "$LAB_DIR/secret.out")"
    equal "inspect does not tell" 0 "$("$CORRAL_BIN/corral" inspect "secret$$" | grep -c "$secret")"
    settle_file "$LAB_DIR/secret.json" '"secrets"'
    equal "nor do events" 0 "$(grep -c "$secret" "$LAB_DIR/secret.json")"
    expect "which have the names" grep -q '"secrets":\["again","token"\]' "$LAB_DIR/secret.json"
    sleep 0.3
    local encoded
    encoded=$(base64 -w0 <"$LAB_DIR/token" | cut -c1-20)
    equal "nor the journal, the state, the log" "" \
        "$(grep -rlE -- "$secret|$encoded" "$LAB_DIR/state" "$LAB_DIR/run" "$LAB_DIR/corrald.log" 2>/dev/null)"
    equal "nor the daemon's command line and environment" 0 \
        "$(cat "/proc/$LAB_DAEMON/cmdline" "/proc/$LAB_DAEMON/environ" | tr '\0' '\n' | grep -c "$secret")"
    "$CORRAL_BIN/corral" rm -f "secret$$" >/dev/null
    head -c 65536 /dev/urandom >"$LAB_DIR/large"
    equal "64 KiB are taken" "$(sha256sum <"$LAB_DIR/large")" \
        "$("$CORRAL_BIN/corral" run -q --secret "large=$LAB_DIR/large" -- sh -c 'sha256sum </run/secrets/large')"
    echo x >>"$LAB_DIR/large"
    result=$("$CORRAL_BIN/corral" run -q --secret "large=$LAB_DIR/large" -- echo ran 2>&1)
    DETAIL=$result expect "and no more" test $? -ne 0 -a "${result%ran*}" = "$result"
    result=$("$CORRAL_BIN/corral" run -q --secret "../x=$LAB_DIR/token" -- echo ran 2>&1)
    DETAIL=$result expect "names are names" grep -q 'secrets: expected names' <<<"$result"
    equal "without secrets there is nothing" "" "$("$CORRAL_BIN/corral" run -q -- sh -c 'ls /run/secrets 2>/dev/null; grep secrets /proc/mounts')"
    unset DETAIL
}

# Whoever rules the host's interfaces can take a hook off; what is then without is ended.
section_unhooked() {
    local victim interface i
    corral run -q --name "unhooked$$" -- sleep 60 >/dev/null 2>&1 &
    victim=$!
    LAB_PIDS+=($victim)
    corral run -q --name "hooked$$" -- sleep 60 >/dev/null 2>&1 &
    LAB_PIDS+=($!)
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        [ "$("$CORRAL_BIN/corral" ps -q | wc -l)" -ge 2 ] && break
        sleep 0.1
    done
    interface=$(ip -n "$LAB_HOST" -o link show | grep "alias corral:$LAB:$("$CORRAL_BIN/corral" inspect "unhooked$$" | grep -oE 'sb-[a-z0-9]{6}' | head -1)" | grep -oE 'crl[^:@ ]*' | head -1)
    DETAIL=$interface expect "a veth hook can be taken off by the host's root" in_ns "$LAB_HOST" tc filter del dev "${interface:-none}" ingress
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        kill -0 $victim 2>/dev/null || break
        sleep 0.1
    done
    wait $victim
    equal "a sandbox that lost a veth hook is ended" 137 $?
    expect "and corrald says so" grep -q 'has lost a hook and is ended' "$LAB_DIR/corrald.log"
    equal "the one beside it runs on" running "$("$CORRAL_BIN/corral" inspect "hooked$$" | grep -oE '"state" ?: ?"[a-z]+"' | grep -oE '[a-z]+"$' | tr -d '"')"
    # Those that wait in the pool too.
    for interface in $(ip -n "$LAB_HOST" -o link show | grep "alias corral:$LAB:" | grep -v "$("$CORRAL_BIN/corral" inspect "hooked$$" | grep -oE 'sb-[a-z0-9]{6}' | head -1)" | grep -oE ': crl[^:@ ]*' | tr -d ': '); do
        in_ns "$LAB_HOST" tc filter del dev "$interface" egress
    done
    for ((i = 0; i < 50 * LAB_SLOWER; i++)); do
        [ "$(grep -c 'has lost a hook' "$LAB_DIR/corrald.log")" -ge 2 ] && break
        sleep 0.1
    done
    expect "neither is it handed out from the pool" test "$(grep -c 'has lost a hook' "$LAB_DIR/corrald.log")" -ge 2
    equal "the next start has all of them" "ok" "$(run -- sh -c 'curl -s --max-time 3 --noproxy "*" http://$0/ >/dev/null && ! curl -s --max-time 1 --noproxy "*" http://$1/ >/dev/null && echo ok' "$PERMITTED4" "$REFUSED4")"
    "$CORRAL_BIN/corral" rm -f "hooked$$" >/dev/null
}

section_pool() {
    local i time helper stuck begun
    lab_stop_corrald
    LAB_POOL=0 lab_corrald --allow-test-switches || { fail "corrald starts without a pool"; return; }
    helper=$(pgrep -P "$LAB_DAEMON" -f corral-spawn | head -1)
    kill -STOP "$helper"
    "$CORRAL_BIN/corral" run -q -- echo slow >"$LAB_DIR/slow.out" 2>&1 &
    stuck=$!
    for ((i = 0; i < 100 * LAB_SLOWER; i++)); do
        [ "$("$CORRAL_BIN/corral" pool | awk '$1 == "host" { print $NF }')" = 1 ] && break
        sleep 0.02
    done
    time=$(took sh -c 'for i in 1 2 3 4 5 6; do "$0" run -q -- true || exit 1; done' "$CORRAL_BIN/corral")
    DETAIL="$time ms" expect "a spawn that is stuck delays no other" test "$time" -lt 3000 -a ! -s "$LAB_DIR/slow.out"
    kill -CONT "$helper"
    wait $stuck
    equal "and comes about when it can" slow "$(cat "$LAB_DIR/slow.out")"
    "$CORRAL_BIN/corral" pool >"$LAB_DIR/pool.out"
    DETAIL=$(cat "$LAB_DIR/pool.out")
    expect "pool: cold starts with their times" grep -qE '^cold +[0-9]+\.[0-9]+ ms' "$LAB_DIR/pool.out"
    lab_stop_corrald
    LAB_POOL=4 lab_corrald --allow-test-switches --pool-low 2 || { fail "corrald starts with marks"; return; }
    pool_warm() { "$CORRAL_BIN/corral" pool | awk '$1 == "host" { print $2 }'; }
    for ((i = 0; i < 100 * LAB_SLOWER; i++)); do
        [ "$(pool_warm)" = 4 ] && break
        sleep 0.05
    done
    equal "the pool fills" 4 "$(pool_warm)"
    "$CORRAL_BIN/corral" run -q -- true
    sleep 0.5
    equal "above the low mark it is left" 3 "$(pool_warm)"
    "$CORRAL_BIN/corral" run -q -- true
    "$CORRAL_BIN/corral" run -q -- true
    for ((i = 0; i < 100 * LAB_SLOWER; i++)); do
        [ "$(pool_warm)" = 4 ] && break
        sleep 0.05
    done
    equal "below it is filled again" 4 "$(pool_warm)"
    # A warm sandbox that did not last is not handed out.
    for i in $(lab_cgroups | grep unified); do [ -f "$i/cgroup.kill" ] && [[ $i == */sb-* ]] && echo 1 >"$i/cgroup.kill"; done
    for i in $(lab_cgroups | grep -v unified); do [ -f "$i/cgroup.kill" ] && [[ $i == */sb-* ]] && echo 1 >"$i/cgroup.kill"; done
    sleep 0.2
    equal "one that has died is not handed out" alive "$("$CORRAL_BIN/corral" run -q -- echo alive 2>&1)"
    # Forty at once, ten times the pool; meanwhile the API answers.
    begun=$(date +%s%N)
    for i in $(seq 40); do "$CORRAL_BIN/corral" run -q -- echo ran; done >/dev/null 2>&1 &
    stuck=$!
    seq 40 | xargs -P 40 -I{} "$CORRAL_BIN/corral" run -q -- echo ran >"$LAB_DIR/burst.out" 2>&1 &
    helper=$!
    local slowest=0
    for i in $(seq 10); do
        time=$(took curl -sf --unix-socket "$LAB_DIR/run/corral.sock" http://corral/healthz)
        [ "$time" -gt "$slowest" ] && slowest=$time
    done
    wait $helper $stuck
    equal "a burst of ten times the pool all runs" 40 "$(grep -c '^ran$' "$LAB_DIR/burst.out")"
    DETAIL="$slowest ms" expect "while the API answers" test "$slowest" -lt 500
    for ((i = 0; i < 200; i++)); do
        "$CORRAL_BIN/corral" pool | grep -q 'being destroyed' || break
        sleep 0.05
    done
    DETAIL=$("$CORRAL_BIN/corral" pool)
    expect "and nothing is left to be destroyed" test $i -lt 200
    unset DETAIL
}
