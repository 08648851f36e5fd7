//! Sliding windows by two counters: the current window in full, and the share of the previous one
//! that the last period still covers.
//!
//! ```text
//!     level = previous * (1 - x) + current              evenly spread
//!     x: the part of the window that has passed
//!
//!     take n, same window:     index, p, c  ->  index, p, c + n          if level + n <= count
//!     take n, next window:     index, p, c  ->  index + 1, c, n          with c for the previous
//!     take n, later window:    index, p, c  ->  now's index, 0, n
//! ```
//!
//! **Why that is not all.** After a full window of N, the first token of the next window comes at
//! 1/N of it, the second at 2/N, and the last at N/N. That is where the window after it begins,
//! which counts it. So the window has one token less, and slides out more slowly than the rate.
//! That repeats for ever: at 1 per 10 s, every second request is denied. But for a window in which
//! the limit was *reached* more is known than a count. It admitted at the rate from then on, and so
//! what it admitted slides out at the rate:
//!
//! ```text
//!     level = max(previous - count * x, 0) + current    paced: the limit was reached in the
//!                                                       previous window, or it was paced itself
//! ```
//!
//! A paced window with a full previous one is a leaky bucket: its level is
//! `current + count * (1 - x)`, and continues so where the next window begins. So the state holds
//! the moment at which the bucket is empty, and nothing is lost between windows:
//!
//! ```text
//!     empty at index + 1 + c / count
//!
//!     take n:                  index, count, c  ->  index, count, c + n
//!     or, a window later:                       ->  index + 1, count, c + n - count
//! ```
//!
//! An empty one begins anew, as a bucket does that was full and forgotten. A count of 1 needs no
//! estimate: it is always paced, and its state is the moment at which it is empty.
//!
//! **The law**: in any window of length W at most `count + rate * W` are admitted, as by a bucket.
//! Proof: the level rises by what is admitted, and is then at most the count. It falls by the rate
//! at most: evenly by `previous` a window, paced by the count. Where a window begins it neither
//! rises nor falls, since both formulas then give what `current` was. So from just before the first
//! admission, when the level is not below 0, to the last, at most `count + rate * W` were added. (A
//! debt, over the count, may fall faster; what was *admitted* of it does not.) The bound is met:
//! the count at the end of a window, then the rate.
//!
//! **Nothing is lost**: a limiter that is asked at least N times a period admits N a period. After
//! the first window in which the limit is reached come paced windows. Their level falls by N a
//! window until it is 0.
//!
//! The level is compared exactly, by 128-bit products. Time is in units of `2^-fraction` of a
//! window, less than half a nanosecond each. The unit that has begun counts as passed, so that an
//! instant between two units is not late. A moment is rounded down to the bits that there are: two
//! units for a direct limiter, 75 ns for a keyed one. So a request that comes exactly a period
//! later is admitted.
//!
//! The even estimate is the one of "How we built rate limiting capable of scaling to millions of
//! domains" (Cloudflare, 2017).

mod emptier;
mod packing;

use super::GivenUp;
use super::windows::{layout, window_bits};
use crate::error::QuotaError;
use crate::quota::Quota;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingWindow {
    limit: u64,
    fraction: u8,
    count_bits: u8,
}

/// A state as it counts at some time. Weights are tokens times the units of a window.
#[derive(Clone, Copy)]
struct At {
    index: u64,
    kept: Kept,
    /// Units of the window that have passed, including the one that has begun; negative before the
    /// window begins.
    passed: i128,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Two counts, and whether the limit was reached in the current window.
    Even { previous: u64, current: u64, reached: bool },
    /// A bucket that is empty when `sum` has flowed since the window began.
    Paced { sum: i128 },
}

use Kept::{Even, Paced};

/// The mark of a place. No time of a window has this bit.
const NOTED: u64 = 1 << 63;

impl SlidingWindow {
    /// Returns the fraction bits of its time, and the bits of each count, in a state of `bits`.
    pub(super) fn layout(quota: &Quota, bits: u32) -> Result<(i8, u8), QuotaError> {
        layout(quota, bits.saturating_sub(window_bits(quota)) / 2)
    }

