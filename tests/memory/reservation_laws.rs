//! Random interleavings of every verb, reservations and changes of the quota among them, against an
//! exact model; and the law of the burst for whatever is given up.

use crate::support::line::{Held, Line};
use crate::support::models::{
    self, Exact, WindowLaw, ceil, exact, floor, nanos, rate, unit_of_56_bits, unit_of_direct,
};
use num_traits::Signed;
use proptest::prelude::*;
use sluicegate::{Carry, KeyedLimiter, ManualClock, Quota, RateLimiter, Reservation};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Check(u64),
    UpTo(u64),
    Charge(u64),
    Refund(u64),
    Reserve(u64),
    Within(u64, u64),
    /// Which of the places that are held.
    Cancel(usize),
    Settle(usize, u64),
    /// Another count in the same period, another burst, and what becomes of the tokens.
    Set(u64, u64, Carry),
}

/// Steps of a tenth of a period to two periods, costs around the burst.
fn ops(burst: u64, period: u64) -> impl Strategy<Value = Vec<Op>> {
    let n = 0..burst + 2;
    let carry = prop_oneof![Just(Carry::AsIs), Just(Carry::Full), Just(Carry::Proportional)];
    let op = prop_oneof![
        3 => (0..2 * period).prop_map(Op::Wait),
        2 => n.clone().prop_map(Op::Check),
        1 => n.clone().prop_map(Op::UpTo),
        1 => n.clone().prop_map(Op::Charge),
        1 => n.clone().prop_map(Op::Refund),
        5 => n.clone().prop_map(Op::Reserve),
        2 => (n.clone(), 0..5 * period).prop_map(|(n, wait)| Op::Within(n, wait)),
        4 => any::<usize>().prop_map(Op::Cancel),
        1 => (any::<usize>(), n).prop_map(|(i, n)| Op::Settle(i, n)),
        1 => (1..40_u64, 1..9_u64, carry)
            .prop_map(|(count, burst, carry)| Op::Set(count, burst, carry)),
    ];
    proptest::collection::vec(op, 1..80)
}

/// A quota of a few tokens whose token takes no whole number of nanoseconds, mostly.
fn quotas() -> impl Strategy<Value = (Quota, u64)> {
    (1..40_u64, 1_000..5_000_000_000_u64, 1..9_u64).prop_map(|(count, period, burst)| {
        (Quota::new(count, Duration::from_nanos(period)).unwrap().burst(burst), period)
    })
}

/// What a limiter of either kind does.
struct Face<'a> {
    check: Box<dyn Fn(u64) -> bool + 'a>,
    up_to: Box<dyn Fn(u64) -> u64 + 'a>,
    charge: Box<dyn Fn(u64) -> Duration + 'a>,
    refund: Box<dyn Fn(u64) + 'a>,
    reserve: Box<dyn Fn(u64, Option<Duration>) -> Option<Reservation<'a>> + 'a>,
    available: Box<dyn Fn() -> i64 + 'a>,
    /// Of direct limiters, whose one bucket is what it says.
    set: Option<Box<dyn Fn(Quota, Carry) + 'a>>,
}

fn of_direct(limiter: &RateLimiter) -> Face<'_> {
    Face {
        check: Box::new(|n| limiter.check_n(n).is_ok()),
        up_to: Box::new(|n| limiter.check_up_to(n).map_or(0, |grant| grant.granted())),
        charge: Box::new(|n| limiter.charge(n)),
        refund: Box::new(|n| limiter.refund(n)),
        reserve: Box::new(|n, within| match within {
            Some(within) => limiter.reserve_within(n, within).ok(),
            None => limiter.reserve(n).ok(),
        }),
        available: Box::new(|| limiter.available()),
        set: Some(Box::new(|quota, carry| limiter.set_quota_with(quota, carry).unwrap())),
    }
}

