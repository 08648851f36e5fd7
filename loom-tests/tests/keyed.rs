//! Loom models of the keyed table: one key has one bucket, whatever happens to its slot.
//!
//! A cache line has one slot here, so a key has two candidates. Times are tokens, given by hand.
//! Each test names the race and the line that it guards, which `ci/mutants.py` breaks.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::Algorithm::{self, TokenBucket};
use sluicegate::model::Answer::{Denied, Granted, NoSlot};
use sluicegate::model::{Answer, Keyed, Sharing};

/// Keys by fingerprint. In a table of two slots X and Z look at slot 0 first, Y and W at slot 1.
const X: u64 = 0x1000_0000_0000_0001;
const Y: u64 = 0x9000_0000_0000_0002;
const Z: u64 = 0x2000_0000_0000_0003;

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

fn table(slots: usize, burst: u64) -> Arc<Keyed> {
    Arc::new(Keyed::new(slots, burst, TokenBucket))
}

type Turn = Box<dyn FnOnce(&Keyed) -> Answer + Send>;

/// Makes a turn of one key at these times.
fn take(key: u64, times: &'static [u64], n: u64, evict: bool) -> Turn {
    Box::new(move |keyed| keyed.at(key, times).take(n, evict))
}

/// Makes a turn of a key that has no slot yet, in models of three threads.
fn first(key: u64, times: &'static [u64], n: u64) -> Turn {
    Box::new(move |keyed| keyed.at(key, times).take_by_search(n, false))
}

/// Runs the first turns in threads and the last one here. Returns all answers in order.
fn race(keyed: &Arc<Keyed>, mut turns: Vec<Turn>) -> Vec<Answer> {
    let last = turns.pop().unwrap();
    let spawn = |turn: Turn| {
        let keyed = keyed.clone();
        thread::spawn(move || turn(&keyed))
    };
    let handles: Vec<_> = turns.into_iter().map(spawn).collect();
    let last = last(keyed);
    let mut answers: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    answers.push(last);
    answers
}

fn granted(answers: &[Answer]) -> usize {
    answers.iter().filter(|&&answer| answer == Granted).count()
}

/// Guards the look at the other candidates, the fence before it, and that a live one there wins.
#[test]
fn first_touch_by_two_threads() {
    for algorithm in [TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        model(3, move || {
            let keyed = Arc::new(Keyed::new(2, 1, algorithm));
            let answers = race(&keyed, vec![take(X, &[1], 1, false), take(X, &[1], 1, false)]);
            assert_eq!(granted(&answers), 1, "{answers:?}");
            assert_eq!(keyed.at(X, &[1]).take(1, false), Denied);
        });
    }
}

/// Guards that a helper, which settles another thread's announcement, looks at the other candidates
/// before it promotes, and the second look after a kill.
#[test]
fn first_touch_by_three_threads() {
    model(2, || {
        let keyed = table(2, 1);
        let turns = vec![take(X, &[1], 1, false), take(X, &[1], 1, false), take(X, &[1], 1, false)];
        let answers = race(&keyed, turns);
        assert_eq!(granted(&answers), 1, "{answers:?}");
    });
}

/// Runs two first touches while a third thread's key gives up the slot that both look at first.
#[test]
fn two_inserters_while_a_slot_becomes_free() {
    model(2, || {
        let keyed = table(2, 1);
        // Z fills slot 0, until time 2.
        assert_eq!(keyed.at(Z, &[1]).take(1, false), Granted);
        let reset: Turn = Box::new(|keyed| {
            keyed.at(Z, &[1]).reset();
            Denied
        });
        let turns = vec![take(X, &[1], 1, false), reset, take(X, &[1], 1, false)];
        let answers = race(&keyed, turns);
        assert_eq!(granted(&answers), 1, "{answers:?}");
    });
}

/// Guards the tag after the word, the ordering of RESERVED before the tag, and the growing value:
/// X's bucket is full again, so Y may have its slot, while X comes back.
#[test]
fn hit_against_the_reuse_of_its_slot() {
    model(3, || {
        let keyed = table(2, 2);
        assert_eq!(keyed.at(X, &[1]).take(1, false), Granted);
        assert_eq!(keyed.at(Z, &[1]).take(2, false), Granted);
        // At time 2 X is full again and Z is not.
        let answers = race(&keyed, vec![take(X, &[2], 2, false), take(Y, &[2], 2, false)]);
        let x = keyed.at(X, &[2]);
        let y = keyed.at(Y, &[2]);
        match answers[..] {
            [Granted, NoSlot] => assert_eq!((x.balance(), y.balance()), (Some(0), None)),
            [NoSlot, Granted] => assert_eq!((x.balance(), y.balance()), (None, Some(0))),
            _ => panic!("{answers:?}"),
        }
    });
}

