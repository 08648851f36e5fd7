//! Loom models of the direct limiter: every interleaving, every value that the orderings allow.
//!
//! Each test names the race. Its comment names the line that it guards, and how that line was
//! broken to see the model fail (`ci/mutants.py` breaks them all again).
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::{Algorithm, ManualClock, Quota, RateLimiter};
use std::time::Duration;

const ALL: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];

fn limiter(algorithm: Algorithm, burst: u64) -> (Arc<RateLimiter>, ManualClock) {
    let clock = ManualClock::new();
    let quota = Quota::new(burst, Duration::from_secs(burst)).unwrap();
    let builder = RateLimiter::builder(quota).algorithm(algorithm).clock(clock.clone());
    (Arc::new(builder.build().unwrap()), clock)
}

fn granted(limiter: &RateLimiter, n: u64) -> u64 {
    limiter.check_n(n).map_or(0, |grant| grant.granted())
}

/// Runs `threads` at once and adds up what they were granted.
fn race(threads: Vec<Box<dyn FnOnce() -> u64 + Send>>) -> u64 {
    let handles: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    handles.into_iter().map(|handle| handle.join().unwrap()).sum()
}

/// Guards the swap in `cell.rs`: a plain store in its place admits twice.
#[test]
fn two_threads_admit_at_most_the_burst() {
    for algorithm in ALL {
        loom::model(move || {
            let (limiter, _) = limiter(algorithm, 3);
            let (a, b) = (limiter.clone(), limiter.clone());
            let total = race(vec![
                Box::new(move || granted(&a, 1) + granted(&a, 1)),
                Box::new(move || granted(&b, 1) + granted(&b, 1)),
            ]);
            assert_eq!(total, 3, "{algorithm}");
            assert_eq!(limiter.available(), 0);
        });
    }
}

/// Guards the same, and that a request of 2 never takes one token only.
#[test]
fn three_threads_admit_at_most_the_burst() {
    loom::model(|| {
        let (limiter, _) = limiter(Algorithm::TokenBucket, 3);
        let (a, b) = (limiter.clone(), limiter.clone());
        let handles =
            [thread::spawn(move || granted(&a, 2)), thread::spawn(move || granted(&b, 1))];
        let mine = granted(&limiter, 2);
        let total = mine + handles.into_iter().map(|h| h.join().unwrap()).sum::<u64>();
        assert!(total == 3 || total == 2, "{total}");
        assert_eq!(limiter.available(), 3 - total as i64);
    });
}

/// Guards that a refund is decided on the word it replaces: refunding from an older load gives back
/// what another thread has just taken.
#[test]
fn admit_against_refund() {
    for algorithm in ALL {
        loom::model(move || {
            let (limiter, _) = limiter(algorithm, 2);
            assert_eq!(granted(&limiter, 1), 1);
            let (a, b) = (limiter.clone(), limiter.clone());
            let taken = race(vec![
                Box::new(move || {
                    a.refund(1);
                    0
                }),
                Box::new(move || granted(&b, 1) + granted(&b, 1)),
            ]);
            assert!(taken >= 1);
            assert_eq!(limiter.available(), 2 - taken as i64);
        });
    }
}

/// Guards that a reset grants one burst more, and never a taken token along with it.
#[test]
fn admit_against_reset() {
    for algorithm in ALL {
        loom::model(move || {
            let (limiter, _) = limiter(algorithm, 1);
            assert_eq!(granted(&limiter, 1), 1);
            let (a, b) = (limiter.clone(), limiter.clone());
            let taken = race(vec![
                Box::new(move || {
                    a.reset();
                    0
                }),
                Box::new(move || granted(&b, 1) + granted(&b, 1)),
            ]);
            assert!(taken <= 1);
            assert_eq!(limiter.available(), 1 - taken as i64);
        });
    }
}

/// Guards that one token that flows while two threads ask grants at most one more.
#[test]
fn admit_against_refill() {
    loom::model(|| {
        let (limiter, clock) = limiter(Algorithm::TokenBucket, 1);
        assert_eq!(granted(&limiter, 1), 1);
        let (a, b) = (limiter.clone(), limiter.clone());
        let total = race(vec![
            Box::new(move || {
                clock.advance(Duration::from_secs(1));
                granted(&a, 1)
            }),
            Box::new(move || granted(&b, 1)),
        ]);
        assert_eq!(total, 1);
        assert_eq!(limiter.available(), 0);
    });
}

/// Guards the tokens field: one thread spends it while another draws into it. Drawing without
/// counting what was held, or spending by a store, loses or makes tokens.
#[test]
fn batch_field_against_refill() {
    loom::model(|| {
        let clock = ManualClock::new();
        let quota = Quota::per_second(1).burst(8);
        let builder = RateLimiter::builder(quota).batch(3).clock(clock.clone());
        let limiter = Arc::new(builder.build().unwrap());
        let (a, b) = (limiter.clone(), limiter.clone());
        let total = race(vec![
            Box::new(move || granted(&a, 1) + granted(&a, 2)),
            Box::new(move || granted(&b, 2)),
        ]);
        assert_eq!(total, 5, "two of the burst are withheld, six are not");
        assert_eq!(limiter.available(), 1);
        assert_eq!((granted(&limiter, 1), granted(&limiter, 1)), (1, 0));
        clock.advance(Duration::from_secs(1));
        assert_eq!(granted(&limiter, 1), 1);
    });
}
