//! What a close reading of changing quotas, places and undone debits found: each of these was wrong once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use sluicegate::{
    Algorithm, Builder, Carry, Combined, KeyedLimiter, ManualClock, Quota, RateLimiter, WhenFull,
};
#[cfg(feature = "std")]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
#[cfg(feature = "std")]
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn direct(clock: &ManualClock, builder: Builder) -> RateLimiter {
    builder.clock(clock.clone()).build().unwrap()
}

/// Tokens drawn ahead came back as whole units, of 32 tokens at this rate: a burst without end.
#[test]
fn undoing_a_batched_debit_gives_no_more_than_it_took() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1 << 31).burst(4_096);
    let batched = direct(&clock, RateLimiter::builder(quota).batch(60));
    let slow = direct(&clock, RateLimiter::builder(Quota::per_hour(1)));
    assert!(slow.check().is_ok());
    let mut granted = 0;
    for _ in 0..10_000 {
        granted += u64::from(batched.check().is_ok());
        drop(Combined::new([slow.limit(), batched.limit()]).reserve(1));
    }
    assert!(granted <= 4_096, "{granted}");
}

/// What rounding up a cost took was given back for each part of it.
#[test]
fn a_partly_settled_place_gives_back_what_is_left_of_its_units() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1 << 40).burst(1 << 31);
    let limiter =
        KeyedLimiter::<u8>::builder(quota, 10).clock(clock.clone()).seed([1, 2]).build().unwrap();
    assert!(limiter.check_n(&1, 1 << 31).is_ok());
    let place = limiter.reserve(&1, 1 << 30).unwrap();
    place.settle((1 << 30) - 1);
    assert!(limiter.available(&1) <= 1 - (1 << 30), "{}", limiter.available(&1));
}

/// Scaled beyond the longest debt, a debt was taken for a full bucket.
#[test]
fn a_debt_that_cannot_be_scaled_is_refused() {
    let clock = ManualClock::new();
    let limiter = direct(&clock, RateLimiter::builder(Quota::per_second(1).burst(1)));
    limiter.charge(300_001);
    let larger = Quota::per_second(1).burst(1_000_000);
    let error = limiter.set_quota_with(larger, Carry::Proportional).unwrap_err();
    assert_eq!((error.field(), limiter.available()), ("burst", -300_000));
    limiter.set_quota(larger).unwrap();
    assert_eq!(limiter.available(), -300_000);
}

/// Leases of a large burst outlived it.
#[cfg(feature = "std")]
#[test]
fn no_lease_outlives_its_quota() {
    for _ in 0..100 {
        let clock = ManualClock::new();
        let quota = Quota::per_second(1_000_000_000);
        let limiter = direct(&clock, RateLimiter::builder(quota).stripes(8));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        let _ = limiter.check();
                    }
                });
            }
            for _ in 0..100 {
                let _ = limiter.check();
            }
            limiter.set_quota(Quota::per_second(8)).unwrap();
            stop.store(true, Relaxed);
        });
        let granted = (0..1_000).filter(|_| limiter.check().is_ok()).count();
        assert!(granted <= 8, "{granted} of 8");
    }
}

/// Record locks do not keep threads of one process apart.
#[cfg(all(unix, feature = "shared"))]
#[test]
fn a_table_that_is_opened_twice_changes_its_quota_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let first = Quota::per_second(7);
    let open = || KeyedLimiter::<u8>::open_shared(&path, first, 10).unwrap();
    let (a, b) = (open(), open());
    a.set_quota(Quota::per_second(8)).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for limiter in [&a, &b] {
            let stop = &stop;
            scope.spawn(move || {
                for i in (0..20).cycle() {
                    if stop.load(Relaxed) {
                        return;
                    }
                    // Another one may be at it for long.
                    let _ = limiter.set_quota(Quota::per_second(10 + i));
                }
            });
        }
        let start = std::time::Instant::now();
        while start.elapsed() < SECOND {
            assert_ne!(a.quota(), first);
        }
        stop.store(true, Relaxed);
    });
}

/// A place taken before a reset gave back what the reset had given already.
#[test]
fn a_reset_makes_places_void() {
    let clock = ManualClock::new();
    let limiter = direct(&clock, RateLimiter::builder(Quota::per_second(1).burst(10)));
    let keyed = KeyedLimiter::<u8>::builder(Quota::per_second(1).burst(10), 10);
    let keyed = keyed.clock(clock.clone()).seed([1, 2]).build().unwrap();
    assert!(limiter.check_n(10).is_ok() && keyed.check_n(&1, 10).is_ok());
    let (place, of_key) = (limiter.reserve(10).unwrap(), keyed.reserve(&1, 10).unwrap());
    limiter.reset();
    keyed.reset(&1);
    assert!(limiter.check_n(10).is_ok() && keyed.check_n(&1, 10).is_ok());
    assert_eq!((place.cancel(), of_key.cancel()), (0, 0));
    assert_eq!((limiter.available(), keyed.available(&1)), (0, 0));
    // One that is taken afterwards is as good as any.
    let (place, of_key) = (limiter.reserve(3).unwrap(), keyed.reserve(&1, 3).unwrap());
    assert_eq!((place.cancel(), of_key.cancel()), (3, 3));
}

