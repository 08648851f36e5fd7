//! Debits that are undone, against a bucket that was never debited.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::algorithm::{Algorithm, Terms};
use crate::quota::Quota;
use core::time::Duration;
use proptest::prelude::*;
use std::vec::Vec;

/// Units that flow, or tokens that are taken if they are there.
#[derive(Clone, Copy, Debug)]
enum Between {
    Flow(u64),
    Take(u64),
}

/// A bucket by its contents, without a full time: the units there, at most the burst's.
struct Model {
    there: i128,
    burst: i128,
}

impl Model {
    fn flow(&mut self, units: u64) {
        self.there = (self.there + i128::from(units)).min(self.burst);
    }

    fn take(&mut self, units: u64) -> bool {
        let fits = self.there >= i128::from(units);
        self.there -= if fits { i128::from(units) } else { 0 };
        fits
    }
}

fn between(unit: u64, burst: u64) -> impl Strategy<Value = Vec<Between>> {
    let flow = (0..3 * burst * unit).prop_map(Between::Flow);
    let less = (0..unit).prop_map(Between::Flow);
    let take = (1..=burst).prop_map(Between::Take);
    proptest::collection::vec(prop_oneof![flow, less, take], 0..8)
}

/// Small bursts at ordinary rates, at rates whose unit is several tokens, and with a token time
/// that wraps.
fn terms() -> impl Strategy<Value = (Terms, u64)> {
    prop_oneof![
        (1..9_u64, Just(1_u64), Just(56)),
        (1..9_u64, Just(1 << 20), Just(56)),
        (1..9_u64, Just(1 << 39), Just(56)),
        (1..9_u64, Just(1 << 39), Just(64)),
    ]
    .prop_map(|(burst, rate, bits)| {
        let burst = if rate == 1 << 39 && bits == 56 { burst << 20 } else { burst };
        let quota = Quota::new(rate, Duration::from_secs(1)).unwrap().burst(burst);
        (Terms::bucket(quota, Algorithm::TokenBucket, bits), burst)
    })
}

fn undone(rule: &Rule, state: u64, now: u64, n: u64, made: u64) -> u64 {
    undone_of(rule, state, now, n, (made, made))
}

/// Undoes a place, with the state that it made.
fn undone_of(rule: &Rule, state: u64, now: u64, n: u64, (place, made): (u64, u64)) -> u64 {
    let units = rule.worth(n).unwrap_or(0);
    let given = GivenUp { place, n, made, units, returned: 0 };
    rule.undo(state, now, given).map_or(state, |(state, _)| state)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// An undone bucket has exactly what a bucket has that was never debited, if no caller comes
    /// between, or no time passes; never more, whatever happens.
    #[test]
    fn undone_a_bucket_is_as_if_never_debited(
        ((terms, burst), before, after, n) in terms().prop_flat_map(|(terms, burst)| {
            let unit = terms.scale().units(1).max(1);
            let steps = || between(unit, burst.min(64));
            (Just((terms, burst)), steps(), steps(), 1..=burst)
        }),
        start in prop_oneof![Just(0), Just(1 << 50), Just(u64::MAX - 100)],
    ) {
        let rule = terms.rule();
        let scale = terms.scale();
        let start = if terms.end() == u64::MAX { start } else { start % (1 << 54) };
        let all = i128::from(scale.units(burst));
        let mut model = Model { there: all, burst: all };
        let (mut state, mut now) = (start, start);
        let mut run = |steps: &[Between], state: &mut u64, now: &mut u64| {
            for step in steps {
                match *step {
                    Between::Flow(units) => {
                        *now = now.wrapping_add(units);
                        model.flow(units);
                    }
                    Between::Take(m) => {
                        if let Some(taken) = rule.take(*state, *now, m) {
                            *state = taken;
                            assert!(model.take(scale.units(m)), "the debited one has no more");
                        }
                    }
                }
            }
            model.there
        };
        run(&before, &mut state, &mut now);
        let Some(made) = rule.take(state, now, n) else { return Ok(()) };
        state = made;
        let there = run(&after, &mut state, &mut now);
        let state = undone(&rule, state, now, n, made);
        let found = all - i128::from(rule.until_full(state, now));
        let alone = after.iter().all(|step| matches!(step, Between::Flow(_)));
        let at_once = after.iter().all(|step| matches!(step, Between::Take(_)));
        if alone || at_once {
            prop_assert_eq!(found, there);
        } else {
            prop_assert!(found <= there, "{} of {}", found, there);
        }
    }

    /// A fixed window that still counts is the same, whichever caller comes between. A sliding one
    /// is the same if no caller comes, and never has more than one that was never debited.
    #[test]
    fn undone_a_window_is_as_if_never_counted(
        sliding: bool,
        count in 1..9_u64,
        takes in proptest::collection::vec((0..9_u64, 1..5_u64), 1..12),
        at in 0..12_usize,
        n in 1..5_u64,
    ) {
        let algorithm = if sliding { Algorithm::SlidingWindow } else { Algorithm::FixedWindow };
        let terms = Terms::new(Quota::per_second(count), algorithm, 56).unwrap();
        let (rule, window) = (terms.rule(), 1_u64 << terms.scale().fraction);
        let (mut state, mut never, mut now, mut debit) = (0, 0, 0, None);
        // Compared with a bucket that was never debited, but for a unit's flow and the rounding of
        // a moment.
        let (mut alone, all) = (true, i128::from(count * window + 512));
        let mut bucket = Model { there: all, burst: all };
        for (i, (eighths, m)) in takes.iter().enumerate() {
            now += eighths * (window / 8);
            bucket.flow(eighths * (window / 8) * count);
            if i == at && n <= count && let Some(taken) = rule.take(state, now, n) {
                debit = Some((rule.place(state, taken, now, 0), taken));
                state = taken;
            }
            if *m <= count && let Some(taken) = rule.take(state, now, *m) {
                state = taken;
                alone &= debit.is_none();
                never = rule.take(never, now, *m).unwrap_or(never);
                prop_assert!(bucket.take(m * window) || !sliding);
            }
        }
        let Some(made) = debit else { return Ok(()) };
        let state = undone_of(&rule, state, now, n, made);
        if sliding {
            let there = bucket.there.div_euclid(window.into());
            prop_assert!(i128::from(rule.balance(state, now)) <= there, "more than {}", there);
            let index = |time: u64| time >> terms.scale().fraction;
            if !alone || index(rule.until_place(made.0, 0)) != index(now) {
                return Ok(());
            }
        }
        // A window that has not been touched since may bear an older number.
        for m in 0..=count {
            prop_assert_eq!(rule.until(state, now, m), rule.until(never, now, m));
        }
        prop_assert_eq!(rule.balance(state, now), rule.balance(never, now));
    }
}

