//! Loom models of places in line: reserving against giving up against checks.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::model::Places;
use sluicegate::{ManualClock, Quota, RateLimiter};

/// So many tokens at the start, which are gone, and no time passes.
fn drained(burst: u64) -> Arc<RateLimiter> {
    let builder = RateLimiter::builder(Quota::per_second(1).burst(burst));
    let limiter = Arc::new(builder.clock(ManualClock::new()).build().unwrap());
    assert!(limiter.check_n(burst).is_ok());
    limiter
}

/// Guards that a place is given up by the word that it replaces: from an older one it would give back what somebody
/// behind has reserved.
#[test]
fn reserve_against_cancel_against_check() {
    loom::model(|| {
        let limiter = drained(2);
        let canceller = {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.reserve(1).unwrap().cancel())
        };
        let waiter = {
            let limiter = limiter.clone();
            thread::spawn(move || {
                let place = limiter.reserve(1).unwrap();
                let seconds = place.ready_in().as_secs();
                std::mem::forget(place);
                seconds
            })
        };
        assert!(limiter.check().is_err());
        let back = canceller.join().unwrap();
        // With somebody behind nothing comes back: that one's place is second for good.
        match waiter.join().unwrap() {
            1 => assert!(back == 1, "the last gives all back"),
            2 => assert!(back == 0),
            other => panic!("due in {other} s"),
        }
        assert_eq!(limiter.available(), -2 + back as i64);
    });
}

/// Runs two threads, once begun in this order and once in the other: loom explores from where a thread wrote last, so
/// one that only reads at first must be begun second as well.
fn both_orders<A: Send + 'static, B: Send + 'static>(
    model: impl Fn() -> (Box<dyn FnOnce() -> A>, Box<dyn FnOnce() -> B>, Box<dyn FnOnce(A, B)>)
    + Copy
    + Send
    + Sync
    + 'static,
) {
    for swapped in [false, true] {
        loom::model(move || {
            let (a, b, then) = model();
            if swapped {
                let b = thread::spawn(b);
                let a = thread::spawn(a);
                then(a.join().unwrap(), b.join().unwrap());
            } else {
                let a = thread::spawn(a);
                let b = thread::spawn(b);
                then(a.join().unwrap(), b.join().unwrap());
            }
        });
    }
}

/// Guards the order of promise and word, and the fences between them: who sees a shorter line must see what is promised
/// beyond it. Otherwise the first place gives back a token that the last relies on.
#[test]
fn two_cancels_in_front_of_a_place() {
    both_orders(|| {
        let places = Arc::new(Places::new(3));
        let first = places.reserve(3);
        let second = places.reserve(3);
        let _stays = places.reserve(1);
        let (a, b) = (places.clone(), places.clone());
        let then = move |first, second| {
            // The second has two more than the one behind it; the first never as many as those behind it.
            assert_eq!((first, second), (0, 2));
            assert_eq!(places.available(), -5);
        };
        (Box::new(move || a.cancel(first)), Box::new(move || b.cancel(second)), Box::new(then))
    });
}

/// The same with a place that is taken and given up while the line is shorter.
#[test]
fn cancel_against_a_place_in_a_shorter_line() {
    both_orders(|| {
        let places = Arc::new(Places::new(3));
        let first = places.reserve(3);
        let second = places.reserve(3);
        let _stays = places.reserve(1);
        let (a, b) = (places.clone(), places.clone());
        let other = move || {
            let back = b.cancel(second);
            let third = b.reserve(2);
            back + b.cancel(third)
        };
        let then = move |first, other| {
            assert_eq!((first, other), (0, 4));
            assert_eq!(places.available(), -5);
        };
        (Box::new(move || a.cancel(first)), Box::new(other), Box::new(then))
    });
}

/// Guards that a reset is counted with the word that it swaps: a place of before gives back nothing of what is there since.
#[test]
fn reset_against_cancel() {
    both_orders(|| {
        let places = Arc::new(Places::new(2));
        let place = places.reserve(1);
        let (a, b) = (places.clone(), places.clone());
        let reset = move || {
            b.reset();
            b.check(2)
        };
        let then = move |_: u64, taken: bool| {
            assert!(taken, "a reset fills the bucket");
            assert_eq!(places.available(), 0);
        };
        (Box::new(move || a.cancel(place)), Box::new(reset), Box::new(then))
    });
}

/// A place that is taken while somebody resets is of one word or of the other.
#[test]
fn reset_against_a_place() {
    both_orders(|| {
        let places = Arc::new(Places::new(2));
        let (a, b) = (places.clone(), places.clone());
        let taken = move || {
            let place = a.reserve(1);
            a.cancel(place)
        };
        let then = move |back: u64, ()| {
            // Taken before, it is gone; taken after, it was there at once, and is spent.
            assert!(back <= 1 && places.available() <= 2 && places.available() >= 1);
        };
        (Box::new(taken), Box::new(move || b.reset()), Box::new(then))
    });
}
