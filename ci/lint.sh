#!/usr/bin/env bash
# Format, lints, layering, documentation and its links, every warning an error. With all features; ci/features.sh has
# the others. Needs Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== format"
cargo fmt --all --check
cargo fmt --manifest-path loom-tests/Cargo.toml --check

# rustfmt leaves comments, literals and macros as they are. Tables of documentation have no other form.
echo "== columns"
python3 - <<'PYTHON'
import pathlib, sys
wide = [
    f"{file}:{number}"
    for folder in ("src", "tests", "benches", "examples", "loom-tests/src", "loom-tests/tests")
    for file in sorted(pathlib.Path(folder).rglob("*.rs"))
    for number, line in enumerate(file.read_text().splitlines(), 1)
    if len(line) > 100 and not line.startswith("//! |")
]
sys.exit("\n".join(["lines of over 100 columns:", *wide]) if wide else 0)
PYTHON

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
