//! One limiter, two threads, case by case, with criterion's statistics.
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
#[path = "support/limiters.rs"]
mod limiters;

use criterion::{Criterion, criterion_group, criterion_main};

fn contended(criterion: &mut Criterion) {
    for build in [limiters::admit, limiters::denied] {
        cases::add(criterion, "contended", &build(2, cases::TURN));
    }
}

criterion_group! { name = benches; config = cases::config(); targets = contended }
criterion_main!(benches);