#[test]
fn the_level_of_the_deepest_debt_is_a_number() {
    let quota = Quota::new(55, Duration::from_nanos(1)).unwrap();
    let limiter = KeyedLimiter::<u8>::builder(quota, 8)
        .clock(ManualClock::new())
        .seed([1, 2])
        .build()
        .unwrap();
    limiter.charge(&8, u64::MAX);
    assert!(limiter.level(&8) > 1 << 60);
}

/// Requests that can never be granted made room for themselves.
#[test]
fn an_impossible_place_evicts_nobody() {
    let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(10), 100).seed([1, 2]);
    let limiter = builder.clock(ManualClock::new()).build().unwrap();
    for key in 0..400 {
        let _ = limiter.check_n(&key, 10);
    }
    let before = (limiter.evictions(), limiter.len());
    for key in 1_000..1_400 {
        assert!(limiter.reserve(&key, 11).unwrap_err().is_never());
    }
    assert_eq!((limiter.evictions(), limiter.len()), before);
}

/// Each change of the quota lost the part of a unit that had flowed.
#[test]
fn changing_often_loses_no_time() {
    let clock = ManualClock::new();
    let (a, b) = (Quota::per_day(1_000).burst(1 << 40), Quota::per_day(1_000).burst((1 << 40) - 1));
    let limiter =
        KeyedLimiter::<u8>::builder(a, 10).clock(clock.clone()).seed([1, 2]).build().unwrap();
    assert!(limiter.check_n(&1, 1 << 40).is_ok());
    for i in 0..86_400_u32 {
        clock.advance(SECOND);
        limiter.set_quota(if i.is_multiple_of(2) { b } else { a }).unwrap();
    }
    assert!((999..=1_000).contains(&limiter.available(&1)), "{}", limiter.available(&1));
}

#[test]
fn a_wait_for_a_changed_windows_end_is_enough() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        for odd in 1..200 {
            let clock = ManualClock::new();
            let builder = RateLimiter::builder(Quota::per_second(3)).algorithm(algorithm);
            let limiter = direct(&clock, builder);
            clock.advance(Duration::from_nanos(7_654_321 * odd));
            let period = Duration::from_nanos(999_999_937 + 1_001 * odd);
            limiter.set_quota(Quota::new(3, period).unwrap()).unwrap();
            assert!(limiter.check_n(3).is_ok());
            let wait = limiter.check().unwrap_err().retry_after().unwrap();
            clock.advance(wait);
            assert!(limiter.check().is_ok(), "{algorithm} {odd}");
        }
    }
}

/// A cost over one fits a queue later, though not now.
#[test]
fn a_full_table_says_when_a_queue_has_room() {
    let builder = KeyedLimiter::<u64>::builder(Quota::per_second(1), 8).when_full(WhenFull::Deny);
    let builder = builder.leaky_bucket().queue(5).clock(ManualClock::new());
    let limiter = builder.seed([1, 2]).build().unwrap();
    for key in 0..1_000 {
        let _ = limiter.check(&key);
    }
    let denied = (1_000..1_100).map(|key| limiter.reserve(&key, 2)).find_map(Result::err).unwrap();
    assert!(denied.is_table_full() && !denied.is_never());
    assert_eq!(denied.retry_after(), Some(SECOND));
}

#[test]
fn time_goes_on_centuries_after_a_change() {
    let clock = ManualClock::new();
    let limiter = direct(&clock, RateLimiter::builder(Quota::per_second(1)));
    limiter.set_quota(Quota::per_second(2)).unwrap();
    clock.set(Duration::from_secs(293 * 31_557_600));
    assert!(limiter.check_n(2).is_ok() && limiter.check().is_err());
    clock.advance(SECOND);
    assert_eq!(limiter.available(), 2);
}

/// A timeout holds, also if the quota changes; what comes too late is given up.
#[cfg(feature = "tokio")]
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_slower_quota_lets_timeouts_end() {
    let builder = RateLimiter::builder(Quota::per_second(1).burst(1));
    let limiter = builder.clock(sluicegate::TokioClock::new()).build().unwrap();
    assert!(limiter.check().is_ok());
    let start = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(limiter.acquire_timeout(1, 2 * SECOND), async {
        tokio::time::sleep(SECOND / 2).await;
        limiter.set_quota(Quota::per_hour(1).burst(1)).unwrap();
    });
    let denied = answer.unwrap_err();
    assert!(start.elapsed() < 2 * SECOND && !denied.is_never(), "{:?}", start.elapsed());
    assert!(limiter.available() >= 0, "its place is given up");
}
