//! Waiting, against leaky-bucket: 1,000 tasks through 100,000 permits of 100,000 a second.
//!
//! Criterion times the whole. The table below its figures adds the other costs of each run, and how
//! far each release was from the moment at which the quota allowed it.

#[path = "support/waiting.rs"]
mod support;

use criterion::{Criterion, criterion_group};
use std::time::Duration;
use support::{Figures, Peer, Run};

fn waiting(c: &mut Criterion) {
    let mut group = c.benchmark_group("1,000 tasks, 100,000 permits");
    group.sample_size(10).measurement_time(Duration::from_secs(12));
    for threads in [1, 2] {
        let run = Run::new(threads);
        for peer in Peer::ALL {
            group.bench_function(format!("{peer:?}, {threads} threads"), |bench| {
                bench.iter_custom(|times| (0..times).map(|_| run.of(peer).wall).sum());
            });
        }
    }
    group.finish();
}

/// Runs both by turns, so that the rest of the machine's work falls on both.
fn figures() {
    const ROUNDS: usize = 9;
    for threads in [1, 2] {
        let run = Run::new(threads);
        let mut all = Peer::ALL.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (peer, figures) in Peer::ALL.into_iter().zip(&mut all) {
                figures.push(run.of(peer));
            }
        }
        println!("\n{threads} threads, medians of {ROUNDS} rounds by turns (least to most)");
        println!("{}", Figures::HEAD);
        for (peer, figures) in Peer::ALL.into_iter().zip(&all) {
            println!("{}", Figures::row(peer, figures));
        }
    }
}

criterion_group!(benches, waiting);

fn main() {
    benches();
    // Tests and profiles need no figures.
    let given = |name: &str| std::env::args().any(|arg| arg == name);
    if given("--bench") && !given("--profile-time") {
        figures();
    }
    Criterion::default().configure_from_args().final_summary();
}
