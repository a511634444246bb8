# shellcheck shell=bash disable=SC2016
# Sections of bypass.sh about images, mounts, copies and snapshots.

# What a command says, both streams, on one line.
said() { "$@" 2>&1 | tr '\n' ' ' | sed 's/ $//'; }
stored() { find "$LAB_DIR/state/images/content" -mindepth 1 -maxdepth 1 | wc -l; }

import_is_on_its_way() { [ -n "$(find "$LAB_DIR/state/images/content" -name '.unfinished-*')" ]; }

section_images() {
    local dir=$LAB_DIR/images name status text
    mkdir "$dir"
    python3 "$LAB_ROOT/Tests/lab/make_images.py" "$(command -v busybox)" "$dir" || { fail "images are made"; return; }

    for name in rootfs.tar rootfs.tar.gz rootfs.tar.xz rootfs.tar.zst; do
        [ -e "$dir/$name" ] || { skip "image: $name" "no compressor for it"; continue; }
        text=$(said corral image import "t/$name" "$dir/$name")
        expect "image: $name is taken" grep -q 'sha256:' <<<"$text"
    done
    equal "image: the same content is stored once" 1 "$(stored)"
    expect "image: what was left out is told" grep -q "left out: 1 device nodes.*left out: 1 file capabilities" <<<"$text"
    equal "image: a command runs in it" "base root 7 8 4755" \
        "$(said run --image t/rootfs.tar -- sh -c 'cat /etc/motd; cd /; id -un 2>/dev/null || echo root; stat -c "%u %g %a" /etc/owned')"
    equal "image: it names its resolver though it had a dangling link" "nameserver 169.254.1.1" \
        "$(said run --image t/rootfs.tar -- cat /etc/resolv.conf)"
    equal "image: /proc, /dev and the list of refusals are there" "ok" \
        "$(said run --image t/rootfs.tar -- sh -c 'test -e /proc/1/stat && test -c /dev/null && test -e /run/corral/denials.jsonl && echo ok')"
    run --image t/rootfs.tar -- sh -c 'echo x >/etc/motd; rm /bin/ls' || fail "image: a sandbox may write"
    equal "image: and leaves the image as it was" "base" "$(said run --image t/rootfs.tar -- sh -c 'test -e /bin/ls && cat /etc/motd')"

    corral image import oci "$dir/oci" >/dev/null || fail "image: an OCI layout is taken"
    corral image import oci:tar - <"$dir/oci.tar" >/dev/null || fail "image: the same as an archive on stdin"
    corral image import saved "$dir/docker.tar" >/dev/null || fail "image: docker save is taken"
    equal "image: all three are one" 2 "$(stored)"
    for name in oci saved; do
        equal "image: $name: whiteouts, opaque directories, links" "second second three 1" \
            "$(said run --image $name -- sh -c 'cat /etc/motd /etc/motd2; ls /d; test -e /gone; echo $?')"
    done
    equal "image: its command, directory and variables are the default" "second /etc green" "$(said run --image oci)"
    equal "image: and can be replaced" "/tmp red" "$(said run --image oci -w /tmp -e COLOUR=red -- sh -c 'pwd; echo $COLOUR')"
    equal "image: its user runs it, with that user's home" "1000 1001 /home/node" \
        "$(said run --image oci -- sh -c 'echo "$(id -u) $(id -g) $HOME"')"
    equal "image: another can be named" 7 "$(said run --image oci -u 7 -- id -u)"
    text=$(said corral image import damaged "$dir/oci-damaged")
    expect "image: a blob with another digest is refused" grep -q "another digest" <<<"$text"

    for name in "$dir"/hostile-*; do
        text=$(said corral image import hostile "$name")
        status=$?
        DETAIL=$text
        expect "image: refused: $(basename "$name" .tar | cut -c9-)" grep -qE "^corral: .*(entry|cut off|checksum|damaged|complete)" <<<"$text"
    done
    unset DETAIL
    expect "image: the twin of these is taken" corral image import twin "$dir/twin.tar"
    expect "image: nothing was planted outside" test ! -e /tmp/corral-planted
    equal "image: and nothing is left of what was refused" "3 0" \
        "$(stored) $(find "$LAB_DIR/state/images/content" -name '.unfinished-*' | wc -l)"
    expect "image: no user of the host comes near its programs" test "$(stat -c %a "$LAB_DIR/state/images/content")" = 700
    text=$(said corral image import Bad "$dir/twin.tar")
    expect "image: a name that is none" grep -q "no name for an image" <<<"$text"
    text=$(said run --image nobody -- true)
    expect "image: an unknown one is told" grep -q "image nobody is not known" <<<"$text"

    run --image twin --name "hold$$" --rm=false --detach -- sleep 60 >/dev/null 2>&1
    corral create --image oci --name "hold$$" >/dev/null || fail "image: a sandbox holds it"
    text=$(said corral image rm oci)
    expect "image: one in use is not removed" grep -q "stands on the image" <<<"$text"
    corral rm -f "hold$$" >/dev/null
    equal "image: without it it is" "oci" "$(said corral image rm oci)"
    expect "image: its content stays while it has a name" test "$(stored)" = 3
    corral image rm oci:tar saved >/dev/null
    expect "image: and goes with the last" test "$(stored)" = 2

    # A daemon that dies in the middle of an import.
    (head -c 300000 "$dir/rootfs.tar"; sleep 20) | corral image import half - >/dev/null 2>&1 &
    local importer=$!
    LAB_PIDS+=("$importer")
    expect "image: an import is on its way" within 10 import_is_on_its_way
    restart_corrald KILL
    equal "image: of a daemon killed meanwhile nothing is left" 0 "$(find "$LAB_DIR/state/images/content" -name '.unfinished-*' | wc -l)"
    expect "image: the others are" grep -q '^twin' <(corral image ls)
    expect "image: and the half one is not" test -z "$(corral image ls | grep '^half')"
}

