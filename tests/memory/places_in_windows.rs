//! Places in the line of a window.

use sluicegate::{Algorithm, KeyedLimiter, ManualClock, Quota, RateLimiter, Reservation};
use std::time::Duration;

/// Three a second: the windows of the line are booked one after the other.
#[test]
fn fixed_windows_are_booked_in_order() {
    let second = Duration::from_secs;
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(Quota::per_second(3)).fixed_window();
    let limiter = builder.clock(clock.clone()).build().unwrap();
    clock.set(Duration::from_millis(400));
    assert!(limiter.check_n(2).is_ok());
    let two = limiter.reserve(2).unwrap();
    assert_eq!(two.ready_in(), Duration::from_millis(600));
    assert!(limiter.check().is_err(), "somebody waits for what is left");
    let one = limiter.reserve(1).unwrap();
    let three = limiter.reserve(3).unwrap();
    assert_eq!(one.ready_in(), two.ready_in());
    assert_eq!(three.ready_in(), Duration::from_millis(1_600));
    assert!(limiter.reserve(4).unwrap_err().is_never());
    assert_eq!(limiter.available(), -6);
    let next = limiter.check().unwrap_err();
    assert_eq!(next.retry_after(), Some(Duration::from_millis(2_600)));
    assert!(limiter.reserve_within(1, Duration::from_millis(2_599)).is_err());
    assert_eq!(two.cancel(), 0, "a later window has been begun");
    assert_eq!(three.cancel(), 3);
    let again = limiter.reserve(3).unwrap();
    assert_eq!(again.ready_in(), Duration::from_millis(1_600));
    for (at, admits) in [(second(1), 0), (second(2), 0), (second(3), 3)] {
        clock.set(at);
        assert_eq!((0..4).filter(|_| limiter.check().is_ok()).count(), admits, "at {at:?}");
    }
    assert!(again.ready_in().is_zero() && one.ready_in().is_zero());
}

/// A place in a sliding window is due when the limiter would have admitted it.
#[test]
fn sliding_windows_are_booked_in_order() {
    let reserved = {
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(Quota::per_second(10)).sliding_window();
        let limiter = builder.clock(clock.clone()).build().unwrap();
        clock.set(Duration::from_millis(300));
        assert!(limiter.check_n(10).is_ok());
        let places: Vec<_> = (0..40).map(|_| limiter.reserve(1).unwrap()).collect();
        assert!(limiter.check().is_err());
        places.iter().map(|place| place.ready_in()).collect::<Vec<_>>()
    };
    // The same by somebody who asks again and again.
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(Quota::per_second(10)).sliding_window();
    let limiter = builder.clock(clock.clone()).build().unwrap();
    clock.set(Duration::from_millis(300));
    assert!(limiter.check_n(10).is_ok());
    let mut waited = Duration::ZERO;
    for place in reserved {
        if let Err(denied) = limiter.check() {
            let wait = denied.retry_after().unwrap();
            clock.advance(wait);
            waited += wait;
            assert!(limiter.check().is_ok());
        }
        assert_eq!(place, waited);
    }
}

#[test]
fn a_place_in_a_sliding_window_is_given_up() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<str>::builder(Quota::per_second(10), 9).sliding_window();
    let limiter = builder.clock(clock.clone()).seed([1, 2]).build().unwrap();
    assert!(limiter.check_n("a", 10).is_ok());
    let half = limiter.reserve("a", 5).unwrap();
    assert_eq!(half.ready_in(), Duration::from_millis(1_500));
    assert!(limiter.check("a").is_err());
    assert_eq!(half.cancel(), 5);
    let half = limiter.reserve("a", 5).unwrap();
    assert_eq!(half.ready_in(), Duration::from_millis(1_500));
}

#[test]
fn windows_keep_places_in_every_algorithm() {
    for algorithm in [Algorithm::LeakyBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let clock = ManualClock::new();
        let builder = KeyedLimiter::<str>::builder(Quota::per_second(5), 9).algorithm(algorithm);
        let limiter = builder.clock(clock.clone()).seed([1, 2]).build().unwrap();
        let mut due: Vec<_> = (0..50).map(|_| limiter.reserve("a", 1).unwrap()).collect();
        let mut waits: Vec<_> = due.iter().map(Reservation::ready_in).collect();
        assert!(waits.is_sorted(), "{algorithm}: first come, first served");
        waits.dedup();
        assert!(waits.len() >= 10, "{algorithm}");
        let last = due.pop().unwrap().ready_in();
        assert!(last >= Duration::from_secs(9), "{algorithm}: {last:?}");
        clock.advance(last);
        assert!(due.iter().all(|place| place.ready_in().is_zero()), "{algorithm}");
        drop(due);
        assert!(limiter.available("a") <= 1, "{algorithm}");
    }
}
