//! Warming up after being idle: what is refused, and the ends of what can be asked.

use proptest::prelude::*;
use sluicegate::{ManualClock, Quota, QuotaError, WarmUpLimiter};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

fn warming(quota: Quota, period: Duration) -> (ManualClock, WarmUpLimiter) {
    let clock = ManualClock::new();
    let builder = WarmUpLimiter::builder(quota, period).clock(clock.clone());
    (clock, builder.build().unwrap())
}

#[test]
fn a_burst_of_its_own_is_refused_by_name() {
    let builder = WarmUpLimiter::builder(Quota::per_second(10).burst(9), SECOND);
    let error = builder.clock(ManualClock::new()).build().unwrap_err();
    assert_eq!(error.field(), "burst");
    let told = "burst must be left out: a limiter that warms up has no burst";
    assert_eq!(error.to_string(), told);
}

/// The longest that an error names is permitted, and a nanosecond more is not.
#[track_caller]
fn longest(quota: Quota) -> Option<Duration> {
    let build = |period| WarmUpLimiter::builder(quota, period).clock(ManualClock::new()).build();
    let error: QuotaError = build(Duration::MAX).unwrap_err();
    assert_eq!(error.field(), "warm_up");
    let text = error.to_string();
    let Some(most) = text.rsplit(' ').next().unwrap().parse().ok().map(Duration::from_nanos) else {
        assert!(text.ends_with("no room for it") && build(Duration::ZERO).is_err());
        return None;
    };
    assert!(text.contains("nanoseconds") && build(most).is_ok() && build(Duration::ZERO).is_ok());
    assert_eq!(build(most + NANOSECOND).unwrap_err(), error);
    Some(most)
}

#[test]
fn a_warm_up_that_does_not_fit_says_how_long_it_may_be() {
    let near = |count, seconds: f64| {
        let most = longest(Quota::per_second(count)).unwrap().as_secs_f64();
        assert!((seconds..seconds * 1.2).contains(&most), "{most} at {count}");
    };
    near(1_000, 7_200.0);
    near(10_000, 100.0);
    near(1_000_000, 0.008);
    assert_eq!(longest(Quota::per_second(1)), Some(3_660 * 86_400 * SECOND));
    assert_eq!(longest(Quota::per_day(1)), Some(3_660 * 86_400 * SECOND));
    assert!(longest(Quota::per_second(910_000_000)).is_some());
    assert_eq!(longest(Quota::per_second(920_000_000)), None);
    assert_eq!(longest(Quota::per_second(1 << 40)), None);
}

/// Debt ends at ten years of flow or more, and the way out of it is told.
#[test]
fn debt_has_an_end_that_a_reservation_is_told_of() {
    let year = 365 * 86_400 * SECOND;
    let (clock, limiter) = warming(Quota::per_second(2), 4 * SECOND);
    let owed = limiter.charge(u64::MAX);
    assert!(owed >= 10 * year && limiter.charge(u64::MAX) == owed, "{owed:?}");
    let wait = limiter.reserve(8).unwrap_err().retry_after().unwrap();
    assert!(wait > year && wait < owed);
    clock.advance(wait - SECOND / 1_000);
    assert!(limiter.reserve(8).is_err());
    clock.advance(SECOND / 1_000);
    std::mem::forget(limiter.reserve(8).unwrap());
    limiter.refund(u64::MAX);
    assert_eq!(limiter.available(), 8);
}

/// A change that is accepted has a year's flow before it; one that has not is refused.
#[test]
fn another_quota_lasts_a_year_or_is_refused() {
    let year = 366 * 86_400 * SECOND;
    let (clock, limiter) = warming(Quota::per_second(2), 4 * SECOND);
    for turn in 0.. {
        // One after the other, so that each is a change.
        let quota = Quota::per_second(if turn % 2 == 0 { 16 } else { 15 });
        if let Err(error) = limiter.set_quota(quota) {
            assert!(error.to_string().contains("year"), "{error}");
            assert!(turn >= 3, "30 years at 2/s are 3 at 16/s");
            break;
        }
        assert!(turn < 100, "time has an end");
        clock.advance(year - 10 * SECOND);
        let place = limiter.reserve(8).unwrap();
        clock.advance(place.ready_in() + 10 * SECOND);
        assert!(limiter.available() > 0, "nothing flowed in turn {turn}");
    }
}