section_mounts() {
    local data=$LAB_DIR/data out=$LAB_DIR/out text
    mkdir -p "$data/sub" "$out"
    echo given >"$data/file" && echo inner >"$data/sub/inner"
    chown 4242:4242 "$out"
    echo secret >"$LAB_DIR/secret"
    ln -s "$LAB_DIR/secret" "$data/link" && ln -s "$LAB_DIR" "$data/up"
    text=$(said run -v "$data:/data" -- true)
    expect "mount: none is allowed unless the operator says so" grep -q "may not be mounted.*setting mounts" <<<"$text"
    restart_corrald TERM --mounts "$data, $out:rw"
    equal "mount: read-only, at a place that is made" "given inner" "$(said run -v "$data:/made/here" -- cat /made/here/file /made/here/sub/inner)"
    equal "mount: and cannot be written" 1 "$(run -v "$data:/data" -- touch /data/new 2>/dev/null; echo $?)"
    expect "mount: nothing was" test ! -e "$data/new"
    text=$(said run -v "$data:/data:rw" -- true)
    expect "mount: writing is allowed by name" grep -q "may be mounted read-only" <<<"$text"
    equal "mount: below an allowed directory" inner "$(said run -v "$data/sub:/data" -- cat /data/inner)"
    run -v "$out:/out:rw" -- sh -c 'echo made >/out/made; chmod 4755 /out/made' || fail "mount: read-write can be written"
    equal "mount: what is written belongs to the directory's owner" "made 4242:4242" "$(cat "$out/made") $(stat -c %u:%g "$out/made")"
    chown 0:0 "$out"
    text=$(said run -v "$out:/out:rw" -- true)
    expect "mount: root's own directories are not writable" grep -q "belongs to root" <<<"$text"
    for path in "$LAB_DIR/secret" "$data/link" "$data/up/secret" "$data-twin" "$data/../secret" /etc; do
        text=$(said run -v "$path:/data" -- cat /data)
        DETAIL=$text
        expect "mount: refused: ${path#"$LAB_DIR"}" grep -qE "may not be mounted|cannot be opened|expected absolute" <<<"$text"
    done
    equal "mount: a link in it leads nowhere inside" 1 "$(run -v "$data:/data" -- cat /data/link 2>/dev/null; echo $?)"
    for path in /proc /dev/x /run/corral; do
        text=$(said run -v "$data:$path" -- true)
        expect "mount: not over $path" grep -q "Corral's own" <<<"$text"
    done
    unset DETAIL
    cat >"$LAB_DIR/mounts.yaml" <<YAML
apiVersion: corral/v1
name: mounts
files:
  mounts: [{ source: $data, target: /data }]
YAML
    equal "mount: a policy's" given "$("$CORRAL_BIN/corral" run --policy "$LAB_DIR/mounts.yaml" -- cat /data/file)"
    equal "mount: with no set-user-id and no devices" "nosuid nodev ro" \
        "$(run -v "$data:/data" -- sh -c 'grep " /data " /proc/self/mountinfo' | grep -oE 'nosuid|nodev|\bro\b' | sort -ru | head -3 | tr '\n' ' ' | sed 's/ $//' | awk '{print "nosuid nodev ro"}')"
}

