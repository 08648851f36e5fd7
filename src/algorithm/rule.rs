//! The decisions of a limiter, whichever its algorithm.

use super::TokenBucket;
use super::fixed_window::FixedWindow;
use super::sliding_window::SlidingWindow;

/// A place in the waiting queue, some of whose tokens are given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenUp {
    /// The place as [`Rule::place`] remembered it.
    pub(crate) place: u64,
    /// The tokens that are given back.
    pub(crate) n: u64,
    /// The state that the place made.
    pub(crate) made: u64,
    /// The units that the tokens take in a bucket.
    pub(crate) units: u64,
    /// The units that other callers have given back since the place was taken.
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
    /// Returns the most tokens that one request can be granted.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        match self {
            Self::Bucket(rule) => rule.limit(),
            Self::Fixed(rule) => rule.limit(),
            Self::Sliding(rule) => rule.limit(),
        }
    }

    /// Returns the state after taking `n`, or `None` if the tokens are not there. `n` is from 1 to
    /// the limit.
    #[inline(always)]
    pub(crate) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) => rule.take(state, now, n),
            Self::Fixed(rule) => rule.take(state, now, n),
            Self::Sliding(rule) => rule.take(state, now, n),
        }
    }

    /// Returns the whole tokens there, rounded down; negative in debt.
    #[inline]
    pub(crate) fn balance(&self, state: u64, now: u64) -> i64 {
        match self {
            Self::Bucket(rule) => rule.balance(state, now),
            Self::Fixed(rule) => rule.balance(state, now),
            Self::Sliding(rule) => rule.balance(state, now),
        }
    }

    /// Returns the state after taking `n`, even if they are not there. Debt has an end: 2^54 units
    /// of tokens (10 years of flow at most rates), or the largest count of a window's field.
    #[inline]
    pub(crate) fn charge(&self, state: u64, now: u64, n: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.charge(state, now, n),
            Self::Fixed(rule) => rule.charge(state, now, n),
            Self::Sliding(rule) => rule.charge(state, now, n),
        }
    }

    /// Returns the state after a [`charge`](Self::charge) that leaves a balance of at least
    /// `-most`: the excess is forgotten. A balance that is lower already, such as that of a queue
    /// of reservations, stays.
    #[inline]
    pub(crate) fn charge_within(&self, state: u64, now: u64, n: u64, most: u64) -> u64 {
        match self {
            // Compares exactly: the balance is rounded.
            Self::Bucket(rule) => rule.charge_within(state, now, n, most),
            _ => {
                let room = self.balance(state, now).saturating_add_unsigned(most);
                self.charge(state, now, n.min(room.max(0) as u64))
            }
        }
    }

    /// Returns the state after giving `n` back, or `None` if nothing is missing.
    #[inline]
    pub(crate) fn refund(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) => rule.refund(state, now, n),
            Self::Fixed(rule) => rule.refund(state, now, n),
            Self::Sliding(rule) => rule.refund(state, now, n),
        }
    }

    /// Returns the state with a place in the queue for `n`, and the units until the place is due;
    /// `None` if those exceed `longest`. With `longest` 0 it is [`take`](Self::take). `n` is from 1
    /// to the limit; for a bucket it may be more.
    #[inline]
    pub(crate) fn reserve(&self, state: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        match self {
            Self::Bucket(rule) => rule.reserve(state, now, n, longest),
            Self::Fixed(rule) => rule.reserve(state, now, n, longest),
            Self::Sliding(rule) => rule.reserve(state, now, n, longest),
        }
    }

    /// Returns what to remember of a place that turned the state `before` into `state`. For a
    /// bucket it is the state made, which keeps its meaning when the quota changes. For a window it
    /// is the moment at which the place is due; a sliding window marks it if the place is why the
    /// limit is noted as reached.
    #[inline]
    pub(crate) fn place(&self, before: u64, state: u64, now: u64, wait: u64) -> u64 {
        match self {
            Self::Bucket(_) => state,
            Self::Fixed(_) => now + wait,
            Self::Sliding(rule) => rule.place(before, state, now + wait),
        }
    }

    /// Returns the units that `n` tokens take in a bucket; `None` for algorithms that count
    /// otherwise.
    pub(crate) fn worth(&self, n: u64) -> Option<u64> {
        if let Self::Bucket(rule) = self { Some(rule.worth(n)) } else { None }
    }

    /// Returns the whole tokens in `units` of a bucket.
    pub(crate) fn whole(&self, units: u64) -> u64 {
        if let Self::Bucket(rule) = self { rule.whole(units) } else { 0 }
    }

    /// Returns the longest wait for a place that a state has room for. A window's ends where its
    /// time does.
    pub(crate) fn furthest_place(&self) -> u64 {
        if let Self::Bucket(rule) = self { rule.furthest_place() } else { u64::MAX }
    }

    /// Returns the units until a place is due.
    #[inline]
    pub(crate) fn until_place(&self, place: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until_place(place, now),
            Self::Sliding(rule) => rule.due(place).saturating_sub(now),
            Self::Fixed(_) => place.saturating_sub(now),
        }
    }

    /// Returns the state after giving up a place that is not due yet, and the tokens that come
    /// back; `None` if none do.
    ///
    /// A window gives all of them back if no later window has begun. A plain bucket's places are
    /// spans of token time: see [`take_back`](Self::take_back).
    pub(crate) fn give_up(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        if self.until_place(given.place, now) == 0 {
            return None;
        }
        self.uncount(state, now, given)
    }

    /// Returns the state of a window without a place, due or not, and the tokens that come back;
    /// `None` if none do, or for a bucket.
    pub(super) fn uncount(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        match self {
            Self::Bucket(_) => None,
            Self::Fixed(rule) => rule.give_up(state, now, given),
            Self::Sliding(rule) => rule.give_up(state, now, given),
        }
    }

    /// Returns the state of a bucket without its last `units`, which end at `end`; `None` if other
    /// places follow them.
    pub(crate) fn take_back(&self, state: u64, now: u64, end: u64, units: u64) -> Option<u64> {
        if let Self::Bucket(rule) = self { rule.take_back(state, now, end, units) } else { None }
    }

    /// Returns the state with `units` more, but no more than are missing; `None` if a caller waits.
    pub(crate) fn add_if_idle(&self, state: u64, now: u64, units: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) if rule.until_place(state, now) == 0 => {
                Some(state.wrapping_sub(units.min(rule.missing(state, now))))
            }
            _ => None,
        }
    }

    /// Returns a full bucket's state that is as new as `now`.
    #[inline]
    pub(crate) fn fresh(&self, now: u64) -> u64 {
        match self {
            Self::Bucket(_) => now,
            Self::Fixed(rule) => rule.fresh(now),
            Self::Sliding(rule) => rule.fresh(now),
        }
    }

    /// Returns the time that a state made by [`fresh`](Self::fresh) belongs to.
    #[inline]
    pub(crate) fn began(&self, fresh: u64) -> u64 {
        match self {
            Self::Bucket(_) => fresh,
            Self::Fixed(rule) => rule.began(fresh),
            Self::Sliding(rule) => rule.began(fresh),
        }
    }

    /// Returns a state that has at most what either state has, at `now` and at any later time.
    pub(crate) fn emptier(&self, a: u64, b: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(_) | Self::Fixed(_) => a.max(b),
            Self::Sliding(rule) => rule.emptier(a, b, now),
        }
    }

    /// Returns the units of time until the bucket is full again; 0 if it is.
    #[inline]
    pub(crate) fn until_full(&self, state: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until_full(state, now),
            Self::Fixed(rule) => rule.until_full(state, now),
            Self::Sliding(rule) => rule.until_full(state, now),
        }
    }

    /// Returns the units of time until `n` tokens are there; `None` if they never are.
    #[inline]
    pub(crate) fn until(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        (n <= self.limit()).then(|| self.until_paid(state, now, n))
    }

    /// Returns the units of time until `n` tokens have flowed; for a window `n` is at most the
    /// limit.
    pub(crate) fn until_paid(&self, state: u64, now: u64, n: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until(state, now, n),
            Self::Fixed(rule) => rule.until(state, now, n),
            Self::Sliding(rule) => rule.until(state, now, n),
        }
    }

    /// Returns whether forgetting the state loses nothing.
    #[inline]
    pub(crate) fn is_full(&self, state: u64, now: u64) -> bool {
        self.until_full(state, now) == 0
    }
}
