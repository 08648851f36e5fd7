//! One regression test for each defect that was found in a limiter in use today, named for what
//! happened there.

use sluicegate::{Clock, ManualClock, Quota, RateLimiter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn on(clock: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(clock.clone()).build().unwrap()
}

/// Everything that is there.
fn drain(limiter: &RateLimiter) -> u64 {
    let mut admitted = 0;
    while let Ok(grant) = limiter.check_up_to(u64::MAX) {
        admitted += grant.granted();
    }
    admitted
}

/// Everything that is admitted to somebody who asks once every `step`.
fn poll(clock: &ManualClock, limiter: &RateLimiter, step: Duration, polls: u32) -> u64 {
    let mut admitted = 0;
    for _ in 0..polls {
        clock.advance(step);
        admitted += u64::from(limiter.check().is_ok());
    }
    admitted
}

/// governor 0.10: the interval times the cost overflowed; 100/hour admitted a cost of 512,409,559.
#[test]
fn cost_times_interval_never_overflows() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_hour(100));
    for cost in [101, 512_409_559, 512_409_560, u64::from(u32::MAX), u64::MAX / 36, u64::MAX] {
        assert_eq!(limiter.check_n(cost).unwrap_err().retry_after(), None, "{cost}");
    }
    assert_eq!(limiter.available(), 100);
}

/// governor 0.10: the interval times the burst overflowed; 1/day with burst 213,505 let through 1.
#[test]
fn burst_times_interval_never_overflows() {
    for burst in [213_503, 213_504, 213_505, 40_000_000, 1 << 40] {
        let clock = ManualClock::new();
        let limiter = on(&clock, Quota::per_day(1).burst(burst));
        assert_eq!(drain(&limiter), burst);
        clock.advance(86_400 * SECOND);
        assert_eq!(drain(&limiter), 1);
    }
}

/// governor: an interval of 1.67 ns became 1 ns, so that 600,000,000/s ran 67 % fast.
#[test]
fn rate_of_600_million_a_second_is_not_truncated() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_second(600_000_000).burst(1_000_000));
    assert_eq!(drain(&limiter), 1_000_000);
    let mut admitted = 0;
    for _ in 0..1000 {
        clock.advance(Duration::from_millis(1));
        admitted += drain(&limiter);
    }
    assert!(admitted.abs_diff(600_000_000) <= 1, "{admitted}");
}

/// uber-go/ratelimit: an interval of whole nanoseconds made 1,500,000/s admit 1,501,502/s.
#[test]
fn rate_of_1500000_a_second_is_not_1501502() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_second(1_500_000).burst(1_000));
    assert_eq!(drain(&limiter), 1_000);
    assert_eq!(poll(&clock, &limiter, Duration::from_nanos(333), 3_000_000), 1_498_500);
}

/// ratelimit 2.0: each refill dropped its remainder, so that 1/s polled every 2 us delivered half.
#[test]
fn polling_every_2_us_delivers_the_whole_rate() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_second(1));
    assert!(limiter.check().is_ok());
    assert_eq!(poll(&clock, &limiter, Duration::from_micros(2), 2_500_000), 5);
}

/// The same loss at a rate that does not divide a second.
#[test]
fn polling_7_per_minute_every_millisecond_delivers_the_whole_rate() {
    let clock = ManualClock::new();
    // Two, so that the bucket is not yet full when a poll is a part of a millisecond late.
    let limiter = on(&clock, Quota::per_minute(7).burst(2));
    assert_eq!(drain(&limiter), 2);
    assert_eq!(poll(&clock, &limiter, Duration::from_millis(1), 3_600_000), 420);
}

/// leaky-bucket 1.1, rater, tokio-rate-limit: a stale copy or a second word was written over fresh
/// state, so that threads which met in a refill were credited twice.
#[test]
fn threads_that_meet_in_a_refill_are_credited_once() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_second(100).burst(50));
    let mut admitted = 0;
    for round in 0..200 {
        admitted += thread::scope(|scope| {
            let racers: Vec<_> = (0..4).map(|_| scope.spawn(|| poll_now(&limiter))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum::<u64>()
        });
        assert_eq!(admitted, 50 + round * 10);
        clock.advance(Duration::from_millis(100));
    }
}

fn poll_now(limiter: &RateLimiter) -> u64 {
    (0..60).map(|_| u64::from(limiter.check().is_ok())).sum()
}

/// throttlecrab 0.4: a bucket of 10 that had been idle admitted 17.
#[test]
fn idle_bucket_of_10_admits_10_not_17() {
    for idle in [1, 10, 60, 3600, 86_400 * 365] {
        let clock = ManualClock::new();
        let limiter = on(&clock, Quota::per_minute(100).burst(10));
        assert_eq!(drain(&limiter), 10);
        clock.advance(idle * 60 * SECOND);
        assert_eq!(drain(&limiter), 10, "after {idle} minutes");
    }
}

/// golang x/time/rate: an older `now` was written over a newer one, and the time between the two
/// flowed again; under contention it admitted 5,000 times the limit.
#[test]
fn older_now_is_never_written_over_newer() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_second(10));
    clock.set(100 * SECOND);
    assert_eq!(drain(&limiter), 10);
    for _ in 0..100 {
        clock.set(SECOND);
        assert_eq!(drain(&limiter), 0);
        clock.set(100 * SECOND);
        assert_eq!(drain(&limiter), 0);
    }
    clock.set(101 * SECOND);
    assert_eq!(drain(&limiter), 10);
}

