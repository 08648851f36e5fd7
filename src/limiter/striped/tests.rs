//! Tests without threads: each test drives every stripe by hand, so that it can look at each step.
#![allow(clippy::expect_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::algorithm::{Algorithm, Rule, Terms};
use crate::quota::Quota;
use proptest::prelude::*;
use std::vec::Vec;

/// Time that a test sets by hand, in units.
struct At(core::cell::Cell<u64>, Split);

impl Timed for At {
    type Now = u64;

    fn read(&self) -> u64 {
        self.0.get()
    }

    fn is_current(&self, _: u64) -> bool {
        true
    }

    fn centre(&self, units: u64) -> Centre {
        Centre { split: self.1, units }
    }
}

struct Bench {
    striped: Striped,
    centre: Cell,
    time: At,
    token: u64,
}

impl Bench {
    fn new(burst: u64, stripes: usize) -> Self {
        let quota = Quota::per_second(1).burst(burst);
        let terms = Terms::bucket(quota, Algorithm::TokenBucket, u64::BITS);
        let Rule::Bucket(bucket) = terms.rule() else { unreachable!("terms of a bucket") };
        let striped = Striped::new(bucket, stripes).expect("a burst worth sharing");
        let token = 1 << terms.scale().fraction;
        let time = At(core::cell::Cell::new(1_000 * token), striped.split(bucket));
        Self { striped, centre: Cell::new(0), time, token }
    }

    fn take(&self, mine: usize, n: u64) -> bool {
        let spent = self.striped.spend(mine, n).is_some();
        spent || self.striped.draw(&self.centre, &self.time, mine, n).0.is_ok()
    }

    fn words(&self) -> Vec<u64> {
        let stripes = self.striped.stripes.iter().map(|stripe| stripe.cell.load());
        core::iter::once(self.centre.load()).chain(stripes).collect()
    }

    /// The units in the centre.
    fn centre(&self) -> u64 {
        let missing = self.time.1.bucket.missing(self.centre.load(), self.time.read());
        self.time.1.bucket.limit() * self.token - missing
    }

    fn units(&self) -> u64 {
        self.centre() + self.striped.held() * self.token
    }

    fn advance(&self, units: u64) {
        self.time.0.set(self.time.0.get() + units);
    }
}

#[test]
fn stripes_hold_a_quarter_of_the_burst_at_most() {
    for burst in [8, 9, 20, 100, 1_000, 1_000_000, 1 << 48] {
        for stripes in [0, 1, 2, 3, 16, 256, 10_000] {
            let Bench { striped: Striped { stripes }, time: At(_, split), .. } =
                Bench::new(burst, stripes);
            let Split { bucket, lease_max } = split;
            let held = stripes.len() as u64 * lease_max;
            assert!(lease_max >= 1 && held <= burst / 4, "{burst}: {lease_max}");
            assert_eq!(bucket.limit(), burst - held);
            assert!(stripes.len().is_power_of_two() && stripes.len() <= 256);
        }
    }
    let Rule::Bucket(small) =
        Terms::bucket(Quota::per_second(7), Algorithm::TokenBucket, 64).rule()
    else {
        unreachable!("terms of a bucket")
    };
    assert!(Striped::new(small, 2).is_none());
}

proptest! {
    /// Tokens are conserved, stripes stay within their bound, decisions are exact and denials write
    /// nothing, under any sequence of requests and any flow between them.
    #[test]
    fn tokens_are_conserved_and_decisions_exact(
        burst in 8..2_000_u64,
        stripes in 1..9_usize,
        steps in prop::collection::vec((0..8_usize, 1..40_u64, 0..30_000_u64), 1..200),
    ) {
        let bench = Bench::new(burst, stripes);
        for (mine, n, flow) in steps {
            let flow = flow * bench.token / 10_000;
            let most = bench.time.1.bucket.limit() * bench.token;
            let centre = (bench.centre() + flow).min(most);
            bench.advance(flow);
            prop_assert_eq!(bench.centre(), centre, "the centre gains what flows");
            let n = n.min(bench.time.1.bucket.limit());
            let (before, words, held) = (bench.units(), bench.words(), bench.striped.held());
            let there = centre / bench.token + held;
            let granted = bench.take(mine, n);
            prop_assert_eq!(granted, there >= n, "{} of {}", n, there);
            let spent = u64::from(granted) * n * bench.token;
            prop_assert_eq!(bench.units(), before - spent);
            if !granted {
                prop_assert_eq!(bench.words(), words, "a denial writes nothing");
            }
            for stripe in &bench.striped.stripes {
                prop_assert!(stripe.cell.load() <= bench.time.1.lease_max);
            }
        }
    }
}