fn of_keyed(limiter: &KeyedLimiter<u64>) -> Face<'_> {
    Face {
        check: Box::new(|n| limiter.check_n(&7, n).is_ok()),
        up_to: Box::new(|n| limiter.check_up_to(&7, n).map_or(0, |grant| grant.granted())),
        charge: Box::new(|n| limiter.charge(&7, n)),
        refund: Box::new(|n| limiter.refund(&7, n)),
        reserve: Box::new(|n, within| match within {
            Some(within) => limiter.reserve_within(&7, n, within).ok(),
            None => limiter.reserve(&7, n).ok(),
        }),
        available: Box::new(|| limiter.available(&7)),
        set: None,
    }
}

/// Runs the operations on a limiter and the model; they may differ only within `unit` tokens of a
/// boundary, and then the run ends.
fn run(
    quota: &Quota,
    ops: &[Op],
    clock: &ManualClock,
    face: &Face<'_>,
    unit: &Exact,
) -> Result<(), TestCaseError> {
    let mut line = Line::new(quota);
    let mut now = 0_u64;
    let mut held: Vec<(Reservation<'_>, Held)> = Vec::new();
    // A unit is lost or gained at each step at most.
    let mut slack = unit * exact(2);
    let near = |x: &Exact, slack: &Exact| &x.abs() <= slack;
    let (mut quota, mut changed) = (*quota, false);
    for op in ops {
        slack += unit * exact(2);
        line.flow(now);
        let limit = quota.burst_size();
        let in_nanos = |tokens: &Exact| ceil(&(tokens / rate(&quota)));
        match *op {
            Op::Wait(by) => {
                now += by;
                clock.advance(Duration::from_nanos(by));
                continue;
            }
            Op::Check(n) => {
                if near(&line.model.margin(n), &slack) && n > 0 {
                    return Ok(());
                }
                let expected = n <= limit && line.model.peek(n);
                prop_assert_eq!((face.check)(n), expected, "check {} at {}", n, now);
                if expected {
                    line.model.charge(n);
                }
            }
            Op::UpTo(n) => {
                let there = floor(&line.model.tokens);
                if floor(&(&line.model.tokens + &slack)) != there
                    || floor(&(&line.model.tokens - &slack)) != there
                {
                    return Ok(());
                }
                let expected = there.clamp(0, i128::from(n)) as u64;
                prop_assert_eq!((face.up_to)(n), expected);
                line.model.charge(expected);
            }
            Op::Charge(n) => {
                line.model.charge(n);
                let debt = (-line.model.tokens.clone()).max(exact(0));
                let wait = (face.charge)(n).as_nanos() as i128;
                let least = in_nanos(&(&debt - &slack).max(exact(0)));
                let most = in_nanos(&(&debt + &slack)) + 1;
                prop_assert!((least..=most).contains(&wait), "{} of {}..={}", wait, least, most);
            }
            Op::Refund(n) => {
                if near(&line.model.tokens, &slack) {
                    return Ok(());
                }
                (face.refund)(n);
                line.settle_gaps();
                line.give_back(exact(n));
                if near(&line.model.tokens, &slack) {
                    return Ok(());
                }
                line.settle_gaps();
            }
            Op::Reserve(n) | Op::Within(n, _) => {
                let within = if let Op::Within(_, wait) = *op { Some(wait) } else { None };
                if n == 0 {
                    // There at once, whoever waits, and takes nothing.
                    let place = (face.reserve)(n, within.map(Duration::from_nanos));
                    prop_assert!(place.is_some_and(|place| place.ready_in().is_zero()));
                    continue;
                }
                let (_, place, gap) = line.place(n);
                let behind = (place - &line.model.burst - &line.flowed).max(exact(0));
                if near(&gap, &slack) {
                    return Ok(());
                }
                if let Some(wait) = within {
                    let margin = &behind - exact(wait) * rate(&quota);
                    if near(&margin, &slack) || near(&behind, &slack) && n > 0 && wait == 0 {
                        return Ok(());
                    }
                }
                if near(&behind, &slack) && behind.is_positive()
                    || near(&(exact(n) - &line.model.tokens), &slack) && n > 0
                {
                    // Due just now or just not: that decides what giving it up returns.
                    return Ok(());
                }
                let in_time = within.is_none_or(|wait| behind <= exact(wait) * rate(&quota));
                let expected = n <= limit && (in_time || n == 0);
                let place = (face.reserve)(n, within.map(Duration::from_nanos));
                prop_assert_eq!(place.is_some(), expected, "reserve {} at {}", n, now);
                if let Some(place) = place {
                    let wait = nanos(place.ready_in()) as i128;
                    let least = in_nanos(&(&behind - &slack).max(exact(0)));
                    let most = in_nanos(&(&behind + &slack)) + 1;
                    prop_assert!(
                        (least..=most).contains(&wait),
                        "{} of {}..={}",
                        wait,
                        least,
                        most
                    );
                    held.push((place, line.reserve(n)));
                }
            }
            Op::Set(count, burst, carry) => {
                let Some(set) = &face.set else { continue };
                let next = Quota::new(count, quota.period()).unwrap().burst(burst);
                set(next, carry);
                line.set(&next, carry);
                if carry == Carry::Proportional {
                    slack = slack * exact(burst) / exact(limit) + unit * exact(2);
                }
                (quota, changed) = (next, true);
            }
            Op::Cancel(i) | Op::Settle(i, _) => {
                if held.is_empty() {
                    continue;
                }
                let (place, mut its) = held.remove(i % held.len());
                // A debt that a change of the quota has scaled up may move even a place that was
                // there at once ahead again. To settle it is then to give up a place not yet due:
                // none of it has flowed by, whatever has been refunded since.
                its.at_once &= !changed || matches!(op, Op::Cancel(_));
                if !its.at_once && near(&line.left(&its), &slack)
                    || near(&line.model.tokens, &slack)
                {
                    return Ok(());
                }
                if let Op::Settle(_, actual) = *op {
                    if actual > its.n {
                        line.settle_gaps();
                        line.model.charge(actual - its.n);
                    } else {
                        if line.left(&its).is_positive() {
                            line.cancel(&its, its.n - actual);
                        } else if its.n > actual {
                            line.undo(&its, its.n - actual);
                        }
                        // The reservation ends, even if it cost what was reserved, and gaps that no
                        // place is behind any more come back whenever one ends.
                        line.settle_gaps();
                    }
                    let _ = place.settle(actual);
                } else {
                    let back = line.cancel(&its, its.n);
                    let returned = exact(place.cancel());
                    prop_assert!((&returned - &back).abs() <= &slack + exact(1));
                }
            }
        }
        let there = &line.model.tokens;
        let (least, most) = (floor(&(there - &slack)), floor(&(there + &slack)));
        let found = i128::from((face.available)());
        prop_assert!((least..=most).contains(&found), "{} tokens of {}", found, there);
    }
    // Whoever is still waiting has the place that was promised.
    line.flow(now);
    let in_nanos = |tokens: &Exact| ceil(&(tokens / rate(&quota)));
    for (place, its) in &held {
        let left = line.left(its).max(exact(0));
        let wait = nanos(place.ready_in()) as i128;
        let least = in_nanos(&(&left - &slack).max(exact(0)));
        let most = in_nanos(&(&left + &slack)) + 1;
        prop_assert!((least..=most).contains(&wait), "{} of {}..={}", wait, least, most);
    }
    held.into_iter().for_each(|(place, _)| std::mem::forget(place));
    Ok(())
}

/// Runs the operations on a limiter of each kind.
fn equals_the_model(quota: Quota, ops: &[Op]) -> Result<(), TestCaseError> {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(quota).clock(clock.clone()).build().unwrap();
    run(&quota, ops, &clock, &of_direct(&limiter), &unit_of_direct(&quota))?;
    let clock = ManualClock::new();
    let limiter =
        KeyedLimiter::builder(quota, 10).clock(clock.clone()).seed([1, 2]).build().unwrap();
    run(&quota, ops, &clock, &of_keyed(&limiter), &unit_of_56_bits(&quota))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: models::cases(1_500), ..ProptestConfig::default() })]

    #[test]
    fn every_verb_equals_the_exact_model(
        (quota, ops) in quotas().prop_flat_map(|(quota, period)| {
            (Just(quota), ops(quota.burst_size(), period))
        })
    ) {
        equals_the_model(quota, &ops)?;
    }

    /// Law 1: whoever acts when his place is due, and whoever is admitted at once, together take no
    /// more in any window than the burst and what flows, whatever places are given up and taken
    /// anew.
    #[test]
    fn no_window_takes_more_than_the_burst_and_the_flow(
        burst in 1..7_u64,
        ops in proptest::collection::vec((0..12_u8, 1..7_u64, any::<usize>(), 0..25_u64), 1..60),
    ) {
        let second = 1_000_000_000_u64;
        let quota = Quota::per_second(1).burst(burst);
        let clock = ManualClock::new();
        let limiter = RateLimiter::builder(quota).clock(clock.clone()).build().unwrap();
        let mut now = 0;
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut waiting: Vec<(u64, Reservation<'_>)> = Vec::new();
        for (op, n, which, steps) in ops {
            let n = n.min(burst);
            match op {
                0 => {
                    // Not always whole tokens.
                    now += steps * second / 8;
                    clock.set(Duration::from_nanos(now));
                }
                2..6 if !waiting.is_empty() => {
                    let (due, place) = waiting.swap_remove(which % waiting.len());
                    if due <= now {
                        admitted.push((due, place.tokens()));
                        drop(place);
                    } else {
                        let _ = place.cancel();
                    }
                }
                1 => {
                    if limiter.check_n(n).is_ok() {
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
            while limiter.check().is_ok() {
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
        let mut law = WindowLaw::new(&quota, burst, &(unit_of_direct(&quota) * exact(4)));
        for (at, n) in admitted {
            prop_assert_eq!(law.admit(at, n), Ok(()));
        }
    }
}

/// The reservation of 5 ends when the place of 4 behind the gap is due as well: what is left of the
/// gap comes back, although the settlement itself returns nothing.
#[test]
fn a_settlement_at_the_reserved_cost_returns_the_gaps_that_no_place_is_behind() {
    let quota = Quota::new(8, Duration::from_nanos(3_028_543_424)).unwrap();
    let ops = [
        Op::Charge(7),
        Op::Reserve(8),
        Op::Within(3, 3_785_679_561),
        Op::Charge(2),
        Op::Wait(2_715_917_499),
        Op::Cancel(0),
        Op::Cancel(0),
        Op::Reserve(6),
        Op::Within(8, 7_126_849_330),
        Op::Reserve(4),
        Op::Wait(538_916_155),
        Op::Cancel(4_172_907_170_165_287_975),
        Op::Wait(4_004_263_255),
        Op::Reserve(5),
        Op::Wait(4_097_942_123),
        Op::Settle(4_006_113_258_962_829_944, 5),
    ];
    equals_the_model(quota, &ops).unwrap();
}

/// The place of 5 was there at once, and the debt behind it has been scaled up since. All of it
/// comes back: without it the bucket would be full.
#[test]
fn a_settlement_returns_a_place_that_a_change_of_the_quota_moved_ahead() {
    let ops = [
        Op::Reserve(5),
        Op::Reserve(4),
        Op::Set(1, 1, Carry::AsIs),
        Op::Set(1, 2, Carry::Proportional),
        Op::Refund(1),
        Op::Cancel(1),
        Op::Settle(0, 0),
    ];
    equals_the_model(Quota::per_second(26).burst(6), &ops).unwrap();
}
