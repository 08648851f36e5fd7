//! Promises of the keyed table in a flood of keys: what is forgotten is not forgiven.

use crate::support::models::{self, nanos};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sluicegate::{Algorithm, KeyedLimiter, ManualClock, Quota, Reservation, WhenFull};
use std::collections::BTreeMap;
use std::time::Duration;

/// What each key was admitted, and when.
#[derive(Default)]
struct Log(BTreeMap<u64, Vec<(u64, u64)>>);

impl Log {
    fn admit(&mut self, key: u64, at: u64, n: u64) {
        self.0.entry(key).or_default().push((at, n));
    }

    /// By how many tokens the worst window of any key exceeds `rate * length`.
    fn worst(&mut self, quota: Quota) -> f64 {
        let flowed = |at: u64| at as f64 * quota.count() as f64 / nanos(quota.period()) as f64;
        let mut worst = 0.0_f64;
        for admissions in self.0.values_mut() {
            admissions.sort_unstable();
            let (mut taken, mut lowest) = (0, f64::MAX);
            for (at, n) in admissions {
                lowest = lowest.min(taken as f64 - flowed(*at));
                taken += *n;
                worst = worst.max(taken as f64 - flowed(*at) - lowest);
            }
        }
        worst
    }

    /// The most that any key was admitted in one aligned period.
    fn most_in_a_period(&self, quota: Quota) -> u64 {
        let mut most = 0;
        for admissions in self.0.values() {
            let mut windows = BTreeMap::<u64, u64>::new();
            for (at, n) in admissions {
                *windows.entry(at / nanos(quota.period())).or_default() += n;
            }
            most = most.max(windows.into_values().max().unwrap_or(0));
        }
        most
    }
}

fn limiter(quota: Quota, capacity: usize, seed: u64) -> (KeyedLimiter<u64>, ManualClock) {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(quota, capacity).clock(clock.clone()).seed([seed, 7]);
    (builder.build().unwrap(), clock)
}

/// Random names or rotating addresses: ten times the capacity each second, each key drained. Fifty
/// drained keys that ask all the time got 21 times their law.
#[test]
fn a_flood_of_new_keys_frees_no_drained_one() {
    for per_second in [20_000, 100_000_u64] {
        let quota = Quota::per_second(1).burst(5);
        let (limiter, clock) = limiter(quota, 10_000, per_second);
        let mut log = Log::default();
        let mut poll = |limiter: &KeyedLimiter<u64>, at| {
            for key in 0..50 {
                while limiter.check(&key).is_ok() {
                    log.admit(key, at, 1);
                }
            }
        };
        let (mut stranger, step) = (1_000, Duration::from_millis(10));
        for turn in 0..1_000 {
            clock.set(step * turn);
            poll(&limiter, nanos(step * turn));
            for _ in 0..per_second / 100 {
                while limiter.check(&stranger).is_ok() {}
                stranger += 1;
            }
        }
        let worst = log.worst(quota);
        assert!(worst <= 5.001, "{per_second} a second: {worst} over the rate");
    }
}

/// An empty table forgets nothing, so what is known of each key is all there is to know, and the
/// price is only paid by newcomers of a full one, for as long as what was forgotten is missing.
#[test]
fn a_newcomer_pays_for_what_it_displaces_until_that_has_flowed() {
    let (limiter, clock) = limiter(Quota::per_second(1).burst(10), 1, 3);
    for key in 0..8 {
        assert!(limiter.check_n(&key, 6 + key % 4).is_ok());
    }
    assert_eq!((limiter.peek(&99, 5).is_ok(), limiter.peek(&99, 4).is_ok()), (false, true));
    assert_eq!((limiter.available(&99), limiter.level(&99)), (4, 6));
    assert!(limiter.check_n(&99, 5).is_err());
    assert_eq!((limiter.evictions(), limiter.len()), (0, 8), "a denial forgets nobody");
    // It takes the slot of one that lacks six, with what that lacks.
    let grant = limiter.check_n(&99, 2).unwrap();
    assert_eq!((grant.remaining(), limiter.evictions(), limiter.available(&99)), (2, 1, 2));
    clock.advance(Duration::from_secs(10));
    assert_eq!(limiter.check_n(&100, 10).map(|grant| grant.remaining()), Ok(0));
}

/// A place of an earlier life of its key's bucket came back into a later one: 1,010 admitted of 10.
#[test]
fn a_place_gives_nothing_back_into_another_life_of_its_bucket() {
    let (limiter, _) = limiter(Quota::per_second(1).burst(10), 1, 5);
    let drain = |key| u64::from((0..).take_while(|_| limiter.check(&key).is_ok()).count() as u32);
    let mut admitted = drain(0);
    let places: Vec<_> = (0..100).map(|_| limiter.reserve(&0, 10).unwrap()).collect();
    for key in 1..8 {
        limiter.charge(&key, 5_000);
    }
    limiter.charge(&8, 1);
    assert_eq!(limiter.evictions(), 1);
    admitted += drain(0);
    for place in places {
        let _ = place.cancel();
        admitted += drain(0);
    }
    assert_eq!(admitted, 10);
}

