//! Places in line: where the line ends, what a place costs in the end, and every kind of limiter.

use super::reservations::{STEP, both, direct, keyed, reserve};
use sluicegate::{
    Algorithm, Denied, KeyedLimiter, ManualClock, Quota, RateLimiter, Reservation, WhenFull,
};
use std::time::Duration;

#[test]
fn a_line_may_have_an_end() {
    let quota = Quota::per_second(10).burst(5);
    let limiter = RateLimiter::builder(quota).max_waiting(3).clock(ManualClock::new());
    let limiter = limiter.build().unwrap();
    let places: Vec<_> = (0..8).map(|_| limiter.reserve(1).unwrap()).collect();
    let denied = limiter.reserve(1).unwrap_err();
    assert_eq!((denied.retry_after(), limiter.available()), (Some(STEP), -3));
    assert!(denied.to_string().contains("retry after 100ms"), "{denied}");
    // The last first: nobody is behind.
    places.into_iter().rev().for_each(drop);
    assert_eq!(limiter.available(), 0);
    let limiter = KeyedLimiter::<str>::builder(quota, 9).max_waiting(3).clock(ManualClock::new());
    let limiter = limiter.seed([1, 2]).build().unwrap();
    let _places: Vec<_> = (0..8).map(|_| limiter.reserve("a", 1).unwrap()).collect();
    assert!(limiter.reserve("a", 1).is_err() && limiter.reserve("b", 1).is_ok());
}

#[test]
fn instalments_are_a_choice() {
    let quota = Quota::per_second(10).burst(5);
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(quota).instalments().max_waiting(15).clock(clock.clone());
    let limiter = builder.build().unwrap();
    assert!(limiter.check_n(6).unwrap_err().is_never(), "a check takes no instalments");
    let large = limiter.reserve(12).unwrap();
    assert_eq!((large.ready_in(), limiter.available()), (STEP * 7, -7));
    let behind = limiter.reserve(5).unwrap();
    assert_eq!(behind.ready_in(), STEP * 12);
    let denied = limiter.reserve(12).unwrap_err();
    assert!(!denied.is_never());
    assert_eq!(denied.retry_after(), Some(STEP * 9));
    assert!(limiter.reserve(21).unwrap_err().is_never());
    assert_eq!(large.cancel(), 12);
    assert_eq!(limiter.available(), -12, "it is in front of the one behind");
    let next = limiter.reserve(5).unwrap();
    assert_eq!((next.ready_in(), behind.ready_in()), (Duration::ZERO, STEP * 12));
    let keyed = KeyedLimiter::<str>::builder(quota, 9).instalments().clock(clock).seed([1, 2]);
    let keyed = keyed.build().unwrap();
    assert_eq!(keyed.reserve("a", 12).unwrap().ready_in(), STEP * 7);
}

#[test]
fn costs_known_afterwards_are_settled() {
    both(10, |clock, limiter| {
        let place = reserve(clock, limiter, 0, 6, 0);
        assert_eq!(place.settle(2), Duration::ZERO);
        assert_eq!(limiter.available(), 8);
        let place = reserve(clock, limiter, 0, 6, 0);
        assert_eq!(place.settle(11), STEP * 3);
        assert_eq!(limiter.available(), -3);
        // Of a place that is not due yet, what is not needed is given up.
        let place = reserve(clock, limiter, 0, 5, 8);
        assert_eq!(place.settle(1), Duration::ZERO);
        assert_eq!(limiter.available(), -4);
        let place = reserve(clock, limiter, 0, 1, 5);
        assert_eq!((place.settle(1), limiter.available()), (Duration::ZERO, -5));
    });
}

/// What its window has counted out since, or the bucket would have had anyway, a place does not
/// give back once more.
#[test]
fn a_place_of_long_ago_is_settled_for_what_is_left_of_it() {
    let quota = Quota::per_minute(10);
    let seconds = Duration::from_secs;
    let all = [
        Algorithm::TokenBucket,
        Algorithm::LeakyBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
    ];
    for algorithm in all {
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(quota).algorithm(algorithm).clock(clock.clone());
        let direct = builder.build().unwrap();
        let builder = KeyedLimiter::<str>::builder(quota, 9).algorithm(algorithm).seed([1, 2]);
        let keyed = builder.clock(clock.clone()).build().unwrap();
        clock.set(seconds(50));
        let places = [direct.reserve(6).unwrap(), keyed.reserve("key", 6).unwrap()];
        let soon = [direct.reserve(2).unwrap(), keyed.reserve("key", 2).unwrap()];
        assert!(soon.iter().all(|place| place.ready_in().is_zero()));
        assert_eq!(soon.map(|place| place.settle(0)), [Duration::ZERO; 2]);
        assert_eq!((direct.available(), keyed.available("key")), (4, 4), "{algorithm}");
        clock.set(seconds(130));
        assert!(direct.check_n(10).is_ok() && keyed.check_n("key", 10).is_ok());
        assert_eq!(places.map(|place| place.settle(0)), [Duration::ZERO; 2]);
        assert!(direct.check().is_err() && keyed.check("key").is_err(), "{algorithm}");
    }
}

