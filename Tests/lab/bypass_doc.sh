#!/bin/bash
# Runs the bypass suite and writes docs/BYPASS.md from what it saw.
set -euo pipefail
cd "$(dirname "$0")/../.."
table=$(mktemp)
trap 'rm -f "$table" "$table.others"' EXIT
CORRAL_BYPASS_TABLE=$table Tests/lab/bypass.sh paths paths-bpf-alone addresses names expiry live \
    budgets audit publish enforce enforce_names isolation calls lsm files siege apart unhooked overflow ways exhaustion upgrade killed
{
    cat <<TEXT
# Ways out, and what stops them

Written by \`make bypass-doc\` from a run of the bypass suite (\`make test-bypass\`) on Linux $(uname -r | cut -d- -f1), release binaries.

Each path is walked three times. First by a plain machine without Corral, whose packets must arrive: the control. Then from
inside a sandbox: a capture at the far side, and another right behind the sandbox's veth, must count no frame. Then its
allowed twin, the same kind of socket to a permitted host, from inside a sandbox, which must arrive. All of it twice: as
sandboxes run, and with root's capabilities kept and seccomp off, so that BPF alone stops it. What stopped a path is the hook
and the reason of the event that Corral reported; \`the sandbox itself\` is a call that its missing capabilities or its seccomp
filter refuse before there is a packet.

TEXT
    cat "$table"
    cat <<'TEXT'

Paths that only the veth hook sees (AF_PACKET, source routing, IPv6 extension headers, fragments, forged senders) are why it
is the boundary; the hooks on the cgroup are there so that a program hears of a refusal at once, and a person of the program.
AF_VSOCK passes no BPF hook: seccomp alone refuses it.

## Everything else the suite shows

Each of these has its allowed twin beside it, and the far side's capture where packets are at stake.
TEXT
    cat "$table.others"
} >docs/BYPASS.md
echo "docs/BYPASS.md is written"
