//! Windows and refills that people mean: by the calendar, and all at once.

use proptest::prelude::*;
use sluicegate::{
    Algorithm, Carry, KeyedLimiter, ManualClock, Quota, RateLimiter, RateLimiterBuilder,
};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const NANOSECOND: Duration = Duration::from_nanos(1);

fn at(time: Duration, builder: RateLimiterBuilder) -> (ManualClock, RateLimiter) {
    let clock = ManualClock::new();
    clock.set(time);
    let limiter = builder.clock(clock.clone()).build().unwrap();
    (clock, limiter)
}

/// 2026-11-24 22:38:45 UTC, a Tuesday.
const TUESDAY: Duration = Duration::from_secs(1_795_559_925);

#[test]
fn days_end_at_midnight_of_utc_or_of_a_place() {
    let midnight = Duration::from_secs(86_400 - (22 * 3_600 + 38 * 60 + 45));
    for (east, wait) in [(0, midnight), (3_600, midnight - HOUR), (-8 * 3_600, midnight + 8 * HOUR)]
    {
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let quota = Quota::per_day(1_000);
            let builder = RateLimiter::builder(quota).algorithm(algorithm).aligned_at(east);
            let (clock, limiter) = at(TUESDAY, builder);
            assert!(limiter.check_n(1_000).is_ok() && limiter.check().is_err());
            if algorithm == Algorithm::FixedWindow {
                assert_eq!(limiter.check().unwrap_err().retry_after(), Some(wait), "{east}");
                clock.advance(wait - NANOSECOND);
                assert!(limiter.check().is_err(), "{east}");
                clock.advance(NANOSECOND);
                assert!(limiter.check_n(1_000).is_ok(), "{east}");
                let reset = limiter.check().unwrap_err().reset_after();
                assert_eq!(reset, DAY, "{east}");
            } else {
                // From midnight on the first day slides out, the thousandth of a day for each.
                clock.advance(wait + DAY / 2);
                assert_eq!(limiter.available(), 500, "{east}");
            }
        }
    }
}

/// At 22:38:45 on a Tuesday: hours, weeks, and what is built shortly after a boundary.
#[test]
fn hours_and_weeks_are_those_of_people() {
    let wait = |quota: Quota, time: Duration| {
        let (_, limiter) = at(time, RateLimiter::builder(quota).fixed_window().aligned());
        assert!(limiter.check_n(quota.count()).is_ok());
        limiter.check().unwrap_err().retry_after().unwrap()
    };
    assert_eq!(wait(Quota::per_hour(5), TUESDAY), Duration::from_secs(21 * 60 + 15));
    assert_eq!(wait(Quota::per_minute(5), TUESDAY), Duration::from_secs(15));
    let week = Quota::new(5, 7 * DAY).unwrap();
    let to_midnight = Duration::from_secs(86_400 - (22 * 3_600 + 38 * 60 + 45));
    assert_eq!(wait(week, TUESDAY), 5 * DAY + to_midnight, "until Monday");
    assert_eq!(wait(Quota::per_day(5), 20_000 * DAY), DAY);
    assert_eq!(wait(Quota::per_day(5), 20_000 * DAY + NANOSECOND), DAY - NANOSECOND);
    assert_eq!(wait(Quota::per_day(5), Duration::ZERO), DAY);
}

/// Where it is a quarter to six now by the system's clock, so that no boundary is near.
#[cfg(feature = "std")]
fn quarter_to_six() -> i32 {
    use std::time::{SystemTime, UNIX_EPOCH};

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    5 * 3_600 + 45 * 60 - (now % 86_400) as i32
}

#[cfg(feature = "std")]
fn nearly(wait: Duration, expected: Duration) -> bool {
    wait.abs_diff(expected) < Duration::from_secs(60)
}

#[cfg(feature = "std")]
#[test]
fn default_clock_knows_the_calendar() {
    let (quota, east) = (Quota::per_day(1), quarter_to_six());
    let limiter = RateLimiter::builder(quota).fixed_window().aligned_at(east).build().unwrap();
    let keyed = KeyedLimiter::<u8>::builder(quota, 10).fixed_window().aligned_at(east);
    let keyed = keyed.build().unwrap();
    assert!(limiter.check().is_ok() && keyed.check(&1).is_ok());
    for answer in [limiter.check(), keyed.check(&1)] {
        let wait = answer.unwrap_err().retry_after().unwrap();
        assert!(nearly(wait, 18 * HOUR + HOUR / 4), "{wait:?}");
    }
}

