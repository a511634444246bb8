#!/bin/bash
# Installs the package into a small Debian, starts corrald as installed, runs a sandbox, takes the package off, purges it, and
# looks for what is left. `N passed, N failed, N skipped` is the last line.
#   CORRAL_TREE=DIRECTORY  a Debian 12 root to use instead, such as debootstrap makes one; it is copied
set -uo pipefail
cd "$(dirname "$0")/../.."
. Tests/lab/lab.sh
lab_require
command -v dpkg-shlibdeps >/dev/null || lab_skip "dpkg-dev is not installed"

passed=0 failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >/dev/null 2>"$LAB_DIR/complaint"; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name: $(head -c 2000 "$LAB_DIR/complaint")"
    fi
}
finds() { grep -q -- "$2" "$1" || { cat "$1" >&2; false; }; }
empty() { [ ! -s "$1" ] || { cat "$1" >&2; false; }; }

lab_up || exit 1
TREE=$LAB_DIR/debian
tree_down() { umount -l "$TREE" 2>/dev/null; }
package=$(make -s deb COMPRESS=gzip LEVEL=1 | tail -1) || exit 1
if [ -n "${CORRAL_TREE:-}" ]; then cp -a "$CORRAL_TREE" "$TREE"; else Tests/packaging/tree.sh "$TREE" adduser mount libstdc++6 libgcc-s1 libc6; fi || exit 1
cp "$package" "$TREE/tmp/corral.deb"
(cd "$TREE" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./tmp \) -prune -o -print | sort) >"$LAB_DIR/before"

# COMMAND...: run with the tree as its root, in mount namespace and root of its own (user namespaces are refused in a chroot),
# and in the lab's network.
in_tree() {
    nsenter --net="/run/netns/$LAB_HOST" -- unshare --mount --propagation private -- bash -c '
        set -e
        tree=$1; shift
        mount --bind "$tree" "$tree"
        cd "$tree"
        mount -t proc proc proc
        mount --rbind /sys sys
        mount -t bpf bpf sys/fs/bpf # its own: a purge takes all pins of Corral away
        mount --rbind /dev dev
        mount -t tmpfs -o mode=755 run run
        mkdir -p run/host
        mount --bind "$0" run/host
        mkdir -p mnt
        pivot_root . mnt
        umount -l /mnt
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive
        exec "$@"' "$LAB_DIR/shared" "$TREE" "$@"
}
mkdir -p "$LAB_DIR/shared"

check "dpkg installs it: nothing it needs is missing" in_tree dpkg -i /tmp/corral.deb
[ $failed -eq 0 ] || { echo "$passed passed, $failed failed, 0 skipped"; exit 1; }
check "the group corral is there" in_tree getent group corral
check "the unit is enabled" [ -L "$TREE/etc/systemd/system/multi-user.target.wants/corrald.service" ]
check "corrald finds its settings good" in_tree corrald --check --config /etc/corral/corrald.yaml
check "no command but its own is needed: neither ip, nft nor iptables is there" \
    in_tree bash -c '! command -v ip && ! command -v nft && ! command -v iptables && ! command -v tc'
check "completions are there" [ -s "$TREE/usr/share/bash-completion/completions/corral" ]
check "manual pages are there" [ -s "$TREE/usr/share/man/man1/corral-run.1.gz" ]

cat >"$LAB_DIR/shared/policy.yaml" <<POLICY
apiVersion: corral/v1
name: installed
egress: { allow: [{ cidr: $PERMITTED4/32, ports: [80] }] }
POLICY
cat >"$LAB_DIR/shared/session.sh" <<'SESSION'
# As the service starts it, but for the name and the addresses, which are the test's own.
export CORRAL_HOST=unix:///run/corral/corral.sock
mkdir -p /run/corral
corrald --config /etc/corral/corrald.yaml --instance "$1" --state-dir "/var/lib/corral/$1" --subnet 10.231.0.0/16 \
    --subnet6 fdc0:44a1:231::/64 --pool 2 >/run/host/corrald.log 2>&1 &
daemon=$!
for ((i = 0; i < 200; i++)); do
    [ -S /run/corral/corral.sock ] && corral pool >/dev/null 2>&1 && break
    kill -0 $daemon 2>/dev/null || exit 1
    sleep 0.05
done
stat -c '%G %a' /run/corral/corral.sock >/run/host/socket
corral run -- echo hello from inside >/run/host/hello 2>&1
corral run --policy /run/host/policy.yaml -- bash -c "exec 3<>/dev/tcp/$2/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3" >/run/host/permitted 2>&1
corral run --policy /run/host/policy.yaml -- bash -c "echo >/dev/tcp/$3/80" >/run/host/refused 2>&1
kill -TERM $daemon
wait $daemon
echo $? >/run/host/status
corral audit verify "/var/lib/corral/$1/audit" >/run/host/audit 2>&1
find /sys/fs/bpf -mindepth 2 >/run/host/pins
SESSION
check "corrald starts and ends in good order, as installed" in_tree bash /run/host/session.sh "$LAB" "$PERMITTED4" "$REFUSED4"
check "its exit status was 0" finds "$LAB_DIR/shared/status" '^0$'
check "its socket is the group's" finds "$LAB_DIR/shared/socket" '^corral 660$'
check "a sandbox ran" finds "$LAB_DIR/shared/hello" '^hello from inside$'
check "it reached what the policy names" finds "$LAB_DIR/shared/permitted" 'hello from permitted'
check "and was refused what it does not" finds "$LAB_DIR/shared/refused" 'Operation not permitted'
check "the audit journal holds" finds "$LAB_DIR/shared/audit" ': intact: '
lab_remains >"$LAB_DIR/remains"
cat "$LAB_DIR/shared/pins" >>"$LAB_DIR/remains"
check "nothing of it is left in the kernel" empty "$LAB_DIR/remains"

echo "# changed" >>"$TREE/etc/corral/corrald.yaml"
check "dpkg removes it" in_tree dpkg -r corral
check "the settings stay" finds "$TREE/etc/corral/corrald.yaml" '^# changed$'
check "the state stays" [ -d "$TREE/var/lib/corral/$LAB/audit" ]
check "the programs are gone" [ ! -e "$TREE/usr/bin/corrald" ]
check "dpkg purges it, with what was pinned" in_tree bash -c 'mkdir -p /sys/fs/bpf/corral/x/maps && dpkg -P corral && [ ! -e /sys/fs/bpf/corral ]'
(cd "$TREE" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./tmp \) -prune -o -print | sort) >"$LAB_DIR/after"
# adduser keeps copies of the files it changes, and their lock.
diff "$LAB_DIR/before" "$LAB_DIR/after" | grep '^[<>]' | grep -vE '^> \./etc/(group|passwd|gshadow|shadow|subuid|subgid)-?$|^> \./etc/\.pwd\.lock$|^> \./mnt$' >"$LAB_DIR/difference"
check "nothing is left after a purge" empty "$LAB_DIR/difference"
check "nor the group" in_tree bash -c '! getent group corral'
if command -v lintian >/dev/null; then
    lintian --fail-on error,warning "$package" >"$LAB_DIR/lintian" 2>/dev/null || true
    grep -E '^[EW]:' "$LAB_DIR/lintian" >"$LAB_DIR/tags"
    check "lintian has no complaint" empty "$LAB_DIR/tags"
fi
[ $failed -eq 0 ] || tail -5 "$LAB_DIR/shared/corrald.log"
echo "$passed passed, $failed failed, 0 skipped"
tree_down
[ $failed -eq 0 ]
