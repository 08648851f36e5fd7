//! The decisions of a limiter, whichever its algorithm.

use super::TokenBucket;
use super::fixed_window::FixedWindow;
use super::sliding_window::SlidingWindow;

/// A place in line, some of whose tokens are given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenUp {
    /// What [`Rule::place`] remembered of it.
    pub(crate) place: u64,
    /// How many tokens are given back.
    pub(crate) n: u64,
    /// The state that it made.
    pub(crate) made: u64,
    /// What the tokens are of a bucket, in units.
    pub(crate) units: u64,
    /// What others have given back since it was taken, in units.
    pub(crate) returned: u64,
}

/// The decisions of one limiter. One predictable branch chooses the algorithm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Bucket(TokenBucket),
    Fixed(FixedWindow),
    Sliding(SlidingWindow),
}

impl Rule {
    /// The most tokens that one request can be granted.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        match self {
            Self::Bucket(rule) => rule.limit(),
            Self::Fixed(rule) => rule.limit(),
            Self::Sliding(rule) => rule.limit(),
        }
    }

    /// The state after taking `n`, or `None` if they are not there. `n` is from 1 to the limit.
    #[inline(always)]
    pub(crate) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) => rule.take(state, now, n),
            Self::Fixed(rule) => rule.take(state, now, n),
            Self::Sliding(rule) => rule.take(state, now, n),
        }
    }

    /// Whole tokens there, rounded down; negative in debt.
    #[inline]
    pub(crate) fn balance(&self, state: u64, now: u64) -> i64 {
        match self {
            Self::Bucket(rule) => rule.balance(state, now),
            Self::Fixed(rule) => rule.balance(state, now),
            Self::Sliding(rule) => rule.balance(state, now),
        }
    }

    /// The state after taking `n` whatever is there. Debt has an end: 2^54 units of tokens (10 years
    /// of flow at most rates), or what a window's field holds.
    #[inline]
    pub(crate) fn charge(&self, state: u64, now: u64, n: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.charge(state, now, n),
            Self::Fixed(rule) => rule.charge(state, now, n),
            Self::Sliding(rule) => rule.charge(state, now, n),
        }
    }

    /// [`charge`](Self::charge), but by no more than leaves a balance of `-most`: what is over is
    /// forgotten. A balance that is lower already, as that of a line of reservations, stays.
    #[inline]
    pub(crate) fn charge_within(&self, state: u64, now: u64, n: u64, most: u64) -> u64 {
        match self {
            // Exact: the balance is rounded.
            Self::Bucket(rule) => rule.charge_within(state, now, n, most),
            _ => {
                let room = self.balance(state, now).saturating_add_unsigned(most);
                self.charge(state, now, n.min(room.max(0) as u64))
            }
        }
    }

    /// The state after giving `n` back, or `None` if nothing is missing.
    #[inline]
    pub(crate) fn refund(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) => rule.refund(state, now, n),
            Self::Fixed(rule) => rule.refund(state, now, n),
            Self::Sliding(rule) => rule.refund(state, now, n),
        }
    }

    /// The state with a place in line for `n`, and the units until it is due; `None` if that is over `longest`. With
    /// `longest` 0 it is [`take`](Self::take). `n` is from 1 to the limit; of a bucket it may be more.
    #[inline]
    pub(crate) fn reserve(&self, state: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        match self {
            Self::Bucket(rule) => rule.reserve(state, now, n, longest),
            Self::Fixed(rule) => rule.reserve(state, now, n, longest),
            Self::Sliding(rule) => rule.reserve(state, now, n, longest),
        }
    }

    /// What is to be remembered of a place in the line, `before` being the state that it was made of: of a bucket the
    /// state that it made, which keeps its meaning when the quota changes; of a window the moment that it is due. A sliding
    /// one marks it if the place is why the limit is noted as reached.
    #[inline]
    pub(crate) fn place(&self, before: u64, state: u64, now: u64, wait: u64) -> u64 {
        match self {
            Self::Bucket(_) => state,
            Self::Fixed(_) => now + wait,
            Self::Sliding(rule) => rule.place(before, state, now + wait),
        }
    }

    /// What `n` tokens are of a bucket, in units; `None` of what counts otherwise.
    pub(crate) fn worth(&self, n: u64) -> Option<u64> {
        if let Self::Bucket(rule) = self { Some(rule.worth(n)) } else { None }
    }

    /// Whole tokens in so many units of a bucket.
    pub(crate) fn whole(&self, units: u64) -> u64 {
        if let Self::Bucket(rule) = self { rule.whole(units) } else { 0 }
    }

    /// The longest wait for a place that a state has room for. A window's ends where its line does.
    pub(crate) fn furthest_place(&self) -> u64 {
        if let Self::Bucket(rule) = self { rule.furthest_place() } else { u64::MAX }
    }

    /// Units until a place is due.
    #[inline]
    pub(crate) fn until_place(&self, place: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until_place(place, now),
            Self::Sliding(rule) => rule.due(place).saturating_sub(now),
            Self::Fixed(_) => place.saturating_sub(now),
        }
    }

    /// The state after giving up a place that is not due yet, and the tokens that come back; `None` if nothing does.
    ///
    /// A window gives all of them back if no later window has been begun. A plain bucket's places are
    /// spans of a line: see [`take_back`](Self::take_back).
    pub(crate) fn give_up(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        if self.until_place(given.place, now) == 0 {
            return None;
        }
        match self {
            Self::Bucket(_) => None,
            Self::Fixed(rule) => rule.give_up(state, now, given),
            Self::Sliding(rule) => rule.give_up(state, now, given),
        }
    }

    /// The state of a bucket without its last `units`, which end at `end`; `None` if its line goes on behind that.
    pub(crate) fn take_back(&self, state: u64, now: u64, end: u64, units: u64) -> Option<u64> {
        if let Self::Bucket(rule) = self { rule.take_back(state, now, end, units) } else { None }
    }

    /// The state with so many units more, at most as many as are missing; `None` if somebody waits.
    pub(crate) fn add_if_idle(&self, state: u64, now: u64, units: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) if rule.until_place(state, now) == 0 => {
                Some(state.wrapping_sub(units.min(rule.missing(state, now))))
            }
            _ => None,
        }
    }

    /// A full bucket's state that is as new as `now`.
    #[inline]
    pub(crate) fn fresh(&self, now: u64) -> u64 {
        match self {
            Self::Bucket(_) => now,
            Self::Fixed(rule) => rule.fresh(now),
            Self::Sliding(rule) => rule.fresh(now),
        }
    }

    /// The time that a state made by [`fresh`](Self::fresh) belongs to.
    #[inline]
    pub(crate) fn began(&self, fresh: u64) -> u64 {
        match self {
            Self::Bucket(_) => fresh,
            Self::Fixed(rule) => rule.began(fresh),
            Self::Sliding(rule) => rule.began(fresh),
        }
    }

    /// A state that has at most what either state has, at `now` and at any later time.
    pub(crate) fn emptier(&self, a: u64, b: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(_) | Self::Fixed(_) => a.max(b),
            Self::Sliding(rule) => rule.emptier(a, b, now),
        }
    }

    /// Units of time until the bucket is full again; 0 if it is.
    #[inline]
    pub(crate) fn until_full(&self, state: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until_full(state, now),
            Self::Fixed(rule) => rule.until_full(state, now),
            Self::Sliding(rule) => rule.until_full(state, now),
        }
    }

    /// Units of time until `n` tokens are there; `None` if they never are.
    #[inline]
    pub(crate) fn until(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        (n <= self.limit()).then(|| self.until_paid(state, now, n))
    }

    /// Units of time until `n` tokens have flowed; of a window `n` is at most the limit.
    pub(crate) fn until_paid(&self, state: u64, now: u64, n: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until(state, now, n),
            Self::Fixed(rule) => rule.until(state, now, n),
            Self::Sliding(rule) => rule.until(state, now, n),
        }
    }

    /// Whether forgetting the state loses nothing.
    #[inline]
    pub(crate) fn is_full(&self, state: u64, now: u64) -> bool {
        self.until_full(state, now) == 0
    }
}
