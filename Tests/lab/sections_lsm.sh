# shellcheck shell=bash
# Section of bypass.sh about the hooks of the BPF LSM: what they refuse where the filter of system calls lets pass, and that nothing is
# said of them that is not so. It grants what a policy permits to a command without a filter, and its other half refuses it.

# NAME: what `fence again` said last in that sandbox.
said_last() { "$CORRAL" logs --tail 1 "$1" | awk '{ print $2 }'; }

# NAME ERRNO
says_now() { [ "$(said_last "$1")" = "$2" ]; }

# NAME COUNT: lines that it has written.
has_said() { [ "$("$CORRAL" logs "$1" | wc -l)" -ge "$2" ]; }

lsm_state() { curl -sf --unix-socket "$LAB_DIR/run/corral.sock" http://corral/healthz | grep -oE '"lsm" ?: ?"[a-z]+"' | grep -oE '[a-z]+"$' | tr -d '"'; }

section_lsm() {
    local policy permits=permits$$ given=given$$ pid id result outside
    # The last leaves a process that nobody gives another namespace.
    local tries="io_uring trace_child read_child bpf_object mount_apart move_mount_apart user_namespace"
    if ! grep -qE '(^|,)bpf(,|$)' /sys/kernel/security/lsm 2>/dev/null; then
        equal "healthz says that the LSM is absent" absent "$(lsm_state)"
        expect "doctor says so and why" grep -qE '^no[[:space:]]+BPF LSM[[:space:]]+lsm: absent; ' <("$CORRAL" doctor)
        expect "no hook of it is pinned" test ! -e "/sys/fs/bpf/corral/$LAB/lsm"
        equal "sandboxes run without it" ran "$(run -- echo ran)"
        return
    fi
    equal "healthz says that the LSM enforces" enforced "$(lsm_state)"
    expect "doctor says so" grep -qE '^yes[[:space:]]+BPF LSM[[:space:]]+lsm: enforced' <("$CORRAL" doctor)
    lab_tail "$LAB_DIR/lsm.json" -e process,file

    policy=$(fence_policy lsm-open <<<'syscalls: { profile: unconfined }')
    # shellcheck disable=SC2086
    FENCED=$(fence --test-no-seccomp --policy "$policy" -- $tries getppid)
    # shellcheck disable=SC2086
    fenced "permitted by the policy" 0 io_uring user_namespace trace_child read_child mount_apart move_mount_apart getppid
    fenced "permitted by the policy, and there is no such file" 2 bpf_object
    policy=$(fence_policy lsm-shut <<<'syscalls: { profile: default }')
    # shellcheck disable=SC2086
    FENCED=$(fence --test-no-seccomp --name "shut$$" --policy "$policy" -- $tries getppid)
    # shellcheck disable=SC2086
    fenced "refused without a filter" 1 $tries
    fenced "and nothing else" 0 getppid
    # Who may have namespaces may not mount in them, and the other way round.
    policy=$(fence_policy lsm-nested <<<'syscalls: { profile: unconfined, deny: [mount, move_mount, umount2, pivot_root] }')
    FENCED=$(fence --test-no-seccomp --name "nested$$" --policy "$policy" -- mount_apart move_mount_apart user_namespace)
    fenced "namespaces are permitted" 0 user_namespace
    fenced "mounts are not" 1 mount_apart move_mount_apart
    policy=$(fence_policy lsm-tracer <<<'syscalls: { allow: [ptrace] }')
    FENCED=$(fence --test-no-seccomp --policy "$policy" -- trace_child read_child io_uring)
    fenced "allow: [ptrace] permits" 0 trace_child read_child
    fenced "and no more" 1 io_uring
    settle_file "$LAB_DIR/lsm.json" '"name":"nested'"$$"'".*"action":"mount"'
    for result in io_uring user_namespace ptrace bpf; do
        DETAIL=$(grep "shut$$" "$LAB_DIR/lsm.json") expect "an event tells of it: $result" grep -q \
            "\"name\":\"shut$$\"},\"type\":\"process\",\"action\":\"$result\",\"verdict\":\"deny\",\"reason\":\"syscall_not_allowed\",\"hook\":\"lsm\",\"process\":{.*\"comm\":\"fence\".*\"policy\":{\"name\":\"lsm-shut\".*to permit it add" \
            "$LAB_DIR/lsm.json"
    done
    expect "an event tells of it: mount" grep -q "\"name\":\"nested$$\"},\"type\":\"process\",\"action\":\"mount\"" "$LAB_DIR/lsm.json"

    # A process that runs already, under one policy after the other, and without a daemon.
    policy=$(fence_policy lsm-open <<<'syscalls: { profile: unconfined }')
    "$CORRAL" run -d --name "$permits" --test-no-seccomp --policy "$policy" -- \
        sh -c 'until [ -x /tmp/fence ]; do sleep 0.05; done; exec /tmp/fence again io_uring' >/dev/null
    "$CORRAL" exec -i "$permits" sh -c 'cat >/tmp/new && chmod +x /tmp/new && mv /tmp/new /tmp/fence' <"$LAB_BIN/fence"
    expect "a running process: permitted" within 60 says_now "$permits" 0
    "$CORRAL" policy apply "$permits" "$LAB_DIR/lsm-shut.yaml" >/dev/null
    expect "a policy is applied: refused" within 60 says_now "$permits" 1
    "$CORRAL" policy apply "$permits" "$policy" >/dev/null
    expect "the first one again: permitted" within 60 says_now "$permits" 0
    "$CORRAL" policy apply "$permits" "$LAB_DIR/lsm-shut.yaml" >/dev/null
    expect "and refused" within 60 says_now "$permits" 1
    kill_corrald
    sleep 1
    lab_corrald --allow-test-switches || { fail "corrald starts again"; return; }
    equal "the next corrald enforces" enforced "$(lsm_state)"
    equal "in the meantime nothing was permitted" 1 "$("$CORRAL" logs --tail 10 "$permits" | awk '{ print $2 }' | sort -u)"
    "$CORRAL" policy apply "$permits" "$policy" >/dev/null
    expect "and it can permit it" within 60 says_now "$permits" 0

    # Root of the host in the sandbox's cgroup: modules are refused to others before any LSM is asked.
    id=$("$CORRAL" ps --filter "name=$permits" | cut -f1)
    outside=$(find /sys/fs/cgroup -type d -path "*/corral/$LAB/$id" | head -1)
    # shellcheck disable=SC2016
    joined() { unshare -m bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$outside" "$LAB_BIN/fence" module_bytes module_file bpf mounts; }
    FENCED=$(joined 2>&1)
    fenced "root in its cgroup: permitted, and no module" 8 module_bytes module_file
    fenced "root in its cgroup: permitted" 0 bpf
    "$CORRAL" policy apply "$permits" "$LAB_DIR/lsm-shut.yaml" >/dev/null
    FENCED=$(joined 2>&1)
    fenced "root in its cgroup: refused" 1 module_bytes module_file bpf mounts
    FENCED=$("$LAB_BIN/fence" module_bytes module_file bpf)
    fenced "the host itself is left alone" 8 module_bytes module_file
    fenced "the host itself is left alone" 0 bpf

    # Descriptors: a program outside that has come to a name which the sandbox listens on.
    "$CORRAL" run -d --name "$given" --policy "$POLICY" -- python3 -c '
import array, os, socket, stat
def receive(s):
    data, control, flags, _ = s.recvmsg(16, socket.CMSG_SPACE(4))
    got = array.array("i")
    for _, _, bytes in control: got.frombytes(bytes[:4])
    kind = "socket" if got and stat.S_ISSOCK(os.fstat(got[0]).st_mode) else "pipe" if got else "nothing"
    print(data.decode(), kind, "cut" if flags & socket.MSG_CTRUNC else "whole", flush=True)
near, far = socket.socketpair()
own = socket.socket()
socket.send_fds(near, [b"own"], [own.fileno()])
receive(far)
door = socket.socket(socket.AF_UNIX)
door.bind("\0door")
door.listen()
print("ready", flush=True)
while True:
    s, _ = door.accept()
    receive(s)
    s.close()' >/dev/null
    expect "a program that takes descriptors is ready" within 60 has_said "$given" 2
    pid=$(sed -n 2p "$(find /sys/fs/cgroup -type d -path "*/corral/$LAB/$("$CORRAL" ps --filter "name=$given" | cut -f1)" | head -1)/cgroup.procs")
    nsenter --net="/proc/$pid/ns/net" python3 -c '
import os, socket
foreign = socket.socket()
for name, fd in (b"pipe", os.pipe()[0]), (b"socket", foreign.fileno()):
    s = socket.socket(socket.AF_UNIX)
    s.connect("\0door")
    socket.send_fds(s, [name], [fd])
    s.recv(1)'
    expect "both have come" within 60 has_said "$given" 4
    result=$("$CORRAL" logs "$given" | tr '\n' ' ')
    equal "a socket of its own comes in, a pipe of others too, a socket of others does not" \
        "own socket whole ready pipe pipe whole socket nothing cut " "$result"
    settle_file "$LAB_DIR/lsm.json" foreign_socket
    expect "an event tells of it: receive" grep -q \
        "\"name\":\"$given\"},\"type\":\"file\",\"action\":\"receive\",\"verdict\":\"deny\",\"reason\":\"foreign_socket\",\"hook\":\"lsm\"" "$LAB_DIR/lsm.json"
    expect "and the sandbox itself is told" "$CORRAL" exec "$given" grep -q foreign_socket /run/corral/denials.jsonl
    "$CORRAL" rm -f "$permits" "$given" >/dev/null
}
