//! Fixed windows: how many were admitted in the current one.
//!
//! ```text
//!     | window index (30 years of them) | admitted in it |
//!
//!     take n, same window:    index, admitted   ->  index, admitted + n       if admitted + n <= count
//!     take n, later window:   index, admitted   ->  now's index, n
//! ```
//!
//! The index stands above the count, so that taking always makes the state larger. A `now` of an
//! earlier window than the state's is taken for the state's window: the word never moves back.
//! Time is counted in windows of `2^fraction` units.

use super::window_bits;
use crate::error::QuotaError;
use crate::quota::Quota;

#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedWindow {
    limit: u64,
    fraction: u8,
    count_bits: u8,
}

impl FixedWindow {
    /// The fraction bits of its time, and the bits of its count, in a state of `bits`.
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

    /// The window that counts at `now`, and what was admitted in it.
    #[inline(always)]
    fn at(&self, state: u64, now: u64) -> (u64, u64) {
        let (index, count) = (state >> self.count_bits, state & self.count_max());
        let current = now >> self.fraction;
        if current > index { (current, 0) } else { (index, count) }
    }

    #[inline(always)]
    pub(super) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let (index, count) = self.at(state, now);
        (count + n <= self.limit).then(|| index << self.count_bits | (count + n))
    }

    pub(super) fn balance(&self, state: u64, now: u64) -> i64 {
        self.limit as i64 - self.at(state, now).1 as i64
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
        if count == 0 { 0 } else { self.end(index).saturating_sub(now) }
    }

    pub(super) fn until(&self, state: u64, now: u64, n: u64) -> u64 {
        let (index, count) = self.at(state, now);
        if count.saturating_add(n) <= self.limit { 0 } else { self.end(index).saturating_sub(now) }
    }

    /// Where the window ends. No index of a clock's overflows, but one of a corrupt file may.
    fn end(&self, index: u64) -> u64 {
        (index + 1) << self.fraction
    }
}

/// Fraction bits of a window's time and bits of a count, if a window's count fits in `count_bits`.
pub(super) fn layout(quota: &Quota, count_bits: u32) -> Result<(i8, u8), QuotaError> {
    if quota.burst_size() != quota.count() {
        return Err(QuotaError::WINDOW_BURST);
    }
    let count_bits = count_bits.min(48);
    let most = (1 << count_bits) - 1;
    if quota.count() > most {
        return Err(QuotaError::window_count(most));
    }
    // One bit is spared, so that the end of the last window is still a number.
    let fraction = u64::BITS - 2 - window_bits(quota);
    Ok((fraction as i8, count_bits as u8))
}
