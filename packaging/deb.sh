#!/bin/bash
# Makes the Debian package out of what `make build` left: build/corral_VERSION_ARCHITECTURE.deb.
# COMPRESS=gzip LEVEL=1 is quicker than xz and makes a larger file.
set -euo pipefail
cd "$(dirname "$0")/.."
debian=$PWD/packaging/debian
work=$PWD/build/deb
root=$work/root
version=$(dpkg-parsechangelog -l "$debian/changelog" -S Version)
program=$("${BUILD:=.build/release}/corrald" --version)
[ "${version%%-*}" = "$program" ] || { echo "deb: the changelog says $version, corrald $program" >&2; exit 1; }
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l "$debian/changelog" -S Timestamp)
export SOURCE_DATE_EPOCH

rm -rf "$work"
mkdir -p "$root/DEBIAN" "$work/debian"
umask 022
PREFIX=/usr DESTDIR=$root SYSCONFDIR=/etc UNITDIR=/lib/systemd/system ZSHDIR=/usr/share/zsh/vendor-completions \
    packaging/install.sh install
doc=$root/usr/share/doc/corral
install -m 644 "$debian/copyright" "$doc/copyright"
install -D -m 644 "$debian/lintian-overrides" "$root/usr/share/lintian/overrides/corral"
gzip -9n <"$debian/changelog" >"$doc/changelog.Debian.gz"
find "$root/usr/share/man" -type f -exec gzip -9n {} +

# The libraries by name and least version, as dpkg knows them; `corral` is static.
cp "$debian/control" "$work/debian/control"
(cd "$work" && dpkg-shlibdeps -Odebian/depends "$root/usr/bin/corrald" "$root/usr/libexec/corral/corral-tls")
depends=$(sed -n 's/^shlibs:Depends=//p' "$work/debian/depends")
size=$(du -k -s --apparent-size "$root" | cut -f1)
architecture=$(dpkg --print-architecture)
sed -n '/^Package:/,$p' "$debian/control" |
    sed "s|\${shlibs:Depends}|$depends|; s|^Architecture:.*|Architecture: $architecture|
        s|^Package:.*|&\nVersion: $version\nInstalled-Size: $size\n$(grep '^Maintainer:' "$debian/control")|" >"$root/DEBIAN/control"
echo /etc/corral/corrald.yaml >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$debian/$script" "$root/DEBIAN/$script"; done
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
# dpkg-deb sets every file's time to SOURCE_DATE_EPOCH at the latest; those made today all get it.
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
package=build/corral_${version}_$architecture.deb
dpkg-deb --root-owner-group -Z"${COMPRESS:-xz}" -z"${LEVEL:-6}" --build "$root" "$package" >/dev/null
echo "$package"
