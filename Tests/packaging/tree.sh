#!/bin/bash
# Makes a small Debian in a new directory, out of the packages that this one has: the essential ones, those named, and what
# they depend on, with dpkg's own records of them. It needs no network and takes seconds.
#   tree.sh DIRECTORY PACKAGE...
set -euo pipefail
tree=$1
shift

# PACKAGE...: them and what they need, as far as it is installed here; of alternatives the first that is.
closure() {
    dpkg-query -W -f '${Package}\t${Essential}\t${db:Status-Status}\t${Provides}\t${Pre-Depends}, ${Depends}\n' | awk -F'\t' -v wanted="$*" '
        function plain(text) { sub(/[ (:].*/, "", text); return text }
        $3 != "installed" { next }
        {
            needs[$1] = $5
            if ($2 == "yes") wanted = wanted " " $1
            n = split($4, provided, /, */)
            for (i = 1; i <= n; i++) by[plain(provided[i])] = $1
        }
        END {
            n = split(wanted, queue, " ")
            for (i = 1; i <= n; i++) {
                package = queue[i]
                if (!(package in needs) && package in by) package = by[package]
                if (package in taken || !(package in needs)) continue
                taken[package] = 1
                print package
                m = split(needs[package], groups, /, */)
                for (g = 1; g <= m; g++) {
                    k = split(groups[g], names, / *\| */)
                    for (a = 1; a <= k; a++) {
                        name = plain(names[a])
                        if (name in needs || name in by) { queue[++n] = name; break }
                    }
                }
            }
        }'
}

mkdir -p "$tree"/{dev,proc,sys,run,tmp,root,home,var/lib/dpkg/{info,updates},var/cache,var/log,etc}
chmod 1777 "$tree/tmp"
mapfile -t packages < <(closure "$@")
for dir in bin sbin lib lib32 lib64 libx32; do
    [ -L "/$dir" ] && { mkdir -p "$tree/usr/$dir"; ln -s "usr/$dir" "$tree/$dir"; }
done
# Manuals and translations apart, all that dpkg says they consist of.
for package in "${packages[@]}"; do dpkg-query -L "$package"; done | grep -vE '^/usr/share/(man|locale|doc)/|^/\.$' | sort -u |
    while read -r path; do if [ -e "$path" ] || [ -L "$path" ]; then echo "${path#/}"; fi; done |
    sed -E 's#^(s?bin|lib(32|64|x32)?)/#usr/\1/#' | grep -vxE 's?bin|lib(32|64|x32)?' |
    tar -C / --no-recursion -cf - -T - | tar -C "$tree" -xf -
for package in "${packages[@]}"; do dpkg-query -s "$package"; echo; done >"$tree/var/lib/dpkg/status"
for package in "${packages[@]}"; do
    for record in /var/lib/dpkg/info/"$package".* /var/lib/dpkg/info/"$package":*; do
        [ -e "$record" ] && cp "$record" "$tree/var/lib/dpkg/info/"
    done
done
echo 1 >"$tree/var/lib/dpkg/info/format"
: >"$tree/var/lib/dpkg/available"
cp -a /etc/alternatives "$tree/etc/"
cp /usr/share/base-passwd/passwd.master "$tree/etc/passwd"
cp /usr/share/base-passwd/group.master "$tree/etc/group"
# What maintainer scripts made.
for path in /etc/nsswitch.conf /etc/debian_version /etc/os-release /etc/login.defs /usr/bin/awk; do
    [ -e "$tree$path" ] || cp -a "$path" "$tree$path" 2>/dev/null || true
done
ldconfig -r "$tree"