    pub(super) fn new(quota: &Quota, fraction: i8, count_bits: u8) -> Self {
        Self { limit: quota.count(), fraction: fraction as u8, count_bits }
    }

    #[inline(always)]
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn window(&self) -> i128 {
        1 << self.fraction
    }

    #[inline(always)]
    fn weight(&self, tokens: u64) -> i128 {
        i128::from(tokens) << self.fraction
    }

    /// Returns the whole tokens of a weight, rounded up.
    fn whole(&self, weight: i128) -> u64 {
        let whole = (weight + self.window() - 1) >> self.fraction;
        u64::try_from(whole).unwrap_or(0)
    }

    #[inline(always)]
    fn at(&self, state: u64, now: u64) -> At {
        let (index, kept) = self.unpack(state);
        let today = now >> self.fraction;
        let (index, kept) = match today.checked_sub(index) {
            Some(0) => (index, kept),
            Some(1) => (today, self.next(kept)),
            Some(_) => (today, Even { previous: 0, current: 0, reached: false }),
            // Callers that wait have booked the windows before the state's.
            None => (index, kept),
        };
        let start = index.wrapping_shl(self.fraction.into());
        At { index, kept, passed: i128::from(now) + 1 - i128::from(start) }
    }

    /// Returns the state with which a window leaves the next one to begin.
    #[inline(always)]
    fn next(&self, kept: Kept) -> Kept {
        let limit = self.weight(self.limit);
        let (left, paced) = match kept {
            Paced { sum } => (sum - limit, true),
            Even { previous, current, reached } => {
                let full = reached || current + 1 >= self.limit;
                // Both kinds give the same for the whole limit.
                let paced = full && previous <= self.limit || current == self.limit;
                (self.weight(current), paced)
            }
        };
        // A debt of more than the limit is gone with the window that follows it, whatever the rate.
        if paced && 0 < left && left <= limit {
            return Paced { sum: left };
        }
        Even { previous: self.whole(left), current: 0, reached: false }
    }

    /// Returns the level, times the window.
    #[inline(always)]
    fn level(&self, at: At) -> i128 {
        match at.kept {
            Even { previous, current, .. } => {
                let left = self.window() - at.passed.clamp(0, self.window());
                i128::from(previous) * left + self.weight(current)
            }
            Paced { sum } => (sum - i128::from(self.limit) * at.passed).max(0),
        }
    }

    /// Returns `count - n - level`, times the window.
    #[inline(always)]
    fn room(&self, at: At, n: u64) -> i128 {
        let room = i128::from(self.limit) - i128::from(n);
        (room << self.fraction) - self.level(at)
    }

