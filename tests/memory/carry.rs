//! Another quota for a limiter of any kind while it runs, and what becomes of the tokens that are
//! there.

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;
use sluicegate::{
    Algorithm, Carry, KeyedLimiter, ManualClock, Quota, RateLimiter, RateLimiterBuilder,
};
use std::time::Duration;

fn direct(
    quota: Quota,
    choose: impl Fn(RateLimiterBuilder) -> RateLimiterBuilder,
) -> (ManualClock, RateLimiter) {
    let clock = ManualClock::new();
    let builder = choose(RateLimiter::builder(quota));
    let limiter = builder.clock(clock.clone()).build().unwrap();
    (clock, limiter)
}

fn quota(count: u64, period: Duration) -> Quota {
    Quota::new(count, period).unwrap()
}

/// bucket4j's configuration replacement: 3 of 3 in 5 ns, drained, at 3 ns replaced by 60 of 60 in
/// 1,000 ns. The same in larger units.
#[test]
fn bucket4j_reset_60_as_is_1_proportional_36() {
    for unit in [1, 1_000, 1_000_000_000].map(Duration::from_nanos) {
        for (carry, there) in [(Carry::Full, 60), (Carry::AsIs, 1), (Carry::Proportional, 36)] {
            let (clock, limiter) = direct(quota(3, 5 * unit), |builder| builder);
            assert!(limiter.check_n(3).is_ok());
            clock.advance(3 * unit);
            limiter.set_quota_with(quota(60, 1_000 * unit), carry).unwrap();
            assert_eq!(limiter.available(), there, "{carry:?} in {unit:?}");
            assert_eq!(limiter.quota(), quota(60, 1_000 * unit));
            assert!(limiter.check_n(there as u64).is_ok() && limiter.check().is_err());
        }
    }
}

/// Nobody gets a fresh burst: not of a full bucket, not of an idle one, not by changing back and
/// forth.
#[test]
fn as_is_grants_nothing() {
    let (clock, limiter) = direct(Quota::per_second(10), |builder| builder);
    clock.advance(Duration::from_secs(3_600));
    limiter.set_quota(Quota::per_second(10).burst(1_000)).unwrap();
    assert_eq!(limiter.available(), 10, "an idle bucket has what it had");
    clock.advance(Duration::from_secs(1));
    assert_eq!(limiter.available(), 20);
    limiter.set_quota(Quota::per_second(10).burst(5)).unwrap();
    assert_eq!(limiter.available(), 5, "up to the new burst");
    for burst in [1_000, 1, 50, 5].into_iter().cycle().take(1_000) {
        limiter.set_quota(Quota::per_hour(1).burst(burst)).unwrap();
        assert!(limiter.available() <= 5);
    }
    assert_eq!(limiter.available(), 1, "what was cut is gone");
}

#[test]
fn elapsed_time_is_settled_at_the_old_rate() {
    let (clock, limiter) = direct(Quota::per_second(10).burst(100), |builder| builder);
    assert!(limiter.check_n(100).is_ok());
    clock.advance(Duration::from_secs(3));
    limiter.set_quota(Quota::per_second(1).burst(100)).unwrap();
    assert_eq!(limiter.available(), 30);
    clock.advance(Duration::from_secs(5));
    limiter.set_quota(Quota::per_second(20).burst(100)).unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(limiter.available(), 75);
    let denied = limiter.check_n(80).unwrap_err();
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(250)));
    clock.advance(Duration::from_millis(250) - Duration::from_nanos(1));
    assert!(limiter.check_n(80).is_err());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(limiter.check_n(80).unwrap().limit(), 100);
}

#[test]
fn debts_are_carried_scaled_or_forgiven() {
    for (carry, there) in [(Carry::AsIs, -20), (Carry::Proportional, -40), (Carry::Full, 20)] {
        let (_, limiter) = direct(Quota::per_second(10), |builder| builder);
        limiter.charge(30);
        limiter.set_quota_with(Quota::per_second(20), carry).unwrap();
        assert_eq!(limiter.available(), there, "{carry:?}");
    }
}

