//! Near the end of the 30 years that token time is made for, at the end of its line, and beyond.

use sluicegate::{Algorithm, KeyedLimiter, ManualClock, Quota, RateLimiter, RateLimiterBuilder};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(31_557_600);

/// Rates that need no more than 56 bits, as count, period in nanoseconds and burst.
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

fn limiters(quota: (u64, u64, u64)) -> Limiters {
    with(quota, |builder| builder)
}

/// A direct limiter's word has 56 bits for time in batches, of one as well.
fn limiters_of_56_bits(quota: (u64, u64, u64)) -> Limiters {
    with(quota, |builder| builder.batch(1))
}

fn with(
    (count, period, burst): (u64, u64, u64),
    choose: fn(RateLimiterBuilder) -> RateLimiterBuilder,
) -> Limiters {
    let clock = ManualClock::new();
    let quota: Quota = format!("{count}/{period} ns burst {burst}").parse().unwrap();
    let direct = choose(RateLimiter::builder(quota)).clock(clock.clone()).build().unwrap();
    let keyed = KeyedLimiter::builder(quota, 10).clock(clock.clone()).seed([1, 2]).build().unwrap();
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

/// A direct limiter's word has 64 bits, and its time outlasts what nanoseconds can count, to within
/// three units.
#[test]
fn direct_limiters_outlast_their_clocks() {
    for quota in NARROW {
        let (clock, direct, _) = limiters(quota);
        for years in [30, 61, 300, 584] {
            clock.set(years * YEAR);
            assert!(direct.check_n(quota.2).is_ok(), "{quota:?} after {years} years");
            assert!(direct.check().is_err(), "{quota:?} after {years} years");
            if years < 584 {
                let wait = direct.check_n(quota.2).unwrap_err().retry_after().unwrap();
                let off = Duration::from_nanos(100);
                clock.advance(wait.saturating_sub(off));
                assert!(direct.check_n(quota.2).is_err(), "{quota:?} after {years} years");
                clock.advance(2 * off);
                assert!(direct.check_n(quota.2).is_ok(), "{quota:?} after {years} years");
            }
        }
    }
}

#[test]
fn line_of_56_bits_ends_in_denials() {
    for quota in NARROW {
        let limiters = limiters_of_56_bits(quota);
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

/// What comes in after `from`, when both buckets are drained, by each of the `times`.
fn flows(limiters: &Limiters, from: u64, times: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    limiters.0.set(Duration::from_nanos(from));
    let _ = drain(limiters);
    let ask = |at| {
        limiters.0.set(Duration::from_nanos(at));
        drain(limiters)
    };
    times.map(ask).collect()
}

/// Across the very end: exact until there, never more than flowed, and then nothing for ever. A
/// keyed limiter's line may end sooner than a direct one's, since it begins later.
#[test]
fn line_of_56_bits_is_exact_until_its_end_and_never_generous() {
    for quota in NARROW {
        for of in [|flow: (u64, u64)| flow.0, |flow: (u64, u64)| flow.1] {
            exact_until_the_end(quota, of);
        }
        let limiters = limiters_of_56_bits(quota);
        let (_, _, keyed) = &limiters;
        limiters.0.set(100 * YEAR);
        // A key that nobody has seen has its burst, once.
        let first = keyed.check_up_to(&8, u64::MAX).map_or(0, |grant| grant.granted());
        assert_eq!(first, quota.2);
        assert!(keyed.check(&8).is_err(), "{quota:?}");
    }
}

fn exact_until_the_end(quota: (u64, u64, u64), of: fn((u64, u64)) -> u64) {
    let (count, period, _) = quota;
    let flowed = |ns: u64| (u128::from(ns) * u128::from(count) / u128::from(period)) as u64;
    // The time of at least two tokens, and of two units.
    let pace = 2 * period.div_ceil(count) + 100;
    let limiters = limiters_of_56_bits(quota);
    // Whether anything flows shortly before: of new limiters, since no clock goes back.
    let alive = |at: u64| {
        let fresh = limiters_of_56_bits(quota);
        of(flows(&fresh, at - pace, [at].into_iter())[0]) > 0
    };
    let (mut before, mut after) = ((30 * YEAR).as_nanos() as u64, (100 * YEAR).as_nanos() as u64);
    assert!(alive(before) && !alive(after), "{quota:?}");
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if alive(middle) { before = middle } else { after = middle }
    }
    // From about twenty tokens before the end to twenty after, in fifths.
    let from = after - 11 * pace;
    let asked = (0..220).map(|i| from + i * (pace / 10));
    let mut admitted = 0;
    for (at, flow) in asked.clone().zip(flows(&limiters, from, asked)) {
        admitted += of(flow);
        // But for a unit of time, of up to 35 ns.
        let most = flowed(at - from + 35).min(flowed(after - from + 35));
        let least = flowed((at - from).saturating_sub(35)).min(flowed(after - pace - from - 35));
        assert!((least..=most).contains(&admitted), "{admitted} at {at} ns, {quota:?}");
    }
    for years in [100, 200, 300, 400, 500, 584] {
        limiters.0.set(years * YEAR);
        assert_eq!(of(drain(&limiters)), 0, "{quota:?} after {years} years");
    }
}

/// The lines of windows end likewise: the last window's count, once.
#[test]
fn lines_of_windows_end_in_denials() {
    for (count, period) in
        [(5, 30 * DAY), (100, Duration::from_secs(1)), (7, Duration::from_millis(3))]
    {
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let quota = Quota::new(count, period).unwrap();
            let clock = ManualClock::new();
            let direct = RateLimiter::builder(quota).algorithm(algorithm).clock(clock.clone());
            let keyed = KeyedLimiter::builder(quota, 10).algorithm(algorithm).clock(clock.clone());
            let limiters = (clock, direct.build().unwrap(), keyed.seed([1, 2]).build().unwrap());
            // Three windows apart, until then, each is as good as the first.
            for at in
                [29 * YEAR, 29 * YEAR + 3 * period, 30 * YEAR - DAY, 30 * YEAR - DAY + 3 * period]
            {
                limiters.0.set(at);
                assert_eq!(drain(&limiters), (count, count), "{algorithm}, {quota:?} at {at:?}");
                assert_eq!(drain(&limiters), (0, 0), "{algorithm}, {quota:?} at {at:?}");
            }
            limiters.0.set(100 * YEAR);
            assert_eq!(drain(&limiters), (count, count), "{algorithm}, {quota:?}");
            for years in [100, 101, 300, 584] {
                limiters.0.set(years * YEAR);
                assert_eq!(drain(&limiters), (0, 0), "{algorithm}, {quota:?} after {years} years");
            }
        }
    }
}

/// Once the line has ended a denied fixed window said "retry after 0 ns", for ever.
#[test]
fn denials_after_the_end_never_say_to_come_at_once() {
    for (count, period) in [(5, 30 * DAY), (100, Duration::from_secs(1)), (7, 3 * MILLISECOND)] {
        let quota = Quota::new(count, period).unwrap();
        for algorithm in [
            Algorithm::TokenBucket,
            Algorithm::LeakyBucket,
            Algorithm::FixedWindow,
            Algorithm::SlidingWindow,
        ] {
            let clock = ManualClock::new();
            let direct = RateLimiter::builder(quota).algorithm(algorithm).clock(clock.clone());
            let keyed = KeyedLimiter::builder(quota, 10).algorithm(algorithm).clock(clock.clone());
            let limiters = (clock, direct.build().unwrap(), keyed.seed([1, 2]).build().unwrap());
            let least = if algorithm == Algorithm::FixedWindow {
                period
            } else {
                // A unit of time, of up to 35 ns, may have flowed already.
                period / count as u32 - Duration::from_nanos(35)
            };
            for year in [100, 101, 300, 584] {
                limiters.0.set(year * YEAR);
                let _ = drain(&limiters);
                let (_, direct, keyed) = &limiters;
                for denied in [direct.check().unwrap_err(), keyed.check(&7).unwrap_err()] {
                    let wait = denied.retry_after().unwrap();
                    assert!(wait >= least, "{algorithm}, {quota:?}: {wait:?} in year {year}");
                    assert!(denied.reset_after() >= wait, "{algorithm}, {quota:?}: {denied:?}");
                }
            }
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

/// At 10^9 a second the line wraps every 73 years, at 10^12 every 213 days: in steps of no more
/// than half of it, several times over, what flows in between is there and what was taken is not.
#[test]
fn wide_lines_are_exact_after_several_wraps() {
    for (quota, step) in [(WIDE[0], 30 * YEAR), (WIDE[1], 106 * DAY)] {
        let (clock, direct, _) = limiters(quota);
        let (count, _, burst) = quota;
        for turn in 1..=16 {
            clock.set(turn * step);
            let drained = || direct.check_up_to(u64::MAX).map_or(0, |grant| grant.granted());
            assert_eq!((drained(), drained()), (burst, 0), "{count} a second, turn {turn}");
            let wait = direct.peek(burst).unwrap_err().retry_after();
            assert_eq!(wait, Some(Duration::from_secs(1)), "{count} a second, turn {turn}");
            clock.advance(Duration::from_nanos(SECOND - 1));
            assert!(direct.peek(burst).is_err(), "{count} a second, turn {turn}");
            assert_eq!(drained(), burst - count / SECOND, "{count} a second, turn {turn}");
            clock.advance(Duration::from_nanos(1));
            assert_eq!(drained(), count / SECOND, "{count} a second, turn {turn}");
        }
    }
}

/// Across the wrap itself, one call at a time: the line of 10^12 a second, from 2 us before 2^64
/// tokens to 2 us after.
#[test]
fn wide_line_flows_across_its_wrap() {
    let (clock, direct, _) = limiters(WIDE[1]);
    let wrap = u64::MAX / 1_000 + 1;
    // Near enough for a new word not to be taken for a debt.
    for at in [wrap / 3, wrap / 3 * 2, wrap - 2_000] {
        clock.set(Duration::from_nanos(at));
        assert_eq!(direct.check_up_to(u64::MAX).unwrap().granted(), WIDE[1].2);
    }
    for step in 1..=4_000 {
        clock.advance(Duration::from_nanos(1));
        assert!(direct.check_n(1_001).is_err(), "step {step}");
        assert!(direct.check_n(999).is_ok() && direct.check().is_ok(), "step {step}");
        assert!(direct.check().is_err(), "step {step}");
    }
}

#[test]
fn time_goes_on_centuries_after_a_change() {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(Quota::per_second(1)).clock(clock.clone());
    let limiter = builder.build().unwrap();
    limiter.set_quota(Quota::per_second(2)).unwrap();
    clock.set(YEAR * 293);
    assert!(limiter.check_n(2).is_ok() && limiter.check().is_err());
    clock.advance(Duration::from_secs(1));
    assert_eq!(limiter.available(), 2);
}