/// The same with a clock that reads older on every other call, as two cores' counters may.
#[test]
fn clock_that_reads_older_on_another_core_grants_nothing_extra() {
    struct Uneven(AtomicU64);
    impl Clock for Uneven {
        fn nanos(&self) -> u64 {
            let reading = self.0.fetch_add(1, Ordering::Relaxed);
            if reading.is_multiple_of(2) { reading * 1000 } else { (reading * 1000) / 2 }
        }
    }
    let quota = Quota::per_second(1_000).burst(5);
    let limiter = RateLimiter::builder(quota).clock(Uneven(AtomicU64::new(0))).build().unwrap();
    let polls = 1_000_000;
    let admitted = (0..polls).filter(|_| limiter.check().is_ok()).count();
    assert!(admitted.abs_diff(1_005) <= 1, "a second's worth of readings admitted {admitted}");
}

/// trypema: the check ignored the cost; 1,000,000 passed a limit of 10.
#[test]
fn cost_is_not_ignored() {
    let clock = ManualClock::new();
    for limiter in everyone(&clock, Quota::per_second(10)) {
        assert!(limiter.check_n(1_000_000).is_err(), "{limiter:?}");
        assert!(limiter.check_n(7).is_ok(), "{limiter:?}");
        assert!(limiter.check_n(4).is_err(), "{limiter:?}");
        assert!(limiter.check_n(3).is_ok(), "{limiter:?}");
    }
}

/// gcra 0.6: a cost above the limit reset the key.
#[test]
fn cost_above_limit_changes_nothing() {
    let clock = ManualClock::new();
    for limiter in everyone(&clock, Quota::per_second(10)) {
        assert!(limiter.check_n(10).is_ok());
        for cost in [11, 12, u64::MAX] {
            let denied = limiter.check_n(cost).unwrap_err();
            assert_eq!((denied.retry_after(), denied.is_never()), (None, true));
            assert!(limiter.check().is_err(), "{cost} reset {limiter:?}");
        }
    }
}

/// flux-limiter, axum_gcra: a burst of 5 admitted 6.
#[test]
fn burst_of_5_admits_5_not_6() {
    let clock = ManualClock::new();
    for limiter in everyone(&clock, Quota::per_second(5)) {
        assert_eq!((0..10).filter(|_| limiter.check().is_ok()).count(), 5, "{limiter:?}");
    }
    let slow = on(&clock, Quota::per_hour(1).burst(5));
    assert_eq!((0..10).filter(|_| slow.check().is_ok()).count(), 5);
}

/// redis_rate: seconds since 2017 in a float left `remaining` 8 after the first hit at 10/s.
#[test]
fn first_hit_at_10_per_second_leaves_9() {
    for years in [0, 1, 7, 29] {
        let clock = ManualClock::new();
        for limiter in everyone(&clock, Quota::per_second(10)) {
            clock.set(years * 31_557_600 * SECOND + Duration::from_nanos(123_456_789));
            assert_eq!(limiter.check().unwrap().remaining(), 9, "{years} years, {limiter:?}");
        }
    }
}

/// tower_governor, actix-governor: `per_second(5)` meant one in five seconds.
#[test]
fn per_second_5_is_five_in_one_second() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_second(5));
    assert_eq!(drain(&limiter), 5);
    clock.advance(SECOND);
    assert_eq!(drain(&limiter), 5);
    let limiter = on(&clock, Quota::per_second(5).burst(1));
    assert!(limiter.check().is_ok());
    assert_eq!(limiter.check().unwrap_err().retry_after(), Some(Duration::from_millis(200)));
}

/// tower_governor, actix-governor: `Retry-After: 0` on a denial, so that clients came back at once.
#[test]
fn retry_after_is_never_zero_on_denial() {
    let clock = ManualClock::new();
    for rate in [1, 3, 7, 1_000, 999_983, 1_000_000_007, 1_000_000_000_000] {
        let limiter = on(&clock, Quota::per_second(rate).burst(1));
        for step in 0..2_000 {
            clock.advance(Duration::from_nanos(step));
            if let Err(denied) = limiter.check() {
                assert!(denied.retry_after().is_some_and(|wait| !wait.is_zero()), "{denied:?}");
            }
        }
    }
}

/// governor#203: no rate above 10^9 a second could be said.
#[test]
fn rate_above_one_a_nanosecond_can_be_said() {
    let clock = ManualClock::new();
    let limiter = on(&clock, Quota::per_second(3_000_000_000).burst(1_000));
    assert_eq!(drain(&limiter), 1_000);
    clock.advance(Duration::from_nanos(7));
    assert_eq!(drain(&limiter), 21);
}

/// governor#299: a clock that stood still or stepped back denied what was there.
#[test]
fn clock_set_back_denies_nothing_that_was_there() {
    let clock = ManualClock::new();
    clock.set(1_000 * SECOND);
    for limiter in everyone(&clock, Quota::per_second(10)) {
        assert!(limiter.check_n(4).is_ok());
        clock.set(SECOND);
        assert!(limiter.check_n(6).is_ok(), "{limiter:?}");
        assert!(limiter.check().is_err());
        clock.set(1_000 * SECOND);
    }
}

/// Every algorithm that one quota fits.
fn everyone(clock: &ManualClock, quota: Quota) -> [RateLimiter; 4] {
    let builder = || RateLimiter::builder(quota).clock(clock.clone());
    let built = [
        builder().build(),
        builder().leaky_bucket().build(),
        builder().fixed_window().build(),
        builder().sliding_window().build(),
    ];
    built.map(Result::unwrap)
}
