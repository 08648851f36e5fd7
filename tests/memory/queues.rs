//! Leaky buckets that are queues.

use sluicegate::{KeyedLimiter, ManualClock, Quota, RateLimiter, Reservation, WhenFull};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(100);

/// Ten a second: what is accepted departs every tenth of a second, what finds the queue full is
/// denied.
#[test]
fn a_leaky_bucket_is_a_queue() {
    let clock = ManualClock::new();
    let builder = || RateLimiter::builder(Quota::per_second(10)).clock(clock.clone());
    let queue = builder().leaky_bucket().queue(5).build().unwrap();
    let places: Vec<_> = (0..6).map(|_| queue.reserve(1).unwrap()).collect();
    for (place, i) in places.iter().zip(0..) {
        assert_eq!(place.ready_in(), STEP * i);
    }
    let denied = queue.reserve(1).unwrap_err();
    assert_eq!((denied.retry_after(), denied.is_never()), (Some(STEP), false));
    assert!(queue.check().is_err());
    clock.advance(STEP);
    let last = queue.reserve(1).unwrap();
    assert_eq!((last.ready_in(), queue.available(), queue.level()), (STEP * 5, -5, 6));
    assert!(queue.reserve(1).is_err());
    assert_eq!(last.cancel(), 1);
    // A cost of several is a departure of its last.
    clock.advance(STEP * 20);
    let six = queue.reserve(6).unwrap();
    assert_eq!(six.ready_in(), STEP * 5);
    assert!(queue.reserve(7).unwrap_err().is_never());
    assert_eq!(six.cancel(), 6);
    assert!(queue.check().is_ok(), "who need not wait is admitted");
    // Eight pass without delay, as with nginx.
    let queue = builder().leaky_bucket().queue(20).delay_free(8).build().unwrap();
    let places: Vec<_> = std::iter::from_fn(|| queue.reserve(1).ok()).collect();
    let waits: Vec<_> = places.iter().map(Reservation::ready_in).collect();
    assert_eq!(waits.len(), 21);
    for (wait, i) in waits.iter().zip(0_u32..) {
        assert_eq!(*wait, STEP * i.saturating_sub(8));
    }
    let error = |builder: sluicegate::RateLimiterBuilder| builder.build().unwrap_err().field();
    assert_eq!(error(builder().queue(5)), "queue");
    assert_eq!(error(builder().leaky_bucket().queue(5).delay_free(6)), "delay_free");
    assert_eq!(error(builder().leaky_bucket().delay_free(1)), "delay_free");
}

/// nginx's `limit_req` is a queue for each client.
#[test]
fn every_key_has_a_queue() {
    let clock = ManualClock::new();
    let builder = || {
        let builder = KeyedLimiter::<str>::builder(Quota::per_second(10), 100);
        builder.clock(clock.clone()).seed([1, 2])
    };
    let queues = builder().leaky_bucket().queue(4).delay_free(2).build().unwrap();
    for key in ["a", "b"] {
        let waits: Vec<_> = std::iter::from_fn(|| {
            let place = queues.reserve(key, 1).ok()?;
            let wait = place.ready_in();
            std::mem::forget(place);
            Some(wait)
        })
        .collect();
        assert_eq!(waits, [0, 0, 0, 1, 2].map(|i| STEP * i), "{key}");
        assert_eq!(queues.reserve(key, 1).unwrap_err().retry_after(), Some(STEP));
    }
    queues.set_quota(Quota::per_second(5)).unwrap();
    assert_eq!(queues.quota(), Quota::per_second(5).burst(3));
    assert_eq!(queues.reserve("a", 1).unwrap_err().retry_after(), Some(STEP * 2));
    assert_eq!(builder().queue(4).build().unwrap_err().field(), "queue");
    let builder = builder().leaky_bucket().delay_free(2);
    assert_eq!(builder.build().unwrap_err().field(), "delay_free");
}

/// A cost over one fits a queue later, though not now.
#[test]
fn a_full_table_says_when_a_queue_has_room() {
    let builder = KeyedLimiter::<u64>::builder(Quota::per_second(1), 8).when_full(WhenFull::Deny);
    let builder = builder.leaky_bucket().queue(5).clock(ManualClock::new());
    let limiter = builder.seed([1, 2]).build().unwrap();
    for key in 0..1_000 {
        let _ = limiter.check(&key);
    }
    let denied = (1_000..1_100).map(|key| limiter.reserve(&key, 2)).find_map(Result::err).unwrap();
    assert!(denied.is_table_full() && !denied.is_never());
    assert_eq!(denied.retry_after(), Some(Duration::from_secs(1)));
}
