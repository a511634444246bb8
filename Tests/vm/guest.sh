#!/bin/bash
# First process on the disk: mounts what a host has mounted, runs the tests on the second serial line, ends the machine.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C.UTF-8
mount -t sysfs sysfs /sys
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
# As systemd has it; what corrald makes must not depend on it, and must not change it.
mount --make-rshared /
hostname corral-vm
ip link set lo up
ulimit -n 65536
stty -F /dev/ttyS1 raw
. /corral/settings
cd /corral || exit
# shellcheck disable=SC2086
setsid bash Tests/vm/inside.sh $CHECKS </dev/null >/dev/ttyS1 2>&1
echo "vm: ended with $?" >/dev/ttyS1
sync
# The magic key's "off": there is no init to ask.
echo o >/proc/sysrq-trigger
sleep 60
