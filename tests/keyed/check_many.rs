//! `check_many` answers as `check` does, one key after the other.

use proptest::prelude::*;
use sluicegate::{Algorithm, Denied, Grant, KeyedLimiter, ManualClock, Quota, WhenFull};
use std::time::Duration;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];

fn limiter(
    algorithm: Algorithm,
    capacity: usize,
    policy: WhenFull,
) -> (ManualClock, KeyedLimiter<u16>) {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(Quota::per_second(3), capacity).algorithm(algorithm);
    // The same seed: a full table treats the same keys alike.
    let builder = builder.when_full(policy).seed([7, 8]).clock(clock.clone());
    (clock, builder.build().unwrap())
}

proptest! {
    /// Random keys, few enough to come often and to fill the table, in slices of any length.
    #[test]
    fn equals_check_in_a_loop(
        algorithm in 0..4_usize,
        capacity in prop_oneof![Just(4_usize), Just(30), Just(10_000)],
        policy in prop_oneof![Just(WhenFull::Evict), Just(WhenFull::Deny), Just(WhenFull::Share)],
        slices in prop::collection::vec(
            (prop::collection::vec(0..60_u16, 0..200), 0..400_u64), 1..8,
        ),
    ) {
        let (a_clock, at_once) = limiter(ALGORITHMS[algorithm], capacity, policy);
        let (b_clock, in_turn) = limiter(ALGORITHMS[algorithm], capacity, policy);
        let mut answers: Vec<Result<Grant, Denied>> = Vec::new();
        for (keys, millis) in slices {
            at_once.check_many(&keys, &mut answers);
            let expected: Vec<_> = keys.iter().map(|key| in_turn.check(key)).collect();
            prop_assert_eq!(&answers, &expected);
            a_clock.advance(Duration::from_millis(millis));
            b_clock.advance(Duration::from_millis(millis));
        }
        prop_assert_eq!(at_once.evictions(), in_turn.evictions());
    }
}

#[cfg(feature = "std")]
#[test]
fn keys_may_be_owned_or_borrowed() {
    let limiter = KeyedLimiter::<str>::new(Quota::per_hour(1), 100);
    let mut answers = Vec::new();
    limiter.check_many(&["a", "b"], &mut answers);
    assert!(answers.iter().all(Result::is_ok));
    limiter.check_many(&[String::from("b"), String::from("c")], &mut answers);
    assert!(answers[0].is_err() && answers[1].is_ok());
    limiter.check_many(&[] as &[&str], &mut answers);
    assert!(answers.is_empty());
}

#[cfg(feature = "std")]
#[test]
fn results_keep_their_place_over_many_blocks() {
    let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(1), 10_000);
    let keys: Vec<u64> = (0..5_000).map(|i| i / 2).collect();
    let mut answers = Vec::new();
    limiter.check_many(&keys, &mut answers);
    assert_eq!(answers.len(), keys.len());
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), i % 2 == 0, "key {} at {i}", keys[i]);
    }
}
