# shellcheck shell=bash
# Where the documents' commands are run: the lab, with the services that they speak of, and corrald. Source it in the top directory.
. Tests/lab/lab.sh

# Leaves the shell in an empty directory.
setting_up() {
    lab_require
    command -v dnsmasq >/dev/null || lab_skip "dnsmasq is not installed"
    lab_up || exit 1
    # A service that an agent may use, and a place to take data to.
    nsenter --net="/run/netns/$LAB_PERMITTED" -- dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts \
        --port=53 --listen-address="$PERMITTED4" --bind-interfaces --user=root --pid-file= --cache-size=0 \
        --host-record="api.example.com,$PERMITTED4" --host-record="paste.example.net,$REFUSED4B" >/dev/null 2>&1 &
    LAB_PIDS+=($!)
    lab_corrald || exit 1
    cd "$LAB_DIR" || exit 1
}
