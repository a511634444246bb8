# shellcheck shell=bash disable=SC2034,SC2154
# What crash.sh does while corrald dies: for each action what there has to be, what is done as a client does it, what must hold
# afterwards (`status`: what the client was told; `SEEN`: the state of the sandbox `box`), and how all is made as it was.

CRASH_ACTIONS='create run exec command_end apply pause resume end rm lookup enforce replace release snapshot snapshot_rm image image_rm start upgrade first stop'
declare -A TITLES=([create]='`create`' [run]='`run -p`' [exec]='`exec`' [command_end]='end of a further command' [apply]='`policy apply`'
    [pause]='`pause`' [resume]='`resume`' [end]='`kill`' [rm]='`rm`' [lookup]='a name resolved' [enforce]='`enforce`'
    [replace]='`enforce`, another policy' [release]='`enforce --remove`' [snapshot]='`snapshot`' [snapshot_rm]='`snapshot rm`'
    [image]='`image import`' [image_rm]='`image rm`' [start]='start over sandboxes' [upgrade]='start of the next version' [first]='first start'
    [stop]='stop')
OBJECTS=()
KEPT=
NEXT=(--test-objects "$LAB_BIN/next")

prepare_lab() {
    local name
    for name in narrow other; do
        cat >"$LAB_DIR/$name.yaml" <<YAML
apiVersion: corral/v1
name: $name
egress:
  allow:
    - { cidr: $PERMITTED4/32, ports: [80, 8000] }
    - { domain: permitted.test, ports: [80] }
YAML
    done
    nsenter --net="/run/netns/$LAB_PERMITTED" -- dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --port=53 \
        --listen-address="$PERMITTED4" --bind-interfaces --user=root --pid-file= --local-ttl=300 --host-record="permitted.test,$PERMITTED4" >/dev/null 2>&1 &
    LAB_PIDS+=($!)
    SERVICE=$(findmnt -n -t cgroup2 -o TARGET | head -1)/$LAB-crash
    mkdir "$SERVICE"
    trap 'code=$?; rmdir "$SERVICE"; (exit $code); lab_down' EXIT
    mkdir "$LAB_DIR/images"
    python3 -B "$LAB_ROOT/Tests/lab/make_images.py" "$(command -v busybox)" "$LAB_DIR/images" >/dev/null || exit 1
    daemon
    [ -z "$problems" ] || { echo "$problems"; exit 1; }
    world
}

# The sandbox that must not be lost: its probe at work, an address open by its name, and a command whose end is waited for.
world() {
    "$CORRAL" create --name kept --policy "$LAB_DIR/narrow.yaml" >/dev/null
    "$CORRAL" exec -i kept sh -c 'cat >/tmp/probe && chmod +x /tmp/probe' <"$LAB_BIN/probe"
    "$CORRAL" exec kept curl -s --max-time 3 --noproxy '*' -o /dev/null http://permitted.test/ || problem "kept does not reach permitted.test"
    "$CORRAL" exec -d kept sh -c "exec /tmp/probe ask $REFUSED4 8000 100000" >/dev/null
    KEPT=$("$CORRAL" ps -q --filter name=kept)
}

no_box() { "$CORRAL" rm -f box >/dev/null 2>&1; }
a_box() {
    no_box
    "$CORRAL" run -d --name box --policy "$LAB_DIR/narrow.yaml" -p 127.0.0.1:0:80 -- sh -c 'echo mark >/home/user/mark; exec sleep 100000' >/dev/null || problem "no sandbox to begin with"
    sleep 0.1
}
as_client() { timeout 10 "$CORRAL" "$@"; }
is() { [[ $SEEN =~ ^($1)$ ]] || problem "box is '${SEEN:-not there}'"; }
# Told that it is done: it is. Not told: it is or is not, and then all of it.
is_or_not() { if [ "$status" = 0 ]; then is "$1"; else is "($1)?"; fi; }

before_create() { no_box; }
begin_create() { as_client create --name box --policy "$LAB_DIR/narrow.yaml"; }
after_create() { is_or_not running; }
reset_create() { :; }