/// Tokens that were drawn ahead, or lie in stripes, are part of the balance; figures speak of the
/// new burst.
#[cfg(feature = "std")]
#[test]
fn batches_and_stripes_change_too() {
    let kinds: [fn(RateLimiterBuilder) -> RateLimiterBuilder; 2] =
        [|builder| builder.batch(16), |builder| builder.stripes(4)];
    for choose in kinds {
        let (clock, limiter) = direct(Quota::per_second(1_000).burst(1_000), choose);
        let withheld = 1_000 - limiter.check_n(1).unwrap().limit();
        assert!(withheld > 0 && limiter.check_n(99).is_ok());
        let there = limiter.available();
        limiter.set_quota(Quota::per_second(10).burst(10_000)).unwrap();
        assert_eq!(limiter.available(), there);
        assert!(limiter.check().unwrap().limit() > 9_000 - withheld);
        clock.advance(Duration::from_secs(1));
        assert_eq!(limiter.available(), there - 1 + 10);
        limiter.set_quota_with(Quota::per_second(10).burst(100), Carry::Full).unwrap();
        let limit = limiter.check_n(1).unwrap().limit();
        let mut more = 0;
        while limiter.check().is_ok() {
            more += 1;
        }
        assert!(limit <= 100 && (limit..=100).contains(&(1 + more)), "{more} of {limit}");
        clock.advance(Duration::from_secs(2));
        assert_eq!((0..100).filter(|_| limiter.check().is_ok()).count(), 20);
        limiter.set_quota_with(Quota::per_second(10).burst(200), Carry::Proportional).unwrap();
        assert_eq!(limiter.available(), 0);
    }
    // A burst that is too small for the batches, and one that is too small for stripes.
    let (_, limiter) = direct(Quota::per_second(1_000), |builder| builder.batch(100));
    assert_eq!(limiter.set_quota(Quota::per_second(100)).unwrap_err().field(), "batch");
    assert_eq!(limiter.quota(), Quota::per_second(1_000));
    let (_, limiter) = direct(Quota::per_second(1_000), |builder| builder.stripes(4));
    assert!(limiter.check_n(600).is_ok());
    limiter.set_quota_with(Quota::per_second(3), Carry::Full).unwrap();
    assert_eq!((0..100).filter(|_| limiter.check().is_ok()).count(), 3);
}

/// What passes a queue at once is the queue's, and its places move with the rate.
#[test]
fn queues_stay_queues() {
    let (clock, limiter) = direct(Quota::per_second(1), |builder| builder.leaky_bucket().queue(5));
    let places: Vec<_> = (0..6).map(|_| limiter.reserve(1).unwrap()).collect();
    assert!(limiter.reserve(1).is_err());
    limiter.set_quota(Quota::per_second(2)).unwrap();
    let waits: Vec<_> = places.iter().map(|place| place.ready_in().as_millis()).collect();
    assert_eq!(waits, [0, 500, 1_000, 1_500, 2_000, 2_500]);
    clock.advance(Duration::from_secs(10));
    drop(places);
    assert!(limiter.check().is_ok() && limiter.check().is_err());
    assert_eq!(limiter.quota(), Quota::per_second(2).burst(1));
}

#[test]
fn windows_begin_anew_at_their_own_boundaries() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let clock = ManualClock::new();
        let (ten, eight) = (Quota::per_minute(10), Quota::per_minute(8));
        let builder = RateLimiter::builder(ten).algorithm(algorithm);
        let limiter = builder.clock(clock.clone()).build().unwrap();
        let keyed = KeyedLimiter::<u64>::builder(ten, 10).algorithm(algorithm);
        let keyed = keyed.clock(clock.clone()).seed([1, 2]).build().unwrap();
        clock.advance(Duration::from_secs(20));
        assert!(limiter.check_n(10).is_ok() && keyed.check_n(&1, 10).is_ok());
        limiter.set_quota(eight).unwrap();
        keyed.set_quota(eight).unwrap();
        assert!(limiter.check().is_err() && keyed.check(&1).is_err());
        limiter.set_quota_with(eight, Carry::Full).unwrap();
        keyed.set_quota_with(eight, Carry::Full).unwrap();
        assert!(limiter.check_n(8).is_ok() && limiter.check().is_err(), "{algorithm}");
        assert!(keyed.check_n(&1, 8).is_ok() && keyed.check(&1).is_err(), "{algorithm}");
        if algorithm == Algorithm::FixedWindow {
            let wait = limiter.check().unwrap_err().retry_after().unwrap();
            assert!(wait.abs_diff(Duration::from_secs(40)) < Duration::from_micros(1), "{wait:?}");
        }
        for answer in [
            limiter.set_quota_with(eight, Carry::Proportional),
            keyed.set_quota_with(eight, Carry::Proportional),
        ] {
            assert_eq!(answer.unwrap_err().field(), "carry");
        }
    }
}

