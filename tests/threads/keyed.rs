//! The window law for every key, among threads, on the default clock, in a table that is too small.

use crate::support::windows_law::{Admission, worst_window};
use sluicegate::{Algorithm, KeyedLimiter, Quota, WhenFull};
use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u64 = 4;
const KEYS: u64 = 300;
const TIME: Duration = Duration::from_secs(2);

/// What one thread saw: the admissions of each key, and how often it was denied.
#[derive(Default)]
struct Log {
    admitted: HashMap<u64, Vec<Admission>>,
    denied: HashMap<u64, u64>,
    table_full: u64,
}

impl Log {
    fn merge(mut self, other: Self) -> Self {
        for (key, log) in other.admitted {
            self.admitted.entry(key).or_default().extend(log);
        }
        for (key, times) in other.denied {
            *self.denied.entry(key).or_default() += times;
        }
        self.table_full += other.table_full;
        self
    }
}

/// Takes from keys at random, half of the time from one in eight, so that those are denied and the
/// others keep coming and going.
fn hammer(limiter: &KeyedLimiter<u64>, thread: u64, start: Instant) -> Log {
    let mut log = Log::default();
    let mut random = thread.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    loop {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = (random >> 8) % if random.is_multiple_of(2) { KEYS / 8 } else { KEYS };
        let before = start.elapsed();
        if before > TIME {
            return log;
        }
        let answer = match random >> 61 {
            0 => limiter.check_n(&key, 3),
            1 => limiter.check_up_to(&key, 5),
            _ => limiter.check(&key),
        };
        let after = start.elapsed().as_nanos() as u64;
        match answer {
            Ok(grant) => {
                let before = before.as_nanos() as u64;
                let admission = Admission { before, after, granted: grant.granted() };
                log.admitted.entry(key).or_default().push(admission);
            }
            Err(denied) if denied.is_table_full() => log.table_full += 1,
            Err(_) => *log.denied.entry(key).or_default() += 1,
        }
    }
}

/// The law holds for every key, however often its slot was given away and won back: with
/// [`WhenFull::Deny`] a bucket is only ever forgotten when it is full, and with [`WhenFull::Evict`]
/// it leaves a floor.
///
/// An admission took place between two readings of the system's clock, and the checker counts in a
/// window only what certainly lay within it. The limiter counts on its own clock: both may drift
/// apart by the calibration of that, which is good to a few parts in 10^5.
fn law_1_among_threads(policy: WhenFull) {
    let (rate, burst) = (2_000, 20);
    let quota = Quota::per_second(rate).burst(burst);
    let builder = KeyedLimiter::<u64>::builder(quota, KEYS as usize / 2);
    let limiter = builder.when_full(policy).build().unwrap();
    let (start, barrier) = (Instant::now(), Barrier::new(THREADS as usize));
    let race = |thread| {
        barrier.wait();
        hammer(&limiter, thread + 1, start)
    };
    let log = thread::scope(|scope| {
        let race = &race;
        let racers: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || race(i))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).fold(Log::default(), Log::merge)
    });
    let rate = rate as f64 / 1e9;
    let drift = rate * TIME.as_nanos() as f64 / 1_000.0;
    for (key, admitted) in &log.admitted {
        let worst = worst_window(admitted, rate);
        assert!(worst <= burst as f64 + drift + 1.0, "key {key}: {worst} in a window");
    }
    // Something was put to the test: keys that were admitted and denied, and a table without room.
    let both = log.denied.keys().filter(|key| log.admitted.contains_key(key)).count();
    assert!(both as u64 >= KEYS / 16, "{both} keys were admitted and denied");
    let evicts = policy == WhenFull::Evict;
    assert_eq!((log.table_full > 0, limiter.evictions() > 0), (!evicts, evicts));
}

#[test]
fn law_1_every_key_among_threads_in_a_table_that_denies() {
    law_1_among_threads(WhenFull::Deny);
}

#[test]
fn law_1_every_key_among_threads_in_a_table_that_evicts() {
    law_1_among_threads(WhenFull::Evict);
}

/// Keys that take a token and give it back, in slots that they take from each other: what is given
/// back must be the key's own. With six bits of epoch a thread that was stopped for some
/// microseconds could charge another key.
#[test]
fn what_is_given_back_is_the_keys_own() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        let count = if algorithm == Algorithm::SlidingWindow { 2 } else { 1 };
        let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(count), 1);
        let builder = builder.algorithm(algorithm).when_full(WhenFull::Deny);
        let limiter = builder.build().unwrap();
        let end = Instant::now() + Duration::from_millis(400);
        thread::scope(|scope| {
            for worker in 0..16_u64 {
                let limiter = &limiter;
                scope.spawn(move || {
                    let mut key = worker;
                    while Instant::now() < end {
                        for _ in 0..100 {
                            key = (key * 5 + 1) % 12;
                            if limiter.check(&key).is_ok() {
                                limiter.refund(&key, 1);
                            }
                        }
                    }
                });
            }
        });
        let left: Vec<_> = (0..12).map(|key| limiter.available(&key)).collect();
        assert_eq!(left, [count as i64; 12], "{algorithm}");
    }
}