before_run() { no_box; }
begin_run() { as_client run -d --name box --policy "$LAB_DIR/narrow.yaml" -p 127.0.0.1:0:80 -- sleep 100000; }
after_run() { is_or_not running; }
reset_run() { :; }

before_exec() { a_box; }
begin_exec() { as_client exec -d box sleep 100000; }
after_exec() { is running; }
reset_exec() { :; }

before_command_end() { a_box; }
begin_command_end() { as_client exec box sh -c 'exit 0'; }
after_command_end() { is running; }
reset_command_end() { :; }

policy_of() { "$CORRAL" inspect "$1" | grep -oE '"(narrow|other)"' | head -1; }
before_apply() {
    a_box
    as_client exec box curl -s --max-time 3 --noproxy '*' -o /dev/null http://permitted.test/ || problem "box does not reach permitted.test"
}
begin_apply() { as_client policy apply box "$LAB_DIR/other.yaml"; }
after_apply() {
    is running
    [ "$status" != 0 ] || [ "$(policy_of box)" = '"other"' ] || problem "the policy is $(policy_of box)"
}
reset_apply() { :; }

before_pause() { a_box; }
begin_pause() { as_client pause box; }
after_pause() { if [ "$status" = 0 ]; then is paused; else is 'paused|running'; fi; }
reset_pause() { :; }

before_resume() {
    a_box
    as_client pause box >/dev/null || problem "no paused sandbox to begin with"
}
begin_resume() { as_client resume box; }
after_resume() { if [ "$status" = 0 ]; then is running; else is 'paused|running'; fi; }
reset_resume() { :; }

before_end() { a_box; }
begin_end() { as_client kill box; }
after_end() {
    local i
    # Told that it was killed: its end may come a little later.
    for ((i = 0; i < 20; i++)); do
        [ "$status" = 0 ] && [ "$SEEN" = running ] || break
        sleep 0.1
        SEEN=$(state box)
    done
    if [ "$status" = 0 ]; then is 'exited.*'; else is 'running|exited.*'; fi
}
reset_end() { :; }

before_rm() { a_box; }
begin_rm() { as_client rm -f box; }
after_rm() { if [ "$status" = 0 ]; then is ''; else is '|running|exited.*'; fi; }
reset_rm() { :; }

