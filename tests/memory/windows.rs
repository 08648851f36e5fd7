//! Fixed and sliding windows: their laws, and their decisions against exact models.

use crate::support::models::*;
use num_traits::Signed;
use proptest::prelude::*;
use sluicegate::{ManualClock, Quota, RateLimiter};
use std::time::Duration;

/// Periods from 1 us to 30 days and counts of up to the bits that are left, both log-uniform.
fn quotas(counters: u32) -> impl Strategy<Value = Quota> {
    (1e3_f64.ln()..2.592e15_f64.ln(), 0.0..1.0, 0..8_usize).prop_map(
        move |(period, count, round): (f64, f64, usize)| {
            let round = [1e6, 1e9, 60e9, 3_600e9, 86_400e9].get(round).copied();
            let period = round.unwrap_or(period.exp()) as u64;
            // An index of 30 years of windows takes its bits of the 64, and the count at most 48.
            let windows = (30_u128 * 31_557_600 * 1_000_000_000).div_ceil(u128::from(period));
            let bits = ((64 - (u128::BITS - windows.leading_zeros())) / counters).min(48);
            let most = ((1_u128 << bits) - 1).min((u128::from(period) << 40) / 1_000_000_000);
            let count = (most as f64).powf(count) as u128;
            Quota::new(count.clamp(1, most) as u64, Duration::from_nanos(period)).unwrap()
        },
    )
}

/// A verb, a cost and a step of time, to be read once the quota is known.
type Step = (u8, u8, u64, u8, f64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..12_u8, 0..8_u8, any::<u64>(), 0..8_u8, 0.0..1.0_f64);
    prop::collection::vec(step, 1..40)
}

fn cost(kind: u8, x: u64, count: u64) -> u64 {
    match kind {
        0 => 0,
        1 | 2 => 1 + x % 3,
        3 => (count - count.min(2) + x % 4).max(1),
        4 | 5 => x % count + 1,
        6 => count / 2 + 1,
        _ => u64::MAX,
    }
}

fn time(kind: u8, x: f64, now: u64, period: u64, wait: u64) -> u64 {
    let forward = match kind {
        0 => return now - (now as f64 * x) as u64,
        1 => 0,
        2 => period - now % period,
        3 => period - now % period - 1,
        4 => wait,
        5 => wait.saturating_sub(1),
        6 => (x * 3.0 * period as f64) as u64,
        _ => (x * 0.2 * period as f64) as u64,
    };
    (now + forward).min(25 * 31_557_600 * 1_000_000_000)
}

fn on(clock: &ManualClock, quota: Quota, sliding: bool) -> RateLimiter {
    let builder = RateLimiter::builder(quota).clock(clock.clone());
    if sliding { builder.sliding_window() } else { builder.fixed_window() }.build().unwrap()
}

