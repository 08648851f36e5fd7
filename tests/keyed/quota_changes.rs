//! Another quota while a keyed limiter runs: what had flowed is settled at the old rate, nobody
//! gets a fresh burst, and no call sees half of each.

use crate::support::windows_law::{Admission, worst_window};
use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;
use sluicegate::{
    Algorithm, Denied, Grant, KeyedLimiter, ManualClock, Quota, QuotaError, RateLimiter,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn limiter(quota: Quota) -> (ManualClock, KeyedLimiter<u64>) {
    let clock = ManualClock::new();
    let limiter = KeyedLimiter::builder(quota, 100).clock(clock.clone()).build().unwrap();
    (clock, limiter)
}

/// bucket4j's figures, in seconds: 3 of 3 in 5, at 3 replaced by 60 of 60 in 1,000.
#[test]
fn balance_carries_over_as_it_is() {
    let seconds = Duration::from_secs;
    let (clock, limiter) = limiter(Quota::new(3, seconds(5)).unwrap());
    assert!(limiter.check_n(&1, 3).is_ok());
    clock.advance(seconds(3));
    limiter.set_quota(Quota::new(60, seconds(1_000)).unwrap()).unwrap();
    assert_eq!(limiter.available(&1), 1);
    assert_eq!(limiter.available(&2), 60, "a key without a bucket has the new burst");
}

#[test]
fn elapsed_time_is_settled_at_the_old_rate() {
    let (clock, limiter) = limiter(Quota::per_second(10).burst(100));
    assert!(limiter.check_n(&1, 100).is_ok());
    clock.advance(Duration::from_secs(3));
    limiter.set_quota(Quota::per_second(1).burst(100)).unwrap();
    assert_eq!((limiter.available(&1), limiter.quota()), (30, Quota::per_second(1).burst(100)));
    clock.advance(Duration::from_secs(5));
    assert_eq!(limiter.available(&1), 35);
    limiter.set_quota(Quota::per_second(20).burst(100)).unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(limiter.available(&1), 75);
    let denied = limiter.check_n(&1, 80).unwrap_err();
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(250)));
    clock.advance(Duration::from_millis(250) - Duration::from_nanos(1));
    assert!(limiter.check_n(&1, 80).is_err());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(limiter.check_n(&1, 80).unwrap().limit(), 100);
}

/// governor#273, #39: a changed limiter was a new one, and full.
#[test]
fn changing_back_and_forth_grants_nothing() {
    let (low, high) = (Quota::per_hour(1).burst(10), Quota::per_hour(1).burst(1_000));
    let (_, limiter) = limiter(low);
    assert!(limiter.check_n(&1, 10).is_ok());
    for quota in [high, low, high, high.burst(500), low].into_iter().cycle().take(1_000) {
        limiter.set_quota(quota).unwrap();
        assert!(limiter.check(&1).is_err());
        assert_eq!(limiter.available(&1), 0);
    }
    // What a cut hides is there again if the burst is raised before anything is taken.
    limiter.set_quota(high).unwrap();
    assert!(limiter.check(&2).is_ok());
    limiter.set_quota(low).unwrap();
    assert_eq!(limiter.available(&2), 10);
    limiter.set_quota(high).unwrap();
    assert_eq!(limiter.available(&2), 999);
    limiter.set_quota(low).unwrap();
    assert!(limiter.check(&2).is_ok());
    limiter.set_quota(high).unwrap();
    assert_eq!(limiter.available(&2), 9);
}

/// Full for a while, a key has of a larger burst what would have flowed since, and no more.
#[test]
fn idle_time_counts_towards_a_larger_burst() {
    let (clock, limiter) = limiter(Quota::per_second(10).burst(10));
    assert!(limiter.check_n(&1, 10).is_ok());
    clock.advance(Duration::from_secs(3));
    assert_eq!(limiter.available(&1), 10);
    limiter.set_quota(Quota::per_second(10).burst(100)).unwrap();
    assert_eq!(limiter.available(&1), 30);
    clock.advance(Duration::from_secs(60));
    assert_eq!(limiter.available(&1), 100);
}

