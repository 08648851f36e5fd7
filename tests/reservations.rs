//! Places in line: known sequences of other limiters, what is given back, and every kind of limiter.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use sluicegate::{
    Algorithm, Denied, KeyedLimiter, ManualClock, Quota, RateLimiter, Reservation, WhenFull,
};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(100);

fn direct(quota: Quota) -> (ManualClock, RateLimiter) {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(quota).clock(clock.clone()).build().unwrap();
    (clock, limiter)
}

fn keyed(quota: Quota) -> (ManualClock, KeyedLimiter<str>) {
    let clock = ManualClock::new();
    let limiter =
        KeyedLimiter::builder(quota, 100).clock(clock.clone()).seed([1, 2]).build().unwrap();
    (clock, limiter)
}

/// Both kinds of limiter behind one face.
trait Reserve {
    fn reserve(&self, n: u64) -> Result<Reservation<'_>, Denied>;
    fn check(&self, n: u64) -> bool;
    fn available(&self) -> i64;
}

impl Reserve for RateLimiter {
    fn reserve(&self, n: u64) -> Result<Reservation<'_>, Denied> {
        self.reserve(n)
    }
    fn check(&self, n: u64) -> bool {
        self.check_n(n).is_ok()
    }
    fn available(&self) -> i64 {
        self.available()
    }
}

impl Reserve for KeyedLimiter<str> {
    fn reserve(&self, n: u64) -> Result<Reservation<'_>, Denied> {
        self.reserve("key", n)
    }
    fn check(&self, n: u64) -> bool {
        self.check_n("key", n).is_ok()
    }
    fn available(&self) -> i64 {
        self.available("key")
    }
}

/// Runs a sequence on a direct limiter and on a key: 10 tokens a second, times in steps of 100 ms.
fn both(burst: u64, sequence: impl Fn(&ManualClock, &dyn Reserve)) {
    let quota = Quota::per_second(10).burst(burst);
    let (clock, limiter) = direct(quota);
    sequence(&clock, &limiter);
    let (clock, limiter) = keyed(quota);
    sequence(&clock, &limiter);
}

/// Reserves at a step, and expects the place to be due at another.
#[track_caller]
fn reserve<'a>(
    clock: &ManualClock,
    limiter: &'a dyn Reserve,
    at: u32,
    n: u64,
    due: u32,
) -> Reservation<'a> {
    clock.set(STEP * at);
    let place = limiter.reserve(n).unwrap();
    assert_eq!(place.ready_in(), STEP * due.saturating_sub(at));
    assert_eq!((place.waits(), place.tokens()), (place.ready_in(), n));
    place
}

// The tables of golang.org/x/time/rate, rate_test.go.

#[test]
fn xtime_simple_reserve() {
    both(2, |clock, limiter| {
        let _a = reserve(clock, limiter, 0, 2, 0);
        let _b = reserve(clock, limiter, 0, 2, 2);
        let _c = reserve(clock, limiter, 3, 2, 4);
    });
}

#[test]
fn xtime_mix() {
    both(2, |clock, limiter| {
        let over = limiter.reserve(3).unwrap_err();
        assert!(over.is_never() && over.retry_after().is_none());
        let _a = reserve(clock, limiter, 0, 2, 0);
        clock.set(STEP);
        assert!(!limiter.check(2));
        let _b = reserve(clock, limiter, 1, 2, 2);
        assert!(!limiter.check(1));
        clock.set(STEP * 3);
        assert!(limiter.check(1));
    });
}

#[test]
fn xtime_cancel_last() {
    both(2, |clock, limiter| {
        let _a = reserve(clock, limiter, 0, 2, 0);
        let last = reserve(clock, limiter, 0, 2, 2);
        clock.set(STEP);
        assert_eq!(last.cancel(), 2);
        let _b = reserve(clock, limiter, 1, 2, 2);
    });
}

#[test]
fn xtime_cancel_too_late() {
    both(2, |clock, limiter| {
        let _a = reserve(clock, limiter, 0, 2, 0);
        let late = reserve(clock, limiter, 0, 2, 2);
        clock.set(STEP * 3);
        assert_eq!(late.cancel(), 0);
        let _b = reserve(clock, limiter, 3, 2, 4);
    });
}

// Where somebody stands behind a place that is cancelled, x/time/rate gives what it had more than those behind back to the
// bucket, and the rest is lost. Here all of it is kept for whoever comes next and fits it.

