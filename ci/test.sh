#!/usr/bin/env bash
# Everything: format, lints, documentation, tests with all features and with none, and the models.
# Needs cargo with rustfmt and clippy; fetches its crates.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/lint.sh

echo "== tests, all features"
# The examples first: a test runs the server.
cargo build --locked --quiet --all-features --examples
cargo test --locked --quiet --all-features --lib --tests --examples
echo "== documentation's examples"
cargo test --locked --quiet --all-features --doc
echo "== tests of what is left without default features"
cargo test --locked --quiet --no-default-features --lib --test bare
echo "== tests on the system's clock alone"
cargo test --locked --quiet --no-default-features --features std --test vectors --test keyed

echo "== benches build"
cargo bench --locked --quiet --no-run --all-features

ci/loom.sh
echo "== all passed"