/// Guards the second load of the word before a denial: X is denied in its own slot or not at all.
#[test]
fn denial_against_the_reuse_of_its_slot() {
    model(3, || {
        let keyed = table(2, 2);
        assert_eq!(keyed.at(X, &[1]).take(1, false), Granted);
        assert_eq!(keyed.at(Z, &[1]).take(2, false), Granted);
        let y: Turn = Box::new(|keyed| {
            let y = keyed.at(Y, &[2]).take(2, false);
            // Y gives the slot up, and X is back in it with a token left.
            keyed.at(Y, &[2]).reset();
            let back = keyed.at(X, &[2]).take(1, false);
            assert_ne!(back, Denied, "X has two tokens");
            y
        });
        let answers = race(&keyed, vec![y, take(X, &[2], 1, false)]);
        assert_ne!(answers[1], Denied, "Y's empty bucket answered for X");
    });
}

/// Guards the tag after a word that has changed under a denial: X is denied while its bucket is
/// reset and its slot goes to Y, whose tokens X must not take.
#[test]
fn denial_against_a_reset_and_the_reuse_of_its_slot() {
    model(3, || {
        let keyed = table(2, 4);
        assert_eq!(keyed.at(Z, &[1]).take(4, false), Granted);
        assert_eq!(keyed.at(X, &[1]).take(4, false), Granted);
        let reuse: Turn = Box::new(|keyed| {
            keyed.at(X, &[1]).reset();
            keyed.at(Y, &[1]).take(2, false)
        });
        let answers = race(&keyed, vec![take(X, &[1], 1, false), reuse]);
        if answers[1] == Granted {
            assert_eq!(keyed.at(Y, &[1]).balance(), Some(2), "X's take was charged to Y");
        }
    });
}

/// Evicts a bucket while its key takes. The take counts in the old bucket, which the newcomer
/// begins with, or not at all.
#[test]
fn eviction_against_a_hit() {
    model(3, || {
        let keyed = table(2, 4);
        assert_eq!(keyed.at(X, &[1]).take(1, false), Granted);
        assert_eq!(keyed.at(Z, &[1]).take(4, false), Granted);
        let answers = race(&keyed, vec![take(X, &[1], 1, false), take(Y, &[1], 2, true)]);
        assert_eq!((answers[1], keyed.evictions()), (Granted, 1));
        let left = if answers[0] == Granted { 0 } else { 1 };
        assert_eq!(keyed.at(Y, &[1]).balance(), Some(left), "{answers:?}");
        assert_eq!(keyed.at(X, &[1]).balance(), None);
    });
}

/// Guards the epoch that an eviction raises: the newcomer's value may come to the very figure that
/// the evicted key's word had.
#[test]
fn eviction_against_a_hit_on_the_same_figure() {
    model(2, || {
        let keyed = table(2, 4);
        assert_eq!(keyed.at(X, &[1]).take(1, false), Granted);
        assert_eq!(keyed.at(Z, &[1]).take(4, false), Granted);
        let evicts: Turn = Box::new(|keyed| keyed.at(Y, &[1]).take_by_search(1, true));
        let turns = vec![take(X, &[1], 1, false), first(Y, &[1], 1), evicts];
        let answers = race(&keyed, turns);
        // What X had taken is missing of it, or nothing.
        let displaced = if answers[0] == Granted { 2 } else { 1 };
        let y = keyed.at(Y, &[1]).balance().unwrap() + granted(&answers[1..]) as i64;
        assert!([4, 4 - displaced].contains(&y), "X's take was charged to Y: {answers:?} {y}");
    });
}

/// Keys that look at slots 2 and 1 of three, while X looks at 0 and 1.
const LAST: u64 = 0xb000_0000_0000_0004;
const OTHER: u64 = 0xc000_0000_0000_0005;