/// A refund would give 5: had the bucket never been debited, the second take would have left
/// nothing.
#[test]
fn what_has_been_full_since_gets_nothing_back() {
    let terms = Terms::bucket(Quota::per_second(1).burst(5), Algorithm::TokenBucket, 56);
    let (rule, token) = (terms.rule(), terms.scale().units(1));
    let made = rule.take(0, 0, 5).unwrap();
    let now = 5 * token;
    let state = rule.take(made, now, 5).unwrap();
    assert_eq!(rule.balance(undone(&rule, state, now, 5, made), now), 0);
    // Two of five have flowed; three come back.
    let now = 2 * token;
    assert_eq!(rule.balance(undone(&rule, made, now, 5, made), now), 5);
    let state = rule.take(made, now, 2).unwrap();
    assert_eq!(rule.balance(undone(&rule, state, now, 5, made), now), 3);
}

/// Two tokens of a paced window that has been empty since are not given back from another token
/// taken in it.
#[test]
fn what_a_window_has_let_go_does_not_come_back_of_another() {
    let terms = Terms::new(Quota::per_second(4), Algorithm::SlidingWindow, 56).unwrap();
    let (rule, eighth) = (terms.rule(), (1 << terms.scale().fraction) / 8);
    let mut state = 0;
    for (at, n) in [(2, 3), (10, 1), (13, 1), (16, 2), (22, 1)] {
        state = rule.take(state, at * eighth, n).unwrap();
    }
    let mut made = 0;
    for (at, n) in [(2, 3), (10, 1), (13, 1), (16, 2)] {
        made = rule.take(made, at * eighth, n).unwrap();
    }
    let now = 22 * eighth;
    let undone = undone_of(&rule, state, now, 2, (16 * eighth, made));
    assert_eq!(rule.balance(undone, now), 3);
}

/// A caller that waits behind comes first, so the bucket does not take the tokens back.
#[test]
fn with_somebody_waiting_behind_nothing_comes_back() {
    let terms = Terms::bucket(Quota::per_second(1).burst(1), Algorithm::TokenBucket, 56);
    let (rule, token) = (terms.rule(), terms.scale().units(1));
    let made = rule.take(0, 0, 1).unwrap();
    let (behind, wait) = rule.reserve(made, 0, 1, u64::MAX).unwrap();
    assert_eq!(wait, token);
    let given = GivenUp { place: made, n: 1, made, units: token, returned: 0 };
    assert_eq!(rule.undo(behind, 0, given), None);
    assert_eq!(rule.undo(behind, token - 1, given), None);
    assert_eq!(rule.add_if_idle(behind, token - 1, token), None);
    // When the place is due no caller waits; tokens that have flowed by are not given back.
    assert_eq!(rule.undo(behind, token, given), Some((behind, 0)));
    assert_eq!(rule.add_if_idle(behind, token, token), Some(made));
    // The last place of a queue goes back with its end; any other stays.
    assert_eq!(rule.take_back(behind, 0, behind, token), Some(made));
    assert_eq!(rule.take_back(behind, 0, made, token), None);
    assert_eq!(rule.balance(undone(&rule, made, token / 2, 1, made), token / 2), 1);
}