/// Near the end of the tokens every grant is the centre's alone.
#[test]
fn scarce_tokens_are_not_leased() {
    let bench = Bench::new(1_000, 4);
    while bench.centre() >= 9 * bench.token {
        assert!(bench.take(0, 1));
    }
    let before = bench.striped.held();
    assert!(bench.striped.draw(&bench.centre, &bench.time, 3, 1).0.is_ok());
    assert_eq!((bench.striped.held(), bench.striped.stripes[3].held()), (before, 0));
}

/// The tokens that a thread leased and left behind return to use before a denial asks for them.
#[test]
fn idle_stripes_hand_back() {
    let bench = Bench::new(100_000, 2);
    assert!(bench.take(1, 1));
    assert!(bench.striped.stripes[1].held() > 0);
    let mut spent = 0;
    while bench.striped.stripes[1].held() > 0 {
        assert!(bench.take(0, 1));
        spent += 1;
        assert!(spent < 20_000, "nobody looked after the idle stripe");
    }
    assert!(bench.centre() > 50_000 * bench.token, "tokens still abound");
    assert_eq!(bench.units(), (bench.time.1.bucket.limit() - 1 - spent) * bench.token);
}

/// Other threads leave a stripe that is in use alone.
#[test]
fn busy_stripes_keep_theirs() {
    let bench = Bench::new(1_000_000, 2);
    for turn in 0..50_000_u64 {
        assert!(bench.take((turn % 2) as usize, 1));
    }
    let leases = bench.striped.stripes[0].leases.load(Relaxed);
    // There is one visit to the centre for each lease of the largest size.
    assert!(leases <= 25_000 / bench.time.1.lease_max + 1, "{leases}");
}

/// A gather that comes too late returns the tokens in its hand to the centre.
#[test]
fn late_gather_gives_back() {
    let bench = Bench::new(100, 2);
    while bench.take(0, 1) {}
    bench.striped.stripes[1].cell.update(|_| Step::Put(3, ()));
    let before = bench.centre.load();
    let at = bench.time.centre(bench.time.read());
    assert_eq!(bench.striped.gather(&bench.centre, before, (&bench.time, at), 0, 5), None);
    assert_eq!((bench.striped.held(), bench.centre()), (0, 3 * bench.token));
    assert!(bench.take(0, 3) && !bench.take(0, 1));
}

/// If the centre had been full since the tokens were taken, they would be more than the bucket ever
/// held.
#[test]
fn what_a_full_centre_would_not_have_held_is_not_given_back() {
    let bench = Bench::new(100, 2);
    while bench.take(0, 1) {}
    let limit = bench.time.1.bucket.limit();
    let before = bench.centre.load();
    for (wait, back) in [(limit - 5, 3), (limit - 2, 2), (limit, 0), (5 * limit, 0)] {
        let bench = Bench { centre: Cell::new(before), ..Bench::new(100, 2) };
        bench.advance(wait * bench.token);
        // Another thread takes all that has flowed in.
        while bench.take(0, 1) {}
        assert_eq!(bench.units(), 0);
        bench.striped.give_back(&bench.centre, before, &bench.time, 3);
        assert_eq!(bench.units(), back * bench.token, "after {wait} tokens of time");
    }
}

/// While a lease is on its way, no other thread may start one, but any may spend the tokens of the
/// stripe.
#[test]
fn open_stripe_is_opened_once() {
    let bench = Bench::new(1_000, 2);
    let stripe = &bench.striped.stripes[0];
    stripe.cell.update(|_| Step::Put(5, ()));
    assert_eq!(stripe.open(bench.time.1.lease_max), Some(bench.time.1.lease_max - 5));
    assert_eq!(stripe.open(bench.time.1.lease_max), None);
    assert_eq!(bench.striped.spend(0, 4), Some(1));
    let centre = bench.centre();
    assert!(bench.take(0, 2), "by the centre alone");
    assert_eq!((bench.centre(), stripe.held()), (centre - 2 * bench.token, 1));
}

/// The lower half of a multiple of 2^32 is 0, which must not be taken for the share where a word
/// has 32 bits.
#[test]
fn there_are_as_many_stripes_as_are_wanted_and_have_a_token() {
    for (share, wanted, number) in
        [(2, 8, 2), (3, 8, 2), (4, 8, 4), (255, 256, 128), (256, 300, 256), (7, 0, 1), (9, 3, 4)]
    {
        assert_eq!(Striped::number(share, wanted), number, "{share} tokens, {wanted} wanted");
    }
    for bits in 32..64 {
        assert_eq!(Striped::number(1 << bits, 16), 16);
        assert_eq!(Striped::number((1 << bits) - 1, 256), 256);
    }
}