/// Guards that the floor is raised, and before the swap: X's bucket is evicted while X comes back.
#[test]
fn eviction_against_a_first_touch_of_the_victim() {
    model(3, || {
        let keyed = table(3, 2);
        assert_eq!(keyed.at(Z, &[1]).take(2, false), Granted);
        assert_eq!(keyed.at(X, &[1]).take(1, false), Granted);
        assert_eq!(keyed.at(OTHER, &[1]).take(2, false), Granted);
        keyed.at(Z, &[1]).reset();
        let answers = race(&keyed, vec![take(X, &[1], 2, false), take(LAST, &[1], 1, true)]);
        assert_eq!(answers, [Denied, Granted], "X has one token");
        assert_eq!(keyed.at(LAST, &[1]).balance(), Some(0), "which LAST has displaced");
        assert_eq!(keyed.at(X, &[1]).take(2, false), Denied);
        assert_eq!(keyed.at(X, &[1]).take(1, false), Granted);
    });
}

/// Guards that the floor is looked at after the other candidates, and that a first touch denied for
/// it takes its announcement back: X was evicted and touched again meanwhile.
#[test]
fn a_life_between_the_search_and_the_first_touch() {
    model(3, || {
        let keyed = table(3, 2);
        assert_eq!(keyed.at(Z, &[1]).take(2, false), Granted);
        assert_eq!(keyed.at(OTHER, &[1]).take(2, false), Granted);
        let life: Turn = Box::new(|keyed| {
            let x = keyed.at(X, &[1]).take_by_search(1, false);
            keyed.at(Z, &[1]).reset();
            let _ = keyed.at(LAST, &[1]).take_by_search(1, true);
            x
        });
        let answers = race(&keyed, vec![life, first(X, &[1], 2)]);
        assert_ne!(answers, [Granted, Granted], "X has two tokens");
        if answers[1] == Denied {
            assert_eq!(
                keyed.at(Z, &[1]).take(1, false),
                Granted,
                "X has left nothing in this slot"
            );
        }
    });
}

/// Guards that a victim's tag is looked at after its word, or the key would evict itself: two
/// newcomers evict for the same key.
#[test]
fn two_evictions_for_one_key() {
    model(3, || {
        let keyed = table(2, 3);
        assert_eq!(keyed.at(Y, &[1]).take(1, false), Granted);
        assert_eq!(keyed.at(Z, &[1]).take(3, false), Granted);
        let answers = race(&keyed, vec![take(X, &[1], 1, true), take(X, &[1], 1, true)]);
        // A thread that loses patience while the other one evicts Y would displace Z, and is
        // denied.
        let granted = granted(&answers) as i64;
        assert!(granted >= 1, "{answers:?}");
        assert_eq!(keyed.evictions(), 1, "{answers:?}");
        let x = keyed.at(X, &[1]).balance().unwrap() + granted;
        assert!([3, 2].contains(&x), "with what Y lacked, or nothing: {x}");
    });
}

/// Guards the epoch that a refund, and an eviction, raise: X's value shrinks and grows again to the
/// same figure under another key.
#[test]
fn refund_against_reuse() {
    model(3, || {
        let keyed = table(2, 4);
        assert_eq!(keyed.at(Z, &[1]).take(4, false), Granted);
        assert_eq!(keyed.at(X, &[1]).take(3, false), Granted);
        // X is at 4; after the refund it is full at 1, and Y takes 2 at 2: the value is 4 again.
        let reuse: Turn = Box::new(|keyed| {
            keyed.at(X, &[1]).refund(3);
            keyed.at(Y, &[2]).take(2, false)
        });
        let answers = race(&keyed, vec![reuse, take(X, &[1], 1, false)]);
        if answers[0] == Granted {
            assert_eq!(keyed.at(Y, &[2]).balance(), Some(2), "X's take was charged to Y");
        }
    });
}

/// Guards the epoch that a reset raises.
#[test]
fn reset_against_a_hit() {
    model(3, || {
        let keyed = table(2, 4);
        assert_eq!(keyed.at(Z, &[1]).take(4, false), Granted);
        assert_eq!(keyed.at(X, &[1]).take(3, false), Granted);
        let reuse: Turn = Box::new(|keyed| {
            keyed.at(X, &[1]).reset();
            keyed.at(Y, &[2]).take(2, false)
        });
        let answers = race(&keyed, vec![reuse, take(X, &[1], 1, false)]);
        if answers[0] == Granted {
            assert_eq!(keyed.at(Y, &[2]).balance(), Some(2), "X's take was charged to Y");
        }
    });
}

