//! Law 1 of limits whose places are taken and given back together with others': what comes back is
//! never more than what would be there if it had never been taken.

use crate::support::models::{self, WindowLaw, ratio};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sluicegate::{Combined, KeyedLimiter, Limit, ManualClock, Quota, RateLimiter};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Op {
    Pass(u64),
    Take(u64),
    Reserve(u64),
    Drop(usize),
    Settle(usize, u64),
    Drain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        2 => (0..40_u64).prop_map(|parts| Op::Pass(parts * 50_000_000)),
        3 => (1..60_u64).prop_map(Op::Take),
        5 => prop_oneof![Just(50), 1..100_u64].prop_map(Op::Reserve),
        5 => (0..6_usize).prop_map(Op::Drop),
        1 => (0..6_usize, 0..60_u64).prop_map(|(i, n)| Op::Settle(i, n)),
        1 => Just(Op::Drain),
    ];
    prop::collection::vec(op, 1..40)
}

/// A limit of tokens, and one of which a place is due hours later: so all places are given up, and
/// only checks act.
fn run(
    ops: &[Op],
    clock: &ManualClock,
    tokens: Limit<'_>,
    check: impl Fn(u64) -> bool,
) -> TestCaseResult {
    let builder = RateLimiter::builder(Quota::per_hour(1)).instalments();
    let hourly = builder.clock(clock.clone()).build().unwrap();
    hourly.charge(1);
    let both = Combined::new([tokens, hourly.as_limit()]);
    let quota = Quota::per_second(50).burst(100);
    let (mut law, mut now) = (WindowLaw::new(&quota, 100, &ratio(1, 1_000)), 0);
    let mut places = Vec::new();
    for op in ops {
        match *op {
            Op::Pass(by) => {
                now += by;
                clock.set(Duration::from_nanos(now));
            }
            Op::Take(n) => {
                if check(n) {
                    prop_assert_eq!(law.admit(now, n), Ok(()));
                }
            }
            Op::Reserve(n) => {
                if let Ok(place) = both.reserve(n) {
                    places.push(place);
                }
            }
            Op::Drop(i) if i < places.len() => drop(places.swap_remove(i)),
            // What is kept of it has acted on nothing here.
            Op::Settle(i, n) if i < places.len() => {
                places.swap_remove(i).settle(n);
            }
            Op::Drain => {
                while check(1) {
                    prop_assert_eq!(law.admit(now, 1), Ok(()));
                }
            }
            Op::Drop(_) | Op::Settle(..) => {}
        }
    }
    drop(places);
    while check(1) {
        prop_assert_eq!(law.admit(now, 1), Ok(()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(models::cases(300)))]

    /// A place took itself for the last one, since the word was what it had made of it: 150 at one
    /// moment of 100.
    #[test]
    fn places_that_are_given_up_in_any_order_admit_no_more(ops in ops()) {
        let quota = Quota::per_second(50).burst(100);
        let clock = ManualClock::new();
        for batch in [None, Some(10)] {
            clock.set(Duration::ZERO);
            let builder = RateLimiter::builder(quota).clock(clock.clone());
            let builder = if let Some(batch) = batch { builder.batch(batch) } else { builder };
            let direct = builder.build().unwrap();
            run(&ops, &clock, direct.as_limit(), |n| direct.check_n(n).is_ok())?;
        }
        clock.set(Duration::ZERO);
        let builder = KeyedLimiter::<u64>::builder(quota, 10).clock(clock.clone());
        let keyed = builder.build().unwrap();
        run(&ops, &clock, keyed.as_limit(&1), |n| keyed.check_n(&1, n).is_ok())?;
    }
}

/// Tokens drawn ahead came back as whole units, of 32 tokens at this rate: a burst without end.
#[test]
fn undoing_a_batched_debit_gives_no_more_than_it_took() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1 << 31).burst(4_096);
    let builder = |quota| RateLimiter::builder(quota).clock(clock.clone());
    let batched = builder(quota).batch(60).build().unwrap();
    let slow = builder(Quota::per_hour(1)).build().unwrap();
    assert!(slow.check().is_ok());
    let mut granted = 0;
    for _ in 0..10_000 {
        granted += u64::from(batched.check().is_ok());
        drop(Combined::new([slow.as_limit(), batched.as_limit()]).reserve(1));
    }
    assert!(granted <= 4_096, "{granted}");
}
