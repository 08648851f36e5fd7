//! Fixed windows: the number of tokens admitted in the current window.
//!
//! ```text
//!     | window index (30 years of them) | admitted in it |
//!
//!     take n, same window:   index, admitted  ->  index, admitted + n     if admitted + n <= count
//!     take n, later window:  index, admitted  ->  now's index, n
//! ```
//!
//! The index is above the count, so that taking always makes the state larger. A window before the
//! state's has nothing left: callers that wait have booked it, or the clock that reads it lags.
//! Time is counted in windows of `2^fraction` units.

use super::GivenUp;
use super::windows::{layout, window_bits};
use crate::error::QuotaError;
use crate::quota::Quota;

#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedWindow {
    limit: u64,
    fraction: u8,
    count_bits: u8,
}

impl FixedWindow {
    /// Returns the fraction bits of its time, and the bits of its count, in a state of `bits`.
    pub(super) fn layout(quota: &Quota, bits: u32) -> Result<(i8, u8), QuotaError> {
        layout(quota, bits.saturating_sub(window_bits(quota)))
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

    /// Returns the window that counts at `now`, and the tokens admitted in it.
    #[inline(always)]
    fn at(&self, state: u64, now: u64) -> (u64, u64) {
        let (index, count) = (state >> self.count_bits, state & self.count_max());
        let current = now >> self.fraction;
        if current > index { (current, 0) } else { (index, count) }
    }

    #[inline(always)]
    pub(super) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let (index, count) = self.at(state, now);
        let fits = count + n <= self.limit && self.began(index << self.count_bits) <= now;
        fits.then(|| index << self.count_bits | (count + n))
    }

    pub(super) fn balance(&self, state: u64, now: u64) -> i64 {
        let (index, count) = self.at(state, now);
        let booked = (index - (now >> self.fraction)).saturating_mul(self.limit);
        self.limit as i64 - count as i64 - i64::try_from(booked).unwrap_or(i64::MAX >> 1)
    }

    pub(super) fn charge(&self, state: u64, now: u64, n: u64) -> u64 {
        let (index, count) = self.at(state, now);
        index << self.count_bits | count.saturating_add(n).min(self.count_max())
    }

    pub(super) fn refund(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let (index, count) = self.at(state, now);
        let back = n.min(count);
        (back > 0).then(|| index << self.count_bits | (count - back))
    }

    pub(super) fn fresh(&self, now: u64) -> u64 {
        (now >> self.fraction) << self.count_bits
    }

    pub(super) fn began(&self, fresh: u64) -> u64 {
        (fresh >> self.count_bits) << self.fraction
    }

    pub(super) fn until_full(&self, state: u64, now: u64) -> u64 {
        let (index, count) = self.at(state, now);
        if count == 0 { self.start(index, now) } else { self.end(index).saturating_sub(now) }
    }

    pub(super) fn until(&self, state: u64, now: u64, n: u64) -> u64 {
        let (index, count) = self.at(state, now);
        if count.saturating_add(n) <= self.limit {
            self.start(index, now)
        } else {
            self.end(index).saturating_sub(now)
        }
    }

    /// Returns the units until the window begins.
    fn start(&self, index: u64, now: u64) -> u64 {
        (index << self.fraction).saturating_sub(now)
    }

    /// Returns the state with a place for `n`, at most the limit, in the first window that has
    /// room, and the wait for it, if that is at most `longest`.
    pub(super) fn reserve(&self, state: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        let wait = self.until(state, now, n);
        (wait <= longest).then(|| (self.charge(state, now + wait, n), wait))
    }

    /// See [`Rule::give_up`](super::Rule::give_up). A place is the moment at which it is due. What
    /// was booked in its window is free again, if no later window has begun.
    pub(super) fn give_up(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        let (index, count) = self.at(state, now);
        let tokens = given.n.min(count);
        let there = index == given.place >> self.fraction && tokens > 0;
        let back = index << self.count_bits | (count - tokens);
        there.then_some((back, tokens))
    }

    /// Returns the end of the window. A clock's index never overflows, but a corrupt file's may.
    fn end(&self, index: u64) -> u64 {
        (index + 1) << self.fraction
    }
}
