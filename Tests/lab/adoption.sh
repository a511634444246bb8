#!/bin/bash
# How long the next corrald takes to go on with the sandboxes of one that was killed:
#   Tests/lab/adoption.sh [SANDBOXES]
# Prints milliseconds from its start to /healthz, and to all of them in `ps` as running, and the processor time that corrald took. `N passed, N failed, N skipped` is the last line.
set -uo pipefail
. "$(dirname "$0")/lab.sh"
lab_require
count=${1:-300}
lab_up || exit 1
LAB_POOL=8 lab_corrald || exit 1
cat >"$LAB_DIR/narrow.yaml" <<YAML
apiVersion: corral/v1
name: narrow
egress:
  allow: [{ cidr: $PERMITTED4/32, ports: [80] }]
YAML
running() { corral ps | grep -c '	running	'; }
seq "$count" | xargs -P 8 -I{} corral run -d --name box{} --policy "$LAB_DIR/narrow.yaml" -- sleep 1000 >/dev/null
[ "$(running)" = "$count" ] || { echo "only $(running) of $count sandboxes could be started"; exit 1; }
failed=0
for round in 1 2 3; do
    kill -KILL "$LAB_DAEMON"
    wait "$LAB_DAEMON" 2>/dev/null
    begun=$(date +%s%3N)
    LAB_POOL=8 lab_corrald ${CORRAL_ADOPTION_FLAGS:-} || exit 1
    ready=$(date +%s%3N)
    for ((i = 0; i < 400; i++)); do [ "$(running)" = "$count" ] && break; sleep 0.05; done
    printf 'round %s: /healthz after %s ms, %s running after %s ms, %s ms of processor time\n' $round $((ready - begun)) \
        "$(running)" $(($(date +%s%3N) - begun)) "$(awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) * 1000 / hz }' "/proc/$LAB_DAEMON/stat")"
    [ "$(running)" = "$count" ] || failed=$((failed + 1))
done
echo "$((3 - failed)) passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