/// A grant says what there will be when the place is due.
#[test]
fn a_grant_is_of_the_moment_that_it_is_due() {
    both(4, |clock, limiter| {
        let now = reserve(clock, limiter, 0, 3, 0).grant();
        assert_eq!((now.granted(), now.limit(), now.remaining()), (3, 4, 1));
        assert_eq!(now.reset_after(), STEP * 3);
        let later = reserve(clock, limiter, 0, 2, 1).grant();
        assert_eq!((later.granted(), later.remaining(), later.reset_after()), (2, 0, STEP * 4));
    });
}

/// Tokens drawn ahead or leased are spent first, and what is denied puts them back.
#[cfg(feature = "std")]
#[test]
fn batched_and_striped_limiters_have_a_line() {
    let quota = Quota::per_second(10).burst(64);
    let clock = ManualClock::new();
    let builder = || RateLimiter::builder(quota).clock(clock.clone());
    for limiter in [builder().batch(8).build(), builder().stripes(4).build(), builder().build()] {
        let limiter = limiter.unwrap();
        assert!(limiter.check().is_ok());
        let mut free = 0;
        while limiter.reserve(1).unwrap().ready_in().is_zero() {
            free += 1;
        }
        assert!((47..=63).contains(&free), "{free} of {limiter:?}");
        assert_eq!(limiter.available(), 0, "the last one has been given up");
        let ten = limiter.reserve(10).unwrap();
        assert_eq!((ten.ready_in(), limiter.available()), (Duration::from_secs(1), -10));
        assert!(limiter.check().is_err());
        let denied = limiter.reserve_within(1, Duration::from_secs(1)).unwrap_err();
        assert_eq!(denied.retry_after(), Some(STEP));
        assert_eq!(ten.cancel(), 10);
        assert_eq!(limiter.available(), 0);
        clock.advance(Duration::from_secs(100));
        // With some in hand, a place is for the rest of them.
        assert!(limiter.check().is_ok());
        let there = limiter.available() as u64;
        assert!(limiter.reserve_within(there, Duration::ZERO).is_ok());
        assert_eq!(limiter.available(), 0);
        assert_eq!(limiter.reserve(1).unwrap().ready_in(), STEP);
    }
}

#[test]
fn a_full_table_has_its_policy() {
    let fill = |policy| {
        let clock = ManualClock::new();
        let builder = KeyedLimiter::<u64>::builder(Quota::per_second(10).burst(1), 8);
        let limiter = builder.when_full(policy).clock(clock.clone()).seed([1, 2]).build().unwrap();
        for key in 0..1_000 {
            let _ = limiter.charge(&key, 5);
        }
        limiter
    };
    let limiter = fill(WhenFull::Deny);
    let denied = (0..1_000).find_map(|key| limiter.reserve(&(key + 5_000), 1).err()).unwrap();
    assert!(denied.is_table_full());
    let limiter = fill(WhenFull::Share);
    // Those without a slot have one line; given up, a place in it is free again.
    let behind: Vec<_> = (6_000..6_003).map(|key| limiter.reserve(&key, 1).unwrap()).collect();
    assert!(behind[0].ready_in() < behind[1].ready_in());
    assert!(behind[1].ready_in() < behind[2].ready_in());
    let last = behind[2].ready_in();
    behind.into_iter().rev().for_each(drop);
    assert_eq!(limiter.reserve(&7_000, 1).unwrap().ready_in(), last - STEP * 2);
    let limiter = fill(WhenFull::Evict);
    // A newcomer stands behind what it displaces.
    let place = limiter.reserve(&8_000, 1).unwrap();
    assert!(place.ready_in() >= STEP * 5 && limiter.evictions() > 0, "{place:?}");
}