#[test]
fn xtime_cancel_0_tokens() {
    both(2, |clock, limiter| {
        let _a = reserve(clock, limiter, 0, 2, 0);
        let given_up = reserve(clock, limiter, 0, 1, 1);
        let _behind = reserve(clock, limiter, 0, 1, 2);
        assert_eq!(given_up.cancel(), 1, "there 0");
        let _b = reserve(clock, limiter, 0, 1, 1);
        let _c = reserve(clock, limiter, 0, 1, 3);
    });
}

/// There the cancelling is at the very moment that the place is due; here that is too late, so it is a nanosecond before.
#[test]
fn xtime_cancel_1_token() {
    both(2, |clock, limiter| {
        let _a = reserve(clock, limiter, 0, 2, 0);
        let given_up = reserve(clock, limiter, 0, 2, 2);
        let _behind = reserve(clock, limiter, 0, 1, 3);
        clock.set(STEP * 2 - Duration::from_nanos(1));
        assert_eq!(given_up.cancel(), 2, "there 1");
        let _b = reserve(clock, limiter, 2, 2, 2);
        let _c = reserve(clock, limiter, 2, 2, 5);
    });
}

#[test]
fn xtime_cancel_multi() {
    both(4, |clock, limiter| {
        let _full = reserve(clock, limiter, 0, 4, 0);
        let a = reserve(clock, limiter, 0, 3, 3);
        let _b = reserve(clock, limiter, 0, 1, 4);
        let c = reserve(clock, limiter, 0, 1, 5);
        clock.set(STEP);
        assert_eq!(c.cancel(), 1);
        assert_eq!(a.cancel(), 3, "there 2");
        let _d = reserve(clock, limiter, 1, 3, 3);
        let _e = reserve(clock, limiter, 1, 1, 5);
    });
}

/// There a clock that jumps back violates rate and burst ("should violate Limit, Burst"); here it stands still.
#[test]
fn xtime_reserve_jump_back() {
    both(2, |clock, limiter| {
        let _a = reserve(clock, limiter, 1, 2, 1);
        clock.set(Duration::ZERO);
        assert_eq!(limiter.reserve(1).unwrap().ready_in(), STEP);
        let _b = reserve(clock, limiter, 2, 2, 3);
    });
    both(2, |clock, limiter| {
        let _a = reserve(clock, limiter, 1, 2, 1);
        let given_up = reserve(clock, limiter, 1, 2, 3);
        let _behind = reserve(clock, limiter, 1, 1, 4);
        clock.set(Duration::ZERO);
        assert_eq!(given_up.cancel(), 2);
        let _b = reserve(clock, limiter, 1, 2, 3);
        let _c = reserve(clock, limiter, 1, 1, 5);
    });
}

#[test]
fn xtime_reserve_max() {
    let (_, limiter) = direct(Quota::per_second(10).burst(2));
    let within = |n| limiter.reserve_within(n, STEP);
    let _a = within(2).unwrap();
    let _b = within(1).unwrap();
    assert_eq!(_b.ready_in(), STEP);
    let denied = within(1).unwrap_err();
    assert_eq!(denied.retry_after(), Some(STEP), "then it is due within as much again");
    assert_eq!(limiter.available(), -1, "unchanged");
}

/// What x/time/rate gets wrong: there the last cancelling but one makes the line shorter than a place that is still held,
/// and the last gives back a token that somebody relies on.
#[test]
fn a_promised_place_outlasts_the_line() {
    both(3, |clock, limiter| {
        let _full = reserve(clock, limiter, 0, 3, 0);
        let first = reserve(clock, limiter, 0, 3, 3);
        let second = reserve(clock, limiter, 0, 3, 6);
        let stays = reserve(clock, limiter, 0, 1, 7);
        assert_eq!(second.cancel(), 3);
        let third = reserve(clock, limiter, 0, 2, 5);
        assert_eq!((third.cancel(), first.cancel()), (2, 3));
        assert_eq!(limiter.available(), -7, "all of it is in front of the one that stays");
        // Whatever is taken now, no window holds more than the burst and what has flowed.
        clock.set(STEP * 7);
        assert!(!limiter.check(1), "before the one that stays has ended, the gap is nobody's");
        drop(stays);
        assert!(limiter.check(2) && !limiter.check(1), "a third would be a fourth at once");
    });
}

/// Cancelled in whatever order, they leave nothing: the next waits as if they had never come.
#[test]
fn cancelled_in_any_order_they_leave_nothing() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        both(1, |clock, limiter| {
            assert!(limiter.check(1));
            let mut places = [1, 2, 3].map(|due| Some(reserve(clock, limiter, 0, 1, due)));
            for i in order {
                assert_eq!(places[i].take().unwrap().cancel(), 1);
            }
            assert_eq!(limiter.available(), 0);
            let _next = reserve(clock, limiter, 0, 1, 1);
        });
    }
}

