//! Models of sluicegate's concurrent protocols; see `tests/`. Run them with `ci/loom.sh`.
#![forbid(unsafe_code)]
