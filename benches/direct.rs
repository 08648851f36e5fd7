//! One limiter, one thread, case by case, with criterion's statistics.
//!
//! Criterion runs one case after the other, so compare a case with its own past. To compare
//! contestants with each other, use `versus`, which interleaves them.
#![allow(dead_code, reason = "each bench uses a part of the support")]
#![allow(clippy::expect_used, reason = "a bench has nobody to return an error to")]

#[path = "support/buckets.rs"]
mod buckets;
#[path = "support/criterion.rs"]
mod cases;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/hashing.rs"]
mod hashing;
#[path = "support/limiters.rs"]
mod limiters;

use criterion::{Criterion, criterion_group, criterion_main};

fn direct(criterion: &mut Criterion) {
    let build = [
        limiters::admit,
        limiters::denied,
        limiters::half_denied,
        limiters::coarse_clock,
        limiters::frozen_clock,
        hashing::of_u64,
        hashing::of_str,
    ];
    for build in build {
        cases::add(criterion, "direct", &build(1, cases::TURN));
    }
}

criterion_group! { name = benches; config = cases::config(); targets = direct }
criterion_main!(benches);
