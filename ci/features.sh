#!/usr/bin/env bash
# The crate with default features, with none, and with each feature alone, every warning an error: lints of all targets,
# and of the library without what tests bring; documentation; and tests. With default features they are all that plain
# `cargo test` runs. In any other set they are the unit tests, the documentation's examples, the vectors, and the tests
# whose source names the set's feature: the others are the same code as with all features, and run with those in
# ci/test.sh.
#
#   ci/features.sh              every set
#   ci/features.sh none url     these; `default` and `none` are sets too
set -euo pipefail
cd "$(dirname "$0")/.."

# From the manifest: a feature that is added is tested.
features() {
    sed -n '/^\[features\]$/,/^\[dependencies\]$/s/^\([a-z-]*\) = .*/\1/p' Cargo.toml | grep -vx default
}

with() {
    local set=$1 flags=() files=() tests=() file
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
    for file in tests/*.rs; do
        # Whatever the build, it answers the vectors; without features, there is what it says of those it has not.
        if [[ $file =~ /(bare|vectors)\.rs ]] || grep -q "feature = \"${set/#none/std}\"" "$file"; then
            files+=("$file")
            tests+=(--test "$(basename "$file" .rs)")
        fi
    done
    # Some of them start the examples.
    if grep -qE '"examples"|support/example' "${files[@]}"; then
        cargo build --locked --quiet "${flags[@]}" --examples
    fi
    cargo test --locked --quiet "${flags[@]}" --lib "${tests[@]}"
    cargo test --locked --quiet "${flags[@]}" --doc
}

[ "$#" -gt 0 ] || set -- default none $(features)
for set; do
    with "$set"
done