/// A refund may leave a given up place last in line: then the bucket has it, also for checks.
#[test]
fn a_refund_behind_a_given_up_place_brings_it_back() {
    let quota = Quota::per_second(10).burst(6);
    let (_, direct) = direct(quota);
    let (_, users) = keyed(quota);
    assert!(direct.check_n(6).is_ok() && users.check_n("key", 6).is_ok());
    let places = [direct.reserve(2).unwrap(), users.reserve("key", 2).unwrap()];
    let _ = (direct.charge(3), users.charge("key", 3));
    assert_eq!(places.map(Reservation::cancel), [2; 2]);
    assert_eq!((direct.available(), users.available("key")), (-5, -5), "the charge is behind");
    direct.refund(3);
    users.refund("key", 3);
    assert_eq!((direct.available(), users.available("key")), (0, 0));
}

/// folly's `TokenBucket::borrow`: drained, ten charges of ten wait a second each, one behind the other.
#[test]
fn folly_borrows_one_to_ten_seconds() {
    let quota = Quota::per_second(10);
    let (_, limiter) = direct(quota);
    assert!(limiter.check_n(10).is_ok());
    let places: Vec<_> = (0..10).map(|_| limiter.reserve(10).unwrap()).collect();
    for (place, second) in places.iter().zip(1..) {
        assert_eq!(place.ready_in(), Duration::from_secs(second));
    }
    let (_, limiter) = keyed(quota);
    assert!(limiter.check_n("key", 10).is_ok());
    let places: Vec<_> = (0..10).map(|_| limiter.reserve("key", 10).unwrap()).collect();
    for (place, second) in places.iter().zip(1..) {
        assert_eq!(place.ready_in(), Duration::from_secs(second));
    }
    assert!(limiter.reserve("other", 10).unwrap().ready_in().is_zero());
}

#[test]
fn a_wait_is_exact_to_the_nanosecond() {
    // Rates whose token takes no whole number of nanoseconds.
    for (count, period) in [(3, 1), (7, 1), (7_000_003, 1), (1, 86_400), (999, 7)] {
        let quota = Quota::new(count, Duration::from_secs(period)).unwrap().burst(1);
        let (clock, limiter) = direct(quota);
        let places: Vec<_> = (0..5).map(|_| limiter.reserve(1).unwrap()).collect();
        for (place, i) in places.iter().zip(0_u128..) {
            let due = (i * u128::from(period) * 1_000_000_000).div_ceil(u128::from(count));
            assert_eq!(place.ready_in().as_nanos(), due, "{quota}");
            // A nanosecond less is not enough, and changes nothing.
            if i > 0 {
                let (_, limiter) = direct(quota);
                let _before: Vec<_> = (0..i).map(|_| limiter.reserve(1).unwrap()).collect();
                let before = limiter.available();
                let wait = Duration::from_nanos(due as u64);
                let less = wait - Duration::from_nanos(1);
                let denied = limiter.reserve_within(1, less).unwrap_err();
                assert!(denied.retry_after().unwrap() > Duration::ZERO);
                assert_eq!(limiter.available(), before);
                assert!(limiter.reserve_within(1, wait).is_ok());
            }
        }
        let due = places[1].ready_in();
        clock.advance(due - Duration::from_nanos(1));
        assert_eq!(places[1].ready_in(), Duration::from_nanos(1));
        clock.advance(Duration::from_nanos(1));
        assert!(places[1].ready_in().is_zero());
    }
}

#[test]
fn dropped_before_it_is_due_a_place_is_free_again() {
    both(1, |clock, limiter| {
        assert!(limiter.check(1));
        drop(reserve(clock, limiter, 0, 1, 1));
        assert_eq!(limiter.available(), 0);
        let place = reserve(clock, limiter, 0, 1, 1);
        clock.set(STEP);
        drop(place);
        assert_eq!(limiter.available(), 0, "the tokens are spent");
        // Ready at once, it is spent at once.
        clock.set(STEP * 2);
        drop(limiter.reserve(1).unwrap());
        assert_eq!(limiter.available(), 0);
    });
}

#[test]
fn nothing_costs_nothing_and_never_waits() {
    both(1, |clock, limiter| {
        let _debt = reserve(clock, limiter, 0, 1, 0);
        let _behind = reserve(clock, limiter, 0, 1, 1);
        let none = reserve(clock, limiter, 0, 0, 0);
        assert_eq!((none.grant().granted(), none.cancel(), limiter.available()), (0, 0, -1));
    });
}

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

/// What its window has counted out since, or the bucket would have had anyway, a place does not give back once more.
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

/// Law 5 of a place: after exactly that wait the same request gets one, a nanosecond before it does not.
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
