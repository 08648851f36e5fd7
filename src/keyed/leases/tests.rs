//! Tests of leases on a clock that the test sets by hand.

use super::*;
use crate::clock::{Clock, ManualClock};
use core::time::Duration;

const TICK: u64 = 1 << TICK_BITS;

fn leases(slots: usize) -> (Leases, ManualClock) {
    let clock = ManualClock::new();
    let timer = Timer::new(clock.clone().into_source());
    (Leases::new(slots, timer, 100 * TICK), clock)
}

fn pass(clock: &ManualClock, ticks: u64) {
    clock.advance(Duration::from_nanos(ticks * TICK));
}

/// Makes keys whose candidates are the first two lines of any table.
fn key(i: u64) -> u64 {
    (i + 1) << 40 | i | 1
}

#[test]
fn one_asks_and_all_take_what_it_gets() {
    let (leases, clock) = leases(8);
    let a = key(0);
    assert_eq!(leases.take(a, 1, 1), Taken::Short { left: 0, ask: true });
    assert_eq!(leases.take(a, 1, 1), Taken::Short { left: 0, ask: false });
    assert_eq!(leases.deposit(a, 5, 5, 50 * TICK), Some(5));
    assert_eq!(leases.take(a, 2, 2), Taken::Granted { granted: 2, left: 3, ask: false });
    assert_eq!(leases.deposit(a, 1, 5, 50 * TICK), Some(4), "in the same tick");
    assert_eq!(leases.take(a, 1, 9), Taken::Granted { granted: 4, left: 0, ask: true });
    assert_eq!(leases.deposit(a, 3, 3, 50 * TICK), Some(3));
    pass(&clock, 50);
    assert_eq!(leases.take(a, 1, 1), Taken::Short { left: 0, ask: true });
    assert_eq!((leases.left(a), leases.withdraw(a), leases.withdraw(a)), (3, 3, 0));
    assert_eq!(leases.evictions(), 0);
}

#[test]
fn a_denial_is_told_until_it_ends() {
    let (leases, clock) = leases(8);
    let a = key(0);
    let _ = leases.take(a, 1, 1);
    assert!(leases.deny(a, 5 * TICK - 1, Some(7)));
    assert_eq!(leases.take(a, 1, 1), Taken::Denied { ticks: 5, seconds: 7 });
    pass(&clock, 5);
    assert_eq!(leases.take(a, 1, 1), Taken::Short { left: 0, ask: true });
    assert_eq!(leases.deposit(a, 2, 2, 50 * TICK), Some(2));
    assert!(!leases.deny(a, 9 * TICK, None), "something is left");
    assert_eq!(leases.take(a, 1, 1), Taken::Granted { granted: 1, left: 1, ask: false });
    assert_eq!(leases.take(a, 2, 2), Taken::Short { left: 1, ask: true });
    leases.unask(a);
    assert_eq!(leases.take(a, 2, 2), Taken::Short { left: 1, ask: true });
}

/// Guards that a first touch sees neither the tokens nor the denial that the slot's last key left
/// in it. A slot whose ends have wrapped keeps its value when it is claimed.
#[test]
fn a_first_touch_sees_nothing_of_the_slots_last_key_where_the_ends_wrap() {
    let (leases, clock) = leases(8);
    pass(&clock, (1 << 30) - 100);
    let now = ((1 << 30) - 100) * TICK;
    for i in 0..8 {
        assert_eq!(leases.deposit(key(i), 5, 5, now + 50 * TICK), Some(5));
    }
    // Pass the wrap, and go beyond the grace.
    pass(&clock, 1_000);
    let now = now + 1_000 * TICK;
    assert_eq!(leases.deposit(key(20), 2, 2, now + 50 * TICK), Some(2));
    assert_eq!(leases.take(key(21), 1, 1), Taken::Short { left: 0, ask: true });
    assert_eq!(leases.evictions(), 0);
}

/// Tokens that an owner had not withdrawn are there once more a whole turn of the ends later, for a
/// time. They are debited, and no other owner has them.
#[test]
fn an_end_that_comes_round_again_brings_no_more_than_was_left() {
    let (leases, clock) = leases(8);
    let a = key(0);
    assert_eq!(leases.deposit(a, 5, 5, 50 * TICK), Some(5));
    pass(&clock, (1 << 30) + 49);
    assert_eq!(leases.take(a, 3, 3), Taken::Granted { granted: 3, left: 2, ask: false });
    pass(&clock, 1);
    assert_eq!(leases.take(a, 1, 1), Taken::Short { left: 0, ask: true });
    assert_eq!(leases.withdraw(a), 2);
}

/// The lease that ends first gives way. A lease that has tokens left is the last to go.
#[test]
fn a_flood_of_keys_evicts_questions_before_leases() {
    let (leases, _clock) = leases(8);
    assert_eq!(leases.deposit(key(0), 5, 5, 50 * TICK), Some(5));
    for i in 1..100 {
        assert_eq!(leases.take(key(i), 1, 1), Taken::Short { left: 0, ask: true });
    }
    assert_eq!(leases.evictions(), 92);
    assert_eq!(leases.left(key(0)), 5);
}