#[test]
fn windows_keep_what_they_admitted() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let clock = ManualClock::new();
        let builder = KeyedLimiter::<u64>::builder(Quota::per_second(10), 100);
        let limiter = builder.algorithm(algorithm).clock(clock.clone()).build().unwrap();
        assert!(limiter.check_n(&1, 7).is_ok());
        clock.advance(Duration::from_millis(500));
        limiter.set_quota(Quota::per_minute(20)).unwrap();
        assert_eq!(limiter.available(&1), 13, "{algorithm}");
        // Half of the window was left: half a minute.
        clock.advance(Duration::from_millis(29_999));
        assert_eq!(limiter.available(&1), 13, "{algorithm}");
        clock.advance(Duration::from_millis(60_002));
        assert_eq!(limiter.available(&1), 20, "{algorithm}");
        // Law 5 on the new line: waiting as long as it says is enough.
        assert!(limiter.check_n(&1, 20).is_ok());
        let wait = limiter.check(&1).unwrap_err().retry_after().unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(120), "{algorithm}: {wait:?}");
        clock.advance(wait);
        assert!(limiter.check(&1).is_ok(), "{algorithm}");
        let burst = limiter.set_quota(Quota::per_minute(20).burst(5)).unwrap_err();
        assert_eq!(burst.field(), "burst");
        let count = limiter.set_quota(Quota::per_minute(1 << 39)).unwrap_err();
        assert_eq!(count.field(), "count");
        assert_eq!(limiter.quota(), Quota::per_minute(20));
    }
}

#[test]
fn what_cannot_be_leaves_the_old_quota_in_force() {
    let (_, limiter) = limiter(Quota::per_second(10));
    let rate = limiter.set_quota(Quota::per_second(1_000_000)).unwrap_err();
    assert!(rate.to_string().starts_with("count must be lower: at this rate"), "{rate}");
    let burst = limiter.set_quota(Quota::per_second(10).burst(1 << 47)).unwrap_err();
    assert_eq!(burst.field(), "burst");
    assert_eq!(limiter.quota(), Quota::per_second(10));
    assert!(limiter.check_n(&1, 10).is_ok() && limiter.check(&1).is_err());
    // As far as the documentation promises.
    limiter.set_quota(Quota::per_second(250)).unwrap();
    assert_eq!(limiter.available(&1), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take(u64),
    Change(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_000_000_000_u64).prop_map(Step::Wait),
        4 => (1..30_u64).prop_map(Step::Take),
        1 => (1..200_u64, 1..60_u64).prop_map(|(rate, burst)| Step::Change(rate, burst)),
    ]
}

proptest! {
    /// Against a bucket in rational numbers, capped when it is looked at: each decision is the
    /// same, but within a unit of token time for each change so far.
    #[test]
    fn decisions_equal_an_exact_bucket_across_changes(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (clock, limiter) = limiter(Quota::per_second(20).burst(25));
        let whole = |n: u64| BigRational::from_integer(BigInt::from(n));
        let (mut rate, mut burst, mut balance) = (20, 25, whole(25));
        // A unit is at most 35 ns of flow at the first rate, of which a change may lose one.
        let mut slack = whole(0);
        // Known from the first: a key without a bucket has each new burst whole.
        prop_assert!(limiter.check_n(&1, 25).is_ok());
        balance -= whole(25);
        for step in steps {
            match step {
                Step::Wait(nanos) => {
                    clock.advance(Duration::from_nanos(nanos));
                    balance += whole(nanos) * whole(rate) / whole(1_000_000_000);
                }
                Step::Take(n) => {
                    let there = balance.clone().min(whole(burst));
                    let margin = &there - whole(n);
                    let near = &margin * &margin <= &slack * &slack;
                    let granted = limiter.check_n(&1, n).is_ok();
                    if !near && n <= burst {
                        prop_assert_eq!(granted, there >= whole(n), "{} of {}", n, there);
                    }
                    if granted {
                        balance = there - whole(n);
                    }
                }
                Step::Change(new_rate, new_burst) => {
                    limiter.set_quota(Quota::per_second(new_rate).burst(new_burst)).unwrap();
                    (rate, burst) = (new_rate, new_burst);
                    slack += whole(2) / whole(1_000_000);
                }
            }
        }
    }
}

const LOW: Quota = Quota::per_second(100_000).burst(100);
const HIGH: Quota = Quota::per_second(400_000).burst(200);

/// However often the quota changes under them, threads admit no more than the larger one would.
#[test]
fn law_1_while_the_quota_changes_under_threads() {
    let keyed = KeyedLimiter::<u64>::new(LOW, 100);
    law_1(&|| keyed.check(&7).is_ok(), &|quota| keyed.set_quota(quota));
    let direct = RateLimiter::builder(LOW);
    let kinds = [direct, RateLimiter::builder(LOW).batch(16), RateLimiter::builder(LOW).stripes(2)];
    for limiter in kinds.map(|builder| builder.build().unwrap()) {
        law_1(&|| limiter.check().is_ok(), &|quota| limiter.set_quota(quota));
    }
}

