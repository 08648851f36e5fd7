//! Loom models of places in the queue: reserving against giving up against checks.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::model::{KeyedPlaces, Places};
use sluicegate::{ManualClock, Quota, RateLimiter};

/// Makes a limiter whose tokens are gone, at a time that stands still.
fn drained(burst: u64) -> Arc<RateLimiter> {
    let builder = RateLimiter::builder(Quota::per_second(1).burst(burst));
    let limiter = Arc::new(builder.clock(ManualClock::new()).build().unwrap());
    assert!(limiter.check_n(burst).is_ok());
    limiter
}

/// Guards that a place is given up by the word that it replaces: by an older one it would give back
/// what a caller behind has reserved.
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
        assert_eq!(canceller.join().unwrap(), 1);
        // The caller behind keeps its moment, and what is in front of it is for the next one that
        // comes.
        let second = waiter.join().unwrap();
        assert_eq!(limiter.available(), -(second as i64));
        let next = limiter.reserve(1).unwrap();
        assert_eq!(next.ready_in().as_secs(), if second == 2 { 1 } else { 2 });
        std::mem::forget(next);
    });
}

/// Runs two threads, once begun in this order and once in the other. Loom explores from where a
/// thread wrote last, so one that only reads at first must be begun second as well.
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

/// Guards that what is given up in front of a place is no other place's moment: two cancels in
/// front of it make one gap, and the word stays until the last one goes.
#[test]
fn two_cancels_in_front_of_a_place() {
    both_orders(|| {
        let places = Arc::new(Places::new(3));
        let first = places.reserve(3);
        let second = places.reserve(3);
        let stays = places.reserve(1);
        let (a, b) = (places.clone(), places.clone());
        let then = move |first, second| {
            assert_eq!((first, second), (3, 3));
            assert_eq!(places.available(), -7);
            assert_eq!(places.cancel(stays), 1);
            assert_eq!(places.available(), 0);
        };
        (Box::new(move || a.cancel(first)), Box::new(move || b.cancel(second)), Box::new(then))
    });
}

/// Guards that a place goes back to the word only if no place is behind it: the last one leaves
/// while another one goes in front of it.
#[test]
fn the_last_two_leave_at_once() {
    both_orders(|| {
        let places = Arc::new(Places::new(3));
        let first = places.reserve(3);
        let last = places.reserve(2);
        let (a, b) = (places.clone(), places.clone());
        let then = move |first, last| {
            assert_eq!((first, last), (3, 2));
            assert_eq!(places.available(), 0, "whichever went first, all is back");
        };
        (Box::new(move || a.cancel(first)), Box::new(move || b.cancel(last)), Box::new(then))
    });
}

/// Guards that a reset is counted with the word that it swaps: an earlier place gives back nothing
/// of what is there since.
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

/// Guards the same where another process resets a shared bucket, under no lock of this one.
#[test]
fn reset_elsewhere_against_cancel() {
    both_orders(|| {
        let places = Arc::new(Places::new(2));
        let place = places.reserve(1);
        let (a, b) = (places.clone(), places.clone());
        let reset = move || {
            b.reset_elsewhere();
            b.check(2)
        };
        let then = move |_: u64, taken: bool| {
            assert!(taken, "a reset fills the bucket");
            assert_eq!(places.available(), 0);
        };
        (Box::new(move || a.cancel(place)), Box::new(reset), Box::new(then))
    });
}

/// Guards the fence between the count of a reset and its swap: a check takes what the reset brings,
/// and there is no fence in its swap.
#[test]
fn reset_elsewhere_against_a_check_and_cancel() {
    for cancel_last in [false, true] {
        model(3, move || {
            let places = Arc::new(Places::new(2));
            let place = places.reserve(1);
            let (a, b, c) = (places.clone(), places.clone(), places.clone());
            let cancel = move || {
                let _ = a.cancel(place);
            };
            let check = move || if c.check(2) { 2 } else { 0 };
            let reset = thread::spawn(move || b.reset_elsewhere());
            let taken = if cancel_last {
                let check = thread::spawn(check);
                cancel();
                check.join().unwrap()
            } else {
                let cancel = thread::spawn(cancel);
                let taken = check();
                cancel.join().unwrap();
                taken
            };
            reset.join().unwrap();
            let left = places.available();
            assert!(taken + left <= 2, "{taken} and {left} of a bucket of two");
        });
    }
}

