# shellcheck shell=bash
# The tables of docs/RELIABILITY.md (Kernel matrix), from what the machines printed.

MATRIX=()
# KERNEL SECONDS PASSED FAILED SKIPPED SUMMARY
matrix_row() { MATRIX+=("| $1 | $3 | $4 | $5 | $2 | $6 |"); }

# LOG: `OBJECT/PROGRAM COUNT` of each program that the kernel tests have loaded.
matrix_verified() { grep -aoE 'verified [a-z]+/[a-z0-9_]+ [0-9]+' "$1" | cut -d' ' -f2- | sort -u; }

# KERNEL=LOG...
matrix_write() {
    local pair columns=
    echo "| kernel | passed | failed | skipped | seconds | of these |"
    echo "|---|--:|--:|--:|--:|---|"
    printf '%s\n' "${MATRIX[@]}"
    echo
    for pair; do columns+=" ${pair%%=*} |"; done
    echo "| program |$columns ceiling |"
    echo "|---|$(for pair; do printf -- '--:|'; done)--:|"
    {
        for pair; do matrix_verified "${pair#*=}" | sed "s,\$, ${pair%%=*},"; done
        grep -v '^#' Tests/vm/verifier.ceilings | sed 's/$/ ceiling/'
    } | awk -v kernels="$(for pair; do printf '%s ' "${pair%%=*}"; done)ceiling" '
        { count[$1, $3] = $2; if (!($1 in seen)) { seen[$1] = 1; order[++n] = $1 } }
        END {
            columns = split(kernels, kernel, " ")
            for (i = 1; i <= n; i++) {
                line = "| `" order[i] "` |"
                for (k = 1; k <= columns; k++) {
                    value = (order[i], kernel[k]) in count ? count[order[i], kernel[k]] : "-"
                    line = line " " value " |"
                }
                print line
            }
        }' | sort
}
