#!/usr/bin/env bash
# The model-checked protocols: loom (every interleaving and ordering of small models), then shuttle
# (random schedules of larger ones). Arguments choose tests by name: `ci/loom.sh first_touch`.
set -euo pipefail
cd "$(dirname "$0")/../loom-tests"
for checker in loom shuttle; do
    echo "== $checker"
    RUSTFLAGS="${RUSTFLAGS:-} --cfg sluicegate_$checker" CARGO_TARGET_DIR="target/$checker" \
        cargo test --locked --quiet --tests -- "$@"
done
