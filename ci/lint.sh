#!/usr/bin/env bash
# Format, lints, layering, documentation and its links, every warning an error. With all features; ci/features.sh has
# the others. Needs Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== format"
cargo fmt --all --check
cargo fmt --manifest-path loom-tests/Cargo.toml --check

echo "== layering"
ci/layering.sh

echo "== clippy"
cargo clippy --locked --quiet --all-targets --all-features -- -D warnings

echo "== documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --all-features

echo "== verbs"
ci/verbs.py

echo "== links"
ci/links.py --rustdoc