/// Guards that two epochs are not one again: X's value shrinks, and so does the slot's next one.
#[test]
fn two_epochs_against_a_hit() {
    model(3, || {
        let keyed = table(2, 4);
        assert_eq!(keyed.at(Z, &[1]).take(4, false), Granted);
        assert_eq!(keyed.at(X, &[1]).take(3, false), Granted);
        let reuse: Turn = Box::new(|keyed| {
            keyed.at(X, &[1]).refund(3);
            let y = keyed.at(Y, &[2]);
            if y.take(2, false) == Granted {
                y.refund(2);
            }
            y.take(2, false)
        });
        let answers = race(&keyed, vec![reuse, take(X, &[1], 1, false)]);
        if answers[0] == Granted {
            assert_eq!(keyed.at(Y, &[2]).balance(), Some(2), "X's take was charged to Y");
        }
    });
}

/// Guards the same for windows, whose values are counts: a refund and a claim are two epochs, and
/// the count is the same again.
#[test]
fn two_epochs_of_a_window_against_a_hit() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        model(3, move || {
            let keyed = Arc::new(Keyed::new(2, 4, algorithm));
            assert_eq!(keyed.at(Z, &[1]).take(4, false), Granted);
            assert_eq!(keyed.at(X, &[1]).take(1, false), Granted);
            let reuse: Turn = Box::new(|keyed| {
                keyed.at(X, &[1]).refund(1);
                keyed.at(Y, &[1]).take(1, false)
            });
            let answers = race(&keyed, vec![reuse, take(X, &[1], 1, false)]);
            if answers[0] == Granted {
                let y = keyed.at(Y, &[1]).balance();
                assert_eq!(y, Some(3), "X's take was charged to Y");
            }
        });
    }
}

/// Guards that a bucket is never older than its slot's past, or it would begin in debt: Y promotes
/// by a clock that lags.
#[test]
fn lagging_clock_at_the_reuse_of_a_slot() {
    model(3, || {
        let keyed = table(2, 2);
        assert_eq!(keyed.at(Z, &[3]).take(2, false), Granted);
        assert_eq!(keyed.at(X, &[2]).take(1, false), Granted);
        // X is full at 3, or at 4 if it takes once more.
        let answers = race(&keyed, vec![take(X, &[2], 1, false), take(Y, &[4, 4, 1], 2, false)]);
        // A claim that X's swap made fail looks for a slot again, by then at 1, when none is free.
        assert_ne!(answers[1], Denied, "a newcomer has its burst");
        if answers[1] == Granted {
            assert_eq!(keyed.at(Y, &[4]).balance(), Some(0), "{answers:?}");
        } else {
            assert_eq!(answers, [Granted, NoSlot], "only X's swap can stand in its way");
        }
    });
}

/// Guards that a claim changes the epoch if it cannot raise the value: another key may follow a
/// killed announcement, while a helper of the first still holds its word.
#[test]
fn helper_against_owner_and_the_next_owner() {
    model(3, || {
        let keyed = table(2, 4);
        // The killer runs in the model's first thread: starting it costs no preemption.
        let turns = vec![first(X, &[1], 1), first(Y, &[1], 2), first(X, &[1], 1)];
        let answers = race(&keyed, turns);
        // A thread may find both slots in the others' hands, and lose patience.
        let x = granted(&[answers[0], answers[2]]) as i64;
        if x > 0 {
            assert_eq!(keyed.at(X, &[1]).balance(), Some(4 - x));
        }
        if answers[1] == Granted {
            assert_eq!(keyed.at(Y, &[1]).balance(), Some(2));
        }
    });
}

/// Guards the floor that is raised before a key takes of the bucket that keys without a slot share,
/// the look for a slot after it, and the fence between them.
#[test]
fn shared_bucket_against_a_first_touch() {
    model(3, || {
        let sharing = Arc::new(Sharing::new());
        let other = {
            let sharing = sharing.clone();
            thread::spawn(move || {
                sharing.make_room();
                sharing.check()
            })
        };
        let here = sharing.check();
        let granted = [here, other.join().unwrap()].iter().filter(|&&granted| granted).count();
        // If the slot came between floor and look, the token is the shared bucket's still: none may
        // be granted.
        assert!(granted <= 1, "a key has one burst");
    });
}
