//! A limiter that warms up against an exact rational model, step for step, and its law for whatever
//! is given up.

use crate::support::models::{WindowLaw, ceil, exact, floor, nanos, rate};
use crate::support::warming::{Held, Ramp, Warming, YEAR, unit};
use num_traits::Zero;
use proptest::prelude::*;
use sluicegate::{ManualClock, Quota, Reservation, WarmUpLimiter};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    /// In thousandths of what makes a warm limiter cold.
    Idle(u64),
    /// Until nothing is owed, and so many nanoseconds more or less.
    Until(i8),
    /// What has to be served without a wait.
    Now(u64),
    Charge(u64),
    Refund(u64),
    Reserve(u64),
    Cancel(usize),
    Settle(usize, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // In thousandths of the limit, and single tokens.
    let n = || prop_oneof![0..4_u64, 1_000_000..1_001_200_u64, 1_000_000..1_000_200_u64];
    let op = prop_oneof![
        2 => (0..1_500_u64).prop_map(Op::Idle),
        2 => (-1..3_i8).prop_map(Op::Until),
        5 => n().prop_map(Op::Now),
        1 => n().prop_map(Op::Charge),
        1 => n().prop_map(Op::Refund),
        4 => n().prop_map(Op::Reserve),
        2 => any::<usize>().prop_map(Op::Cancel),
        1 => (any::<usize>(), n()).prop_map(|(i, n)| Op::Settle(i, n)),
    ];
    proptest::collection::vec(op, 1..60)
}

fn tokens(n: u64, limit: u64) -> u64 {
    match n.checked_sub(1_000_000) {
        Some(share) => (u128::from(limit) * u128::from(share)).div_ceil(1_000) as u64,
        None => n,
    }
}

/// A quota, and a warm-up of a thousandth of a token to ten thousand tokens, as far as the word
/// holds them.
fn quotas() -> impl Strategy<Value = (Quota, u64)> {
    let log = |from: f64, to: f64| (from.ln()..to.ln()).prop_map(f64::exp);
    (1..40_u64, log(1e4, 1e14), log(1e-3, 1e4)).prop_map(|(count, period, stored)| {
        let quota = Quota::new(count, Duration::from_nanos(period as u64)).unwrap();
        let warm_up = (stored * period / count as f64) as u64;
        // What the limit is by the time's share of the word: the unit is at most a token.
        let a_token = period / count as f64;
        let most = (a_token / 20e3).powi(2) * 1e9;
        (quota, warm_up.min(most as u64).min(300_000_000_000_000_000))
    })
}

