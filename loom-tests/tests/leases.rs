//! Loom models of leases: takers against deposits, withdrawals and first touches.
//!
//! The tokens taken and those withdrawn afterwards must come to the tokens deposited. Exactly one
//! of the callers that find too few is told to ask for more. A cache line has one slot here.
//! `ci/mutants.py` breaks the lines that each model guards.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::model::{Leased, Spent};

/// Keys by fingerprint. In a table of two slots X looks at slot 0 first, Y at slot 1.
const X: u64 = 0x1000_0000_0000_0001;
const Y: u64 = 0x9000_0000_0000_0002;

/// The tick at which leases end.
const END: u64 = 50;

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Makes a store in which X has a lease of `tokens`.
fn leased(tokens: u64) -> Arc<Leased> {
    let leases = Arc::new(Leased::new(2, 1));
    assert!(leases.deposit(X, tokens, END));
    leases
}

fn spawn<R: Send + 'static>(
    leases: &Arc<Leased>,
    turn: impl FnOnce(&Leased) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let leases = leases.clone();
    thread::spawn(move || turn(&leases))
}

fn total(spent: &[Spent]) -> u64 {
    spent.iter().map(|spent| spent.granted).sum()
}

fn asked(spent: &[Spent]) -> usize {
    spent.iter().filter(|spent| spent.ask).count()
}

/// Guards that a take is a swap, and that the caller whose take goes under the low water is told to
/// ask.
#[test]
fn two_takers_of_one_lease() {
    model(3, || {
        // Under two of five.
        let leases = leased(5);
        let other = spawn(&leases, |leases| [leases.take(X, 2), leases.take(X, 2)]);
        let mine = [leases.take(X, 1), leases.take(X, 1)];
        let all = [other.join().unwrap(), mine].concat();
        assert_eq!((total(&all), leases.withdraw(X)), (5, 0));
        assert_eq!(asked(&all), 1, "{all:?}");
    });
}

/// Guards that a deposit adds to what is left by then, and takes the question back with the same
/// swap.
#[test]
fn takers_against_a_deposit() {
    model(2, || {
        let leases = leased(4);
        assert!(leases.take(X, 3).ask, "one is left");
        let other = spawn(&leases, |leases| leases.take(X, 2));
        let third = spawn(&leases, |leases| leases.take(X, 1));
        assert!(leases.deposit(X, 2, END + 1));
        let all = [other.join().unwrap(), third.join().unwrap()];
        let left = leases.withdraw(X);
        assert_eq!(total(&all) + left, 3, "{all:?}");
        assert!(asked(&all) <= 1, "{all:?}");
        // A caller that empties what the deposit brought finds that none has been asked for more.
        if total(&all) == 3 {
            assert_eq!(asked(&all), 1, "{all:?}");
        }
    });
}

/// Guards that a withdrawal takes what is left by a swap.
#[test]
fn withdrawal_against_takes() {
    model(3, || {
        let leases = leased(4);
        let other = spawn(&leases, |leases| [leases.take(X, 1), leases.take(X, 2)]);
        let withdrawn = leases.withdraw(X);
        let taken = other.join().unwrap();
        assert_eq!(total(&taken) + withdrawn, 4);
        assert_eq!(leases.withdraw(X), 0);
    });
}

/// Guards that a denial does not wipe out tokens that another deposit has brought.
#[test]
fn denial_against_a_deposit_and_a_take() {
    model(2, || {
        let leases = Arc::new(Leased::new(2, 1));
        assert!(leases.take(X, 1).ask);
        let other = spawn(&leases, |leases| leases.take(X, 1));
        let denier = spawn(&leases, |leases| leases.deny(X, END));
        assert!(leases.deposit(X, 2, END));
        let (taken, denied) = (other.join().unwrap(), denier.join().unwrap());
        assert_eq!(taken.granted + leases.withdraw(X), 2, "{taken:?}, denied {denied}");
    });
}

/// Guards that a key that no caller has asked for gets one slot, and one caller is told to ask.
#[test]
fn first_touch_by_two_threads() {
    model(3, || {
        let leases = Arc::new(Leased::new(2, 1));
        let other = spawn(&leases, |leases| leases.take(X, 1));
        let mine = leases.take(X, 1);
        let all = [other.join().unwrap(), mine];
        assert_eq!((total(&all), asked(&all)), (0, 1), "{all:?}");
    });
}

/// Guards that a key's tokens and a caller's first touch meet in one slot: the key's slot was given
/// away while the lease was fetched.
#[test]
fn first_touch_against_a_deposit() {
    model(3, || {
        let leases = Arc::new(Leased::new(2, 1));
        let other = spawn(&leases, |leases| leases.take(X, 1));
        assert!(leases.deposit(X, 3, END));
        let taken = other.join().unwrap();
        assert_eq!(taken.granted + leases.withdraw(X), 3, "{taken:?}");
    });
}

/// Guards that Y's first touch of X's slot sees nothing of X's lease, while X comes back. X's lease
/// has ended long ago, and its end is larger than any after the wrap.
#[test]
fn reuse_of_a_slot_where_the_ends_wrap() {
    model(3, || {
        let leases = Arc::new(Leased::new(2, (1 << 30) - 100));
        assert!(leases.deposit(X, 5, (1 << 30) - 50) && leases.deposit(Y, 5, (1 << 30) - 50));
        assert_eq!(leases.withdraw(Y), 5);
        leases.pass(1_000);
        let other = spawn(&leases, |leases| leases.withdraw(X));
        // Z may take either slot.
        const Z: u64 = 0x2000_0000_0000_0003;
        assert!(leases.deposit(Z, 2, (1 << 30) + 950));
        let withdrawn = other.join().unwrap();
        assert!(withdrawn == 0 || withdrawn == 5);
        assert_eq!(leases.take(Z, 9).granted, 2);
        assert_eq!(leases.withdraw(X) + leases.evictions(), 0);
    });
}

/// Guards that a value that is smaller than its slot's raises the epoch at a first touch too. X's
/// slot, of which nothing is left, goes to Z, and comes to the same figures. Otherwise X's question
/// is a swap on Z's word, and no caller asks for Z.
#[test]
fn first_touch_with_a_smaller_value_against_a_question() {
    model(3, || {
        let leases = leased(2);
        assert_eq!(leases.withdraw(X), 2);
        leases.pass(END - 1);
        const Z: u64 = 0x2000_0000_0000_0003;
        let other = spawn(&leases, |leases| leases.take(X, 1));
        assert!(leases.deposit(Z, 0, END));
        assert!(other.join().unwrap().ask, "it is for X's caller to ask for X");
        assert!(leases.take(Z, 1).ask, "nobody has asked for Z");
    });
}
