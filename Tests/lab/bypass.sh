#!/bin/bash
# Tries every way out of a sandbox against the release binaries: `N passed, N failed, N skipped` is the last line.
#
# Each way is first walked by a plain machine (the control: it arrives), then from a sandbox (nothing may arrive, counted by
# captures at the far side and right behind the sandbox's veth), then its allowed twin from a sandbox (it must arrive).
# All of it twice: as sandboxes run, and with capabilities kept and seccomp off, so that BPF alone is what stops it.
#
#   Tests/lab/bypass.sh [SECTION...]     all of them without an argument; CORRAL_BYPASS_TABLE=FILE writes what docs/BYPASS.md shows
set -uo pipefail
. "$(dirname "$0")/lab.sh"
for file in "$(dirname "$0")"/sections*.sh; do
    # shellcheck source=/dev/null
    . "$file"
done
lab_require

passed=0 failed=0 skipped=0 section=
pass() {
    passed=$((passed + 1))
    printf 'ok    %-52s %s\n' "$1" "${2:-}"
    printf '%s\t%s\n' "$section" "$1" >>"$LAB_DIR/passed"
}
fail() {
    failed=$((failed + 1))
    printf 'FAIL  %-52s %s\n' "$1" "${2:-}"
}
skip() {
    skipped=$((skipped + 1))
    printf 'skip  %-52s %s\n' "$1" "${2:-}"
}
# NAME COMMAND...: passes when the command does.
expect() {
    local name=$1
    shift
    if "$@"; then pass "$name"; else fail "$name" "${DETAIL:-$*}"; fi
}
# NAME WANTED GOT
equal() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "expected $2, got $3${DETAIL:+: $DETAIL}"; fi; }

lab_up || exit 1
lab_start permitted-capture "$LAB_PERMITTED" "$LAB_BIN/labcapture" all eth0 || exit 1
lab_start refused-capture "$LAB_REFUSED" "$LAB_BIN/labcapture" all eth0 || exit 1
lab_start near-capture "$LAB_HOST" "$LAB_BIN/labcapture" accepted crl || exit 1
lab_start client-capture "$LAB_HOST" "$LAB_BIN/labcapture" accepted ctc || exit 1
lab_corrald --allow-test-switches || exit 1

POLICY=$LAB_DIR/lab.yaml
cat >"$POLICY" <<YAML
apiVersion: corral/v1
name: lab
egress:
  allow:
    - cidr: 203.0.113.0/24
      ports: [80, "8000-8003"]
    - cidr: 2001:db8:1::/64
      ports: [80, "8000-8003"]
    - cidr: 203.0.113.0/24
      protocol: icmp
  deny:
    - cidr: $REFUSED4/32
YAML
# The same, and the LSM refuses nothing: the network hooks alone.
UNFENCED=$LAB_DIR/unfenced.yaml
{ cat "$POLICY"; echo 'syscalls: { profile: unconfined }'; } >"$UNFENCED"
WIDE=$LAB_DIR/wide.yaml
cat >"$WIDE" <<YAML
apiVersion: corral/v1
name: wide
egress:
  allow:
    - cidr: 0.0.0.0/0
    - cidr: "2000::/3"
YAML

# What each attempt was stopped by is read from here.
: >"$LAB_DIR/events"
: >"$LAB_DIR/table"
: >"$LAB_DIR/passed"
"$CORRAL_BIN/corral" tail -e egress --verdict deny -o json >"$LAB_DIR/events" 2>/dev/null &
LAB_PIDS+=($!)

sections=("$@")
[ $# -gt 0 ] || sections=(paths paths-bpf-alone addresses live names large expiry budgets audit policies learn policy_events top publish refusals trace ways strace flood enforce enforce_names life commands terminal pause cleanup timing limits isolation calls lsm files bounds siege apart secrets unhooked pool events overflow journal images mounts copy snapshots access exhaustion adopt upgrade orphans leftovers killed)
for section in "${sections[@]}"; do
    echo "-- $section"
    case $section in
    paths) section_paths "" ;;
    paths-bpf-alone) section_paths bpf ;;
    *) "section_$section" ;;
    esac
    lab_end_tails
done
# What docs/BYPASS.md shows.
if [ -n "${CORRAL_BYPASS_TABLE:-}" ] && [ $failed -eq 0 ]; then
    awk -F'\t' '
        !($1 in seen) { order[++n] = $1; seen[$1] = 1 }
        $2 == "bpf" { alone[$1] = $3; next }
        { run[$1] = $3 }
        END {
            print "| path | stopped by, as sandboxes run | by BPF alone: capabilities kept, seccomp off |"
            print "|---|---|---|"
            for (i = 1; i <= n; i++) printf "| %s | %s | %s |\n", order[i], run[order[i]], alone[order[i]]
        }' "$LAB_DIR/table" >"$CORRAL_BYPASS_TABLE"
    awk -F'\t' '$1 !~ /^paths/ { if ($1 != section) { section = $1; printf "\n**%s**\n\n", section } print "- " $2 }' \
        "$LAB_DIR/passed" >"$CORRAL_BYPASS_TABLE.others"
fi
if [ $failed -ne 0 ]; then
    echo "-- corrald's log"
    tail -15 "$LAB_DIR/corrald.log"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
