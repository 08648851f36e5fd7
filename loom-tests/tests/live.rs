//! Loom models of a quota that changes: a call sees the old quota on the old line, or the new one on the new.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::Quota;
use sluicegate::model::Changing;

const SECOND: u64 = 1_000_000_000;
const OLD: Quota = Quota::per_second(8);
const NEW: Quota = Quota::per_second(4).burst(8);
const THIRD: Quota = Quota::per_second(2).burst(8);

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Three seconds after its construction: the units of one second by each quota, and of that moment.
fn changing() -> (Arc<Changing>, u64) {
    let changing = Changing::new(OLD);
    let (_, start) = changing.now();
    changing.pass(1 * SECOND);
    let second = changing.now().1 - start;
    changing.pass(2 * SECOND);
    (Arc::new(changing), second)
}

/// Guards that the generation is looked at again after the clock, and that a line is written before it is meant:
/// else time would be read by one line and decided by another, or by half of one.
#[test]
fn reading_against_two_changes() {
    model(3, || {
        let (changing, second) = changing();
        let (_, then) = changing.now();
        let changer = {
            let changing = changing.clone();
            thread::spawn(move || {
                assert!(changing.change(NEW));
                changing.pass(2 * SECOND);
                assert!(changing.change(THIRD));
                changing.pass(4 * SECOND);
            })
        };
        let reader = {
            let changing = changing.clone();
            thread::spawn(move || [changing.now(), changing.now()])
        };
        changer.join().unwrap();
        for (quota, units) in reader.join().unwrap() {
            let since = units - then;
            // A second of the old line, half of one and a quarter: each only as long as it was in force.
            match quota {
                OLD => assert_eq!(since, 0, "the old line goes on after its end"),
                NEW => assert!(since == 0 || since == second, "{since} by the second line"),
                THIRD => {
                    assert!(since == second || since == 2 * second, "{since} by the third line");
                }
                _ => panic!("a quota that nobody set: {quota}"),
            }
        }
        assert_eq!(changing.now(), (THIRD, then + 2 * second));
    });
}

/// Two threads cache a line that a third one's change has made, while it changes again: guards that only one of them
/// writes a cached line.
#[test]
fn two_readings_against_a_change() {
    model(2, || {
        let (changing, second) = changing();
        let (_, then) = changing.now();
        assert!(changing.change(NEW));
        let spawn = |f: fn(&Changing) -> (Quota, u64)| {
            let changing = changing.clone();
            thread::spawn(move || f(&changing))
        };
        let readers = [spawn(Changing::now), spawn(Changing::now)];
        assert!(changing.change(THIRD));
        for reader in readers {
            let (quota, units) = reader.join().unwrap();
            assert!(quota == NEW || quota == THIRD, "{quota}");
            assert_eq!(units, then, "no time has passed");
        }
        changing.pass(4 * SECOND);
        assert_eq!(changing.now(), (THIRD, then + second));
    });
}
