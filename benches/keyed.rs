//! Many keys, one thread, case by case, with criterion's statistics.
//!
//! Compare a case with its own past, as in `direct`. To compare contestants with each other, use
//! `versus`.
#![allow(dead_code, reason = "each bench uses a part of the support")]
#![allow(clippy::expect_used, reason = "a bench has nobody to return an error to")]

#[path = "support/buckets.rs"]
mod buckets;
#[path = "support/criterion.rs"]
mod cases;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/keys.rs"]
mod keys;

use criterion::{Criterion, criterion_group, criterion_main};

fn keyed(criterion: &mut Criterion) {
    // Without `--bench`, this is the smoke run of `cargo test --benches`.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let many = keys::Many(if measuring { 1_000_000 } else { 10_000 });
    cases::add(criterion, "keyed", &many.of_u64(1, cases::TURN));
    cases::add(criterion, "keyed", &many.of_str(1, cases::TURN));
    cases::add(criterion, "keyed", &keys::hot(1, cases::TURN));
}

criterion_group! { name = benches; config = cases::config(); targets = keyed }
criterion_main!(benches);
