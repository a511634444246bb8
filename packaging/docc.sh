#!/bin/bash
# Documentation of the libraries as a DocC archive each, in build/docc. Reads what `make build` left; complains of broken links.
set -euo pipefail
cd "$(dirname "$0")/.."
swift_bin=$(dirname "$(readlink -f "$(command -v "${SWIFT:-swift}")")")
modules=$(readlink -f .build/release)/Modules
target=$("$swift_bin/swiftc" -print-target-info | sed -n 's/.*"triple" *: *"\([^"]*\)".*/\1/p' | head -1)
includes=(-I "$modules")
for map in .build/release/*.build/module.modulemap bpf/abi/module.modulemap Sources/CLinux/include/module.modulemap \
    $(find .build/checkouts Sources/CorralControl -name module.modulemap -path '*include*'); do
    [ -e "$map" ] && includes+=(-Xcc "-fmodule-map-file=$PWD/$map")
done
for module in CorralPolicy CorralEvents CorralKernel CorralEngine CorralAPI CorralServer; do
    graphs=build/docc/graphs/$module
    rm -rf "$graphs" "build/docc/$module.doccarchive"
    mkdir -p "$graphs"
    "$swift_bin/swift-symbolgraph-extract" -module-name "$module" -target "$target" "${includes[@]}" -output-dir "$graphs" \
        -minimum-access-level public
    "$swift_bin/docc" convert "Sources/$module/$module.docc" --additional-symbol-graph-dir "$graphs" \
        --output-path "build/docc/$module.doccarchive" --fallback-display-name "$module" --fallback-bundle-identifier "corral.$module"
done
