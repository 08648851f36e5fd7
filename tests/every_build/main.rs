//! What holds in every build, whatever its features: the recorded decisions, and what the crate
//! does without the standard library. `ci/features.sh` runs these with every set of features.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod bare;
mod vectors;