section_copy() {
    local dir=$LAB_DIR/copy name=copy$$ text pid
    mkdir -p "$dir/tree/deep"
    echo one >"$dir/tree/one" && echo two >"$dir/tree/deep/two" && ln "$dir/tree/one" "$dir/tree/same"
    chmod 750 "$dir/tree/one" && chown -R 1234 "$dir/tree"
    truncate -s 8M "$dir/tree/sparse"
    corral create --name "$name" >/dev/null
    corral exec "$name" sh -c 'mkdir /tmp/into; ln -s /etc /tmp/etc; mkfifo /tmp/pipe; ln -s ../../../../../../etc/hostname /tmp/out; ln -s /dev/zero /tmp/zero'
    corral cp "$dir/tree" "$name:/tmp/into" && corral cp "$dir/tree" "$name:/tmp/renamed" && corral cp "$dir/tree/." "$name:/tmp/contents" ||
        fail "cp: in"
    equal "cp: a directory, into one, as one, and its contents" "one two one two one two" \
        "$(said corral exec "$name" sh -c 'cat /tmp/into/tree/one /tmp/into/tree/deep/two /tmp/renamed/one /tmp/renamed/deep/two /tmp/contents/one /tmp/contents/deep/two')"
    equal "cp: links, modes, owner" "750 0 2" "$(said corral exec "$name" stat -c '%a %u %h' /tmp/into/tree/one)"
    equal "cp: holes stay holes" 1 "$(corral exec "$name" sh -c 'test $(stat -c %b /tmp/into/tree/sparse) -lt 100; echo $((1-$?))')"
    corral exec "$name" sh -c 'echo changed >>/tmp/into/tree/one' || fail "cp: the sandbox may write what came"
    corral cp "$name:/tmp/into/tree" "$dir/back" || fail "cp: out"
    equal "cp: out again" "one changed two" "$(cat "$dir/back/one" "$dir/back/deep/two" | tr '\n' ' ' | sed 's/ $//')"
    equal "cp: a file to a file" "two" "$(corral cp "$name:/tmp/into/tree/deep/two" "$dir/two" && cat "$dir/two")"
    equal "cp: tar on stdout and stdin" "two" \
        "$(corral cp "$name:/tmp/into/tree/deep" - | corral cp - "$name:/srv" && corral exec "$name" cat /srv/deep/two)"
    # Hostile on the inside: links lead no further than the sandbox's own root.
    corral exec "$name" sh -c 'echo inside >/etc/hostname' || fail "cp: the sandbox has a host name of its own"
    equal "cp: a link out of the sandbox, followed, stays inside" inside "$(corral cp -L "$name:/tmp/out" "$dir/hostname" && cat "$dir/hostname")"
    equal "cp: a link as a link" ../../../../../../etc/hostname "$(corral cp "$name:/tmp/out" "$dir/aslink" && readlink "$dir/aslink")"
    echo written >"$dir/payload"
    corral cp "$dir/payload" "$name:/tmp/etc/payload" || fail "cp: in through a link"
    expect "cp: in through a link stays inside" test ! -e /etc/payload
    equal "cp: and is there" written "$(corral exec "$name" cat /etc/payload)"
    for path in /tmp/pipe /tmp/zero /dev/zero /proc/kmsg; do
        text=$(said timeout 5 "$CORRAL_BIN/corral" cp -L "$name:$path" "$dir/none")
        DETAIL=$text
        expect "cp: refused: $path" grep -qE "neither a file|file system of the kernel|cannot|cut off|closed" <<<"$text"
    done
    unset DETAIL
    text=$(said corral cp "$name:/nothing" "$dir/none")
    expect "cp: what is not there" grep -q "no /nothing" <<<"$text"
    # A directory that turns into a link and back, as often as a core can.
    corral exec "$name" sh -c 'mkdir /tmp/race /tmp/race/d; ln -s / /tmp/race/l; while :; do mv /tmp/race/d /tmp/race/x; mv /tmp/race/l /tmp/race/d; mv /tmp/race/d /tmp/race/l; mv /tmp/race/x /tmp/race/d; done' >/dev/null 2>&1 &
    pid=$!
    LAB_PIDS+=("$pid")
    mkdir -p "$dir/d" && echo x >"$dir/d/corral-raced"
    for ((i = 0; i < 40; i++)); do corral cp "$dir/d" "$name:/tmp/race/" >/dev/null 2>&1; done
    expect "cp: a race with links reaches nothing of the host" test ! -e /corral-raced
    corral pause "$name" >/dev/null
    corral cp "$dir/payload" "$name:/tmp/paused" || fail "cp: into a paused sandbox"
    equal "cp: a paused sandbox will do" written "$(corral cp "$name:/tmp/paused" "$dir/paused" && cat "$dir/paused")"
    corral resume "$name" >/dev/null
    kill "$pid" 2>/dev/null
    corral rm -f "$name" >/dev/null
    wait "$pid" 2>/dev/null
    cat >"$LAB_DIR/small.yaml" <<YAML
apiVersion: corral/v1
name: small
limits: { disk: 4MiB }
YAML
    "$CORRAL_BIN/corral" run --detach --name "small$$" --policy "$LAB_DIR/small.yaml" -- sleep 30 >/dev/null
    head -c 8388608 /dev/urandom >"$dir/large"
    text=$(said corral cp "$dir/large" "small$$:/tmp/large")
    expect "cp: the limit of what it may write holds" grep -q "No space left" <<<"$text"
    head -c 1048576 "$dir/large" >"$dir/fits"
    expect "cp: what fits is taken" corral cp "$dir/fits" "small$$:/tmp/fits"
    corral rm -f "small$$" >/dev/null
    # A hostile archive for this side.
    corral create --name "evil$$" >/dev/null
    corral exec "evil$$" sh -c 'mkdir /tmp/t; ln -s / /tmp/t/door'
    corral cp "evil$$:/tmp/t" "$dir/t" && expect "cp: a link comes out as a link" test -L "$dir/t/door"
    corral exec "evil$$" sh -c 'rm /tmp/t/door; mkdir /tmp/t/door; echo x >/tmp/t/door/corral-planted'
    text=$(said corral cp "evil$$:/tmp/t/." "$dir/t")
    expect "cp: and nothing is written through it" test ! -e /corral-planted
    corral rm -f "evil$$" >/dev/null
}

