//! Decisions from leases: how many a second, and how many calls to Redis they cost.

use crate::redis_turns::runtime;
use crate::server::Server;
use crate::spread::Spread;
use sluicegate::{KeyedLimiter, LeasedLimiter, Quota, RedisLimiter};
use std::hint::black_box;
use std::time::{Duration, Instant};

const KEY: &[u8] = b"user:0000001";
/// More than the tasks can ask for, so that all requests are admitted.
const QUOTA: Quota = Quota::per_second(100_000_000).burst(100_000_000);
const TURN: Duration = Duration::from_millis(200);
/// Decisions a second of the paced turn.
const RATE: u64 = 1_000_000;
const PACED: Duration = Duration::from_secs(1);

/// Measures the decisions a second of one thread. Nearly all are admitted: on a busy machine the
/// task that leases may wait for its turn for as long as a lease lasts.
fn decide(mut admitted: impl FnMut() -> bool) -> f64 {
    const BATCH: u64 = 1_000;
    let (began, mut decisions, mut denied) = (Instant::now(), 0, 0);
    while began.elapsed() < TURN {
        denied += (0..BATCH).filter(|_| !black_box(admitted())).count() as u64;
        decisions += BATCH;
    }
    assert!(denied * 20 < decisions, "{denied} of {decisions} were denied");
    (decisions - denied) as f64 / began.elapsed().as_secs_f64()
}

/// Decides as many requests as are due, millisecond by millisecond.
fn decide_at_pace(limiter: &LeasedLimiter) -> u64 {
    let (began, mut decisions, mut denied) = (Instant::now(), 0, 0);
    while began.elapsed() < PACED {
        let due = began.elapsed().as_micros() as u64 * RATE / 1_000_000;
        denied += (decisions..due).filter(|_| limiter.try_check(KEY).is_err()).count() as u64;
        decisions = due;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(denied * 20 < decisions, "{denied} of {decisions} were denied");
    decisions
}

/// Prints the table. Returns the goals that were missed.
pub(crate) fn print(rounds: usize) -> Vec<String> {
    let server = Server::start(&[]);
    // One thread for the task that leases, and one for the decisions.
    let runtime = runtime(2);
    let connecting = RedisLimiter::builder(QUOTA).connect_timeout(Duration::from_secs(10)).leased();
    let url = server.url();
    let connecting = connecting.connect(&url);
    let leased = runtime.block_on(connecting).expect("the server answers");
    let local = KeyedLimiter::<[u8]>::new(QUOTA, 65_536);
    warm_up(&leased);
    let (mut leases, mut locals, mut ratios, mut costs) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        let mut lease = || leases.push(decide(|| leased.try_check(KEY).is_ok()));
        let mut here = || locals.push(decide(|| local.check(KEY).is_ok()));
        if round % 2 == 0 {
            lease();
            here();
        } else {
            here();
            lease();
        }
        ratios.push(leases[round] / locals[round]);
        let fetches = leased.metrics().fetches;
        let decisions = decide_at_pace(&leased);
        costs.push((leased.metrics().fetches - fetches) as f64 * 1e3 / decisions as f64);
    }
    runtime.block_on(leased.shutdown());
    let [rate, local, ratio, cost] = [leases, locals, ratios, costs].map(Spread::of);
    println!("### leased, one hot key\n");
    println!(
        "{rounds} rounds by turns, on 1 thread beside that of the task that leases. Only admitted \
         requests count. Medians (least to most).\n"
    );
    println!(
        "| | millions of decisions a second | x in memory | calls to Redis for 1,000 decisions at \
         {RATE}/s |"
    );
    println!("| --- | ---: | ---: | ---: |");
    let millions = |of: &Spread| {
        format!("{:.1} ({:.1} to {:.1})", of.median / 1e6, of.least / 1e6, of.most / 1e6)
    };
    println!(
        "| **sluicegate, leased** | {} | {:.2} | {:.4} ({:.4} to {:.4}) |",
        millions(&rate),
        ratio.median,
        cost.median,
        cost.least,
        cost.most
    );
    println!("| sluicegate, in memory | {} | 1.00 | |\n", millions(&local));
    let mut missed = Vec::new();
    for (text, met) in [
        (format!("at least 10 million a second: {:.1}", rate.median / 1e6), rate.median >= 1e7),
        (format!("under 1 call for 1,000 decisions: {:.4}", cost.median), cost.median < 1.0),
    ] {
        println!("- Goal: {text}, {}", if met { "met" } else { "**missed**" });
        if !met {
            missed.push(format!("leased: {text}"));
        }
    }
    println!();
    missed
}

/// Decides until leases are as large as the rate needs them.
fn warm_up(leased: &LeasedLimiter) {
    let (began, mut row) = (Instant::now(), 0);
    while row < 10_000_000 && began.elapsed() < Duration::from_secs(10) {
        row = if leased.try_check(KEY).is_ok() { row + 1 } else { 0 };
    }
}
