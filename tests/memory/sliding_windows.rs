//! Sliding windows: the whole rate, the law, and honest waits.

use crate::support::models::*;
use proptest::prelude::*;
use sluicegate::{KeyedLimiter, ManualClock, Quota, RateLimiter};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);
const TEN: Duration = Duration::from_secs(10);

fn on(clock: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).sliding_window().clock(clock.clone()).build().unwrap()
}

fn keyed(clock: &ManualClock, quota: Quota) -> KeyedLimiter<u64> {
    KeyedLimiter::builder(quota, 9)
        .sliding_window()
        .clock(clock.clone())
        .seed([1, 2])
        .build()
        .unwrap()
}

/// A client that asks all the time got 50, 50, 67, 90 and 99 % of the first five.
#[test]
fn who_asks_all_the_time_gets_the_whole_rate() {
    for count in [1, 2, 3, 10, 100, 101] {
        for step in [7, 10, 90, 333].map(Duration::from_millis) {
            // No later than the next token.
            let step = step.min(TEN / count);
            let quota = Quota::new(count.into(), TEN).unwrap();
            let clock = ManualClock::new();
            let (direct, keyed) = (on(&clock, quota), keyed(&clock, quota));
            let (mut admitted, mut times) = ([0_u64; 2], 0_u32);
            while step * times < 100 * TEN {
                clock.set(step * times);
                admitted[0] += u64::from(direct.check().is_ok());
                admitted[1] += u64::from(keyed.check(&1).is_ok());
                times += 1;
            }
            // Of one, each is asked for up to a step after it is there, and late by that.
            let period = if count == 1 {
                step * TEN.as_nanos().div_ceil(step.as_nanos()) as u32
            } else {
                TEN
            };
            let least = (100 * TEN).as_nanos() * u128::from(count) / period.as_nanos() - 1;
            for admitted in admitted {
                assert!(u128::from(admitted) >= least, "{admitted} of {quota} each {step:?}");
                assert!(admitted <= 101 * u64::from(count), "{admitted} of {quota}");
            }
        }
    }
}

/// It was 20 s.
#[test]
fn one_of_ten_seconds_comes_after_ten_seconds() {
    let quota = Quota::new(1, TEN).unwrap();
    for start in [0, 3_000_000_000, 9_999_999_999, 12_345_678_901, 1_000_000_000_000_000_007] {
        let clock = ManualClock::new();
        let (direct, keyed) = (on(&clock, quota), keyed(&clock, quota));
        clock.set(Duration::from_nanos(start));
        for _ in 0..5 {
            assert!(direct.check().is_ok() && keyed.check(&1).is_ok());
            let denied = [direct.check().unwrap_err(), keyed.check(&1).unwrap_err()];
            let [wait, by_key] = denied.map(|denied| denied.retry_after().unwrap());
            assert_eq!(wait, TEN, "{start}");
            // A key's word has fewer bits for the moment.
            let early = if start == 0 { Duration::ZERO } else { Duration::from_nanos(75) };
            assert!(TEN - early <= by_key && by_key <= TEN, "{by_key:?} {start}");
            if by_key < wait {
                clock.advance(by_key - NANOSECOND);
                assert!(keyed.check(&1).is_err());
                clock.advance(wait - by_key);
            } else {
                clock.advance(wait - NANOSECOND);
                assert!(keyed.check(&1).is_err());
            }
            assert!(direct.check().is_err());
            clock.advance(NANOSECOND);
        }
    }
}

/// 44 were left: a tenth of a window is no whole number of a limiter's units, and what had flowed
/// was rounded down.
#[test]
fn what_is_left_is_left_at_that_very_instant() {
    for period in [1, 7, 10, 60, 3_600, 86_400].map(Duration::from_secs) {
        let quota = Quota::new(100, period).unwrap();
        for (before, now, part, left) in
            [(50, 10, 10, 45), (50, 10, 2, 65), (10, 89, 10, 2), (98, 1, 2, 50), (70, 30, 5, 14)]
        {
            let clock = ManualClock::new();
            let (direct, keyed) = (on(&clock, quota), keyed(&clock, quota));
            assert!(direct.check_n(before).is_ok() && keyed.check_n(&1, before).is_ok());
            clock.advance(period);
            assert!(direct.check_n(now).is_ok() && keyed.check_n(&1, now).is_ok());
            clock.advance(period / part - NANOSECOND);
            let is_left = || [direct.available(), keyed.available(&1)];
            assert_eq!(is_left(), [left - 1; 2], "{before} {now} {period:?} / {part}");
            clock.advance(NANOSECOND);
            assert_eq!(is_left(), [left; 2], "{before} {now} {period:?} / {part}");
        }
    }
}