/// At rates of which a unit is several tokens, and of which a token is a year.
#[test]
fn extremes_have_lines_too() {
    for quota in [
        Quota::per_second(1 << 40).burst(1 << 48),
        Quota::per_second(1 << 40).burst(1),
        Quota::new(1, Duration::from_secs(365 * 86_400)).unwrap(),
        Quota::new(1, Duration::from_nanos(1)).unwrap().burst(1 << 48),
    ] {
        both_kinds(quota);
    }
}

fn both_kinds(quota: Quota) {
    let burst = quota.burst_size();
    let (_, limiter) = direct(quota);
    check_extreme(quota, |n| limiter.reserve(n), burst);
    let (_, limiter) = keyed(quota);
    check_extreme(quota, |n| limiter.reserve("key", n), burst);
}

fn check_extreme<'a>(
    quota: Quota,
    reserve: impl Fn(u64) -> Result<Reservation<'a>, Denied>,
    burst: u64,
) {
    assert!(reserve(burst).unwrap().ready_in().is_zero(), "{quota}");
    let place = reserve(burst).unwrap();
    assert!(!place.ready_in().is_zero(), "{quota}");
    assert!(reserve(burst + 1).unwrap_err().is_never(), "{quota}");
    assert!(reserve(u64::MAX).unwrap_err().is_never(), "{quota}");
    // Debt has an end: sooner or later there is no place.
    let mut held = Vec::new();
    for _ in 0..1_000 {
        match reserve(burst) {
            Ok(place) => held.push(place),
            Err(denied) => {
                assert!(!denied.is_never(), "{quota}");
                break;
            }
        }
    }
    assert!(held.windows(2).all(|pair| pair[0].ready_in() <= pair[1].ready_in()), "{quota}");
}

#[test]
fn reservations_are_small_and_go_between_threads() {
    fn send<T: Send + Sync>() {}
    send::<Reservation<'static>>();
    assert!(size_of::<Reservation<'static>>() <= 160);
}

/// Law 5 of a place: after exactly that wait the same request gets one, a nanosecond before it does
/// not.
#[test]
fn retry_after_of_a_place_is_exact() {
    for (count, most, within) in
        [(3, 2, None), (7, u64::MAX, Some(100_000_007)), (7, 3, Some(100_000_007))]
    {
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(Quota::per_second(count).burst(2)).max_waiting(most);
        let limiter = builder.clock(clock.clone()).build().unwrap();
        clock.advance(Duration::from_nanos(123_456_789));
        let _debt = limiter.charge(7);
        let ask = || match within {
            Some(within) => limiter.reserve_within(2, Duration::from_nanos(within)),
            None => limiter.reserve(2),
        };
        let wait = ask().unwrap_err().retry_after().unwrap();
        clock.advance(wait - Duration::from_nanos(1));
        assert_eq!(ask().unwrap_err().retry_after(), Some(Duration::from_nanos(1)));
        clock.advance(Duration::from_nanos(1));
        assert!(ask().is_ok());
    }
}

/// What rounding up a cost took was given back for each part of it.
#[test]
fn a_partly_settled_place_gives_back_what_is_left_of_its_units() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1 << 40).burst(1 << 31);
    let limiter =
        KeyedLimiter::<u8>::builder(quota, 10).clock(clock.clone()).seed([1, 2]).build().unwrap();
    assert!(limiter.check_n(&1, 1 << 31).is_ok());
    let place = limiter.reserve(&1, 1 << 30).unwrap();
    place.settle((1 << 30) - 1);
    assert!(limiter.available(&1) <= 1 - (1 << 30), "{}", limiter.available(&1));
}

/// A place taken before a reset gave back what the reset had given already.
#[test]
fn a_reset_makes_places_void() {
    let quota = Quota::per_second(1).burst(10);
    let ((_, limiter), (_, keyed)) = (direct(quota), keyed(quota));
    assert!(limiter.check_n(10).is_ok() && keyed.check_n("key", 10).is_ok());
    let (place, of_key) = (limiter.reserve(10).unwrap(), keyed.reserve("key", 10).unwrap());
    limiter.reset();
    keyed.reset("key");
    assert!(limiter.check_n(10).is_ok() && keyed.check_n("key", 10).is_ok());
    assert_eq!((place.cancel(), of_key.cancel()), (0, 0));
    assert_eq!((limiter.available(), keyed.available("key")), (0, 0));
    // One that is taken afterwards is as good as any.
    let (place, of_key) = (limiter.reserve(3).unwrap(), keyed.reserve("key", 3).unwrap());
    assert_eq!((place.cancel(), of_key.cancel()), (3, 3));
}
