# shellcheck shell=bash
# Kernels, disks and virtual machines for vmtest.sh, which runs in the project's directory.
#
# A machine boots Debian's kernel with an initramfs of busybox and two virtio modules, mounts a disk made of this machine's own
# packages and the built project, and runs guest.sh there as its first process. Two serial lines come out: the kernel's
# console and what the tests print.

VM_DIR=build/vm
# What the programs, the tests and the guest need of Debian; what these depend on comes along.
VM_USERLAND=(base-files bash bind9-dnsutils bsdutils busybox coreutils curl dash debianutils diffutils dnsmasq-base
    findutils mawk grep hostname iproute2 kmod libc-bin mount netbase procps python3-minimal libpython3-stdlib sed util-linux)
# The disk's own and the guest's processor; the rest the kernel loads itself when somebody asks for it.
VM_BOOT_MODULES=(virtio_pci virtio_blk)
declare -A VM_TOOLS=([qemu-system-x86_64]=qemu-system-x86 [modprobe]=kmod [cpio]=cpio [busybox]=busybox [xz]=xz-utils
    [mke2fs]=e2fsprogs [apt-get]=apt)
PATH=$PATH:/usr/sbin:/sbin

# Installs what is missing; says why it cannot and fails.
vm_prepare() {
    local tool missing=()
    [ "$(uname -m)" = x86_64 ] || { echo "the machines are x86-64 ones"; return 1; }
    for tool in "${!VM_TOOLS[@]}"; do command -v "$tool" >/dev/null || missing+=("${VM_TOOLS[$tool]}"); done
    for tool in "${VM_USERLAND[@]}"; do
        # Debian has a static busybox and another; they exclude each other.
        vm_installed "$tool" || { [ "$tool" = busybox ] && vm_installed busybox-static; } || missing+=("$tool")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        [ "$(id -u)" = 0 ] || { echo "as root, install: ${missing[*]}"; return 1; }
        echo "vmtest: installing ${missing[*]}" >&2
        vm_apt install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || { vm_apt update -qq &&
            vm_apt install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } >&2 ||
            { echo "apt cannot install ${missing[*]}"; return 1; }
    fi
    # Files keep their owners on the disk, so they have to be readable and root's.
    [ "$(id -u)" = 0 ] || { echo "making a disk needs root"; return 1; }
    mkdir -p "$VM_DIR/kernels"
}

vm_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

# Every package that these depend on, they themselves included, one a line.
vm_closure() {
    dpkg-query -W -f '${Package} ${db:Status-Abbrev} ${Pre-Depends}, ${Depends}\n' | sed -E 's/\([^)]*\)//g; s/:(any|[a-z0-9]+)//g' |
        awk -v wanted="$*" '
            $2 == "ii" { name = $1; $1 = $2 = ""; needs[name] = $0; installed[name] = 1 }
            END {
                count = split(wanted, queue, " ")
                for (i = 1; i <= count; i++) {
                    # Of alternatives, whichever is installed.
                    if (!(queue[i] in installed) || queue[i] in seen) continue
                    seen[queue[i]] = 1
                    print queue[i]
                    alternatives = split(needs[queue[i]], more, /[ ,|]+/)
                    for (k = 1; k <= alternatives; k++) if (more[k] != "") queue[++count] = more[k]
                }
            }'
}

# A mirror that does not answer is given up in a minute, not in ten.
vm_apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 -o Acquire::Retries=1 "$@"
}