before_lookup() { a_box; }
begin_lookup() { as_client exec box curl -s --max-time 3 --noproxy '*' -o /dev/null http://permitted.test/; }
after_lookup() {
    is running
    begin_lookup >/dev/null 2>&1 || problem "the name is not resolved any more"
}
reset_lookup() { :; }

# Of what runs in the cgroup.
service_reaches() {
    nsenter --net="/run/netns/$LAB_CLIENT" -- sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$SERVICE" "$LAB_BIN/probe" tcp4 "$PERMITTED4" "$1" | grep -q '"ok":true'
}
enforcement() { "$CORRAL" enforce --list | grep "$LAB-crash" | grep -o '^cg-[a-z0-9]*'; }
release() { [ -z "$(enforcement)" ] || "$CORRAL" enforce --remove "$(enforcement)" >/dev/null; }
# Listed or not, and either in truth.
enforced_in_truth() {
    if [ -n "$(enforcement)" ]; then
        service_reaches 8000 || problem "the enforced cgroup does not reach what is permitted"
        ! service_reaches 8001 || problem "the enforced cgroup is not under its policy"
    else
        service_reaches 8001 || problem "the cgroup is still under a policy"
        [ -z "$(ls /sys/fs/bpf/corral/"$LAB"+enforced/*/ 2>/dev/null | grep cg-)" ] || problem "hooks of no enforced cgroup are pinned"
    fi
}

before_enforce() { release; }
begin_enforce() { as_client enforce --cgroup "$SERVICE" --policy "$LAB_DIR/narrow.yaml"; }
after_enforce() {
    [ "$status" != 0 ] || [ -n "$(enforcement)" ] || problem "the cgroup is not enforced"
    enforced_in_truth
}
reset_enforce() { :; }

before_replace() { release; begin_enforce >/dev/null || problem "no enforced cgroup to begin with"; }
begin_replace() { as_client enforce --cgroup "$SERVICE" --policy "$LAB_DIR/other.yaml"; }
after_replace() {
    [ -n "$(enforcement)" ] || problem "the cgroup is not enforced"
    [ "$status" != 0 ] || "$CORRAL" enforce --list | grep -q other || problem "its policy is not the new one"
    enforced_in_truth
}
reset_replace() { :; }

before_release() { release; begin_enforce >/dev/null || problem "no enforced cgroup to begin with"; }
begin_release() { as_client enforce --remove "$(enforcement)"; }
after_release() {
    [ "$status" != 0 ] || [ -z "$(enforcement)" ] || problem "the cgroup is enforced"
    enforced_in_truth
}
reset_release() { release; }

has() { "$CORRAL" "$1" ls | grep -q "^$2\b"; }
whole_snapshot() { ! has snapshot snap || [ "$("$CORRAL" run --from snap -- cat /home/user/mark 2>&1)" = mark ] || problem "the snapshot is not whole"; }
before_snapshot() { a_box; ! has snapshot snap || "$CORRAL" snapshot rm snap >/dev/null; }
begin_snapshot() { as_client snapshot box snap; }
after_snapshot() {
    is running
    [ "$status" != 0 ] || has snapshot snap || problem "the snapshot is lost"
    whole_snapshot
}
reset_snapshot() { :; }

before_snapshot_rm() { has snapshot snap || { a_box; begin_snapshot >/dev/null || problem "no snapshot to begin with"; }; }
begin_snapshot_rm() { as_client snapshot rm snap; }
after_snapshot_rm() {
    [ "$status" != 0 ] || ! has snapshot snap || problem "the snapshot is there"
    whole_snapshot
}
reset_snapshot_rm() { :; }

whole_image() { ! has image small || "$CORRAL" run --image small -- true || problem "the image is not whole"; }
before_image() { no_box; ! has image small || "$CORRAL" image rm small >/dev/null; }
begin_image() { as_client image import small "$LAB_DIR/images/docker.tar"; }
after_image() {
    [ "$status" != 0 ] || has image small || problem "the image is lost"
    whole_image
}
reset_image() { :; }

before_image_rm() { has image small || begin_image >/dev/null || problem "no image to begin with"; }
begin_image_rm() { as_client image rm small; }
after_image_rm() {
    [ "$status" != 0 ] || ! has image small || problem "the image is there"
    whole_image
}
reset_image_rm() { :; }

begin_with() { LAB_POOL=1 lab_corrald --allow-test-switches "$@"; }
before_start() { a_box; [ -n "$(enforcement)" ] || begin_enforce >/dev/null || problem "no enforced cgroup to begin with"; }
begin_start() { begin_with; }
after_start() {
    is running
    [ -n "$(enforcement)" ] || problem "the cgroup is not enforced"
    enforced_in_truth
}
reset_start() { :; }

before_upgrade() { before_start; }
begin_upgrade() { OBJECTS=("${NEXT[@]}"); begin_with "${NEXT[@]}"; }
after_upgrade() { after_start; }
# This version does not go on with the maps of the next.
reset_upgrade() {
    "$CORRAL" ps -aq | xargs -r "$CORRAL" rm -f >/dev/null
    release
    lab_stop_corrald
    OBJECTS=()
    daemon
    world
}

before_first() {
    KEPT=
    "$CORRAL" ps -aq | xargs -r "$CORRAL" rm -f >/dev/null
    release
    lab_stop_corrald
    rm -rf "$LAB_DIR/state/images/host"
}
begin_first() { begin_with; }
after_first() { is ''; }
reset_first() { world; }

before_stop() { a_box; KEPT=; }
begin_stop() { kill -TERM "$LAB_DAEMON"; }
after_stop() { is '|running|exited.*'; }
reset_stop() { no_box; "$CORRAL" rm -f kept >/dev/null 2>&1; world; }
