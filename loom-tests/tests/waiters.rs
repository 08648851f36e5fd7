//! Loom models of those who wait: leaving against moving up, being served, checks, other quotas and newcomers.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::Quota;
use sluicegate::model::Waiters;

/// An empty bucket of one token, one a second.
fn waiters() -> Arc<Waiters> {
    Arc::new(Waiters::new(Quota::per_second(1)))
}

/// Runs both threads, and then what must hold.
fn race<A: Send + 'static, B: Send + 'static>(
    line: &Arc<Waiters>,
    a: impl FnOnce(&Waiters) -> A + Send + 'static,
    b: impl FnOnce(&Waiters) -> B + Send + 'static,
) -> (A, B) {
    let (one, other) = (line.clone(), line.clone());
    let a = thread::spawn(move || a(&one));
    let b = thread::spawn(move || b(&other));
    (a.join().unwrap(), b.join().unwrap())
}

/// Two leave at once, one behind the other: the third stands where the first stood, and the word is as if they had never
/// come.
#[test]
fn two_leave_in_front_of_a_third() {
    loom::model(|| {
        let line = waiters();
        let [first, second, third] = [1; 3].map(|n| line.enter(n).unwrap());
        race(&line, move |line| line.leave(first), move |line| line.leave(second));
        assert_eq!(line.available(), -1);
        line.pass(1);
        assert!(line.is_due(third));
        line.act(third);
        assert_eq!(line.available(), 0);
    });
}

/// The first leaves while its moment comes: whether it had been granted its place or not, the second is due then, and
/// nothing is lost.
#[test]
fn leaving_against_being_served() {
    loom::model(|| {
        let line = waiters();
        let [first, second] = [1; 2].map(|n| line.enter(n).unwrap());
        line.pass(1);
        race(
            &line,
            move |line| line.leave(first),
            move |line| {
                if line.is_due(second) {
                    line.act(second);
                    return;
                }
                // It is told when it moves up; here it looks again.
                thread::yield_now();
            },
        );
        assert!(line.is_due(second), "one token has come, and the first did not take it");
        line.act(second);
        assert_eq!(line.available(), 0);
        line.pass(1);
        assert!(line.check(1) && !line.check(1));
    });
}

/// A check takes nothing of those who wait, whoever leaves meanwhile; when the last has left, everything is there.
#[test]
fn leaving_against_a_check() {
    loom::model(|| {
        let line = waiters();
        let [first, second] = [1; 2].map(|n| line.enter(n).unwrap());
        line.pass(1);
        let (_, taken) = race(
            &line,
            move |line| {
                line.leave(first);
                line.leave(second);
            },
            |line| line.check(1),
        );
        // One has flowed.
        assert_eq!(line.available(), i64::from(!taken));
        assert_eq!(line.check(1), !taken);
    });
}

/// Somebody comes while the last one leaves: as if that one had never come, or behind it and then moved up.
#[test]
fn leaving_against_coming() {
    loom::model(|| {
        let line = waiters();
        let first = line.enter(1).unwrap();
        let (_, newcomer) = race(&line, move |line| line.leave(first), |line| line.enter(1));
        assert_eq!(line.available(), -1);
        line.pass(1);
        let newcomer = newcomer.unwrap();
        assert!(line.is_due(newcomer));
        line.act(newcomer);
        assert_eq!(line.available(), 0);
    });
}

/// A reservation behind the one who leaves keeps its moment, and what is left in front of it is the newcomer's.
#[test]
fn leaving_against_a_reservation() {
    loom::model(|| {
        let line = waiters();
        let first = line.enter(1).unwrap();
        let (_, promised) = race(&line, move |line| line.leave(first), |line| line.reserve(1));
        let newcomer = line.enter(1).unwrap();
        assert_eq!(line.available(), -2);
        // One of them has the first second, the other one the next.
        let first_is_free = promised.waits().as_secs() == 2;
        line.pass(1);
        assert_eq!(line.is_due(newcomer), first_is_free);
        line.pass(1);
        assert!(line.is_due(newcomer));
        line.act(newcomer);
        assert_eq!(line.available(), 0);
    });
}

/// The quota is raised while the first leaves: the second is due by the new one.
#[test]
fn leaving_against_another_quota() {
    loom::model(|| {
        let line = waiters();
        let [first, second] = [1; 2].map(|n| line.enter(n).unwrap());
        let faster = Quota::per_second(10).burst(1);
        let (_, changed) =
            race(&line, move |line| line.leave(first), move |line| line.change(faster));
        assert!(changed);
        assert_eq!(line.available(), -1);
        line.pass(1);
        assert!(line.is_due(second));
        line.act(second);
        assert_eq!(line.available(), 1);
    });
}