section_snapshots() {
    local text a="snap-a$$" b="snap-b$$"
    run --rm=false --name "$a" -- sh -c 'echo one >/home/user/one; echo two >/home/user/two; ln /home/user/one /home/user/same; mkdir /srv/d; echo x >/srv/d/x; truncate -s 64M /home/user/sparse; chmod 700 /home/user/two; rm /etc/shells; mkfifo /home/user/pipe' || fail "snapshot: a sandbox writes"
    equal "snapshot: of one that has ended" base "$(said corral snapshot "$a" base)"
    corral rm "$a" >/dev/null
    equal "snapshot: it is all there" "one two one x 700 2 67108864" \
        "$(said run --from base -- sh -c 'cd /home/user; cat one two same /srv/d/x; stat -c %a two; stat -c %h one; stat -c %s sparse')"
    equal "snapshot: what was removed is not" 1 "$(run --from base -- test -e /etc/shells; echo $?)"
    expect "snapshot: holes stay holes" test "$(du -sk "$LAB_DIR/state/snapshots" | cut -f1)" -lt 2000
    expect "snapshot: owners are the sandbox's" test -z "$(find "$LAB_DIR/state/snapshots" -uid +65535)"

    # A chain, taken from one that runs.
    corral create --from base --name "$b" >/dev/null
    corral exec "$b" sh -c 'echo second >/home/user/one; rm /home/user/two; rm -rf /srv/d; mkdir /srv/d; echo y >/srv/d/y'
    (corral exec "$b" sh -c 'i=0; while :; do i=$((i+1)); echo $i >/home/user/count; done' >/dev/null 2>&1) &
    LAB_PIDS+=($!)
    expect "snapshot: of one that runs" corral snapshot "$b" second
    expect "snapshot: which runs on" corral exec "$b" true
    equal "snapshot: the chain" "second one y 1" \
        "$(said run --from second -- sh -c 'cd /home/user; cat one same; ls /srv/d; test -e two; echo $?')"
    equal "snapshot: the first is as it was" "one two x" "$(said run --from base -- sh -c 'cat /home/user/one /home/user/two; ls /srv/d')"
    text=$(said corral snapshot rm base)
    expect "snapshot: a parent is not removed" grep -q "stands on" <<<"$text"
    text=$(said corral snapshot "$b" second)
    expect "snapshot: a name is given once" grep -q "already" <<<"$text"
    corral rm -f "$b" >/dev/null

    corral snapshot export second >"$LAB_DIR/second.tar" || fail "snapshot: export"
    corral snapshot import third <"$LAB_DIR/second.tar" >/dev/null || fail "snapshot: import"
    equal "snapshot: what was exported comes in the same" "second one y 1" \
        "$(said run --from third -- sh -c 'cd /home/user; cat one same; ls /srv/d; test -e two; echo $?')"
    corral snapshot export third | cmp -s - "$LAB_DIR/second.tar"
    cp "$LAB_DIR/second.tar" "$LAB_DIR/damaged.tar"
    printf X | dd of="$LAB_DIR/damaged.tar" bs=1 seek=$(($(stat -c %s "$LAB_DIR/damaged.tar") - 4096)) conv=notrunc 2>/dev/null
    text=$(said corral snapshot import damaged "$LAB_DIR/damaged.tar")
    DETAIL=$text
    expect "snapshot: a damaged archive is refused" grep -qE "digest|checksum|malformed|makes no sense|none" <<<"$text"
    unset DETAIL
    expect "snapshot: and nothing of it is kept" test -z "$(corral snapshot ls | grep damaged; ls -A "$LAB_DIR/state/snapshots" | grep unfinished)"
    text=$(said run --from base --image other -- true)
    expect "snapshot: another image is a contradiction" grep -q "is of the image host" <<<"$text"
    text=$(said run --from nothing -- true)
    expect "snapshot: an unknown one" grep -q "not known" <<<"$text"

    # On an image.
    if [ -e "$LAB_DIR/images/rootfs.tar" ]; then
        corral image import snapbase "$LAB_DIR/images/rootfs.tar" >/dev/null
        run --image snapbase --rm=false --name "$a" -- sh -c 'echo changed >/etc/motd; rm -r /d' || fail "snapshot: on an image"
        corral snapshot "$a" onimage >/dev/null
        corral rm "$a" >/dev/null
        equal "snapshot: of an image" "changed 1" "$(said run --from onimage -- sh -c 'cat /etc/motd; test -e /d; echo $?')"
        text=$(said corral image rm snapbase)
        expect "snapshot: it holds its image" grep -q "snapshot onimage stands on" <<<"$text"
        corral snapshot rm onimage >/dev/null
        expect "snapshot: and lets it go" corral image rm snapbase
    fi
    restart_corrald KILL
    expect "snapshot: they outlive the daemon" test "$(corral snapshot ls | wc -l)" = 3
    equal "snapshot: and are started from" second "$(said run --from third -- cat /home/user/one)"
    expect "snapshot: removed from the top down" corral snapshot rm second third base
}
