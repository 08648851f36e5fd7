//! A charge takes a balance no lower than `-max_debt`, whatever the limiter.

use proptest::prelude::*;
use sluicegate::{Algorithm, Combined, KeyedLimiter, ManualClock, Quota, RateLimiter, WhenFull};
use std::time::Duration;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];

/// Any limiter's verbs, of one key.
struct Account {
    charge: Box<dyn Fn(u64) -> Duration>,
    available: Box<dyn Fn() -> i64>,
    take: Box<dyn Fn(u64) -> bool>,
    refund: Box<dyn Fn(u64)>,
}

fn direct(limiter: RateLimiter) -> Account {
    let limiter: &'static RateLimiter = Box::leak(Box::new(limiter));
    Account {
        charge: Box::new(|n| limiter.charge(n)),
        available: Box::new(|| limiter.available()),
        take: Box::new(|n| limiter.check_n(n).is_ok()),
        refund: Box::new(|n| limiter.refund(n)),
    }
}

fn keyed(limiter: KeyedLimiter<str>, key: &'static str) -> Account {
    let limiter: &'static KeyedLimiter<str> = Box::leak(Box::new(limiter));
    Account {
        charge: Box::new(move |n| limiter.charge(key, n)),
        available: Box::new(move || limiter.available(key)),
        take: Box::new(move |n| limiter.check_n(key, n).is_ok()),
        refund: Box::new(move |n| limiter.refund(key, n)),
    }
}

/// One of each kind, on this clock.
fn accounts(quota: Quota, most: u64, clock: &ManualClock) -> Vec<(String, Account)> {
    let mut all = Vec::new();
    let builder = |algorithm| {
        RateLimiter::builder(quota).algorithm(algorithm).max_debt(most).clock(clock.clone())
    };
    let token = || builder(Algorithm::TokenBucket);
    for algorithm in ALGORITHMS {
        all.push((format!("{algorithm}"), direct(builder(algorithm).build().unwrap())));
        let table =
            KeyedLimiter::builder(quota, 100).algorithm(algorithm).max_debt(most).seed([1, 2]);
        let table = table.clock(clock.clone()).build().unwrap();
        all.push((format!("keyed {algorithm}"), keyed(table, "key")));
    }
    all.push(("batched".into(), direct(token().batch(4).build().unwrap())));
    #[cfg(feature = "std")]
    all.push(("striped".into(), direct(token().stripes(2).build().unwrap())));
    let stepped = token().refill_at_intervals();
    all.push(("stepped".into(), direct(stepped.build().unwrap())));
    all
}

/// 3,000 denials, each charged, were a debt of five hours.
#[test]
fn charged_denials_are_owed_no_longer_than_the_most_takes() {
    let quota = Quota::per_minute(10);
    let clock = ManualClock::new();
    for (name, account) in accounts(quota, 20, &clock) {
        // A window forgets at its end.
        for _ in 1..3_000 {
            clock.advance(Duration::from_millis(20));
            if !(account.take)(1) {
                // 20 tokens, and what a window keeps of them for the next one.
                let paid = (account.charge)(1);
                assert!(paid <= Duration::from_secs(180), "{name}: {paid:?}");
            }
        }
        let left = (account.available)();
        assert!((-20..=-19).contains(&left), "{name}: {left}");
        clock.advance(Duration::from_secs(180));
        assert!((account.take)(1), "{name}");
    }
}

#[test]
fn charge_takes_what_is_there_and_the_most_and_forgets_the_rest() {
    for most in [0, 1, 7, 1_000] {
        let quota = Quota::per_minute(16);
        let clock = ManualClock::new();
        for (name, account) in accounts(quota, most, &clock) {
            let full = (account.available)();
            (account.charge)(3);
            assert_eq!((account.available)(), full - 3, "{name}");
            (account.charge)(u64::MAX);
            let debt = most as i64;
            assert_eq!((account.available)(), -debt, "{name}");
            (account.charge)(1);
            assert_eq!((account.available)(), -debt, "{name}");
            (account.refund)(2);
            assert_eq!((account.available)(), 2 - debt, "{name}");
            (account.charge)(1);
            assert_eq!((account.available)(), 1 - debt, "{name}");
        }
    }
}