/// What is given back was counted for 64 groups of keys, and a reset made the places of its group
/// void: of 600 tokens none came back.
#[test]
fn what_other_keys_do_is_no_matter_of_a_places() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(1), 10_000).clock(clock);
    let limiter = builder.build().unwrap();
    for key in 0..2_000 {
        assert!(limiter.check(&key).is_ok());
    }
    let places: Vec<_> = (0..600).map(|key| limiter.reserve(&key, 1).unwrap()).collect();
    for key in 600..1_240 {
        limiter.reset(&key);
        limiter.charge(&key, 3);
        limiter.refund(&key, 2);
        drop(limiter.reserve(&key, 1));
    }
    // Some are given up, others settled.
    let (settled, given_up): (Vec<_>, Vec<_>) =
        places.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
    assert_eq!(given_up.into_iter().map(|(_, place)| place.cancel()).sum::<u64>(), 300);
    assert!(settled.into_iter().all(|(_, place)| place.settle(0).is_zero()));
    assert!((0..600).all(|key| limiter.available(&key) == 0));
    // The key's own resets and refunds are.
    let place = limiter.reserve(&1_500, 1).unwrap();
    limiter.reset(&1_500);
    assert_eq!((place.cancel(), limiter.available(&1_500)), (0, 1));
    let taken = limiter.reserve(&1_500, 1).unwrap();
    limiter.refund(&1_500, 1);
    taken.settle(0);
    assert_eq!(limiter.available(&1_500), 1);
}

/// What keys without a slot take of the bucket that they share is nobody's to give back.
#[test]
fn resets_and_refunds_of_strangers_do_not_fill_the_shared_bucket() {
    let quota = Quota::per_hour(10);
    let builder = KeyedLimiter::<u64>::builder(quota, 1).when_full(WhenFull::Share);
    let limiter = builder.clock(ManualClock::new()).build().unwrap();
    let all = (0..50).map(|key| u64::from(limiter.check_n(&key, 10).is_ok())).sum::<u64>();
    assert_eq!(all, 8 + 1);
    let without = (0..50).filter(|key| limiter.available(key) == 0).last().unwrap();
    for stranger in 100..150 {
        limiter.reset(&stranger);
        limiter.refund(&stranger, 10);
    }
    assert!(limiter.check(&without).is_err());
    // Who reserves there knows what to give back.
    let place = limiter.reserve(&200, 4).unwrap();
    assert_eq!(place.cancel(), 4);
}

/// A key that has taken of the shared bucket and then gets a slot has one burst, not two.
#[test]
fn a_key_that_leaves_the_shared_bucket_begins_no_fuller_than_that() {
    for seed in 0..40 {
        let (quota, clock) = (Quota::per_second(1).burst(5), ManualClock::new());
        let builder = KeyedLimiter::<u64>::builder(quota, 8).when_full(WhenFull::Share);
        let limiter = builder.seed([seed, 0]).clock(clock.clone()).build().unwrap();
        let mut log = Log::default();
        // Slots become free while the keys that had none ask.
        for at in (0..20_000).step_by(50) {
            clock.set(Duration::from_millis(at));
            for key in 0..20 {
                if limiter.check_n(&(key + at / 4_000 * 10), 1).is_ok() {
                    log.admit(key + at / 4_000 * 10, at * 1_000_000, 1);
                }
            }
        }
        let worst = log.worst(quota);
        assert!(worst <= 5.0 + 1e-3, "seed {seed}: {worst} over the rate");
    }
}

/// The floor lies in the file, and holds for all that have it open.
#[cfg(all(unix, feature = "shared"))]
#[test]
fn no_process_forgives_what_another_forgot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let open = || KeyedLimiter::<u64>::open_shared(&path, Quota::per_hour(10), 1).unwrap();
    let (one, other) = (open(), open());
    for key in 0..9 {
        one.charge(&key, 100);
    }
    assert_eq!(one.evictions(), 1);
    assert!((0..20).all(|key| other.check(&key).is_err()));
    drop((one, other));
    assert!((0..20).all(|key| open().check(&key).is_err()));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Pass(u64),
    Check(u64, u64),
    UpTo(u64, u64),
    Charge(u64, u64),
    Reserve(u64, u64),
    Cancel(usize),
    Settle(usize, u64),
    TakeBack(u64, u64),
    Look(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..24_u64;
    prop_oneof![
        3 => (0..2_000_u64).prop_map(|ms| Op::Pass(ms * 1_000_000)),
        1 => (0..30_u64).prop_map(Op::Pass),
        8 => (key.clone(), 1..8_u64).prop_map(|(key, n)| Op::Check(key, n)),
        2 => (key.clone(), 1..8_u64).prop_map(|(key, n)| Op::UpTo(key, n)),
        2 => (key.clone(), 1..20_u64).prop_map(|(key, n)| Op::Charge(key, n)),
        3 => (key.clone(), 1..8_u64).prop_map(|(key, n)| Op::Reserve(key, n)),
        2 => (0..8_usize).prop_map(Op::Cancel),
        1 => (0..8_usize, 0..12_u64).prop_map(|(i, n)| Op::Settle(i, n)),
        1 => (key.clone(), 1..8_u64).prop_map(|(key, n)| Op::TakeBack(key, n)),
        2 => key.prop_map(Op::Look),
    ]
}

