//! The scripts that decide in the server, and the same decisions in Rust.
//!
//! A script answers the state of a key as it was before the call. The decision in Rust repeats what
//! the script then did, so that one answer serves several callers, and tells all figures.
//!
//! An algorithm is a script (`bucket.lua`, `window.lua`), a type that implements [`Scripts`]
//! (`bucket.rs`, `window.rs`) and a row of [`of`] and of [`fingerprint`]. `group.rs` asks several
//! limits of one algorithm at once.

pub(super) mod bucket;
pub(super) mod group;
pub(super) mod place;
pub(super) mod units;
pub(super) mod window;

use crate::algorithm::Algorithm;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::redis::client::lua::{Call, Lua};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use units::Units;
use window::Window;

/// A question about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Takes this number of tokens, all or none.
    Take(u64),
    /// Takes the tokens that are there, at most this number and at least one.
    UpTo(u64),
    /// Takes this number of tokens, into debt if they are not there.
    Charge(u64),
    /// Gives this number of tokens back.
    Refund(u64),
    /// Tells what `Take` would. Writes nothing.
    Look(u64),
}

impl Ask {
    /// Says whether it cannot change anything.
    fn is_look(self) -> bool {
        matches!(
            self,
            Self::Take(0) | Self::UpTo(0) | Self::Charge(0) | Self::Refund(0) | Self::Look(_)
        )
    }
}

/// The state of a key before a call, in the numbers of its script.
pub(super) type State = [u64; 4];

/// The scripts of one quota, and the decisions that they make.
pub(super) trait Scripts: Debug + Send + Sync {
    /// The most tokens that one request can be granted.
    fn limit(&self) -> u64;

    /// The call that does what is asked.
    fn call(&self, ask: Ask) -> Call;

    /// The call that takes for each of these requests in order, all or none of each.
    fn call_each(&self, asked: &[u64]) -> Call;

    /// The call that makes a key as if nothing had been taken. A place in its waiting line has at
    /// most `most` tokens.
    fn call_reset(&self, most: u64) -> Call;

    /// The script of a group of such limits.
    fn group(&self) -> &'static Lua;

    /// The numbers of the verb `fit` in a group, for units of `n` tokens.
    fn fit(&self, n: u64) -> Vec<u64>;

    /// Reads an answer. `None` if no script gives it.
    fn state(&self, answer: &[u64]) -> Option<State>;

    /// Decides as the script does: the tokens granted, if any, and the state after that.
    fn settle(&self, state: State, ask: Ask) -> (Option<u64>, State);

    /// Whole tokens there, rounded down; negative in debt.
    fn balance(&self, state: State) -> i64;

    /// Microseconds until all tokens are back.
    fn until_full(&self, state: State) -> u64;

    /// Microseconds until `n` tokens are there; `None` if they never are.
    fn until(&self, state: State, n: u64) -> Option<u64>;

    /// The same scripts, whose charges have no bound.
    fn without_max_debt(&self) -> Box<dyn Scripts>;

    /// The bucket, of an algorithm whose keys have waiting lines.
    fn places(&self) -> Option<&Units> {
        None
    }
}

/// The scripts of a quota. A charge takes the balance of a key no lower than `-max_debt`.
pub(super) fn of(
    quota: &Quota,
    algorithm: Algorithm,
    max_debt: u64,
) -> Result<Box<dyn Scripts>, QuotaError> {
    Ok(match algorithm {
        Algorithm::TokenBucket | Algorithm::LeakyBucket => {
            Box::new(Units::new(quota)?.with_max_debt(max_debt))
        }
        Algorithm::FixedWindow => Box::new(Window::new(quota, false)?.with_max_debt(max_debt)),
        Algorithm::SlidingWindow => Box::new(Window::new(quota, true)?.with_max_debt(max_debt)),
    })
}

/// A short and readable name of a quota, as `b100/1m/20`. The letter names the kind of state: a
/// bucket, a fixed window or a sliding one. The period is in its largest whole unit.
pub(super) fn fingerprint(quota: &Quota, algorithm: Algorithm) -> String {
    const UNITS: [(u64, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let period = quota.period_ns();
    let unit = UNITS.iter().find(|(ns, _)| period.is_multiple_of(*ns));
    let (ns, name) = unit.copied().unwrap_or((1, "ns"));
    let rate = alloc::format!("{}/{}{name}", quota.count(), period / ns);
    match algorithm {
        Algorithm::TokenBucket | Algorithm::LeakyBucket => {
            alloc::format!("b{rate}/{}", quota.burst_size())
        }
        Algorithm::FixedWindow => alloc::format!("f{rate}"),
        Algorithm::SlidingWindow => alloc::format!("s{rate}"),
    }
}