/// O(1) for however many keys, and no debt is too deep.
#[test]
fn all_keys_are_full_again() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(10), 5_000).seed([1, 2]);
    let limiter = builder.clock(clock.clone()).build().unwrap();
    for key in 0..3_000 {
        assert!(limiter.check_n(&key, 1 + key % 10).is_ok());
    }
    limiter.charge(&7, 1_000);
    let place = limiter.reserve(&9, 10).unwrap();
    assert!(limiter.len() == 3_000 && place.ready_in() > Duration::from_secs(3_000));
    limiter.set_quota_with(Quota::per_hour(20), Carry::Full).unwrap();
    assert_eq!(limiter.len(), 0);
    assert!(place.ready_in().is_zero());
    for key in 0..3_000 {
        assert_eq!(limiter.available(&key), 20, "{key}");
        assert!(limiter.check_n(&key, 20).is_ok() && limiter.check(&key).is_err(), "{key}");
    }
    clock.advance(Duration::from_secs(180));
    assert_eq!(limiter.available(&7), 1);
}

/// Each time counts against the limiter's time, and is refused in the end rather than wrong.
#[test]
fn full_again_ends_with_an_error() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(Quota::per_day(1).burst(1_000), 10);
    let limiter = builder.clock(clock.clone()).seed([1, 2]).build().unwrap();
    let mut times = 0;
    let error = loop {
        assert!(limiter.check_n(&1, 1_000).is_ok() && limiter.check(&1).is_err());
        match limiter.set_quota_with(Quota::per_day(1).burst(1_000), Carry::Full) {
            Ok(()) => times += 1,
            Err(error) => break error,
        }
    };
    assert!(times >= 10, "{times}");
    assert_eq!(error.field(), "count");
    assert!(limiter.check(&1).is_err());
    clock.advance(Duration::from_secs(86_400));
    assert!(limiter.check(&1).is_ok() && limiter.check(&1).is_err());
}