fn law_1(
    check: &(dyn Fn() -> bool + Sync),
    set_quota: &(dyn Fn(Quota) -> Result<(), QuotaError> + Sync),
) {
    let (start, done) = (Instant::now(), AtomicBool::new(false));
    let time = Duration::from_millis(300);
    let take = |_| {
        let mut log = Vec::new();
        loop {
            let before = start.elapsed();
            if before > time {
                return log;
            }
            let granted = u64::from(check());
            let after = start.elapsed().as_nanos() as u64;
            if granted > 0 {
                log.push(Admission { before: before.as_nanos() as u64, after, granted });
            }
        }
    };
    let (log, changes) = thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut changes = 0_u64;
            while !done.load(Ordering::Relaxed) {
                set_quota(if changes.is_multiple_of(2) { HIGH } else { LOW }).unwrap();
                changes += 1;
            }
            changes
        });
        let take = &take;
        let racers: Vec<_> = (0..3).map(|i| scope.spawn(move || take(i))).collect();
        let log: Vec<_> = racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        (log, changer.join().unwrap())
    });
    assert!(changes > 100, "{changes} changes");
    let rate = 400_000.0 / 1e9;
    let drift = rate * time.as_nanos() as f64 / 1_000.0;
    let worst = worst_window(&log, rate);
    assert!(worst <= 200.0 + drift + 1.0, "{worst} in a window, after {changes} changes");
    let admitted: u64 = log.iter().map(|admission| admission.granted).sum();
    assert!(admitted > 100, "{admitted} admitted");
}

/// Each key is drained by its first touch, and asked a few times more, while the rate goes up and
/// down by a factor of a thousand. `SLUICEGATE_FAULT_ROUNDS` times as long.
#[test]
fn law_1_of_fresh_keys_while_the_rate_goes_up_and_down() {
    let keyed = KeyedLimiter::<u64>::new(FAST, 1_000_000);
    law_1_of_fresh_keys(&|key, n| keyed.check_up_to(&key, n), &|quota| keyed.set_quota(quota));
    #[cfg(all(unix, feature = "shared"))]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let open = || KeyedLimiter::<u64>::open_shared(&path, FAST, 1_000_000).unwrap();
        // Each with its own cached lines, as two processes have them.
        let (one, other) = (open(), open());
        let of = |key: u64| if key.is_multiple_of(2) { &one } else { &other };
        let check = |key: u64, n: u64| of(key).check_up_to(&key, n);
        law_1_of_fresh_keys(&check, &|quota| one.set_quota(quota));
    }
}

const FAST: Quota = Quota::per_second(1_000_000).burst(100);
const SLOW: Quota = Quota::per_second(1_000).burst(100);

fn law_1_of_fresh_keys(
    check: &(dyn Fn(u64, u64) -> Result<Grant, Denied> + Sync),
    set_quota: &(dyn Fn(Quota) -> Result<(), QuotaError> + Sync),
) {
    let rounds: u32 =
        std::env::var("SLUICEGATE_FAULT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let (start, done) = (Instant::now(), AtomicBool::new(false));
    let time = Duration::from_millis(300) * rounds;
    let nanos = || start.elapsed().as_nanos() as u64;
    let rate = 1_000_000.0 / 1e9;
    let drain = |key| {
        let mut log = Vec::new();
        for _ in 0..20 {
            let before = nanos();
            if let Ok(grant) = check(key, 100) {
                log.push(Admission { before, after: nanos(), granted: grant.granted() });
            }
        }
        // Two clocks, which agree to a thousandth.
        let span = log[log.len() - 1].after - log[0].before;
        worst_window(&log, rate) - rate * span as f64 / 1_000.0
    };
    let take = |first: u64| {
        let (mut worst, mut key) = (0.0_f64, first);
        while start.elapsed() < time {
            worst = worst.max(drain(key));
            key += 2;
        }
        (worst, (key - first) / 2)
    };
    let (seen, changes) = thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut changes = 0;
            while !done.load(Ordering::Relaxed) {
                set_quota([SLOW, FAST][changes % 2]).unwrap();
                changes += 1;
            }
            changes
        });
        let take = &take;
        let racers: Vec<_> = (0..2).map(|i| scope.spawn(move || take(i))).collect();
        let seen: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        (seen, changer.join().unwrap())
    });
    assert!(changes > 10, "{changes} changes");
    for (worst, keys) in seen {
        assert!(worst <= 100.0 + 1.0, "{worst} in a window, {keys} keys, {changes} changes");
        assert!(keys > 10 && worst > 50.0, "{worst} in a window, {keys} keys");
    }
}