/// Another period's windows are the calendar's too; what was admitted stays.
#[test]
fn changed_periods_stay_aligned() {
    let (clock, limiter) =
        at(TUESDAY, RateLimiter::builder(Quota::per_day(10)).fixed_window().aligned());
    assert!(limiter.check_n(7).is_ok());
    limiter.set_quota(Quota::per_hour(10)).unwrap();
    assert_eq!(limiter.available(), 3);
    let hour = Duration::from_secs(21 * 60 + 15);
    let off = Duration::from_micros(1);
    clock.advance(hour - off);
    assert_eq!(limiter.available(), 3);
    clock.advance(2 * off);
    assert_eq!(limiter.available(), 10);
    limiter.set_quota_with(Quota::per_day(4), Carry::Full).unwrap();
    assert!(limiter.check_n(4).is_ok() && limiter.check().is_err());
    let wait = limiter.check().unwrap_err().retry_after().unwrap();
    assert!(wait.abs_diff(HOUR) < 3 * off, "at 23:00 a day has an hour left: {wait:?}");
}

#[test]
fn what_has_no_boundaries_is_not_aligned() {
    let quota = Quota::per_second(5);
    let field = |builder: RateLimiterBuilder| builder.build().unwrap_err().field();
    assert_eq!(field(RateLimiter::builder(quota).aligned()), "aligned");
    let builder = RateLimiter::builder(quota).fixed_window();
    assert_eq!(field(builder.aligned_at(86_401)), "aligned");
    assert_eq!(field(RateLimiter::builder(quota).fixed_window().aligned_at(i32::MIN)), "aligned");
    for builder in [
        RateLimiter::builder(quota).leaky_bucket(),
        RateLimiter::builder(quota).fixed_window(),
        RateLimiter::builder(quota).sliding_window(),
    ] {
        assert_eq!(field(builder.refill_at_intervals()), "intervals");
    }
}

/// bucket4j's `refillIntervally`, and aligned.
#[test]
fn a_refill_comes_all_at_once() {
    let quota = Quota::per_hour(30).burst(50);
    for (builder, first) in [
        (RateLimiter::builder(quota).refill_at_intervals(), HOUR),
        (
            RateLimiter::builder(quota).refill_at_intervals().aligned(),
            Duration::from_secs(21 * 60 + 15),
        ),
    ] {
        let (clock, limiter) = at(TUESDAY, builder);
        assert!(limiter.check_n(50).is_ok());
        let denied = limiter.check_n(31).unwrap_err();
        assert_eq!(denied.retry_after(), Some(first + HOUR));
        assert_eq!(limiter.check().unwrap_err().retry_after(), Some(first));
        let place = limiter.reserve(30).unwrap();
        assert_eq!(place.ready_in(), first);
        assert_eq!(limiter.reserve(1).unwrap().ready_in(), first + HOUR);
        assert_eq!(place.cancel(), 30);
        clock.advance(first - NANOSECOND);
        assert_eq!(limiter.available(), 0);
        clock.advance(NANOSECOND);
        assert_eq!(limiter.available(), 30);
        clock.advance(HOUR);
        assert_eq!(limiter.available(), 50);
        assert!(limiter.check().unwrap().reset_after() == HOUR);
    }
}

/// A change leaves the last period's beginning where it was, so that changing often puts nothing
/// off; the past is not settled by the new rate.
#[test]
fn a_changed_refill_keeps_its_intervals() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let builder = RateLimiter::builder(Quota::per_hour(10)).refill_at_intervals();
    let (clock, limiter) = at(TUESDAY, builder);
    assert!(limiter.check_n(10).is_ok());
    for i in 0..50 {
        clock.advance(minutes(1));
        limiter.set_quota(Quota::per_hour(10 + i % 2)).unwrap();
    }
    assert_eq!(limiter.available(), 0);
    clock.advance(minutes(10));
    assert!((10..=11).contains(&limiter.available()), "{}", limiter.available());
    assert!(limiter.check_n(limiter.available() as u64).is_ok());
    clock.advance(minutes(30));
    // Of a minute's period half an hour is over, which counts for nothing.
    limiter.set_quota(Quota::per_minute(6)).unwrap();
    assert_eq!(limiter.available(), 0);
    clock.advance(minutes(1));
    assert_eq!(limiter.available(), 6);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take(u64),
    Charge(u64),
    Refund(u64),
}

fn step(period: u64, burst: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3 * period).prop_map(Step::Wait),
        2 => (0..3_u64).prop_map(move |k| Step::Wait(k * period)),
        4 => (1..burst + 2).prop_map(Step::Take),
        1 => (1..burst).prop_map(Step::Charge),
        1 => (1..burst).prop_map(Step::Refund),
    ]
}

