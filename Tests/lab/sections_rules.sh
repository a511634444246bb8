# shellcheck shell=bash
# Section of bypass.sh about a policy's rules on paths: what the hooks of the BPF LSM refuse, what they let pass beside it, and that such
# a policy is refused where nobody would enforce it.

# NAME SCRIPT: runs files.py in a sandbox that runs already.
try_files() { FENCED=$("$CORRAL" exec -i "$1" python3 - "$2" <"$LAB_TESTS/files.py" 2>&1); }

section_files() {
    local policy name=files$$ status result events=$LAB_DIR/files.json
    LAB_TESTS=$(dirname "${BASH_SOURCE[0]}")
    policy=$(fence_policy files-deny <<'YAML'
files:
  exec: { deny: [/tmp/kept/] }
  read: { deny: [/tmp/secret, /tmp/vault/] }
  write: { deny: [/tmp/kept/, /tmp/fixed] }
YAML
    )
    expect "a policy with rules on paths is valid on every host" "$CORRAL" policy validate "$policy"
    if [ "$(lsm_state)" != enforced ]; then
        result=$("$CORRAL" run --policy "$policy" -- true 2>&1)
        equal "without the LSM it is refused: run" 125 $?
        DETAIL=$result expect "and why is told" grep -q 'files.exec: this host does not enforce rules on paths' <<<"$result"
        expect "nothing runs of it: create" test "$("$CORRAL" create --policy "$policy" 2>&1 | grep -c 'files.exec: this host')" = 1
        "$CORRAL" run -d --name "$name" --policy "$POLICY" -- sleep 600 >/dev/null
        result=$("$CORRAL" policy apply "$name" "$policy" 2>&1)
        expect "and apply" test $? -ne 0
        DETAIL=$result expect "which names the field, too" grep -q 'files.exec: this host' <<<"$result"
        expect "the sandbox keeps the policy it had" grep -qE '"name" ?: ?"lab"' <("$CORRAL" inspect "$name")
        "$CORRAL" rm -f "$name" >/dev/null
        return
    fi
    lab_tail "$events" -e process,file

    # One process looks again and again, under one policy after the other.
    "$CORRAL" run -d --name "$name" --policy "$POLICY" -- python3 -uc '
import time
while True:
    try: open("/tmp/secret").close(); print("secret 0")
    except OSError as error: print("secret", error.errno)
    time.sleep(0.1)' >/dev/null
    try_files "$name" prepare
    fenced "without rules" 0 prepare
    expect "a running process: permitted" within 60 says_now "$name" 0
    "$CORRAL" policy apply "$name" "$policy" >/dev/null
    expect "a policy with rules is applied: refused" within 60 says_now "$name" 13
    try_files "$name" deny
    fenced "read, refused" 13 read_secret read_vault read_deep_vault list_vault read_by_symlink read_by_descriptor read_below_descriptor link_secret \
        rename_secret rename_vault rename_above exchange_secret
    fenced "read, permitted" 0 read_plain read_deep_free list_above symlink_to_secret stat_secret write_vault link_plain rename_plain rename_free exchange_plain
    fenced "write, refused" 13 write_fixed empty_fixed truncate_fixed create_kept mkdir_kept rmdir_kept unlink_kept rename_kept \
        rename_into_kept link_kept link_fixed symlink_kept chmod_fixed chown_fixed mknod_kept bind_kept
    fenced "write, permitted" 0 read_fixed write_plain empty_plain truncate_plain create_free mkdir_free rmdir_free unlink_free symlink_free \
        chmod_plain chown_plain mknod_free bind_free
    fenced "exec, refused" 13 exec_kept exec_kept_by_symlink exec_script_kept exec_interpreter_kept
    fenced "exec, permitted" 0 exec_free exec_script_free exec_memory
    settle_file "$events" '"action":"exec"'
    DETAIL=$(tail -3 "$events") expect "an event tells of a file, with its rule" grep -q \
        "\"name\":\"$name\"},\"type\":\"file\",\"action\":\"open\",\"access\":\"read\",\"path\":\"/tmp/secret\",\"verdict\":\"deny\",\"reason\":\"denied_by_rule\",\"hook\":\"lsm\",\"process\":{.*\"comm\":\"python3\".*\"policy\":{\"name\":\"files-deny\",\"generation\":[0-9]*,\"rule\":\"files.read.deny\[0\]\"}" "$events"
    expect "of a change of names" grep -q '"action":"rename","access":"read","path":"/tmp/vault","verdict":"deny","reason":"path_not_allowed"' "$events"
    expect "and of a program" grep -q "\"name\":\"$name\"},\"type\":\"process\",\"action\":\"exec\",\"access\":\"exec\",\"path\":\"/tmp/kept/prog\"" "$events"
    expect "and the sandbox itself is told" "$CORRAL" exec "$name" grep -q files.read.deny /run/corral/denials.jsonl

    # Without a daemon, and under the next one.
    kill_corrald
    sleep 2
    lab_corrald --allow-test-switches || { fail "corrald starts again"; return; }
    lab_tail "$events" -e process,file
    equal "in the meantime nothing was permitted" 13 "$("$CORRAL" logs --tail 10 "$name" | awk '{ print $2 }' | sort -u)"
    try_files "$name" deny
    fenced "the next corrald, refused" 13 read_secret write_fixed exec_kept
    fenced "the next corrald, permitted" 0 read_plain write_plain exec_free
    "$CORRAL" policy apply "$name" "$POLICY" >/dev/null
    expect "and it can permit it" within 60 says_now "$name" 0

    # Nothing but what is listed.
    policy=$(fence_policy files-allow <<'YAML'
files:
  exec: { allow: [/usr/bin/, /tmp/free/prog], deny: [/usr/bin/yes] }
  read: { allow: [/usr/, /etc/ld.so.cache, /tmp/free, /proc/] }
  write: { allow: [/tmp/free/] }
YAML
    )
    "$CORRAL" policy apply "$name" "$policy" >/dev/null
    try_files "$name" allow
    fenced "listed" 0 exec_usr exec_prog read_free read_deep_free list_free write_free write_null write_memory read_proc
    fenced "not listed" 13 exec_yes exec_other exec_loader exec_memory read_plain read_deep_vault list_tmp write_plain rename_free_itself
    policy=$(fence_policy files-loader <<<'files: { exec: { allow: [/usr/] } }')
    "$CORRAL" policy apply "$name" "$policy" >/dev/null
    try_files "$name" allow
    fenced "who may execute the loader may execute what it loads" 0 exec_loader
    fenced "and nothing by itself" 13 exec_other
    policy=$(fence_policy files-audit <<'YAML'
mode: audit
files: { read: { deny: [/tmp/secret] }, exec: { allow: [/usr/bin/] } }
YAML
    )
    "$CORRAL" policy apply "$name" "$policy" >/dev/null
    try_files "$name" allow
    fenced "mode audit permits" 0 exec_other
    expect "mode audit permits a running process" within 60 says_now "$name" 0
    settle_file "$events" would_deny
    expect "and tells of it" grep -q '"path":"/tmp/secret","verdict":"would_deny","reason":"denied_by_rule"' "$events"
    "$CORRAL" rm -f "$name" >/dev/null

    policy=$(fence_policy files-start <<<'files: { exec: { allow: [/usr/bin/true] }, read: { deny: [/etc/passwd] } }')
    expect "a sandbox starts under rules" "$CORRAL" run --policy "$policy" -- /usr/bin/true
    result=$("$CORRAL" run --policy "$policy" -- /usr/bin/false 2>&1)
    status=$?
    DETAIL=$result equal "a command that may not be executed does not start" 126 $status
    # Another root does not make another path.
    policy=$(fence_policy files-root <<<'files: { read: { deny: [/etc/passwd] } }')
    FENCED=$("$CORRAL" run -q -i --test-no-seccomp --test-keep-capabilities --policy "$policy" -- python3 - root <"$LAB_TESTS/files.py" 2>&1)
    fenced "below another root, refused" 13 read_passwd
    fenced "below another root, permitted" 0 change_root read_group
    expect "an enforced cgroup has no such rules" grep -q 'files.read: of an enforced cgroup' <<<"$("$CORRAL" enforce --pid $$ --policy "$policy" 2>&1)"
}