/// The whole count just before a window ends, and then the rate, is all that the law permits, and
/// no more.
#[test]
fn the_law_is_tight() {
    for (count, period) in [(1, TEN), (2, TEN), (7, SECOND), (100, SECOND), (8_000, SECOND)] {
        let quota = Quota::new(count, period).unwrap();
        let clock = ManualClock::new();
        let limiter = keyed(&clock, quota);
        let start = 5 * period - period / 1_000;
        clock.set(start);
        let mut admitted = limiter.check_up_to(&1, u64::MAX).unwrap().granted();
        assert_eq!(admitted, count);
        for step in 1..5_000_u32 {
            let passed = period * step / 1_000;
            clock.set(start + passed);
            admitted += limiter.check_up_to(&1, u64::MAX).map_or(0, |grant| grant.granted());
            let flowed = u128::from(count) * passed.as_nanos() / period.as_nanos();
            let law = u128::from(count) + flowed;
            // Of one alone: each waits for the step that comes after it is there.
            let late = if count == 1 { 1 } else { 2 + u128::from(count) / 1_000 };
            assert!(u128::from(admitted) <= law, "{admitted} of {quota} in {passed:?}");
            assert!(u128::from(admitted) + late >= law, "{admitted} of {quota} in {passed:?}");
        }
    }
}

/// An uneven past: whatever was taken, charged and refunded.
fn past() -> impl Strategy<Value = Vec<(u8, f64, f64)>> {
    prop::collection::vec((0..8_u8, 0.0..1.0_f64, 0.0..1.3_f64), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// From any state on, at any polling speed at which the level never falls to nothing.
    #[test]
    fn law_2_nothing_is_lost_under_saturation(
        count in prop_oneof![1..12_u64, 12..5_000_u64],
        period in 1_000_000..100_000_000_000_u64,
        past in past(),
        gap in 0.0..1.0_f64,
        by_one: bool,
    ) {
        let quota = Quota::new(count, Duration::from_nanos(period)).unwrap();
        let clock = ManualClock::new();
        let limiter = on(&clock, quota);
        let mut now = 0;
        for (verb, part, later) in past {
            let n = (count as f64 * part) as u64;
            match verb {
                0 => { let _ = limiter.charge(n); }
                1 => limiter.refund(n),
                2 | 3 => { let _ = limiter.check_up_to(n); }
                _ => { let _ = limiter.check_n(n); }
            }
            now += (later * period as f64) as u64;
            clock.set(Duration::from_nanos(now));
        }
        // One at a time as often as they come, or else all there are.
        let by_one = by_one || !SlidingModel::notes(&quota, 64);
        let longest = if by_one { period / count } else { period - period / count };
        let step = ((longest as f64 * gap) as u64).max(period / 2_000).min(longest);
        let step = step.max(period / count / 8).max(1);
        if count == 1 && step > period / 2 {
            return Ok(());
        }
        let ask = |now: u64| {
            clock.set(Duration::from_nanos(now));
            let most = if by_one { 1 } else { u64::MAX };
            limiter.check_up_to(most).map_or(0, |grant| grant.granted())
        };
        // Until it is known that the limit is reached.
        let mut start = now;
        while start < now + 4 * period {
            start += step;
            ask(start);
        }
        let (mut now, mut admitted) = (start, 0);
        while now < start + 40 * period {
            now += step;
            admitted += ask(now);
        }
        // Of one, all of it goes each time, so that it cannot be caught up with.
        let period = if count == 1 { period.next_multiple_of(step) + step } else { period };
        let flowed = u128::from(count) * u128::from(now - start) / u128::from(period);
        prop_assert!(u128::from(admitted) + 1 >= flowed, "{} of {} by {}", admitted, flowed, step);
        if count > 1 {
            let law = flowed + u128::from(count);
            prop_assert!(u128::from(admitted) <= law, "{} of {}", admitted, flowed);
        }
    }

    /// Places in line come at the rate, from the first that waits on.
    #[test]
    fn places_come_at_the_rate(count in 1..40_u64, phase in 0.0..1.0_f64, reached: bool) {
        let quota = Quota::new(count, SECOND).unwrap();
        let clock = ManualClock::new();
        let limiter = on(&clock, quota);
        clock.set(SECOND.mul_f64(phase));
        let most = if reached { count } else { count - 1 };
        if most > 0 {
            prop_assert!(limiter.check_n(most).is_ok());
        }
        let places: Vec<_> = (0..6 * count + 1).map(|_| limiter.reserve(1).unwrap()).collect();
        let waits: Vec<_> = places.iter().map(|place| nanos(place.ready_in())).collect();
        prop_assert!(waits.is_sorted());
        let [first, last] = [2 * count, 6 * count].map(|i| waits[i as usize]);
        let exactly = 4_000_000_000;
        prop_assert!(last.abs_diff(first + exactly) <= 2 + exactly / count / 4_096, "{:?}", waits);
        // Given up from the last one on, all comes back.
        for place in places.into_iter().rev() {
            let waited = !place.ready_in().is_zero();
            prop_assert_eq!(place.cancel(), u64::from(waited));
        }
    }
}