/// Takes what a place is worth into the log, at the moment that it is due.
fn run(
    algorithm: Algorithm,
    quota: Quota,
    when_full: WhenFull,
    seed: u64,
    ops: &[Op],
) -> TestCaseResult {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota, 3).algorithm(algorithm).seed([seed, 1]);
    let limiter = builder.when_full(when_full).clock(clock.clone()).build().unwrap();
    let (mut now, mut log) = (0, Log::default());
    let mut places: Vec<(u64, u64, Reservation<'_>)> = Vec::new();
    for op in ops {
        match *op {
            Op::Pass(by) => {
                now += by;
                clock.set(Duration::from_nanos(now));
                let due = |place: &(u64, u64, Reservation<'_>)| place.2.ready_in().is_zero();
                while let Some(at) = places.iter().position(due) {
                    let (key, at, place) = places.swap_remove(at);
                    log.admit(key, at, place.tokens());
                }
            }
            Op::Check(key, n) => {
                let seen = limiter.peek(&key, n).is_ok();
                let taken = limiter.check_n(&key, n).is_ok();
                prop_assert_eq!(
                    seen,
                    taken,
                    "peek says what check does: {:?} {:?} {} at {}: {:?} {:?}",
                    algorithm,
                    op,
                    seed,
                    now,
                    limiter.peek(&key, n),
                    limiter.available(&key)
                );
                if taken {
                    log.admit(key, now, n);
                }
            }
            Op::UpTo(key, n) => {
                if let Ok(grant) = limiter.check_up_to(&key, n) {
                    log.admit(key, now, grant.granted());
                }
            }
            Op::Charge(key, n) => {
                limiter.charge(&key, n);
            }
            Op::Reserve(key, n) => {
                if let Ok(place) = limiter.reserve(&key, n) {
                    let due = now + nanos(place.ready_in());
                    places.push((key, due, place));
                }
            }
            Op::Cancel(i) if i < places.len() => {
                let (key, at, place) = places.swap_remove(i);
                if place.ready_in().is_zero() {
                    log.admit(key, at, place.tokens());
                }
                let _ = place.cancel();
            }
            Op::Settle(i, n) if i < places.len() => {
                let (key, at, place) = places.swap_remove(i);
                let used = n.min(place.tokens());
                log.admit(key, at, used);
                place.settle(used);
            }
            Op::TakeBack(key, n) => {
                if limiter.check_n(&key, n).is_ok() {
                    limiter.refund(&key, n);
                }
            }
            Op::Look(key) => match limiter.peek(&key, 1) {
                // The bucket that it would have, if there were room.
                Err(denied) if denied.is_table_full() => {}
                seen => prop_assert_eq!(limiter.available(&key) >= 1, seen.is_ok()),
            },
            Op::Cancel(_) | Op::Settle(..) => {}
        }
    }
    if algorithm == Algorithm::FixedWindow {
        prop_assert!(log.most_in_a_period(quota) <= quota.count());
    } else {
        let worst = log.worst(quota);
        prop_assert!(worst <= quota.burst_size() as f64 + 1e-3, "{} over the rate", worst);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(models::cases(200)))]

    /// Law 1 for every key of a table with room for an eighth of them.
    #[test]
    fn every_key_keeps_its_law_in_a_table_that_forgets(
        ops in prop::collection::vec(op(), 1..300),
        seed in 0..1_000_u64,
    ) {
        let smooth = [Quota::per_second(1).burst(7), Quota::per_second(7).burst(7)];
        let windows: [Quota; 2] = ["8/3 s".parse().unwrap(), "8/9 s".parse().unwrap()];
        for when_full in [WhenFull::Evict, WhenFull::Deny, WhenFull::Share] {
            for quota in smooth {
                run(Algorithm::TokenBucket, quota, when_full, seed, &ops)?;
            }
            run(Algorithm::FixedWindow, windows[0], when_full, seed, &ops)?;
            for quota in windows {
                run(Algorithm::SlidingWindow, quota, when_full, seed, &ops)?;
            }
        }
    }
}

/// Requests that can never be granted made room for themselves.
#[test]
fn an_impossible_place_evicts_nobody() {
    let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(10), 100).seed([1, 2]);
    let limiter = builder.clock(ManualClock::new()).build().unwrap();
    for key in 0..400 {
        let _ = limiter.check_n(&key, 10);
    }
    let before = (limiter.evictions(), limiter.len());
    for key in 1_000..1_400 {
        assert!(limiter.reserve(&key, 11).unwrap_err().is_never());
    }
    assert_eq!((limiter.evictions(), limiter.len()), before);
}
