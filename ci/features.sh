#!/usr/bin/env bash
# The crate with default features, with none, and with each feature alone, every warning an error: lints of all targets,
# and of the library without what tests bring; documentation; and tests. With default features they are all that plain
# `cargo test` runs. In any other set they are the unit tests, the documentation's examples, what must hold in every
# build, and the tests whose source names the set's feature: the others are the same code as with all features, and run
# with those in ci/test.sh.
#
#   ci/features.sh              every set
#   ci/features.sh none url     these; `default` and `none` are sets too
set -euo pipefail
cd "$(dirname "$0")/.."

# From the manifest: a feature that is added is tested.
features() {
    sed -n '/^\[features\]$/,/^\[dependencies\]$/s/^\([a-z-]*\) = .*/\1/p' Cargo.toml | grep -vx default
}

# The modules of a group of tests that name a feature, in their source or in the `#[cfg]` above their `mod`; all of
# them where the whole group needs it.
modules() {
    local group=$1 name="feature = \"$2\"" file
    awk -v name="$name" '
        /^#!\[cfg/ && index($0, name) { whole = 1 }
        /^#\[cfg/ { named = index($0, name) }
        /^mod [a-z_]*;$/ { if (whole || named) print substr($2, 1, length($2) - 1) }
        !/^#\[cfg/ { named = 0 }
    ' "$group/main.rs"
    for file in "$group"/*.rs; do
        if [ "$file" != "$group/main.rs" ] && grep -qF "$name" "$file"; then
            basename "$file" .rs
        fi
    done
}

with() {
    local set=$1 flags=() tests=() groups=() filters=() found file module feature
    case $set in
        default) ;;
        none) flags=(--no-default-features) ;;
        *) flags=(--no-default-features --features "$set") ;;
    esac
    echo "== features: $set"
    cargo clippy --locked --quiet "${flags[@]}" --all-targets -- -D warnings
    cargo clippy --locked --quiet "${flags[@]}" -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet "${flags[@]}" --no-deps
    if [ "$set" = default ]; then
        cargo test --locked --quiet
        return
    fi
    # What is not there without `std` is said in tests that name it.
    feature=${set/#none/std}
    tests=(--test every_build)
    for file in tests/*.rs; do
        if grep -qF "feature = \"$feature\"" "$file"; then
            tests+=(--test "$(basename "$file" .rs)")
        fi
    done
    for file in tests/*/main.rs; do
        # Those run already.
        [ "$file" != tests/every_build/main.rs ] || continue
        # Without features a group that needs one is empty.
        if [ "$set" = none ] && grep -q '^#!\[cfg' "$file"; then
            continue
        fi
        file=$(dirname "$file")
        found=$(modules "$file" "$feature" | sort -u)
        if [ -n "$found" ]; then
            groups+=(--test "$(basename "$file")")
            for module in $found; do
                filters+=("$module::")
            done
        fi
    done
    # Some of them start the examples.
    if [[ " ${groups[*]} " =~ " examples " || " ${groups[*]} " =~ " shared " ]]; then
        cargo build --locked --quiet "${flags[@]}" --examples
    fi
    cargo test --locked --quiet "${flags[@]}" --lib "${tests[@]}"
    if [ "${#groups[@]}" -gt 0 ]; then
        cargo test --locked --quiet "${flags[@]}" "${groups[@]}" -- "${filters[@]}"
    fi
    cargo test --locked --quiet "${flags[@]}" --doc
}

[ "$#" -gt 0 ] || set -- default none $(features)
for set; do
    with "$set"
done
