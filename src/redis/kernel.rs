//! What is asked of a key, how a server is asked, and what its answer means: whichever the algorithm.

use super::link::Lua;
use super::units::{Ask, Flow, LONGEST_DEBT, Units};
use crate::algorithm::Algorithm;
use crate::error::QuotaError;
use crate::quota::Quota;
use alloc::vec::Vec;
use std::sync::LazyLock;

macro_rules! lua {
    ($name:literal) => {{
        const CODE: &str = concat!(include_str!("debt.lua"), include_str!($name));
        Lua { code: CODE, digest: LazyLock::new(|| Lua::digest(CODE)) }
    }};
}

pub(super) static TAKE: Lua = lua!("take.lua");
pub(super) static EACH: Lua = lua!("each.lua");
pub(super) static UP_TO: Lua = lua!("up_to.lua");
pub(super) static CHARGE: Lua = lua!("charge.lua");
pub(super) static REFUND: Lua = lua!("refund.lua");
pub(super) static LOOK: Lua = lua!("look.lua");

/// The decisions of one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// A token or leaky bucket.
    Bucket(Units),
}

/// What a server says of a key as it was before it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// What is missing, in parts.
    Bucket(u128),
}

/// A script, and its numbers.
pub(super) type Call = (&'static Lua, Vec<u64>);

impl Kernel {
    pub(super) fn new(quota: &Quota, _algorithm: Algorithm) -> Result<Self, QuotaError> {
        Units::new(quota).map(Self::Bucket)
    }

    /// The most tokens that one request can be granted.
    pub(super) fn limit(&self) -> u64 {
        match self {
            Self::Bucket(units) => units.limit(),
        }
    }

    /// How the server is asked.
    pub(super) fn call(&self, ask: Ask) -> Call {
        match self {
            Self::Bucket(units) => call(units, ask),
        }
    }

    /// How it is asked for one after the other of these, each all or none.
    pub(super) fn call_each(&self, asked: &[u64]) -> Call {
        match self {
            Self::Bucket(units) => call_each(units, asked),
        }
    }

    /// Its answer; `None` if that is none to such a call.
    pub(super) fn state(&self, answer: &[u64]) -> Option<State> {
        match (self, answer) {
            (Self::Bucket(units), &[us, part, ..]) => {
                Some(State::Bucket(units.in_parts(Flow { us, part })))
            }
            _ => None,
        }
    }

    /// The tokens granted, if any, and what becomes of the key: as the script does.
    pub(super) fn settle(&self, state: State, ask: Ask) -> (Option<u64>, State) {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => {
                let settled = units.settle(debt, ask);
                (settled.granted, State::Bucket(settled.debt))
            }
        }
    }

    /// Whole tokens there, rounded down; negative in debt.
    pub(super) fn balance(&self, state: State) -> i64 {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => units.balance(debt),
        }
    }

    /// Microseconds until all is back.
    pub(super) fn until_full(&self, state: State) -> u64 {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => units.until_full(debt),
        }
    }

    /// Microseconds until `n` tokens are there; `None` if they never are.
    pub(super) fn until(&self, state: State, n: u64) -> Option<u64> {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => units.until(debt, n),
        }
    }
}

/// What every script of a bucket is told.
fn head(units: &Units, more: usize) -> Vec<u64> {
    let burst = units.flow(units.burst());
    let mut numbers = Vec::with_capacity(3 + more);
    numbers.extend([units.parts(), burst.us, burst.part]);
    numbers
}

fn cost(units: &Units, n: u64) -> [u64; 2] {
    let cost = units.flow(units.cost(n));
    [cost.us, cost.part]
}

pub(super) fn call(units: &Units, ask: Ask) -> Call {
    let mut numbers = head(units, 3);
    let cost = |n| cost(units, n);
    let script = match ask {
        // What is nothing is not written.
        Ask::Take(0) | Ask::UpTo(0) | Ask::Charge(0) | Ask::Refund(0) | Ask::Look(_) => &LOOK,
        Ask::Take(n) => {
            numbers.extend(cost(n));
            &TAKE
        }
        Ask::UpTo(n) => {
            numbers.extend(cost(1));
            numbers.push(n.min(units.limit()));
            &UP_TO
        }
        Ask::Charge(n) => {
            numbers.extend(cost(n));
            numbers.push(LONGEST_DEBT);
            &CHARGE
        }
        Ask::Refund(n) => {
            numbers.extend(cost(n));
            &REFUND
        }
    };
    (script, numbers)
}

pub(super) fn call_each(units: &Units, asked: &[u64]) -> Call {
    // So many single tokens are as many as there are of so many.
    if asked.iter().all(|&n| n == 1) {
        return call(units, Ask::UpTo(asked.len() as u64));
    }
    let mut numbers = head(units, 2 * asked.len());
    asked.iter().for_each(|&n| numbers.extend(cost(units, n)));
    (&EACH, numbers)
}
