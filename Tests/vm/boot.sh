#!/bin/busybox sh
# First process of the initramfs: from here to the disk.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    [ -e "$module" ] && { insmod "$module" || echo "vm: insmod $module failed"; }
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda ] && break
    sleep 0.2
done
mount -t ext4 /dev/vda /disk || { echo "vm: the disk cannot be mounted"; poweroff -f; }
mount --move /dev /disk/dev
mount --move /proc /disk/proc
exec switch_root /disk /corral/Tests/vm/guest.sh
