//! Loom models of the stripes: lease, spend, gather and give back, under every interleaving.
//!
//! The time stands still, so the tokens of the start are all there are: what is granted and what is
//! left must come to them exactly. `ci/mutants.py` breaks the lines that each model guards.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::model::Leases;

type Turn = fn(&Leases) -> u64;

/// Runs the turns in threads of their own but for the last, and adds up what they took.
fn race(leases: &Arc<Leases>, turns: &[Turn]) -> u64 {
    let (last, others) = turns.split_last().unwrap();
    let spawn = |turn: &Turn| {
        let (leases, turn) = (leases.clone(), *turn);
        thread::spawn(move || turn(&leases))
    };
    let handles: Vec<_> = others.iter().map(spawn).collect();
    let mine = last(leases);
    mine + handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u64>()
}

fn take(leases: &Leases, mine: usize, n: u64) -> u64 {
    if leases.take(mine, n) { n } else { 0 }
}

fn conserved(leases: &Leases, before: i64, taken: u64) {
    assert_eq!(leases.available(), before - taken as i64, "{taken} taken");
}

/// Guards that a lease is what was debited, and that a spend is a swap.
#[test]
fn two_threads_lease_and_spend() {
    loom::model(|| {
        // Two stripes of two over a centre of twelve.
        let leases = Arc::new(Leases::new(16, 2));
        let before = leases.available();
        let taken = race(
            &leases,
            &[
                |leases| take(leases, 0, 1) + take(leases, 0, 1),
                |leases| take(leases, 1, 1) + take(leases, 1, 2),
            ],
        );
        assert_eq!(taken, 5, "there are twelve");
        assert!(leases.held() <= 4);
        conserved(&leases, before, taken);
    });
}

/// Guards the flag, without which two threads on one stripe both lease for the same room.
#[test]
fn two_threads_lease_for_one_stripe() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(16, 1));
        assert_eq!(leases.limit(), 12);
        let taken = race(&leases, &[|leases| take(leases, 0, 1), |leases| take(leases, 0, 1)]);
        assert_eq!(taken, 2);
        assert!(leases.held() <= 4, "{} held", leases.held());
        conserved(&leases, 12, taken);
    });
}

/// Guards that what arrives is added to what is left by then: of two threads on one stripe, one
/// spends what is there while the other leases.
#[test]
fn spend_against_a_lease_for_the_same_stripe() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(16, 1));
        assert!(leases.take(0, 2) && leases.held() == 4 && leases.take(0, 3));
        let before = leases.available();
        let taken = race(&leases, &[|leases| take(leases, 0, 2), |leases| take(leases, 0, 1)]);
        assert_eq!(taken, 3);
        assert!(leases.held() <= 4, "{} held", leases.held());
        conserved(&leases, before, taken);
    });
}

/// Guards that an idle stripe's tokens are not leased twice: a neighbour takes them for its own,
/// just when the owner comes back.
#[test]
fn idle_stripe_hands_back_against_its_owner() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(64, 2));
        // The first lease of stripe 0 looks at stripe 1, the second finds it unmoved.
        assert!(leases.take(1, 1) && leases.take(0, 1));
        let held = leases.held();
        assert_eq!(held, 16, "both stripes are as full as can be");
        let before = leases.available();
        assert_eq!(leases.collect(0, 8), 8);
        let taken = 8 + race(
            &leases,
            &[|leases| take(leases, 0, 1), |leases| take(leases, 1, 1) + take(leases, 1, 1)],
        );
        assert_eq!(taken, 11);
        assert!(leases.held() <= 16, "{} held", leases.held());
        conserved(&leases, before, taken);
    });
}

/// Guards that a gather takes by a swap: one thread empties the other's stripe while that one
/// spends from it.
#[test]
fn gather_against_the_stripes_owner() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(16, 2));
        // Stripe 0 holds two, the centre has nothing.
        assert!(leases.take(0, 1) && leases.take(1, 9));
        let (before, held) = (leases.available(), leases.held());
        assert_eq!((before, held), (2, 2));
        let taken = race(
            &leases,
            &[
                |leases| take(leases, 1, 1) + take(leases, 1, 1),
                |leases| take(leases, 0, 1) + take(leases, 0, 1),
            ],
        );
        assert_eq!(taken, 2, "nothing is stranded");
        conserved(&leases, before, taken);
    });
}

/// Guards that a gatherer takes the centre's tokens by a swap, and gives back what it has. Two
/// tokens are in a stripe and one is in the centre: one thread gathers all three, and another takes
/// the centre's meanwhile.
#[test]
fn gather_against_a_take_of_the_rest() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(16, 2));
        assert!(leases.take(0, 1) && leases.take(1, 8));
        assert_eq!((leases.available(), leases.held()), (3, 2));
        let taken = race(&leases, &[|leases| take(leases, 0, 3), |leases| take(leases, 1, 1)]);
        assert!(taken == 1 || taken == 3, "{taken}");
        conserved(&leases, 3, taken);
        assert_eq!(take(&leases, 1, 3 - taken), 3 - taken);
    });
}

/// Guards that a charge takes what a lease is bringing, or the centre's, and never both.
#[test]
fn collect_against_a_lease() {
    loom::model(|| {
        let leases = Arc::new(Leases::new(16, 2));
        let taken = race(&leases, &[|leases| take(leases, 0, 1), |leases| leases.collect(1, 2)]);
        conserved(&leases, 12, taken);
        assert!(leases.held() <= 4);
    });
}