/// A direct limiter's word leaves room for a rate of some 5,000 times the first.
#[test]
fn rates_may_grow_as_far_as_is_documented() {
    let (clock, limiter) = direct(Quota::per_second(10), |builder| builder);
    assert!(limiter.check_n(10).is_ok());
    limiter.set_quota(Quota::per_second(50_000)).unwrap();
    clock.advance(Duration::from_millis(1));
    assert_eq!(limiter.available(), 50);
    let error = limiter.set_quota(Quota::per_second(100_000_000)).unwrap_err();
    assert!(error.to_string().starts_with("count must be lower"), "{error}");
    // A limiter of huge rates counts single tokens, and may have any.
    let (clock, limiter) = direct(Quota::per_second(1 << 36), |builder| builder);
    assert!(limiter.check_n(1 << 36).is_ok());
    limiter.set_quota(Quota::per_second(1 << 40)).unwrap();
    clock.advance(Duration::from_secs(1));
    assert!(limiter.check_n(1 << 40).is_ok() && limiter.check_n(1 << 20).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take(u64),
    Charge(u64),
    Change(u64, u64, Carry),
}

fn step() -> impl Strategy<Value = Step> {
    let carry = prop_oneof![Just(Carry::AsIs), Just(Carry::Full), Just(Carry::Proportional)];
    prop_oneof![
        3 => (0..3_000_000_000_u64).prop_map(Step::Wait),
        4 => (1..30_u64).prop_map(Step::Take),
        1 => (1..30_u64).prop_map(Step::Charge),
        1 => (1..200_u64, 1..60_u64, carry)
            .prop_map(|(rate, burst, carry)| Step::Change(rate, burst, carry)),
    ]
}

proptest! {
    /// Against a bucket in rational numbers: each decision is the same, but within two units of
    /// token time for each change so far, which a proportional change scales.
    #[test]
    fn balances_are_those_of_an_exact_bucket(steps in prop::collection::vec(step(), 1..120)) {
        let (clock, limiter) = direct(Quota::per_second(20).burst(25), |builder| builder);
        let whole = |n: u64| BigRational::from_integer(BigInt::from(n));
        let (mut rate, mut burst, mut balance) = (20, 25, whole(25));
        let mut slack = whole(2) / whole(1_000_000);
        for step in steps {
            match step {
                Step::Wait(nanos) => {
                    clock.advance(Duration::from_nanos(nanos));
                    let flow = whole(nanos) * whole(rate) / whole(1_000_000_000);
                    balance = (balance + flow).min(whole(burst));
                }
                Step::Take(n) => {
                    let margin = &balance - whole(n);
                    let near = &margin * &margin <= &slack * &slack;
                    let granted = limiter.check_n(n).is_ok();
                    if !near {
                        let fits = n <= burst && margin >= whole(0);
                        prop_assert_eq!(granted, fits, "{} of {}", n, balance);
                    }
                    if granted {
                        balance = margin;
                    }
                }
                Step::Charge(n) => {
                    limiter.charge(n);
                    balance -= whole(n);
                }
                Step::Change(new_rate, new_burst, carry) => {
                    let next = Quota::per_second(new_rate).burst(new_burst);
                    limiter.set_quota_with(next, carry).unwrap();
                    balance = match carry {
                        Carry::Full => whole(new_burst),
                        Carry::Proportional => balance * whole(new_burst) / whole(burst),
                        _ => balance.min(whole(new_burst)),
                    };
                    if carry == Carry::Proportional && new_burst > burst {
                        slack = slack * whole(new_burst) / whole(burst);
                    }
                    slack += whole(2) / whole(1_000_000);
                    (rate, burst) = (new_rate, new_burst);
                }
            }
        }
    }
}

/// A debt that is scaled up and then forgiven in part takes the line back to before its beginning:
/// places there are given up as everywhere.
#[test]
fn places_before_the_lines_beginning_are_given_up() {
    let (clock, limiter) = direct(Quota::per_second(10), |builder| builder);
    limiter.charge(110);
    limiter.set_quota_with(Quota::per_second(10).burst(1_000), Carry::Proportional).unwrap();
    assert_eq!(limiter.available(), -10_000);
    limiter.refund(10_000);
    let (first, second) = (limiter.reserve(5).unwrap(), limiter.reserve(3).unwrap());
    assert_eq!((first.ready_in().as_millis(), second.ready_in().as_millis()), (500, 800));
    assert_eq!(second.cancel(), 3);
    assert_eq!(first.cancel(), 5);
    assert_eq!(limiter.available(), 0);
    clock.advance(Duration::from_secs(1_000));
    assert_eq!(limiter.available(), 1_000);
}

/// Scaled beyond the longest debt, a debt was taken for a full bucket.
#[test]
fn a_debt_that_cannot_be_scaled_is_refused() {
    let (_, limiter) = direct(Quota::per_second(1).burst(1), |builder| builder);
    limiter.charge(300_001);
    let larger = Quota::per_second(1).burst(1_000_000);
    let error = limiter.set_quota_with(larger, Carry::Proportional).unwrap_err();
    assert_eq!((error.field(), limiter.available()), ("burst", -300_000));
    limiter.set_quota(larger).unwrap();
    assert_eq!(limiter.available(), -300_000);
}

/// Each change of the quota lost the part of a unit that had flowed.
#[test]
fn changing_often_loses_no_time() {
    let clock = ManualClock::new();
    let (a, b) = (Quota::per_day(1_000).burst(1 << 40), Quota::per_day(1_000).burst((1 << 40) - 1));
    let limiter =
        KeyedLimiter::<u8>::builder(a, 10).clock(clock.clone()).seed([1, 2]).build().unwrap();
    assert!(limiter.check_n(&1, 1 << 40).is_ok());
    for i in 0..86_400_u32 {
        clock.advance(Duration::from_secs(1));
        limiter.set_quota(if i.is_multiple_of(2) { b } else { a }).unwrap();
    }
    assert!((999..=1_000).contains(&limiter.available(&1)), "{}", limiter.available(&1));
}

#[test]
fn a_wait_for_a_changed_windows_end_is_enough() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        for odd in 1..200 {
            let quota = Quota::per_second(3);
            let (clock, limiter) = direct(quota, |builder| builder.algorithm(algorithm));
            clock.advance(Duration::from_nanos(7_654_321 * odd));
            let period = Duration::from_nanos(999_999_937 + 1_001 * odd);
            limiter.set_quota(Quota::new(3, period).unwrap()).unwrap();
            assert!(limiter.check_n(3).is_ok());
            let wait = limiter.check().unwrap_err().retry_after().unwrap();
            clock.advance(wait);
            assert!(limiter.check().is_ok(), "{algorithm} {odd}");
        }
    }
}