/// A reset makes places void: there is nothing for them to give back.
#[test]
fn places_of_before_a_reset_give_nothing_back() {
    let (_, limiter) = warming(Quota::per_second(2), 4 * SECOND);
    let _first = limiter.reserve(1).unwrap();
    let place = limiter.reserve(1).unwrap();
    limiter.reset();
    let _again = (limiter.reserve(1).unwrap(), limiter.reserve(1).unwrap());
    let owed = limiter.available();
    // The state is the one that the place had made.
    assert_eq!((place.cancel(), limiter.available()), (0, owed));
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(0),
        Just(u64::MAX),
        (0..64_u32, 0..3_u64)
            .prop_map(|(bits, off)| (1_u64 << bits).wrapping_add(off).wrapping_sub(1)),
    ]
}

fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![
        numbers().prop_map(Duration::from_nanos),
        numbers().prop_map(Duration::from_secs),
        Just(Duration::MAX),
    ]
}

fn every_verb(limiter: &WarmUpLimiter, n: u64) -> Result<(), TestCaseError> {
    for n in [1, n] {
        let answer = limiter.reserve_within(n, Duration::ZERO).map(|place| place.grant());
        let _ = format!("{answer:?} {limiter:?}");
        match answer {
            Ok(grant) => {
                prop_assert!(grant.remaining() <= grant.limit() && grant.granted() <= n);
            }
            Err(denied) => {
                prop_assert_eq!(denied.retry_after().is_none(), denied.asked() > denied.limit());
            }
        }
    }
    let limit = limiter.reserve(0).map_or(1, |place| place.grant().limit());
    let before = limiter.available();
    let place = limiter.reserve(n);
    prop_assert!(n <= limit || place.is_err());
    let behind = limiter.reserve(n % limit + 1);
    if let Ok(place) = place {
        let _ = format!("{:?} {:?}", place.ready_in(), place.grant());
        let _ = place.settle(n / 2);
    }
    let _ = behind.map(|place| place.cancel());
    prop_assert!(limiter.available() <= before, "a reservation gave");
    let before = limiter.available();
    let _ = limiter.charge(n);
    prop_assert!(limiter.available() <= before, "a charge gave");
    limiter.refund(n);
    prop_assert!(limiter.available() <= limit as i64);
    let _ = (limiter.charge(u64::MAX), limiter.reserve(1).map(|place| place.cancel()));
    limiter.refund(u64::MAX);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn law_6_nothing_panics_at_any_quota_period_time_and_cost(
        count in numbers(), period in numbers(),
        warm_up in times(), fit in any::<bool>(), start in times(),
        steps in prop::collection::vec((times(), numbers()), 1..10),
    ) {
        let period = (period % 316_224_000_000_000_001).max(1);
        let most = (u128::from(period) << 40) / 1_000_000_000;
        let count = u128::from(count).clamp(1, most.clamp(1, 1 << 48)) as u64;
        let quota = Quota::new(count, Duration::from_nanos(period)).unwrap();
        let clock = ManualClock::new();
        clock.set(start);
        let warm_up = if fit { longest(quota).unwrap_or(warm_up) } else { warm_up };
        let builder = WarmUpLimiter::builder(quota, warm_up).clock(clock.clone());
        let limiter = match builder.build() {
            Ok(limiter) => limiter,
            Err(error) => {
                prop_assert_eq!(error.field(), "warm_up");
                return Ok(());
            }
        };
        for (time, n) in steps {
            clock.set(time);
            every_verb(&limiter, n)?;
            clock.advance(time);
            every_verb(&limiter, n)?;
            limiter.reset();
            every_verb(&limiter, n)?;
        }
    }
}