VM_CHILDREN=()
vm_stop() {
    [ ${#VM_CHILDREN[@]} -gt 0 ] || return
    kill "${VM_CHILDREN[@]}" 2>/dev/null
    wait "${VM_CHILDREN[@]}" 2>/dev/null
    VM_CHILDREN=()
}

vm_cleanup() {
    vm_stop
    rm -rf --one-file-system "$VM_DIR/root" "$VM_DIR/initramfs" "$VM_DIR"/*.img "$VM_DIR"/*.cpio
}

# SERIES|RELEASE: prints the release, whose kernel is unpacked in $VM_DIR/kernels; or why there is none, and fails.
vm_kernel() {
    local release=$1 directory
    if [[ $release =~ ^[0-9]+\.[0-9]+$ ]]; then
        release=$(vm_newest "$release")
        if [ -z "$release" ]; then
            vm_apt update -qq >&2
            release=$(vm_newest "$1")
        fi
        [ -n "$release" ] || { echo "the apt sources have no cloud kernel of $1"; return 1; }
    fi
    directory=$VM_DIR/kernels/$release
    if [ ! -e "$directory/complete" ]; then
        rm -rf "$directory"
        mkdir -p "$directory"
        (cd "$directory" && { vm_apt -o APT::Sandbox::User=root download -qq "linux-image-$release" ||
            { vm_apt update -qq && vm_apt -o APT::Sandbox::User=root download -qq "linux-image-$release"; }; }) >&2 ||
            { echo "apt cannot download linux-image-$release"; return 1; }
        # Unpacked only: nothing runs, nothing is installed.
        dpkg-deb -x "$directory"/*.deb "$directory" && depmod -b "$directory" "$release" && rm "$directory"/*.deb &&
            touch "$directory/complete" || { echo "linux-image-$release cannot be unpacked"; return 1; }
    fi
    echo "$release"
}

vm_newest() {
    apt-cache search --names-only "^linux-image-${1/./\\.}\.[0-9.]+([-+][a-z0-9.]+)?-cloud-amd64\$" |
        sed -E 's/^linux-image-([^ ]+) .*/\1/' | sort -Vu | tail -1
}

# Debian's /bin is /usr/bin, and so on.
vm_merged() { sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,'; }

vm_userland() { # ROOT
    local root=$1 name path
    mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},dev,proc,sys,run,tmp,root,home,var/{lib,log,cache,tmp},etc}
    for name in bin sbin lib lib64; do ln -s usr/$name "$root/$name"; done
    {
        vm_closure "${VM_USERLAND[@]}" busybox-static | xargs dpkg -L | grep -vE '^/usr/share/(doc|man|info|locale|lintian|bug|bash-completion|zsh)'
        # awk and the like, whose names are links to one of several.
        find /usr/bin /usr/sbin -lname '/etc/alternatives/*'
        find /etc/alternatives -type l
    } | while read -r path; do
        if [ -f "$path" ] || [ -L "$path" ]; then echo "$path"; fi
    done | vm_merged | sort -u >"$VM_DIR/files"
    # Without the leading slash, which tar takes off and says so.
    tar -cf - --no-recursion -T "$VM_DIR/files" 2>/dev/null | tar -xpf - -C "$root" || return
    rm "$VM_DIR/files"
    # Whichever awk this machine has chosen, the disk has mawk.
    ln -sf mawk "$root/usr/bin/awk"
    printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    cp /etc/ld.so.conf "$root/etc/" && cp -r /etc/ld.so.conf.d "$root/etc/"
}

# ROOT PROGRAM...: copies the shared libraries they name.
vm_libraries() {
    local root=$1 library
    shift
    ldd "$@" 2>/dev/null | grep -oE '(=> )?/[^ ]+ \(0x' | grep -oE '/[^ ]+' | vm_merged | sort -u | while read -r library; do
        # What Debian's packages have brought is there, perhaps as a link that leads out of here.
        [ -e "$root$library" ] || [ -L "$root$library" ] && continue
        mkdir -p "$root${library%/*}"
        cp -L "$library" "$root$library"
    done
}

# Makes $VM_DIR/root, which every disk is made of: the userland and the project as it is built now.
vm_root() {
    local root=$VM_DIR/root name
    rm -rf --one-file-system "$root"
    vm_userland "$root" || return
    mkdir -p "$root/corral/.build/release" "$root/corral/build" "$root/corral/Tests" "$root/usr/lib/modules"
    for name in corrald corral corralPackageTests.xctest; do
        cp "$(readlink -f .build/release/$name)" "$root/corral/.build/release/" || return
    done
    cp -r build/bin build/lab "$root/corral/build/"
    cp -r Tests/lab Tests/vm "$root/corral/Tests/"
    vm_libraries "$root" "$root"/corral/.build/release/* "$root"/corral/build/*/*
    printf 'CHECKS=%q\n' "${CORRAL_VM_CHECKS:-}" >"$root/corral/settings"
    ldconfig -r "$root"
}

# RELEASE: makes its disk, $VM_DIR/RELEASE.img, and what it boots from, $VM_DIR/RELEASE.cpio.
vm_disk() {
    local kernel=$VM_DIR/kernels/$1 root=$VM_DIR/root early=$VM_DIR/initramfs module file number=100
    rm -rf --one-file-system "$root"/usr/lib/modules/* "$VM_DIR/$1.img" "$early"
    cp -r "$kernel/lib/modules/$1" "$root/usr/lib/modules/" || return
    # No journal: the disk lives as long as the machine.
    mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$VM_DIR/$1.img" "$(($(du -sm "$root" | cut -f1) + 512))M" >/dev/null || return

    mkdir -p "$early"/{bin,modules,proc,dev,disk,usr/lib,usr/lib64}
    ln -s usr/lib "$early/lib"
    ln -s usr/lib64 "$early/lib64"
    cp "$(command -v busybox)" "$early/bin/busybox"
    # Its libraries, where it is not the static one.
    vm_libraries "$early" "$early/bin/busybox"
    cp Tests/vm/boot.sh "$early/init"
    for module in "${VM_BOOT_MODULES[@]}"; do
        # Nothing for what is built in.
        modprobe -d "$kernel" -S "$1" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }'
    done | awk '!seen[$0]++' | while read -r file; do
        number=$((number + 1))
        case $file in
        *.xz) xz -dc "$file" >"$early/modules/$number.ko" ;;
        *) cp "$file" "$early/modules/$number.ko" ;;
        esac
    done
    (cd "$early" && find . | cpio -o -H newc --quiet) >"$VM_DIR/$1.cpio"
}

# RELEASE LOG DMESG: shows what the guest prints while it runs, each line after its kernel's version. 124: it took too long.
#
# One thread runs all of its processors in turn. With one each (thread=multi) it was no faster where two machines share two processors,
# and its kernel crashed now and then in code that it was changing: the other processor still had the breakpoint that is put there
# meanwhile. Programs of the LSM and of trampolines are attached that way.
vm_run() {
    local status
    : >"$2"
    tail -n +1 -s 0.2 -f "$2" > >(sed -u "s/^/$(cut -d. -f1,2 <<<"$1")  /") &
    VM_CHILDREN=($!)
    # Every BPF program is compiled, as Debian has it; speculation is not what is tested, and costs a third of the time.
    timeout --foreground "$CORRAL_VM_SECONDS" qemu-system-x86_64 -accel "${CORRAL_VM_ACCEL:-tcg,thread=single}" -cpu max \
        -machine q35 -smp 2 -m 2G -nodefaults -no-user-config -display none -nic none -no-reboot \
        -drive "file=$VM_DIR/$1.img,format=raw,if=virtio,cache=unsafe" \
        -serial "file:$3" -serial "file:$2" -kernel "$VM_DIR/kernels/$1/boot/vmlinuz-$1" -initrd "$VM_DIR/$1.cpio" \
        -append "console=ttyS0 loglevel=5 panic=-1 mitigations=off cgroup_no_v1=all lsm=lockdown,yama,landlock,apparmor,bpf" \
        </dev/null &
    VM_CHILDREN+=($!)
    wait $!
    status=$?
    sleep 0.3
    vm_stop
    return $status
}
