#!/usr/bin/env bash
# Everything: format, lints, documentation, tests with all features, by default, with none and with each alone, the
# README's commands, and the models. Needs cargo with rustfmt and clippy, git, curl, Python 3.11, and redis-server, which
# it installs where it may; fetches its crates.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/lint.sh

# The tests of limits in Redis start servers of their own, and fail without any.
if ! command -v redis-server >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "== installing redis-server"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null
    else
        echo "the tests need redis-server 7 in the PATH: on Debian, apt-get install redis-server" >&2
        exit 1
    fi
fi

echo "== tests, all features"
# The examples first: a test runs the server.
cargo build --locked --quiet --all-features --examples
cargo test --locked --quiet --all-features --lib --tests --examples
echo "== documentation's examples"
cargo test --locked --quiet --all-features --doc

ci/features.sh

echo "== the README's commands"
ci/readme.sh

ci/loom.sh
echo "== all passed"