/// Guards that a place that is taken during a reset belongs to one word or to the other.
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

/// Guards that a place is void that is taken while another process resets the bucket, and given up
/// when that is over, since the word that it was taken of may be gone.
#[test]
fn place_against_a_reset_elsewhere() {
    both_orders(|| {
        let places = Arc::new(Places::new(2));
        let (a, b) = (places.clone(), places.clone());
        let reset = move || {
            b.reset_elsewhere();
            if b.check(2) { 2 } else { 0 }
        };
        let then = move |place, taken: i64| {
            let _ = places.cancel(place);
            let left = places.available();
            assert!(taken + left <= 2, "{taken} and {left} of a bucket of two");
        };
        (Box::new(move || a.reserve(1)), Box::new(reset), Box::new(then))
    });
}

/// Guards that what is given back is counted before the word shows it: a debit is undone while
/// another thread gives back and takes all.
#[test]
fn undo_against_a_refund_and_a_check() {
    both_orders(|| {
        let places = Arc::new(Places::new(2));
        places.reset();
        let place = places.reserve(1);
        let (a, b) = (places.clone(), places.clone());
        let refund = move || {
            b.refund(1);
            b.check(2)
        };
        let then = move |(), taken: bool| {
            assert!(taken, "the bucket was full");
            assert_eq!(places.available(), 0, "had it never been debited, nothing would be left");
        };
        (Box::new(move || a.undo(place)), Box::new(refund), Box::new(then))
    });
}

/// Guards that an account is open before the place is debited, and that a give-back looks for it
/// after the word: a place of a key against a give-back to it.
#[test]
fn keyed_place_against_a_refund() {
    model(3, || {
        let users = Arc::new(KeyedPlaces::new(Quota::per_second(1).burst(2)));
        let other = users.clone();
        let refund = thread::spawn(move || other.refund(2));
        let place = users.reserve(1);
        refund.join().unwrap();
        // One token is missing, and has flowed: the bucket is full again, whichever thread was
        // first.
        users.pass(1);
        assert!(users.check(2));
        users.undo(place);
        assert!(!users.check(1), "it was full since the place was taken");
    });
}

/// Guards that a thread that sees the bucket sees its account, which the promotion's swap releases.
/// A key's first touch is a place, to which another thread gives back and takes all.
#[test]
fn first_touch_by_a_place_against_a_refund() {
    model(3, || {
        let users = Arc::new(KeyedPlaces::untouched(Quota::per_second(1).burst(2)));
        let other = users.clone();
        let refund = thread::spawn(move || {
            other.refund(1);
            if other.check(2) { 2 } else { 0 }
        });
        let place = users.reserve(1);
        let taken = refund.join().unwrap();
        users.undo(place);
        let left = (0..3).filter(|_| users.check(1)).count();
        assert!(taken + left <= 2, "{taken} and {left} of a bucket of two");
    });
}

/// Guards that a reset makes the place of a key void, whichever of both swaps the word first;
/// another thread takes what the reset brings.
#[test]
fn keyed_place_against_a_reset() {
    model(3, || {
        let users = Arc::new(KeyedPlaces::new(Quota::per_second(1).burst(2)));
        let other = users.clone();
        let reset = thread::spawn(move || {
            other.reset();
            if other.check(2) { 2 } else { 0 }
        });
        let place = users.reserve(1);
        let taken = reset.join().unwrap();
        users.undo(place);
        let left = (0..3).filter(|_| users.check(1)).count();
        assert!(taken + left <= 2, "{taken} and {left} of a bucket of two");
    });
}

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}