fn run(quota: &Quota, period: u64, ops: &[Op]) -> Result<(), TestCaseError> {
    let clock = ManualClock::new();
    let builder = WarmUpLimiter::builder(*quota, Duration::from_nanos(period));
    let limiter = builder.clock(clock.clone()).build().unwrap();
    let mut model = Warming::new(quota, Ramp::new(quota, period, unit(quota, period)));
    let limit = model.ramp.limit();
    let mut held: Vec<(Reservation<'_>, Held)> = Vec::new();
    let mut now = 0_u64;
    let horizon = 25 * YEAR;
    for op in ops {
        match *op {
            Op::Idle(share) => now += period / 1_000 * share,
            Op::Until(by) => now = (now + model.wait()).saturating_add_signed(by.into()).max(now),
            _ => {}
        }
        clock.set(Duration::from_nanos(now));
        // Nor is debt without end.
        if now > horizon || !model.flow(now) || model.wait() > 4 * YEAR {
            break;
        }
        match *op {
            Op::Idle(_) | Op::Until(_) => {}
            Op::Now(n) => {
                let n = tokens(n, limit);
                let answer = limiter.reserve_within(n, Duration::ZERO).map(|place| place.grant());
                // Who asks for something has what was given up before settled.
                if n > 0 {
                    model.settle();
                }
                let free = model.owed().is_zero();
                prop_assert_eq!(answer.is_ok(), n == 0 || n <= limit && free, "{} of {}", n, limit);
                match answer {
                    Ok(grant) => {
                        if n > 0 {
                            model.spend(n);
                        }
                        prop_assert_eq!((grant.granted(), grant.limit()), (n, limit));
                        prop_assert_eq!(i128::from(grant.remaining()), model.available().max(0));
                        prop_assert_eq!(nanos(grant.reset_after()), model.wait());
                    }
                    Err(denied) => {
                        let wait = (n <= limit).then(|| model.wait());
                        prop_assert_eq!(denied.retry_after().map(nanos), wait);
                    }
                }
            }
            Op::Charge(n) => {
                let n = tokens(n, limit);
                model.spend(n);
                prop_assert_eq!(nanos(limiter.charge(n)), model.wait());
            }
            Op::Refund(n) => {
                let n = tokens(n, limit);
                limiter.refund(n);
                model.refund(n);
            }
            Op::Reserve(n) => {
                let n = tokens(n, limit);
                if n > 0 {
                    model.settle();
                }
                let Ok(place) = limiter.reserve(n) else {
                    prop_assert!(n > limit, "{} of {} cannot be reserved", n, limit);
                    continue;
                };
                prop_assert!(n <= limit);
                if n > 0 {
                    let its = model.reserve(n);
                    prop_assert_eq!(nanos(place.ready_in()), model.wait_for(&its.due));
                    held.push((place, its));
                }
            }
            Op::Cancel(i) | Op::Settle(i, _) => {
                if held.is_empty() {
                    continue;
                }
                let (place, its) = held.remove(i % held.len());
                prop_assert_eq!(nanos(place.ready_in()), model.wait_for(&its.due));
                let Op::Settle(_, actual) = *op else {
                    let given = model.cancel(&its, its.n);
                    // A place that never was to be waited for has no part in the line.
                    if given == 0 && its.waits {
                        model.settle();
                    }
                    prop_assert_eq!(place.cancel(), given);
                    continue;
                };
                let actual = tokens(actual, limit);
                if actual > its.n {
                    // The reservation ends before the rest of its cost is charged.
                    model.settle();
                    model.spend(actual - its.n);
                    prop_assert_eq!(nanos(place.settle(actual)), model.wait());
                    continue;
                }
                model.undo(&its, its.n - actual);
                model.settle();
                prop_assert_eq!(place.settle(actual), Duration::ZERO);
            }
        }
        prop_assert_eq!(i128::from(limiter.available()), model.available());
    }
    held.into_iter().for_each(|(place, _)| std::mem::forget(place));
    Ok(())
}

/// A refund lets a later place lie on the span of an earlier one. Both are paid for, so both come
/// back when they are given up.
#[test]
fn two_places_on_one_span_both_come_back() {
    let quota = Quota::new(1, Duration::from_micros(10)).unwrap();
    use Op::{Cancel, Idle, Refund, Reserve};
    let before = [Reserve(1), Reserve(1), Reserve(1), Cancel(0), Reserve(1), Cancel(0), Reserve(1)];
    let after = [Refund(1), Reserve(1), Reserve(1), Cancel(2), Cancel(2), Cancel(2), Idle(0)];
    run(&quota, 10_000, &[before, after].concat()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Laws 3 and 5: every answer, wait and balance is the model's, to the nanosecond.
    #[test]
    fn answers_equal_the_exact_model((quota, period) in quotas(), ops in ops()) {
        run(&quota, period, &ops)?;
    }

    /// In whatever portions it is taken, a place is due when the area under the line says, which
    /// knows no units.
    #[test]
    fn places_lie_on_the_ramp_itself(
        (quota, period) in quotas(), parts in proptest::collection::vec(0..1_000_u64, 1..30),
    ) {
        let (clock, unit) = (ManualClock::new(), unit(&quota, period));
        let builder = WarmUpLimiter::builder(quota, Duration::from_nanos(period)).clock(clock);
        let limiter = builder.build().unwrap();
        let ramp = Ramp::new(&quota, period, exact(0));
        let (mut taken, mut slack) = (exact(0), exact(0));
        for part in parts {
            let due = ramp.cost(&ramp.most, &taken) / rate(&quota);
            if due > exact(4 * YEAR) {
                break;
            }
            let place = limiter.reserve((ramp.limit() * part / 4_000).max(1)).unwrap();
            let wait = i128::from(nanos(place.ready_in()));
            // Each is rounded up by a unit at most; what is stored is less by up to one, and the
            // threshold by half.
            let least = &due - &unit * exact(2) / rate(&quota);
            let most = &due + &slack / rate(&quota);
            prop_assert!(floor(&least) <= wait && wait <= ceil(&most), "{} of {}", wait, due);
            taken += exact(place.tokens());
            slack += &unit;
            std::mem::forget(place);
        }
    }

    /// Law 1: whoever acts when his place is due, and whoever is admitted at once, together take no
    /// more in any window than the limit and what flows, whatever places are given up and taken
    /// anew.
    #[test]
    fn no_window_takes_more_than_the_limit_and_the_flow(
        stored in 1..7_u64,
        ops in proptest::collection::vec((0..12_u8, 1..7_u64, any::<usize>(), 0..25_u64), 1..60),
    ) {
        let second = 1_000_000_000_u64;
        let (quota, clock) = (Quota::per_second(1), ManualClock::new());
        let builder = WarmUpLimiter::builder(quota, Duration::from_secs(stored));
        let limiter = builder.clock(clock.clone()).build().unwrap();
        let mut now = 0;
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut waiting: Vec<(u64, Reservation<'_>)> = Vec::new();
        for (op, n, which, steps) in ops {
            let n = n.min(stored);
            match op {
                0 => {
                    now += steps * second / 8;
                    clock.set(Duration::from_nanos(now));
                }
                2..6 if !waiting.is_empty() => {
                    let (due, place) = waiting.swap_remove(which % waiting.len());
                    if due <= now {
                        admitted.push((due, place.tokens()));
                    } else if op == 2 {
                        // Somebody who turns out to need less.
                        admitted.push((due, place.tokens() / 2));
                        let used = place.tokens() / 2;
                        let _ = place.settle(used);
                    } else {
                        let _ = place.cancel();
                    }
                }
                1 => {
                    if limiter.reserve_within(n, Duration::ZERO).is_ok() {
                        admitted.push((now, n));
                    }
                }
                _ => {
                    let place = limiter.reserve(n).unwrap();
                    waiting.push((now + nanos(place.ready_in()), place));
                }
            }
        }
        // And then somebody takes all that there is, as it comes.
        for _ in 0..400 {
            while limiter.reserve_within(1, Duration::ZERO).is_ok() {
                admitted.push((now, 1));
            }
            now += second / 4;
            clock.set(Duration::from_nanos(now));
        }
        for (due, place) in waiting {
            admitted.push((due, place.tokens()));
            std::mem::forget(place);
        }
        admitted.sort_unstable();
        let unit = unit(&quota, stored * second);
        let mut law = WindowLaw::new(&quota, stored, &(unit * exact(2)));
        for (at, n) in admitted {
            prop_assert_eq!(law.admit(at, n), Ok(()));
        }
    }
}
