//! Pure decisions: a state, a time and a request in; a new state out. No clock, no atomics.
//!
//! A *state* is the word's value: what a limiter remembers of one bucket, in 56 bits (64 for a
//! direct limiter that needs them). Every algorithm keeps three rules, which the keyed table relies
//! on:
//!
//! - state 0 is a full bucket, at any time;
//! - taking never makes a state smaller, and taking at least one token makes it larger;
//! - [`Rule::fresh`] of a later time is not smaller, and every full bucket's state is at most that.

mod batch;
mod carry;
mod fixed_window;
mod leaky_bucket;
#[cfg(any(feature = "redis", sluicegate_loom, sluicegate_shuttle))]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "models need a part of it"))]
pub(crate) mod lease;
mod rule;
mod sliding_window;
mod terms;
mod token_bucket;
mod undo;
mod warm_up;
mod windows;

pub(crate) use batch::Batch;
pub use carry::Carry;
pub(crate) use leaky_bucket::level;
pub(crate) use rule::{GivenUp, Rule};
pub(crate) use terms::Terms;
pub(crate) use token_bucket::TokenBucket;
pub(crate) use warm_up::{Layout, Turn, WarmUp};

use crate::error::QuotaError;
use core::fmt;
use core::str::FromStr;

/// The way in which a limiter counts.
///
/// | | admits, in any window of length W | when idle again |
/// | --- | --- | --- |
/// | token bucket | burst + rate * W | gains tokens smoothly, up to the burst |
/// | leaky bucket (meter) | capacity + rate * W | leaks smoothly, down to empty |
/// | fixed window | count in each aligned window, up to twice across a boundary | at the boundary |
/// | sliding window | count + rate * W | as the previous window slides out |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Tokens flow in at the rate, up to the burst; a request takes its cost. The default.
    #[default]
    TokenBucket,
    /// A request pours its cost into a bucket that leaks at the rate, and is denied if the bucket
    /// would overflow. The same word as the token bucket's, read from the other side.
    LeakyBucket,
    /// Counts requests in windows of one period, aligned to the limiter's start.
    FixedWindow,
    /// Counts the current window, and the share of the previous one that the last period still
    /// covers. A window in which the limit was reached slides out at the rate, so that a client
    /// that asks all the time is admitted the count in each period.
    SlidingWindow,
}

/// The four names, as printed and parsed: `token-bucket`, `leaky-bucket`, `fixed-window`,
/// `sliding-window`.
const NAMES: [(Algorithm, &str); 4] = [
    (Algorithm::TokenBucket, "token-bucket"),
    (Algorithm::LeakyBucket, "leaky-bucket"),
    (Algorithm::FixedWindow, "fixed-window"),
    (Algorithm::SlidingWindow, "sliding-window"),
];

#[cfg(all(unix, feature = "shared"))]
impl Algorithm {
    /// The number that stands for it in files.
    pub(crate) fn code(self) -> u64 {
        NAMES.iter().position(|(known, _)| *known == self).unwrap_or(NAMES.len()) as u64
    }

    /// The algorithm of a number, if it is one.
    pub(crate) fn of_code(code: u64) -> Option<Self> {
        NAMES.get(usize::try_from(code).ok()?).map(|(algorithm, _)| *algorithm)
    }
}

/// The methods of a builder that choose an algorithm by its name.
macro_rules! algorithm_setters {
    () => {
        /// Chooses [`Algorithm::TokenBucket`](crate::Algorithm::TokenBucket), the default.
        pub fn token_bucket(self) -> Self {
            self.algorithm($crate::Algorithm::TokenBucket)
        }

        /// Chooses [`Algorithm::LeakyBucket`](crate::Algorithm::LeakyBucket), as a meter: the burst
        /// is its capacity, the rate its leak.
        pub fn leaky_bucket(self) -> Self {
            self.algorithm($crate::Algorithm::LeakyBucket)
        }

        /// Chooses [`Algorithm::FixedWindow`](crate::Algorithm::FixedWindow): the count in each
        /// window of one period. The quota must have no burst of its own.
        pub fn fixed_window(self) -> Self {
            self.algorithm($crate::Algorithm::FixedWindow)
        }

        /// Chooses [`Algorithm::SlidingWindow`](crate::Algorithm::SlidingWindow). The quota must
        /// have no burst of its own.
        pub fn sliding_window(self) -> Self {
            self.algorithm($crate::Algorithm::SlidingWindow)
        }
    };
}

pub(crate) use algorithm_setters;

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            NAMES.iter().find(|(algorithm, _)| algorithm == self).map_or("", |(_, name)| name);
        f.pad(name)
    }
}

/// Parses the printed names, and the first word alone: `token`, `leaky`, `fixed`, `sliding`.
impl FromStr for Algorithm {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let named = |name: &str| text == name || name.split('-').next() == Some(text);
        let found = NAMES.iter().find(|(_, name)| named(name));
        let expected = "token-bucket, leaky-bucket, fixed-window or sliding-window";
        found.map(|(algorithm, _)| *algorithm).ok_or(QuotaError::parse(0, expected))
    }
}