    #[inline(always)]
    pub(super) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let at = self.at(state, now);
        let fits = self.room(at, n) >= 0 && at.passed > 0;
        fits.then(|| self.put(at, n, true))
    }

    /// Returns the state with `n` more. Only tokens that are admitted as they come note that the
    /// limit is reached.
    #[inline(always)]
    fn put(&self, at: At, n: u64, admitted: bool) -> u64 {
        let n = n.min(self.most());
        let kept = match at.kept {
            Paced { sum } if self.level(at) > 0 => Paced { sum: sum + self.weight(n) },
            Even { previous, current, reached } if previous + current > 0 => {
                let reached = reached || admitted && self.room(at, n.saturating_add(1)) < 0;
                Even { previous, current: current + n, reached }
            }
            // It begins when its unit does.
            _ if self.limit == 1 => Paced { sum: (at.passed - 1).max(0) + self.weight(n) },
            _ => {
                let reached = admitted && n >= self.limit;
                Even { previous: 0, current: n, reached }
            }
        };
        self.pack(at.index, kept)
    }

    pub(super) fn balance(&self, state: u64, now: u64) -> i64 {
        let at = self.at(state, now);
        let there = (self.room(at, 0) >> self.fraction) as i64;
        if at.passed > 0 { there } else { there.min(0) }
    }

    pub(super) fn charge(&self, state: u64, now: u64, n: u64) -> u64 {
        if n == 0 { state } else { self.put(self.at(state, now), n, false) }
    }

    /// Gives back tokens of this window, then of the previous one.
    pub(super) fn refund(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let at = self.at(state, now);
        let kept = match at.kept {
            Even { previous, current, reached } => {
                let here = n.min(current);
                let there = (n - here).min(previous);
                if here + there == 0 {
                    return None;
                }
                let (current, previous) = (current - here, previous - there);
                Even { previous, current, reached: reached && previous + current > 0 }
            }
            Paced { .. } if self.level(at) == 0 => return None,
            Paced { .. } if self.level(at) <= self.weight(n) => {
                let index = at.index.min(now >> self.fraction);
                let full = Even { previous: 0, current: 0, reached: false };
                return Some(self.pack(index, full));
            }
            Paced { sum } => return Some(self.lessened(at.index, sum, self.weight(n))),
        };
        Some(self.pack(at.index, kept))
    }

    /// Returns a paced state with `back` less.
    ///
    /// A debt may be noted as a later window. So what exceeds the sum is taken of the windows
    /// before, in each of which a whole limit flows.
    fn lessened(&self, index: u64, sum: i128, back: i128) -> u64 {
        let limit = self.weight(self.limit);
        let before = ((back - sum).max(0) + limit - 1) / limit;
        let (index, less) = match u64::try_from(before).ok().and_then(|n| index.checked_sub(n)) {
            Some(index) => (index, sum + before * limit - back),
            None => (0, 0),
        };
        if index > 0 || less >= limit {
            return self.pack(index, Paced { sum: less });
        }
        // There is no window before, in which it would be empty.
        let previous = if self.limit == 1 { 0 } else { self.whole(less) };
        self.pack(index, Even { previous, current: 0, reached: false })
    }

    pub(super) fn fresh(&self, now: u64) -> u64 {
        (now >> self.fraction) << (2 * self.count_bits)
    }

    pub(super) fn began(&self, fresh: u64) -> u64 {
        (fresh >> (2 * self.count_bits)) << self.fraction
    }

    pub(super) fn until_full(&self, state: u64, now: u64) -> u64 {
        let at = self.at(state, now);
        let windows = |n: u64| self.when(at.index, i128::from(n) * self.window() + 1);
        let full = match at.kept {
            Even { previous: 0, current: 0, .. } => windows(0),
            Even { current: 0, .. } => windows(1),
            Even { .. } => match self.next(at.kept) {
                Paced { sum } => self.when(at.index + 1, self.flows(sum)),
                Even { .. } => windows(2),
            },
            Paced { sum } if self.is_debt(sum) => windows(2),
            Paced { sum } if sum < self.weight(self.limit) => self.when(at.index, self.flows(sum)),
            // A state of this window is not a full one of this window, even if only by a unit.
            Paced { sum } => self.when(at.index, self.flows(sum)).max(windows(1)),
        };
        full.saturating_sub(now)
    }

    /// Returns the units until `n` are there: in this window the previous one slides out; in the
    /// next, this one does.
    pub(super) fn until(&self, state: u64, now: u64, n: u64) -> u64 {
        let at = self.at(state, now);
        let room = self.weight(self.limit.saturating_sub(n));
        let now_room = self.room(at, n);
        // The units of a window that may be left of it: weighed * left <= room.
        let most_left = |room: i128, weighed: u64| {
            room.checked_div(weighed.into()).map_or(self.window(), |left| left.min(self.window()))
        };
        let (index, passed) = match at.kept {
            Even { .. } if now_room >= 0 => (at.index, 0),
            Even { previous, current, .. } if self.weight(current) <= room => {
                let room = room - self.weight(current);
                (at.index, self.window() - most_left(room, previous))
            }
            Paced { sum } if !self.is_debt(sum) => (at.index, self.flows(sum - room)),
            _ => match self.next(at.kept) {
                Paced { sum } => (at.index + 1, self.flows(sum - room)),
                Even { previous, .. } => (at.index + 1, self.window() - most_left(room, previous)),
            },
        };
        self.when(index, passed).saturating_sub(now)
    }

    /// Returns the moment at which `passed` units of a window have passed, including the one that
    /// has begun.
    fn when(&self, index: u64, passed: i128) -> u64 {
        let units = u64::try_from((passed - 1).max(0)).unwrap_or(u64::MAX);
        // A corrupt file's index may be anything.
        index.wrapping_shl(self.fraction.into()).saturating_add(units)
    }

    /// Returns the units in which a weight flows at the rate.
    fn flows(&self, weight: i128) -> i128 {
        let limit = i128::from(self.limit);
        (weight.max(0) + limit - 1) / limit
    }

    /// Returns whether more is left to the next window than it lets flow.
    fn is_debt(&self, sum: i128) -> bool {
        sum > 2 * self.weight(self.limit)
    }

    /// Returns the state with a place for `n`, at most the limit, in the first window that has
    /// room, and the wait for it, if that is at most `longest`.
    pub(super) fn reserve(&self, state: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        let wait = self.until(state, now, n);
        (wait <= longest).then(|| (self.put(self.at(state, now + wait), n, wait == 0), wait))
    }

    /// Returns a place that is due at a time. It is marked if it is why the limit is noted as
    /// reached: then it leaves no trace if it is given up.
    pub(super) fn place(&self, before: u64, state: u64, due: u64) -> u64 {
        let reached = |state| matches!(self.unpack(state).1, Even { reached: true, .. });
        // A window that began with this place had noted nothing.
        let began = before >> (2 * self.count_bits) != state >> (2 * self.count_bits);
        if reached(state) && (began || !reached(before)) { due | NOTED } else { due }
    }

    pub(super) fn due(&self, place: u64) -> u64 {
        place & !NOTED
    }

    /// See [`Rule::give_up`](super::Rule::give_up). A place is the moment at which it is due. What
    /// was booked in its window is free again, if that is the state's window or the one before.
    ///
    /// A paced state does not tell which tokens were booked where. All tokens that are given up
    /// come back if no caller waits behind them, and then no more than would still be missing if no
    /// caller had come since.
    pub(super) fn give_up(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        let at = self.at(state, now);
        let (previous, current, reached) = match at.kept {
            // The paced state that the place made has been empty since.
            Even { .. } if matches!(self.unpack(given.made).1, Paced { .. }) => return None,
            Even { previous, current, reached } => (previous, current, reached),
            Paced { sum } => {
                // The level that it made, had it flowed at the rate since the place was due.
                let due = self.due(given.place).min(now);
                let flowed = i128::from(self.limit) * i128::from(now - due);
                let made = (self.level(self.at(given.made, due)) - flowed).max(0);
                let level = self.level(at);
                if level > made && level > self.weight(self.limit) {
                    return None;
                }
                // From the beginning of the unit, so that all tokens taken in it come back.
                let most = level.min(made) + i128::from(self.limit);
                let tokens = given.n.min(u64::try_from(most >> self.fraction).unwrap_or(u64::MAX));
                let back = match self.weight(given.n) {
                    all if all <= most || level <= made => all,
                    _ if self.limit == 1 => most,
                    _ => self.weight(tokens),
                };
                let some = level > 0 && given.n > 0;
                return some.then(|| (self.lessened(at.index, sum, back), tokens));
            }
        };
        let after = at.index.checked_sub(self.due(given.place) >> self.fraction)?;
        let (tokens, previous, current) = match after {
            0 => {
                let tokens = given.n.min(current);
                (tokens, previous, current - tokens)
            }
            1 => {
                let tokens = given.n.min(previous);
                (tokens, previous - tokens, current)
            }
            _ => return None,
        };
        let back = Even { previous, current, reached: reached && given.place & NOTED == 0 };
        (tokens > 0).then(|| (self.pack(at.index, back), tokens))
    }
}
