//! Loom models of waiting callers: leaving against moving up, being served, checks, other quotas
//! and newcomers.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::Quota;
use sluicegate::model::Waiters;

/// Makes an empty bucket of one token, one a second.
fn waiters() -> Arc<Waiters> {
    Arc::new(Waiters::new(Quota::per_second(1)))
}

/// Runs both threads, and returns what they return.
fn race<A: Send + 'static, B: Send + 'static>(
    queue: &Arc<Waiters>,
    a: impl FnOnce(&Waiters) -> A + Send + 'static,
    b: impl FnOnce(&Waiters) -> B + Send + 'static,
) -> (A, B) {
    let (one, other) = (queue.clone(), queue.clone());
    let a = thread::spawn(move || a(&one));
    let b = thread::spawn(move || b(&other));
    (a.join().unwrap(), b.join().unwrap())
}

/// Guards that the third moves to where the first was, and the word is as if two callers that leave
/// at once, one behind the other, had never come.
#[test]
fn two_leave_in_front_of_a_third() {
    loom::model(|| {
        let queue = waiters();
        let [first, second, third] = [1; 3].map(|n| queue.enter(n).unwrap());
        race(&queue, move |queue| queue.leave(first), move |queue| queue.leave(second));
        assert_eq!(queue.available(), -1);
        queue.pass(1);
        assert!(queue.is_due(third));
        queue.act(third);
        assert_eq!(queue.available(), 0);
    });
}

/// Guards that the second is due when the first leaves while its moment comes, whether or not the
/// first had been granted its place, and nothing is lost.
#[test]
fn leaving_against_being_served() {
    loom::model(|| {
        let queue = waiters();
        let [first, second] = [1; 2].map(|n| queue.enter(n).unwrap());
        queue.pass(1);
        race(
            &queue,
            move |queue| queue.leave(first),
            move |queue| {
                if queue.is_due(second) {
                    queue.act(second);
                    return;
                }
                // It is woken when it moves up; here it looks again.
                thread::yield_now();
            },
        );
        assert!(queue.is_due(second), "one token has come, and the first did not take it");
        queue.act(second);
        assert_eq!(queue.available(), 0);
        queue.pass(1);
        assert!(queue.check(1) && !queue.check(1));
    });
}

/// Guards that a check takes nothing of the waiting callers, whichever leaves meanwhile; when the
/// last has left, everything is there.
#[test]
fn leaving_against_a_check() {
    loom::model(|| {
        let queue = waiters();
        let [first, second] = [1; 2].map(|n| queue.enter(n).unwrap());
        queue.pass(1);
        let (_, taken) = race(
            &queue,
            move |queue| {
                queue.leave(first);
                queue.leave(second);
            },
            |queue| queue.check(1),
        );
        // One has flowed.
        assert_eq!(queue.available(), i64::from(!taken));
        assert_eq!(queue.check(1), !taken);
    });
}

/// Guards that a caller that comes while the last one leaves is as if that one had never come, or
/// behind it and then moved up.
#[test]
fn leaving_against_coming() {
    loom::model(|| {
        let queue = waiters();
        let first = queue.enter(1).unwrap();
        let (_, newcomer) = race(&queue, move |queue| queue.leave(first), |queue| queue.enter(1));
        assert_eq!(queue.available(), -1);
        queue.pass(1);
        let newcomer = newcomer.unwrap();
        assert!(queue.is_due(newcomer));
        queue.act(newcomer);
        assert_eq!(queue.available(), 0);
    });
}

/// Guards that a reservation behind a caller that leaves keeps its moment, and what is left in
/// front of it is the newcomer's.
#[test]
fn leaving_against_a_reservation() {
    loom::model(|| {
        let queue = waiters();
        let first = queue.enter(1).unwrap();
        let (_, promised) = race(&queue, move |queue| queue.leave(first), |queue| queue.reserve(1));
        let newcomer = queue.enter(1).unwrap();
        assert_eq!(queue.available(), -2);
        // One of them has the first second, the other one the next.
        let first_is_free = promised.waits().as_secs() == 2;
        queue.pass(1);
        assert_eq!(queue.is_due(newcomer), first_is_free);
        queue.pass(1);
        assert!(queue.is_due(newcomer));
        queue.act(newcomer);
        assert_eq!(queue.available(), 0);
    });
}

/// Guards that the second is due by the new quota, which is raised while the first leaves.
#[test]
fn leaving_against_another_quota() {
    loom::model(|| {
        let queue = waiters();
        let [first, second] = [1; 2].map(|n| queue.enter(n).unwrap());
        let faster = Quota::per_second(10).burst(1);
        let (_, changed) =
            race(&queue, move |queue| queue.leave(first), move |queue| queue.change(faster));
        assert!(changed);
        assert_eq!(queue.available(), -1);
        queue.pass(1);
        assert!(queue.is_due(second));
        queue.act(second);
        assert_eq!(queue.available(), 1);
    });
}
