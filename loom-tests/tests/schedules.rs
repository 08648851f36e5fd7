//! Random schedules of models too large for loom: eight threads, whole cache lines, floods of keys.
//!
//! Shuttle explores interleavings and no weak memory; the orderings are loom's part.
#![cfg(sluicegate_shuttle)]

use shuttle::sync::Arc;
use shuttle::thread;
use sluicegate::model::{Answer, Keyed};
use sluicegate::{Algorithm, ManualClock, Quota, RateLimiter};
use std::time::Duration;

/// Runs random schedules, then ones that preempt at a few chosen depths.
fn explore(schedules: usize, f: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(f.clone(), schedules);
    shuttle::check_pct(f, schedules, 3);
}

/// Runs one closure a thread and collects what each returns.
fn threads<R: Send + 'static>(
    count: usize,
    f: impl Fn(usize) -> R + Clone + Send + 'static,
) -> Vec<R> {
    let spawn = |i| {
        let f = f.clone();
        thread::spawn(move || f(i))
    };
    let handles: Vec<_> = (0..count).map(spawn).collect();
    handles.into_iter().map(|handle| handle.join().unwrap()).collect()
}

/// Returns a fingerprint whose key is in the first two cache lines of any table.
fn key(i: usize) -> u64 {
    (i as u64 + 1) << 40 | i as u64 | 1
}

#[test]
fn eight_threads_spend_one_burst() {
    explore(2_000, || {
        let quota = Quota::per_hour(1).burst(20);
        let clock = ManualClock::new();
        let limiter = Arc::new(RateLimiter::builder(quota).clock(clock).build().unwrap());
        let shared = limiter.clone();
        let granted = threads(8, move |i| {
            (0..5).map(|_| shared.check_up_to(1 + i as u64 % 3).map_or(0, |g| g.granted())).sum()
        });
        assert_eq!(granted.iter().sum::<u64>(), 20);
        assert_eq!(limiter.available(), 0);
    });
}

#[test]
fn eight_threads_spend_batches_while_time_goes_on() {
    explore(2_000, || {
        let quota = Quota::per_second(1).burst(30);
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(quota).clock(clock.clone());
        let limiter = Arc::new(builder.batch(8).build().unwrap());
        let shared = limiter.clone();
        let granted = threads(8, move |i| {
            clock.advance(Duration::from_secs(1));
            (0..6).map(|_| shared.check_n(1 + i as u64 % 2).map_or(0, |g| g.granted())).sum()
        });
        let granted = granted.iter().sum::<u64>();
        assert!(granted <= 30 + 8, "{granted}");
    });
}

#[test]
fn eight_threads_first_touch_three_keys() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow] {
        explore(1_500, move || {
            let keyed = Arc::new(Keyed::new(8, 2, algorithm));
            let shared = keyed.clone();
            let answers = threads(8, move |i| {
                (0..3).map(|j| (j, shared.at(key((i + j) % 3), &[5]).take(1, false))).fold(
                    [0_u32; 3],
                    |mut granted, (j, answer)| {
                        granted[(i + j) % 3] += u32::from(answer == Answer::Granted);
                        granted
                    },
                )
            });
            for k in 0..3 {
                assert_eq!(answers.iter().map(|granted| granted[k]).sum::<u32>(), 2, "key {k}");
                assert_eq!(keyed.at(key(k), &[5]).balance(), Some(0));
            }
        });
    }
}

/// Runs more keys than slots, and time in which buckets become full again. A key is granted at most
/// one at the start and one for each of the two seconds, however often its slot changes hands.
#[test]
fn slots_change_hands_while_all_their_keys_come_back() {
    explore(1_500, || {
        let keyed = Arc::new(Keyed::new(8, 1, Algorithm::TokenBucket));
        let shared = keyed.clone();
        // Not shuttle's: the time between two of its steps is one moment.
        let clock = Arc::new(std::sync::atomic::AtomicU64::new(1));
        let answers = threads(6, move |i| {
            let mut granted = Vec::new();
            for now in 1..=3 {
                clock.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                for k in [i, 2 * i + 1, 11 - i] {
                    let answer = shared.by(key(k), &clock).take(1, false);
                    granted.extend((answer == Answer::Granted).then_some(k));
                }
            }
            granted
        });
        let all: Vec<_> = answers.into_iter().flatten().collect();
        for k in 0..12 {
            assert!(all.iter().filter(|&&key| key == k).count() <= 3, "{k}: {all:?}");
        }
    });
}

/// Runs a flood that evicts: a key is granted its burst, and one more burst for each eviction.
#[test]
fn a_flood_of_keys_evicts_and_never_charges_another_key() {
    explore(1_500, || {
        let keyed = Arc::new(Keyed::new(8, 2, Algorithm::TokenBucket));
        let shared = keyed.clone();
        let answers = threads(6, move |i| {
            let mut granted = 0;
            for j in 0..4 {
                let caller = shared.at(key((3 * i + j) % 12), &[1]);
                granted += u64::from(caller.take(1 + (i + j) as u64 % 2, true) == Answer::Granted);
                if j == 2 {
                    caller.refund(1);
                }
            }
            granted
        });
        assert!(answers.iter().sum::<u64>() <= 24);
        // Whatever happened, every key that has a slot has a bucket in its bounds.
        for k in 0..12 {
            let balance = keyed.at(key(k), &[1]).balance();
            assert!(balance.is_none_or(|balance| (0..=2).contains(&balance)), "{k}: {balance:?}");
        }
    });
}