/// A debt of a sliding window with a count of 1 is noted as a later window. A refund of two of it
/// brought back one.
#[test]
fn a_refund_of_several_tokens_brings_back_all_of_them() {
    for (count, start) in [(1, 0), (1, 5_300_000), (2, 0), (3, 7_900_000)] {
        let clock = ManualClock::new();
        let limiter = on(&clock, Quota::new(count, Duration::from_millis(1)).unwrap(), true);
        clock.set(Duration::from_nanos(start));
        for charged in 1..=9 {
            for back in 1..=charged {
                limiter.reset();
                limiter.charge(charged);
                limiter.refund(back);
                assert_eq!(limiter.level(), charged - back, "{back} of {charged}, {count} a ms");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn fixed_window_decisions_and_figures_equal_the_model_exactly(
        quota in quotas(1), start in 0..1_u64 << 55, steps in steps(),
    ) {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let limiter = on(&clock, quota, false);
        let (mut model, mut now, mut wait) = (FixedModel::new(&quota), 0, 0);
        let mut by_window = (0, 0);
        for (verb, kind, x, step, y) in steps {
            now = time(step, y, now, nanos(quota.period()), wait);
            clock.set(Duration::from_nanos(start + now));
            model.flow(now);
            let n = cost(kind, x, quota.count());
            let answer = match verb {
                0..5 => limiter.check_n(n),
                5 => limiter.peek(n),
                6 | 7 => limiter.check_up_to(n),
                8 => {
                    let n = n.min(quota.count()).min(model.remaining());
                    prop_assert!(limiter.charge(n).is_zero());
                    model.charge(n);
                    continue;
                }
                9 => {
                    let n = n.min(3);
                    limiter.refund(n);
                    model.refund(n);
                    continue;
                }
                _ => limiter.check(),
            };
            let n = if verb > 9 { 1 } else { n };
            let before = model.clone();
            let (fits, granted) = match verb {
                6 | 7 => { let g = model.take_up_to(n); (g > 0 || n == 0, g) }
                5 => (model.peek(n), n),
                _ => (model.take(n), n),
            };
            prop_assert_eq!(answer.is_ok(), fits);
            match answer {
                Ok(grant) => {
                    prop_assert_eq!(grant.granted(), granted);
                    let left = if verb == 5 { before.remaining() - n } else { model.remaining() };
                    prop_assert_eq!((grant.limit(), grant.remaining()), (quota.count(), left));
                    if verb != 5 {
                        let window = model.window();
                        by_window = if by_window.0 == window { by_window } else { (window, 0) };
                        by_window.1 += granted;
                    }
                }
                Err(denied) => {
                    let exactly = model.wait(denied.asked());
                    prop_assert_eq!(denied.retry_after().map(nanos), exactly);
                    prop_assert_eq!(denied.remaining(), model.remaining());
                    wait = exactly.unwrap_or(0);
                }
            }
            prop_assert_eq!(limiter.available(), model.remaining() as i64);
        }
    }

    #[test]
    fn law_1_fixed_window_admits_its_count_in_each_aligned_window(
        quota in quotas(1), start in 0..1_u64 << 55, steps in steps(),
    ) {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let limiter = on(&clock, quota, false);
        let (mut now, mut latest, mut window, mut admitted) = (0, 0, 0, 0);
        for (_, kind, x, step, y) in steps {
            now = time(step, y, now, nanos(quota.period()), 0);
            clock.set(Duration::from_nanos(start + now));
            latest = latest.max(now);
            let current = latest / nanos(quota.period());
            if current > window {
                (window, admitted) = (current, 0);
            }
            let n = cost(kind, x, quota.count());
            admitted += limiter.check_n(n).map_or(0, |grant| grant.granted());
            admitted += limiter.check_up_to(n / 2).map_or(0, |grant| grant.granted());
            prop_assert!(admitted <= quota.count(), "{admitted} in window {window}");
        }
    }

    #[test]
    fn sliding_window_decisions_and_figures_equal_the_model(
        quota in quotas(2), start in 0..1_u64 << 55, steps in steps(),
    ) {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let limiter = on(&clock, quota, true);
        let (mut model, mut now, mut wait) = (SlidingModel::new(&quota, 64), 0, 0);
        for (verb, kind, x, step, y) in steps {
            now = time(step, y, now, nanos(quota.period()), wait);
            clock.set(Duration::from_nanos(start + now));
            model.flow(now);
            let n = cost(kind, x, quota.count());
            let (before, unit) = (model.clone(), model.unit());
            let whole = |model: &SlidingModel, is: i64| {
                let [low, high] = [-&unit, unit.clone()].map(|u| floor(&(model.margin(0) + u)));
                (low..=high).contains(&i128::from(is))
            };
            match verb {
                0..6 => {
                    let answer = if verb == 5 { limiter.peek(n) } else { limiter.check_n(n) };
                    if n > 0 && answer.is_ok() == before.margin(n).is_negative() {
                        let margin = before.margin(n);
                        prop_assert!(margin.abs() <= unit, "{answer:?}, exactly {margin}");
                        return Ok(());
                    }
                    match answer {
                        Ok(grant) if verb != 5 => {
                            prop_assert!(model.take(n));
                            prop_assert_eq!((grant.granted(), grant.limit()), (n, quota.count()));
                            // A grant of nothing, in debt, says that nothing is left.
                            let left = (grant.remaining() as i64).min(limiter.available());
                            prop_assert!(whole(&model, left), "{grant:?}");
                        }
                        Ok(_) => {}
                        Err(denied) => {
                            let exactly = before.wait(n);
                            let is = denied.retry_after().map(nanos);
                            prop_assert_eq!(is.is_none(), exactly.is_none());
                            wait = is.unwrap_or(0);
                            let off = wait.abs_diff(exactly.unwrap_or(0));
                            prop_assert!(off <= 1, "{off} ns off {exactly:?}");
                        }
                    }
                }
                6 | 7 => {
                    let answer = limiter.check_up_to(n);
                    let (is, should) = (answer.map_or(0, |g| g.granted()), model.take_up_to(n));
                    if is != should {
                        prop_assert!(whole(&before, is.max(should) as i64));
                        return Ok(());
                    }
                }
                8 => {
                    let n = n.min(model.chargeable());
                    let _ = limiter.charge(n);
                    model.charge(n);
                }
                9 => {
                    limiter.refund(n.min(5));
                    model.refund(n.min(5));
                }
                _ => {}
            }
            // Whether it is empty, within a unit, makes a difference later.
            let were_or_are = [before.level(), model.level()];
            if were_or_are.iter().any(|level| level.is_positive() && *level <= unit) {
                return Ok(());
            }
            prop_assert!(whole(&model, limiter.available()), "{} available", limiter.available());
        }
    }

    #[test]
    fn law_1_and_5_sliding_window_admits_count_and_flow_and_says_when(
        quota in quotas(2), start in 0..1_u64 << 45, steps in steps(),
    ) {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let limiter = on(&clock, quota, true);
        let slack = ratio(quota.count(), nanos(quota.period()));
        let mut law = WindowLaw::new(&quota, quota.count(), &slack);
        let (mut now, mut latest, mut wait) = (0, 0, 0);
        for (verb, kind, x, step, y) in steps {
            now = time(step, y, now, nanos(quota.period()), wait);
            clock.set(Duration::from_nanos(start + now));
            latest = latest.max(now);
            let n = cost(kind, x, quota.count());
            let answer =
                if verb < 6 { limiter.check_n(n) } else { limiter.check_up_to(u64::MAX) };
            let granted = answer.map_or(0, |grant| grant.granted());
            law.admit(latest, granted).map_err(TestCaseError::fail)?;
            let Err(denied) = limiter.peek(n) else { continue };
            let Some(retry) = denied.retry_after() else { continue };
            wait = nanos(retry);
            let at = |time| {
                clock.set(Duration::from_nanos(start + time));
                limiter.peek(n).is_ok()
            };
            let soon = latest + wait;
            (now, latest) = (soon, soon);
            // The slope is rounded up by up to 2^-63: after weeks, a boundary just after a whole
            // nanosecond falls on it; within a minute not in 10^8 calls.
            let early = if soon < 60_000_000_000 { 1 } else { 2.min(wait) };
            prop_assert!(!at(soon - early), "{n} granted {early} ns before {wait} had passed");
            prop_assert!(at(soon), "{n} denied after {wait}");
        }
    }
}
