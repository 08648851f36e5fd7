//! The window law for every key while more threads than cores do everything at once, in tables of a
//! few lines: slots change hands all the time, in every state.
//!
//! `SLUICEGATE_STRESS_SECONDS` makes each of them last longer, as `ci/faults.sh` does.

use crate::support::windows_law::{Admission, worst_window};
use sluicegate::{Algorithm, KeyedLimiter, Quota, WhenFull};
use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u64 = 12;
const KEYS: u64 = 32;
const RATE: u64 = 2_000;
const BURST: u64 = 20;

/// Keys from here on are reset and refunded as well, so they have no law, and only disturb the
/// others.
const LAWLESS: u64 = 24;

type Log = HashMap<u64, Vec<Admission>>;

fn length() -> Duration {
    let seconds =
        std::env::var("SLUICEGATE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(Duration::from_millis(700), Duration::from_secs_f64)
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Takes a place: the tokens that are there at once. One that has to wait is given up, and one in
/// four is undone.
fn reserve(limiter: &KeyedLimiter<u64>, key: u64, n: u64, random: &mut Random) -> u64 {
    let Ok(place) = limiter.reserve_within(&key, n, Duration::from_micros(random.below(2_000)))
    else {
        return 0;
    };
    if random.below(4) == 0 {
        place.settle(0);
        return 0;
    }
    if place.ready_in().is_zero() {
        drop(place);
        return n;
    }
    let _ = place.cancel();
    0
}

fn all_at_once(limiter: &KeyedLimiter<u64>, thread: u64, start: Instant) -> Log {
    let (mut log, mut random) =
        (Log::new(), Random(thread.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
    let mut keys = [0; 8];
    let mut answers = Vec::new();
    loop {
        let before = start.elapsed();
        if before > length() {
            return log;
        }
        let key = random.below(KEYS);
        let n = 1 + random.below(4);
        let mut admitted = vec![(key, 0)];
        match random.below(12) {
            0..4 => admitted[0].1 = limiter.check(&key).map_or(0, |grant| grant.granted()),
            4 => admitted[0].1 = limiter.check_n(&key, n).map_or(0, |grant| grant.granted()),
            5 => admitted[0].1 = limiter.check_up_to(&key, n).map_or(0, |grant| grant.granted()),
            6 => {
                keys.iter_mut().for_each(|key| *key = random.below(KEYS));
                limiter.check_many(&keys, &mut answers);
                let granted = answers.iter().map(|answer| u64::from(answer.is_ok()));
                admitted = keys.into_iter().zip(granted).collect();
            }
            7..9 => admitted[0].1 = reserve(limiter, key, n, &mut random),
            9 => {
                limiter.charge(&key, n);
            }
            10 if key >= LAWLESS => limiter.reset(&key),
            11 if key >= LAWLESS => limiter.refund(&key, n),
            _ => {
                let _ = (limiter.peek(&key, n), limiter.available(&key), limiter.level(&key));
            }
        }
        let (before, after) = (before.as_nanos() as u64, start.elapsed().as_nanos() as u64);
        for (key, granted) in admitted {
            if granted > 0 && key < LAWLESS {
                log.entry(key).or_default().push(Admission { before, after, granted });
            }
        }
    }
}

fn keeps_the_law(algorithm: Algorithm, capacity: usize, policy: WhenFull) {
    let quota = if algorithm == Algorithm::SlidingWindow {
        format!("{BURST}/10 ms").parse().unwrap()
    } else {
        Quota::per_second(RATE).burst(BURST)
    };
    let builder = KeyedLimiter::<u64>::builder(quota, capacity).algorithm(algorithm).max_debt(40);
    let limiter = builder.when_full(policy).build().unwrap();
    let (start, barrier) = (Instant::now(), Barrier::new(THREADS as usize));
    let race = |thread| {
        barrier.wait();
        all_at_once(&limiter, thread + 1, start)
    };
    let logs: Vec<Log> = thread::scope(|scope| {
        let race = &race;
        let racers: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || race(i))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let mut all = Log::new();
    for (key, log) in logs.into_iter().flatten() {
        all.entry(key).or_default().extend(log);
    }
    let rate = RATE as f64 / 1e9;
    // Both clocks may drift apart by some parts in 10^5.
    let most = BURST as f64 + rate * length().as_nanos() as f64 / 1_000.0 + 1.0;
    for (key, log) in &all {
        let worst = worst_window(log, rate);
        assert!(
            worst <= most,
            "{algorithm}, {capacity}, {policy:?}: key {key}: {worst} in a window"
        );
    }
    assert_eq!(limiter.evictions() > 0, policy == WhenFull::Evict);
    // Nobody's tokens are lost, and no slot is: when all has flowed, each key has its burst again.
    let end = Instant::now() + Duration::from_secs(10);
    for key in 0..KEYS {
        while limiter.check_n(&key, BURST).is_err() {
            assert!(
                Instant::now() < end,
                "{algorithm}, {policy:?}: key {key} has {}",
                limiter.available(&key)
            );
            thread::yield_now();
        }
    }
}

#[test]
fn token_buckets_that_evict() {
    keeps_the_law(Algorithm::TokenBucket, 1, WhenFull::Evict);
    keeps_the_law(Algorithm::TokenBucket, 8, WhenFull::Evict);
}

#[test]
fn token_buckets_that_deny() {
    keeps_the_law(Algorithm::TokenBucket, 1, WhenFull::Deny);
    keeps_the_law(Algorithm::LeakyBucket, 8, WhenFull::Deny);
}

#[test]
fn sliding_windows_that_evict() {
    keeps_the_law(Algorithm::SlidingWindow, 1, WhenFull::Evict);
    keeps_the_law(Algorithm::SlidingWindow, 8, WhenFull::Evict);
}