/// A line of reservations goes lower than a charge may: that one adds nothing, and takes nothing
/// off.
#[test]
fn charge_behind_a_longer_line_changes_nothing() {
    // A sliding window's balance is that of the window its last place is in.
    for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket, Algorithm::FixedWindow] {
        let quota = Quota::per_minute(10);
        let builder = RateLimiter::builder(quota).algorithm(algorithm).max_debt(5);
        let limiter = builder.clock(ManualClock::new()).build().unwrap();
        let places: Vec<_> = (0..4).map(|_| limiter.reserve(10).unwrap()).collect();
        let line = limiter.available();
        assert!(line < -5, "{algorithm}: {line}");
        limiter.charge(100);
        assert_eq!(limiter.available(), line, "{algorithm}");
        drop(places);

        let builder =
            KeyedLimiter::<str>::builder(quota, 100).algorithm(algorithm).max_debt(5).seed([1, 2]);
        let limiter = builder.clock(ManualClock::new()).build().unwrap();
        let places: Vec<_> = (0..4).map(|_| limiter.reserve("key", 10).unwrap()).collect();
        let line = limiter.available("key");
        limiter.charge("key", 100);
        assert_eq!(limiter.available("key"), line, "{algorithm}");
        drop(places);
    }
}

/// What a cost turns out to be beyond its reservation is a charge.
#[test]
fn settling_and_combined_limits_keep_to_it() {
    let clock = ManualClock::new();
    let limiter =
        RateLimiter::builder(Quota::per_minute(10)).max_debt(5).clock(clock.clone()).build();
    let limiter = limiter.unwrap();
    limiter.reserve(10).unwrap().settle(1_000);
    assert_eq!(limiter.available(), -5);

    let keyed = KeyedLimiter::<str>::builder(Quota::per_minute(10), 10).max_debt(3).seed([1, 2]);
    let keyed = keyed.clock(clock.clone()).build().unwrap();
    let both = Combined::new([limiter.as_limit(), keyed.as_limit("key")]);
    clock.advance(Duration::from_secs(90));
    both.charge(100);
    assert_eq!((limiter.available(), keyed.available("key")), (-5, -3));
}

/// Keys without a slot share an account that keeps to it.
#[test]
fn shared_bucket_of_a_full_table_keeps_to_it() {
    let builder = KeyedLimiter::<u64>::builder(Quota::per_minute(10), 1).seed([1, 2]);
    let builder = builder.when_full(WhenFull::Share).max_debt(4).clock(ManualClock::new());
    let limiter = builder.build().unwrap();
    for key in 0..100 {
        limiter.charge(&key, 1_000);
    }
    for key in 0..100 {
        assert!((-4..=10).contains(&limiter.available(&key)), "{}", limiter.available(&key));
    }
}

#[cfg(all(unix, feature = "shared"))]
#[test]
fn each_process_of_a_shared_table_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let open = |most| {
        let builder = KeyedLimiter::<str>::builder(Quota::per_day(10), 10).max_debt(most);
        builder.open_shared(&path).unwrap()
    };
    let (strict, lenient) = (open(2), open(30));
    strict.charge("key", 100);
    assert_eq!(strict.available("key"), -2);
    lenient.charge("key", 100);
    assert_eq!(lenient.available("key"), -30);
    strict.charge("key", 100);
    assert_eq!(lenient.available("key"), -30);
}

/// Units of several tokens: at most the whole units of what may be owed.
#[test]
fn highest_rates_keep_to_it() {
    let quota = Quota::per_second(1_000_000_000_000).burst(1_000_000);
    let builder = KeyedLimiter::<str>::builder(quota, 10).max_debt(1_000_000).seed([1, 2]);
    let limiter = builder.clock(ManualClock::new()).build().unwrap();
    limiter.charge("key", u64::MAX);
    let left = limiter.available("key");
    assert!((-1_000_000..-900_000).contains(&left), "{left}");
}

proptest! {
    /// A charge leaves `max(before - n, -most)`, to the token that the flow rounds, and never less
    /// than `-most`.
    #[test]
    fn no_charge_goes_below_the_most(
        count in 8_u64..50,
        most in 0_u64..100,
        steps in prop::collection::vec((0_u64..30_000, 0_u64..60, any::<bool>()), 1..40),
    ) {
        let quota = Quota::per_minute(count).burst(count + 5);
        let windows = Quota::per_minute(count);
        let clock = ManualClock::new();
        let mut all = accounts(windows, most, &clock);
        let bucket = RateLimiter::builder(quota).max_debt(most).clock(clock.clone());
        all.push(("burst".into(), direct(bucket.build().unwrap())));
        for (nanos, n, takes) in steps {
            clock.advance(Duration::from_millis(nanos) + Duration::from_nanos(nanos));
            for (name, account) in &all {
                if takes {
                    (account.take)(n);
                    continue;
                }
                let before = (account.available)();
                (account.charge)(n);
                let (after, lowest) = ((account.available)(), -(most as i64));
                let exact = (before - n as i64).max(lowest);
                let told = format!("{name}: {before} - {n} is {after}");
                prop_assert!(after >= lowest, "{told}");
                // What is drawn ahead counts up to the limit only.
                let ahead = name == "batched" || name == "striped";
                let bound = if ahead { before } else { exact + 1 };
                prop_assert!((exact..=bound.max(exact)).contains(&after), "{told}");
            }
        }
    }
}
