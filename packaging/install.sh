#!/bin/bash
# Puts the built programs and what belongs to them in place, or takes them away again. `make install` and `make uninstall`
# call it with PREFIX, DESTDIR, SYSCONFDIR, UNITDIR, ZSHDIR, STRIP and BUILD in the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PREFIX:=/usr/local}" "${DESTDIR:=}" "${SYSCONFDIR:=/etc}" "${BUILD:=.build/release}" "${STRIP:=strip}"
: "${UNITDIR:=$PREFIX/lib/systemd/system}" "${ZSHDIR:=$PREFIX/share/zsh/site-functions}"
doc=$PREFIX/share/doc/corral
config=$SYSCONFDIR/corral/corrald.yaml

# MODE SOURCE TARGET, one file a line; the configuration is apart.
files() {
    local file section
    echo "755 $BUILD/corral $PREFIX/bin/corral"
    echo "755 $BUILD/corrald $PREFIX/bin/corrald"
    echo "644 build/install/corrald.service $UNITDIR/corrald.service"
    for file in corral corrald; do
        echo "644 build/completions/$file.bash $PREFIX/share/bash-completion/completions/$file"
        echo "644 build/completions/$file.zsh $ZSHDIR/_$file"
        echo "644 build/completions/$file.fish $PREFIX/share/fish/vendor_completions.d/$file.fish"
    done
    for file in build/man/*; do
        section=${file##*.}
        echo "644 $file $PREFIX/share/man/man$section/${file##*/}"
    done
    echo "644 README.md $doc/README.md"
    for file in docs/*.md docs/*.yaml docs/*.json docs/*.svg; do
        [ -e "$file" ] && echo "644 $file $doc/$file"
    done
    for file in packaging/alerts.yaml packaging/grafana-dashboard.json; do echo "644 $file $doc/${file#packaging/}"; done
}

case ${1:-} in
install)
    for program in corral corrald; do
        [ -x "$BUILD/$program" ] || { echo "install: $BUILD/$program is missing: run make build" >&2; exit 1; }
        if readelf -d "$BUILD/$program" | grep -q libswiftCore; then
            echo "install: $BUILD/$program is linked for tests: run make build" >&2
            exit 1
        fi
    done
    mkdir -p build/install
    sed "s|/usr/bin/|$PREFIX/bin/|; s|/etc/corral/|$SYSCONFDIR/corral/|" packaging/corrald.service >build/install/corrald.service
    files | while read -r mode source target; do
        # Beside the target and then in its place: a program that runs keeps its file.
        install -D -m "$mode" "$source" "$DESTDIR$target.new"
        [ "$mode" = 644 ] || [ -z "$STRIP" ] || "$STRIP" --strip-all "$DESTDIR$target.new"
        mv -f "$DESTDIR$target.new" "$DESTDIR$target"
    done
    if [ -e "$DESTDIR$config" ]; then
        cmp -s packaging/corrald.yaml "$DESTDIR$config" || echo "install: $config is kept; packaging/corrald.yaml has the defaults"
    else
        install -D -m 644 packaging/corrald.yaml "$DESTDIR$config"
    fi
    if [ -z "$DESTDIR" ]; then
        getent group corral >/dev/null || echo "install: groupadd --system corral, for those who may use Corral"
        [ ! -d /run/systemd/system ] || echo "install: systemctl daemon-reload && systemctl enable --now corrald"
    fi
    ;;
uninstall)
    [ -n "$DESTDIR" ] || [ ! -d /run/systemd/system ] || systemctl disable --now corrald 2>/dev/null || true
    files | while read -r _ _ target; do rm -f "$DESTDIR$target"; done
    rmdir "$DESTDIR$doc/docs" "$DESTDIR$doc" 2>/dev/null || true
    # Pages and completions of a release with other commands.
    rm -f "$DESTDIR$PREFIX"/share/man/man1/corral.1 "$DESTDIR$PREFIX"/share/man/man1/corral-*.1
    [ ! -e "$DESTDIR$config" ] || echo "uninstall: $config is kept, and so is the state directory"
    ;;
files)
    files | while read -r _ _ target; do echo "$target"; done
    ;;
*)
    echo "usage: install.sh install | uninstall | files" >&2
    exit 2
    ;;
esac
