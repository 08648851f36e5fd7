//! Sliding windows by two counters: the current window in full, the previous one by the share of it
//! that the last period still covers.
//!
//! ```text
//!     | window index (30 years of them) | admitted in the previous | admitted in this one |
//!
//!     weight = previous * (window - elapsed) / window + current
//!     take n, same window:     index, p, c  ->  index, p, c + n          if weight + n <= count
//!     take n, next window:     index, p, c  ->  index + 1, c, n          with c for the previous
//!     take n, later window:    index, p, c  ->  now's index, 0, n
//! ```
//!
//! The share is compared exactly, by a 128-bit product, never rounded. It is an estimate of a true
//! sliding log, as if the previous window's requests had been spread evenly, and admits at most
//! `count + rate * W` in any window of length W, as a bucket does. The formula is the one of
//! "How we built rate limiting capable of scaling to millions of domains" (Cloudflare, 2017).

use super::GivenUp;
use super::fixed_window::layout;
use super::terms::window_bits;
use crate::error::QuotaError;
use crate::quota::Quota;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingWindow {
    limit: u64,
    fraction: u8,
    count_bits: u8,
}

/// A state as it counts at some time.
#[derive(Clone, Copy)]
struct At {
    index: u64,
    previous: u64,
    current: u64,
    /// Units of the window still to come.
    left: u64,
}

impl SlidingWindow {
    /// The fraction bits of its time, and the bits of each count, in a state of `bits`.
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

    fn count_max(&self) -> u64 {
        (1 << self.count_bits) - 1
    }

    fn window(&self) -> u64 {
        1 << self.fraction
    }

    #[inline(always)]
    fn at(&self, state: u64, now: u64) -> At {
        let index = state >> (2 * self.count_bits);
        let previous = (state >> self.count_bits) & self.count_max();
        let current = state & self.count_max();
        let today = now >> self.fraction;
        let left = self.window() - (now & (self.window() - 1));
        match today.checked_sub(index) {
            Some(0) => At { index, previous, current, left },
            Some(1) => At { index: today, previous: current, current: 0, left },
            Some(_) => At { index: today, previous: 0, current: 0, left },
            // What is before the state's window is booked by those who wait.
            None => At { index, previous, current, left: self.window() },
        }
    }

    #[inline(always)]
    fn pack(&self, at: At) -> u64 {
        at.index << (2 * self.count_bits) | at.previous << self.count_bits | at.current
    }

    /// `weight + n <= count`, both sides times the window.
    #[inline(always)]
    fn fits(&self, at: At, n: u64) -> bool {
        let Some(room) = self.limit.checked_sub(at.current.saturating_add(n)) else { return false };
        u128::from(at.previous) * u128::from(at.left) <= u128::from(room) << self.fraction
    }

    #[inline(always)]
    pub(super) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let at = self.at(state, now);
        let fits = self.fits(at, n) && at.index << self.fraction <= now;
        fits.then(|| self.pack(At { current: at.current + n, ..at }))
    }

    pub(super) fn balance(&self, state: u64, now: u64) -> i64 {
        let at = self.at(state, now);
        let sliding = (u128::from(at.previous) * u128::from(at.left)).div_ceil(1 << self.fraction);
        let there = self.limit as i64 - at.current as i64 - sliding as i64;
        if at.index << self.fraction <= now { there } else { there.min(0) }
    }

    pub(super) fn charge(&self, state: u64, now: u64, n: u64) -> u64 {
        let at = self.at(state, now);
        let current = at.current.saturating_add(n).min(self.count_max());
        self.pack(At { current, ..at })
    }

    /// Gives back what this window took, then what the previous one did.
    pub(super) fn refund(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let at = self.at(state, now);
        let here = n.min(at.current);
        let there = (n - here).min(at.previous);
        let (current, previous) = (at.current - here, at.previous - there);
        (here + there > 0).then(|| self.pack(At { current, previous, ..at }))
    }

    pub(super) fn fresh(&self, now: u64) -> u64 {
        (now >> self.fraction) << (2 * self.count_bits)
    }

    pub(super) fn began(&self, fresh: u64) -> u64 {
        (fresh >> (2 * self.count_bits)) << self.fraction
    }

    pub(super) fn until_full(&self, state: u64, now: u64) -> u64 {
        let at = self.at(state, now);
        let end = (at.index + 1) << self.fraction;
        match (at.previous, at.current) {
            (0, 0) => (at.index << self.fraction).saturating_sub(now),
            (_, 0) => end.saturating_sub(now),
            _ => end.saturating_sub(now).saturating_add(self.window()),
        }
    }

    /// Within this window the previous one slides out; in the next, this one does.
    pub(super) fn until(&self, state: u64, now: u64, n: u64) -> u64 {
        let at = self.at(state, now);
        if self.fits(at, n) {
            return (at.index << self.fraction).saturating_sub(now);
        }
        // Of a corrupt file's index it may be anywhere.
        let rest = ((at.index + 1) << self.fraction).saturating_sub(now);
        if let Some(room) = self.limit.checked_sub(at.current.saturating_add(n)) {
            // The most that may be left of the window: previous * left <= room * window.
            return rest.saturating_sub(self.most_left(room, at.previous));
        }
        // In the next window all that was admitted in this one is the previous.
        let room = self.limit - n;
        if at.current <= room {
            return rest;
        }
        (rest + self.window()).saturating_sub(self.most_left(room, at.current))
    }

    /// The state with a place for `n`, at most the limit, in the first window that has room, and the wait for it, if that is at
    /// most `longest`.
    pub(super) fn reserve(&self, state: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        let wait = self.until(state, now, n);
        (wait <= longest).then(|| (self.charge(state, now + wait, n), wait))
    }

    /// See [`Rule::give_up`](super::Rule::give_up). A place is the moment that it is due: what was booked in
    /// its window is free again, if that is the state's or the one before.
    pub(super) fn give_up(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        let at = self.at(state, now);
        let after = at.index.checked_sub(given.place >> self.fraction)?;
        let (tokens, back) = match after {
            0 => {
                let tokens = given.n.min(at.current);
                (tokens, At { current: at.current - tokens, ..at })
            }
            1 => {
                let tokens = given.n.min(at.previous);
                (tokens, At { previous: at.previous - tokens, ..at })
            }
            _ => return None,
        };
        (tokens > 0).then(|| (self.pack(back), tokens))
    }

    /// The largest part of a window with `weighed * part <= room * window`.
    fn most_left(&self, room: u64, weighed: u64) -> u64 {
        let most = (u128::from(room) << self.fraction) / u128::from(weighed.max(1));
        u64::try_from(most).unwrap_or(u64::MAX).min(self.window())
    }
}
