//! Near the end of the 30 years that token time is made for, at the end of its line, and beyond.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use sluicegate::{KeyedLimiter, ManualClock, Quota, RateLimiter};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(31_557_600);

/// Rates whose line has 56 bits, as count, period in nanoseconds and burst.
const NARROW: [(u64, u64, u64); 5] = [
    (1, 30 * 86_400 * SECOND, 10),
    (7, 60 * SECOND, 50),
    (1, SECOND, 10),
    (7_000_003, SECOND, 7_000_003),
    (57_000_000, SECOND, 57_000_000),
];

/// Rates whose line has 64 bits in a direct limiter.
const WIDE: [(u64, u64, u64); 2] =
    [(1_000_000_000, SECOND, 1_000_000_000), (1_000_000_000_000, SECOND, 1_000_000_000_000)];

type Limiters = (ManualClock, RateLimiter, KeyedLimiter<u64>);

fn limiters((count, period, burst): (u64, u64, u64)) -> Limiters {
    let clock = ManualClock::new();
    let quota: Quota = format!("{count}/{period} ns burst {burst}").parse().unwrap();
    let direct = RateLimiter::builder(quota).clock(clock.clone()).build().unwrap();
    let keyed = KeyedLimiter::builder(quota, 10).clock(clock.clone()).build().unwrap();
    (clock, direct, keyed)
}

/// Every token of the direct limiter, and of key 7.
fn drain((_, direct, keyed): &Limiters) -> (u64, u64) {
    let all = |answer: Result<sluicegate::Grant, _>| answer.map_or(0, |grant| grant.granted());
    (all(direct.check_up_to(u64::MAX)), all(keyed.check_up_to(&7, u64::MAX)))
}

/// Drained, what flows in some odd time comes in to the token; and the stated wait is enough, and a
/// nanosecond less is not.
fn exact_from((count, period, burst): (u64, u64, u64), at: Duration, limiters: &Limiters) {
    let (clock, direct, keyed) = limiters;
    clock.set(at);
    let _ = drain(limiters);
    // Three quarters of a burst of flow, and a bit.
    let time = (u128::from(burst) * 3 / 4 * u128::from(period) / u128::from(count)) as u64 + 1;
    clock.advance(Duration::from_nanos(time));
    let due = (u128::from(time) * u128::from(count) / u128::from(period)) as u64;
    assert_eq!(drain(limiters), (due, due), "{count}/{period} ns at {at:?}");
    let wait = direct.check().unwrap_err().retry_after().unwrap();
    assert_eq!(keyed.check(&7).unwrap_err().retry_after(), Some(wait), "{count}/{period} ns");
    clock.advance(wait - Duration::from_nanos(1));
    assert!(direct.check().is_err() && keyed.check(&7).is_err(), "{count}/{period} ns");
    clock.advance(Duration::from_nanos(1));
    assert!(direct.check().is_ok() && keyed.check(&7).is_ok(), "{count}/{period} ns");
}

#[test]
fn exact_a_day_before_30_years() {
    for quota in NARROW {
        let limiters = limiters(quota);
        let (.., burst) = quota;
        assert_eq!(drain(&limiters), (burst, burst));
        exact_from(quota, 10 * YEAR, &limiters);
        exact_from(quota, 30 * YEAR - DAY, &limiters);
    }
}

/// Nobody came for decades: the bucket is full, once, and not fuller.
#[test]
fn idle_for_30_years_is_one_burst() {
    for quota in NARROW {
        let limiters = limiters(quota);
        let (.., burst) = quota;
        assert_eq!(drain(&limiters), (burst, burst));
        limiters.0.set(30 * YEAR - DAY);
        assert_eq!(drain(&limiters), (burst, burst), "{quota:?}");
        assert_eq!(drain(&limiters), (0, 0), "{quota:?}");
    }
}

#[test]
fn line_of_56_bits_ends_in_denials() {
    for quota in NARROW {
        let limiters = limiters(quota);
        let (clock, direct, keyed) = &limiters;
        let (.., burst) = quota;
        clock.set(500 * YEAR);
        assert_eq!(drain(&limiters), (burst, burst), "what was there is still there: {quota:?}");
        for years in [500, 501, 584] {
            clock.set(years * YEAR);
            assert!(direct.check().is_err() && keyed.check(&7).is_err(), "{quota:?}");
            assert_eq!(drain(&limiters), (0, 0), "{quota:?} after {years} years");
        }
    }
}

/// 2^64 tokens flow in 213 days at 10^12 a second: the line wraps every 213 days, at most.
#[test]
fn wide_lines_wrap_without_a_trace() {
    for quota in WIDE {
        let (clock, direct, keyed) = limiters(quota);
        let (count, _, burst) = quota;
        for step in 1..=40_u32 {
            clock.set(step * 100 * DAY);
            let all = direct.check_up_to(u64::MAX).unwrap().granted();
            assert_eq!(all, burst, "{count} a second, step {step}");
            assert!(direct.check().is_err());
            clock.advance(Duration::from_nanos(123_457));
            let due = (123_457 * u128::from(count) / u128::from(SECOND)) as u64;
            let flowed = direct.check_up_to(u64::MAX).unwrap().granted();
            assert_eq!(flowed, due, "{count} a second, step {step}");
            // A key's line has 56 bits of coarser units, of up to 35 ns of flow.
            let unit = 35 * count / SECOND;
            let _ = keyed.check_up_to(&7, u64::MAX);
            clock.advance(Duration::from_nanos(123_457));
            let key = keyed.check_up_to(&7, u64::MAX).map_or(0, |grant| grant.granted());
            assert!(key.abs_diff(due) <= unit, "{key} of {due}");
            let _ = direct.check_up_to(u64::MAX);
        }
    }
}
