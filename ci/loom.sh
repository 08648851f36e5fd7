#!/usr/bin/env bash
# The model-checked protocols: loom (all interleavings and orderings of small models), then shuttle
# (random schedules of larger ones). Arguments go to the test binaries, as in `ci/loom.sh first_touch`.
set -euo pipefail
cd "$(dirname "$0")/../loom-tests"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg sluicegate_loom"
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" cargo test --locked --quiet -- "$@"
