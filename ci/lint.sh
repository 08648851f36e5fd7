#!/usr/bin/env bash
# Format, lints, layering and documentation, every warning an error.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== format"
cargo fmt --all --check
cargo fmt --manifest-path loom-tests/Cargo.toml --check

echo "== layering"
ci/layering.sh

echo "== clippy: all features, then none, then each alone"
cargo clippy --locked --quiet --all-targets --all-features -- -D warnings
cargo clippy --locked --quiet --no-default-features -- -D warnings
cargo clippy --locked --quiet --no-default-features --features std -- -D warnings
cargo clippy --locked --quiet --no-default-features --features redis -- -D warnings
cargo clippy --locked --quiet --no-default-features --features redis-tls -- -D warnings
cargo clippy --locked --quiet --no-default-features --features redis-cluster -- -D warnings
cargo clippy --locked --quiet --no-default-features --features redis-sentinel -- -D warnings

echo "== documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --all-features
