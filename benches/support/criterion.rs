//! The cases of the interleaved run, given to criterion.

use crate::harness::{Barrier, Case, Contestant, SPREAD, Turn};
use criterion::{BenchmarkId, Criterion};
use std::time::{Duration, Instant};

/// The turn of a case. Criterion chooses its length.
pub(crate) const TURN: Turn = Turn::Calls { timed: 0, lead: 0 };

/// Keeps the runs short enough for a burst of four billion.
pub(crate) fn config() -> Criterion {
    let config = Criterion::default().configure_from_args();
    config.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

/// Adds one benchmark for each contestant. Each of its measurements asserts how many calls were
/// admitted.
pub(crate) fn add(criterion: &mut Criterion, group: &str, case: &Case) {
    let mut group = criterion.benchmark_group(group);
    for contestant in &case.contestants {
        let id = BenchmarkId::new(case.name, contestant.name);
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|calls| timed(case, contestant, calls));
        });
    }
    group.finish();
}

/// Times `calls` calls on each of `threads` threads. The slowest thread counts.
fn timed(case: &Case, contestant: &Contestant, calls: u64) -> Duration {
    let barrier = Barrier::new(case.threads);
    let play = |first: u64| {
        barrier.wait();
        let started = Instant::now();
        let admitted = contestant.run.run(first, calls);
        let took = started.elapsed();
        case.verify(contestant, first, calls, admitted);
        took
    };
    if case.threads == 1 {
        return play(0);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..case.threads as u64).map(|t| scope.spawn(move || play(t * SPREAD))).collect();
        let took = threads.into_iter().map(|thread| thread.join().expect("a contestant panicked"));
        took.max().unwrap_or_default()
    })
}
