//! Loom models of combined limits: one call debits, another meets the debits, and one of them gives
//! back.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::{Combined, ManualClock, Quota, RateLimiter};

/// Makes limiters of these bursts, debited in this order, at a time that stands still.
fn limiters<const N: usize>(bursts: [u64; N]) -> Arc<[RateLimiter; N]> {
    Arc::new(bursts.map(|burst| {
        let builder = RateLimiter::builder(Quota::per_second(1).burst(burst));
        builder.clock(ManualClock::new()).build().unwrap()
    }))
}

fn left<const N: usize>(limiters: &[RateLimiter; N]) -> [i64; N] {
    limiters.each_ref().map(RateLimiter::available)
}

/// Guards that a denial costs nothing though it was found out after a debit, and that a debit is
/// undone by the word that there is then: a call that takes meanwhile keeps what it took.
#[test]
fn denial_after_a_debit_against_admits() {
    loom::model(|| {
        let limiters = limiters([2, 1]);
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || {
                let second = limiters[1].check().is_ok();
                (limiters[0].check().is_ok(), second)
            })
        };
        let combined =
            Combined::new([limiters[0].as_limit(), limiters[1].as_limit()]).check().is_ok();
        let (first, second) = other.join().unwrap();
        assert!(first, "there is one for each");
        assert!(combined != second, "one of both has it");
        assert_eq!(left(&limiters), [1 - i64::from(combined), 0]);
    });
}

/// Guards the common order of debits: otherwise each call may hold what the other lacks, and both
/// are denied.
#[test]
fn two_calls_in_opposite_orders() {
    loom::model(|| {
        let limiters = limiters([1, 1]);
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || {
                Combined::new([limiters[1].as_limit(), limiters[0].as_limit()]).check().is_ok()
            })
        };
        let one = Combined::new([limiters[0].as_limit(), limiters[1].as_limit()]).check().is_ok();
        assert!(one != other.join().unwrap(), "one of both has them");
        assert_eq!(left(&limiters), [0, 0]);
    });
}

/// Guards that the last limit is taken by a swap of its own: a look is not enough.
#[test]
fn grant_against_a_check() {
    loom::model(|| {
        let limiters = limiters([1, 1]);
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || limiters[1].check().is_ok())
        };
        let combined =
            Combined::new([limiters[0].as_limit(), limiters[1].as_limit()]).check().is_ok();
        assert!(combined != other.join().unwrap(), "one of both has it");
        assert_eq!(left(&limiters), [1 - i64::from(combined), 0]);
    });
}

/// Guards the same for places: in both queues or in none, and what was taken of the first is there
/// again.
#[test]
fn place_in_two_queues_against_a_check() {
    loom::model(|| {
        let limiters = limiters([1, 1]);
        let other = {
            let limiters = limiters.clone();
            thread::spawn(move || limiters[1].check().is_ok())
        };
        let both = Combined::new([limiters[0].as_limit(), limiters[1].as_limit()]);
        let place = both.reserve_within(1, std::time::Duration::ZERO);
        let other = other.join().unwrap();
        assert!(place.is_ok() != other, "one of both has it");
        drop(place);
        assert_eq!(left(&limiters), [i64::from(other), 0]);
    });
}
