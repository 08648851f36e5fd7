//! Places in line: known sequences of other limiters, what is given back, and every kind of
//! limiter.

use sluicegate::{Denied, KeyedLimiter, ManualClock, Quota, RateLimiter, Reservation};
use std::time::Duration;

pub(super) const STEP: Duration = Duration::from_millis(100);

pub(super) fn direct(quota: Quota) -> (ManualClock, RateLimiter) {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(quota).clock(clock.clone()).build().unwrap();
    (clock, limiter)
}

pub(super) fn keyed(quota: Quota) -> (ManualClock, KeyedLimiter<str>) {
    let clock = ManualClock::new();
    let limiter =
        KeyedLimiter::builder(quota, 100).clock(clock.clone()).seed([1, 2]).build().unwrap();
    (clock, limiter)
}

/// Both kinds of limiter behind one face.
pub(super) trait Reserve {
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
pub(super) fn both(burst: u64, sequence: impl Fn(&ManualClock, &dyn Reserve)) {
    let quota = Quota::per_second(10).burst(burst);
    let (clock, limiter) = direct(quota);
    sequence(&clock, &limiter);
    let (clock, limiter) = keyed(quota);
    sequence(&clock, &limiter);
}

/// Reserves at a step, and expects the place to be due at another.
#[track_caller]
pub(super) fn reserve<'a>(
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

// Where somebody stands behind a place that is cancelled, x/time/rate gives what it had more than
// those behind back to the bucket, and the rest is lost. Here all of it is kept for whoever comes
// next and fits it.

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

/// There the cancelling is at the very moment that the place is due; here that is too late, so it
/// is a nanosecond before.
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

/// There a clock that jumps back violates rate and burst ("should violate Limit, Burst"); here it
/// stands still.
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

/// What x/time/rate gets wrong: there the last cancelling but one makes the line shorter than a
/// place that is still held, and the last gives back a token that somebody relies on.
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

/// Of four tokens given up in front of a place, one has flowed by when that place is due. The other
/// three come back once its reservation is settled, although it cost what was reserved.
#[test]
fn a_settlement_at_the_reserved_cost_brings_back_what_was_given_up_in_front() {
    both(6, |clock, limiter| {
        let _spent = reserve(clock, limiter, 0, 6, 0);
        let front = reserve(clock, limiter, 0, 6, 6);
        let last = reserve(clock, limiter, 0, 3, 9);
        assert_eq!(front.settle(2), Duration::ZERO);
        clock.set(STEP * 9);
        assert_eq!(limiter.available(), 0, "the last place is behind");
        assert_eq!(last.settle(3), Duration::ZERO);
        assert_eq!(limiter.available(), 3);
        assert!(limiter.check(3) && !limiter.check(1));
    });
}

/// The same, if it cost more than was reserved: what it cost besides is taken from what comes back.
#[test]
fn a_settlement_above_the_reserved_cost_brings_back_what_was_given_up_in_front() {
    both(6, |clock, limiter| {
        let _spent = reserve(clock, limiter, 0, 6, 0);
        let front = reserve(clock, limiter, 0, 6, 6);
        let last = reserve(clock, limiter, 0, 3, 9);
        assert_eq!(front.settle(2), Duration::ZERO);
        clock.set(STEP * 9);
        assert_eq!(last.settle(4), Duration::ZERO);
        assert_eq!(limiter.available(), 2);
        assert!(limiter.check(2) && !limiter.check(1));
    });
}

/// folly's `TokenBucket::borrow`: drained, ten charges of ten wait a second each, one behind the
/// other.
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
