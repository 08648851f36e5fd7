#!/usr/bin/env bash
# Tiny tables while many threads do everything at once, under the checker of the window law; and limits in Redis while
# servers die, stand still, forget, move slots and change masters: several rounds of each, which
# takes minutes, and the scripts held against the decisions in Rust and the rational model over more than a million operations; with --short
# one of each, which is what ci/test.sh runs among all tests. Needs redis-server.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1-}" in
    "") rounds=8 oracle=38 others=7 seconds=20 ;;
    --short) rounds=1 oracle=1 others=1 seconds=0.7 ;;
    *)
        echo "usage: ci/faults.sh [--short]" >&2
        exit 2
        ;;
esac
SLUICEGATE_STRESS_SECONDS=$seconds cargo test --locked --quiet --all-features --test threads stress::
# 38 times 26,400 operations on buckets.
rational=scripts_decide_as_rust_and_the_rational_model
SLUICEGATE_REDIS_LONG=$oracle cargo test --locked --quiet --all-features --lib $rational
SLUICEGATE_REDIS_LONG=$others cargo test --locked --quiet --all-features --lib redis -- --skip $rational
SLUICEGATE_FAULT_ROUNDS=$rounds cargo test --locked --quiet --all-features --test 'redis*'
echo "== all faults borne, $rounds round(s)"