fn cases() -> impl Strategy<Value = (u64, u64, u64, u64, Vec<Step>)> {
    (1..50_u64, 1..90_u64, 2..40_000_000_000_u64, any::<u32>()).prop_flat_map(
        |(count, burst, period, start)| {
            let burst = burst.max(2);
            let steps = prop::collection::vec(step(period, burst), 1..100);
            (Just(count), Just(burst), Just(period), Just(u64::from(start) * 1_000_003), steps)
        },
    )
}

proptest! {
    /// Whole tokens at whole periods: nothing is rounded anywhere, so that every decision and
    /// figure is that of integers.
    #[test]
    fn intervals_are_exact(
        (count, burst, period, start, steps) in cases(), aligned in any::<bool>(),
    ) {
        let quota = Quota::new(count, Duration::from_nanos(period)).unwrap().burst(burst);
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let builder = RateLimiter::builder(quota).refill_at_intervals();
        let builder = if aligned { builder.aligned() } else { builder };
        let limiter = builder.clock(clock.clone()).build().unwrap();
        let keyed = KeyedLimiter::<u8>::builder(quota, 10).refill_at_intervals();
        let keyed = if aligned { keyed.aligned() } else { keyed };
        let keyed = keyed.clock(clock.clone()).seed([1, 2]).build().unwrap();
        // 1970 began three days after a Monday.
        let zero = if aligned { (start + 3 * DAY.as_nanos() as u64) % period } else { 0 };
        let (mut elapsed, mut balance) = (zero, burst as i64);
        for step in steps {
            match step {
                Step::Wait(nanos) => {
                    let periods = (elapsed + nanos) / period - elapsed / period;
                    elapsed += nanos;
                    clock.advance(Duration::from_nanos(nanos));
                    balance = (balance + (periods * count) as i64).min(burst as i64);
                }
                Step::Take(n) => {
                    let answer = limiter.check_n(n);
                    prop_assert_eq!(answer.is_ok(), n <= burst && n as i64 <= balance);
                    prop_assert_eq!(keyed.check_n(&1, n).is_ok(), answer.is_ok());
                    if let Err(denied) = answer {
                        let missing = (n as i64 - balance) as u64;
                        let wait = missing.div_ceil(count) * period - elapsed % period;
                        let expected = (n <= burst).then(|| Duration::from_nanos(wait));
                        prop_assert_eq!(denied.retry_after(), expected);
                    } else {
                        balance -= n as i64;
                    }
                }
                Step::Charge(n) => {
                    limiter.charge(n);
                    keyed.charge(&1, n);
                    balance -= n as i64;
                }
                Step::Refund(n) => {
                    limiter.refund(n);
                    keyed.refund(&1, n);
                    balance = (balance + n as i64).min(burst as i64);
                }
            }
            prop_assert_eq!(limiter.available(), balance);
            prop_assert_eq!(keyed.available(&1), balance);
        }
    }
}

/// All processes of a machine have the same days.
#[cfg(all(unix, feature = "shared"))]
#[test]
fn shared_tables_have_the_calendar_of_their_maker() {
    use sluicegate::{KeyedBuilder, SharedError};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let builder = || KeyedLimiter::<u8>::builder(Quota::per_day(10), 10).fixed_window();
    let open = |builder: KeyedBuilder<u8>| builder.open_shared(&path);
    let east = quarter_to_six();
    let aligned = || open(builder().aligned_at(east)).unwrap();
    let (a, b) = (aligned(), aligned());
    assert!(a.check_n(&1, 10).is_ok() && b.check(&1).is_err());
    let wait = b.check(&1).unwrap_err().retry_after().unwrap();
    assert!(nearly(wait, 18 * HOUR + HOUR / 4), "{wait:?}");
    a.set_quota_with(Quota::per_hour(10), Carry::Full).unwrap();
    assert!(b.check_n(&1, 10).is_ok() && a.check(&1).is_err());
    let wait = b.check(&1).unwrap_err().retry_after().unwrap();
    assert!(nearly(wait, HOUR / 4), "{wait:?}");
    for other in [builder(), builder().aligned_at(east + 1)] {
        assert!(matches!(open(other), Err(SharedError::Periods)));
    }
    let intervals = || KeyedLimiter::<u8>::builder(Quota::per_hour(5), 10).refill_at_intervals();
    let path = folder.path().join("intervals");
    let (a, b) = (intervals().open_shared(&path).unwrap(), intervals().open_shared(&path).unwrap());
    assert!(a.check_n(&1, 5).is_ok());
    let wait = b.check(&1).unwrap_err().retry_after().unwrap();
    assert!(wait <= HOUR && nearly(wait, HOUR), "{wait:?}");
}
