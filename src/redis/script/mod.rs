//! What is asked of a key, how a server is asked, and what its answer means: whichever the algorithm.

pub(super) mod group;
pub(super) mod place;
pub(super) mod units;
pub(super) mod window;

use crate::algorithm::Algorithm;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::redis::client::link::{Lua, lua};
use crate::redis::script::units::{Ask, Flow, Units};
use crate::redis::script::window::{Counts, Window};
use alloc::vec::Vec;

pub(in crate::redis) static TAKE: Lua = lua!("debt.lua", "put.lua", "take.lua");
/// Of quotas with one part.
pub(in crate::redis) static WHOLE: Lua = lua!("whole.lua", "debt.lua", "put.lua", "take.lua");
pub(in crate::redis) static EACH: Lua = lua!("debt.lua", "put.lua", "each.lua");
pub(in crate::redis) static UP_TO: Lua = lua!("debt.lua", "put.lua", "fit.lua", "up_to.lua");
pub(in crate::redis) static CHARGE: Lua = lua!("debt.lua", "put.lua", "charge.lua");
pub(in crate::redis) static REFUND: Lua = lua!("debt.lua", "put.lua", "back.lua", "refund.lua");
pub(in crate::redis) static LOOK: Lua = lua!("debt.lua", "put.lua", "look.lua");

/// The decisions of one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum Kernel {
    /// A token or leaky bucket.
    Bucket(Units),
    /// A fixed or sliding window.
    Window(Window),
}

/// What a server says of a key as it was before it was asked. A kernel makes its own kind, and is asked of no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum State {
    /// What is missing, in parts.
    Bucket(u128),
    /// What was admitted.
    Window(Counts),
}

/// A script, and its numbers.
pub(in crate::redis) type Call = (&'static Lua, Vec<u64>);

impl Kernel {
    pub(in crate::redis) fn new(quota: &Quota, algorithm: Algorithm) -> Result<Self, QuotaError> {
        match algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => Units::new(quota).map(Self::Bucket),
            Algorithm::FixedWindow => Window::new(quota, false).map(Self::Window),
            Algorithm::SlidingWindow => Window::new(quota, true).map(Self::Window),
        }
    }

    /// The same, whose charges take the balance of a key no lower than `-tokens`.
    pub(in crate::redis) fn with_max_debt(self, tokens: u64) -> Self {
        match self {
            Self::Bucket(units) => Self::Bucket(units.with_max_debt(tokens)),
            Self::Window(window) => Self::Window(window.with_max_debt(tokens)),
        }
    }

    /// The most tokens that one request can be granted.
    pub(in crate::redis) fn limit(&self) -> u64 {
        match self {
            Self::Bucket(units) => units.limit(),
            Self::Window(window) => window.limit(),
        }
    }

    /// Of a bucket, which has places in line.
    pub(in crate::redis) fn places(&self) -> Option<&Units> {
        match self {
            Self::Bucket(units) => Some(units),
            Self::Window(_) => None,
        }
    }

    /// How the server is asked.
    pub(in crate::redis) fn call(&self, ask: Ask) -> Call {
        match self {
            Self::Bucket(units) => call(units, ask),
            Self::Window(window) => window.call(ask),
        }
    }

    /// How it is asked for one after the other of these, each all or none.
    pub(in crate::redis) fn call_each(&self, asked: &[u64]) -> Call {
        match self {
            Self::Bucket(units) => call_each(units, asked),
            Self::Window(window) => window.call_each(asked),
        }
    }

    /// What a script of several limits is told of this one: besides itself, what a unit of `n` tokens costs.
    pub(in crate::redis) fn fit(&self, n: u64) -> Vec<u64> {
        match self {
            Self::Bucket(units) => fit(units, n),
            Self::Window(window) => window.fit(n),
        }
    }

    /// Its answer; `None` if that is none to such a call.
    pub(in crate::redis) fn state(&self, answer: &[u64]) -> Option<State> {
        match (self, answer) {
            (Self::Bucket(units), &[us]) => {
                Some(State::Bucket(units.in_parts(Flow { us, part: 0 })))
            }
            (Self::Bucket(units), &[us, part, ..]) => {
                Some(State::Bucket(units.in_parts(Flow { us, part })))
            }
            (Self::Window(window), &[left, previous, current, mark, ..]) => {
                Some(State::Window(window.counts((left, previous, current, mark))))
            }
            _ => None,
        }
    }

    /// The tokens granted, if any, and what becomes of the key: as the script does.
    pub(in crate::redis) fn settle(&self, state: State, ask: Ask) -> (Option<u64>, State) {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => {
                let settled = units.settle(debt, ask);
                (settled.granted, State::Bucket(settled.debt))
            }
            (Self::Window(window), State::Window(counts)) => {
                let (granted, counts) = window.settle(counts, ask);
                (granted, State::Window(counts))
            }
            _ => (None, state),
        }
    }

    /// Whole tokens there, rounded down; negative in debt.
    pub(in crate::redis) fn balance(&self, state: State) -> i64 {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => units.balance(debt),
            (Self::Window(window), State::Window(counts)) => window.balance(counts),
            _ => 0,
        }
    }

    /// Microseconds until all is back.
    pub(in crate::redis) fn until_full(&self, state: State) -> u64 {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => units.until_full(debt),
            (Self::Window(window), State::Window(counts)) => window.until_full(counts),
            _ => 0,
        }
    }

    /// Microseconds until `n` tokens are there; `None` if they never are.
    pub(in crate::redis) fn until(&self, state: State, n: u64) -> Option<u64> {
        match (self, state) {
            (Self::Bucket(units), State::Bucket(debt)) => units.until(debt, n),
            (Self::Window(window), State::Window(counts)) => window.until(counts, n),
            _ => None,
        }
    }
}

/// What every script of a bucket is told.
pub(in crate::redis) fn head(units: &Units, more: usize) -> Vec<u64> {
    let burst = units.flow(units.burst());
    let mut numbers = Vec::with_capacity(3 + more);
    numbers.extend([units.parts(), burst.us, burst.part]);
    numbers
}

pub(in crate::redis) fn cost(units: &Units, n: u64) -> [u64; 2] {
    let cost = units.flow(units.cost(n));
    [cost.us, cost.part]
}

pub(in crate::redis) fn call(units: &Units, ask: Ask) -> Call {
    if let Ask::Take(n @ 1..) = ask
        && units.parts() == 1
    {
        let whole = |parts| units.flow(parts).us;
        return (&WHOLE, alloc::vec![whole(units.burst()), whole(units.cost(n))]);
    }
    let mut numbers = head(units, 4);
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
            let Flow { us, part } = units.flow(units.most_owed());
            numbers.extend([us, part]);
            &CHARGE
        }
        Ask::Refund(n) => {
            numbers.extend(cost(n));
            &REFUND
        }
    };
    (script, numbers)
}

/// What `fit.lua` is told: a bucket, and the cost of `n` tokens.
fn fit(units: &Units, n: u64) -> Vec<u64> {
    let mut numbers = head(units, 2);
    numbers.extend(cost(units, n));
    numbers
}

pub(in crate::redis) fn call_each(units: &Units, asked: &[u64]) -> Call {
    // So many single tokens are as many as there are of so many.
    if asked.iter().all(|&n| n == 1) {
        return call(units, Ask::UpTo(asked.len() as u64));
    }
    let mut numbers = head(units, 2 * asked.len());
    asked.iter().for_each(|&n| numbers.extend(cost(units, n)));
    (&EACH, numbers)
}
