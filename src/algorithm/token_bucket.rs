//! The token bucket, as the time at which it is full again.
//!
//! ```text
//!   missing = max(0, full time - now)        balance = burst - missing
//!
//!   take n:    full time  ->  max(full time, now) + n      if missing + n <= burst
//!   charge n:  full time  ->  max(full time, now) + n      up to what may be owed
//!   reserve n: full time  ->  max(full time, now) + n      if missing + n <= burst + longest wait
//!   take back: full time  ->  full time - n                if the place of n ends there
//!   refund n:  full time  ->  max(full time - n, now)
//!   undo n:    full time  ->  full time - min(n, made - now)   made: the full time after taking n
//! ```
//!
//! This is the generic cell rate algorithm in its virtual-scheduling form (ITU-T I.371, annex A):
//! the theoretical arrival time is the full time, and the tolerance is the burst. It is kept in
//! tokens rather than seconds, so that an emission interval never has to be rounded. The difference
//! is signed and wraps, so that a 64-bit token time may wrap.

use super::GivenUp;
use crate::quota::Quota;
use crate::time::Scale;

/// The scale and the burst in units of token time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    burst: u64,
    debt_max: u64,
    limit: u64,
    scale: Scale,
}

impl TokenBucket {
    pub(super) fn new(quota: &Quota, scale: Scale, wide: bool) -> Self {
        let debt_max = if wide { (1 << 62) - 1 } else { (1 << 54) - 1 };
        let limit = quota.burst_size();
        Self { burst: scale.units(limit), debt_max, limit, scale }
    }

    /// Returns the same bucket with a smaller burst, in whole units.
    pub(crate) fn lowered_by(self, tokens: u64) -> Self {
        let unit = 1_u64 << (-i32::from(self.scale.fraction)).clamp(0, 32);
        let limit = self.limit.saturating_sub(tokens) / unit * unit;
        Self { burst: self.scale.units(limit), limit, ..self }
    }

    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn debt_max(&self) -> u64 {
        self.debt_max
    }

    pub(super) fn scale(&self) -> Scale {
        self.scale
    }

    /// Returns the whole tokens in `units`.
    #[inline]
    pub(crate) fn whole(&self, units: u64) -> u64 {
        self.scale.tokens(units as i64) as u64
    }

    #[inline(always)]
    pub(crate) fn missing(&self, full: u64, now: u64) -> u64 {
        (full.wrapping_sub(now) as i64).max(0) as u64
    }

    #[inline(always)]
    pub(crate) fn take(&self, full: u64, now: u64, n: u64) -> Option<u64> {
        debug_assert!(n >= 1 && n <= self.limit);
        let units = self.scale.units(n);
        // What may be missing is known before the time is: the decision is one comparison away from
        // the clock. It compares the signed difference, which is below zero where nothing is
        // missing.
        let most = (self.burst - units) as i64;
        let ahead = full.wrapping_sub(now) as i64;
        (ahead <= most).then(|| now.wrapping_add(ahead.max(0) as u64 + units))
    }

    #[inline]
    pub(crate) fn balance(&self, full: u64, now: u64) -> i64 {
        let units = self.burst as i64 - self.missing(full, now) as i64;
        self.scale.tokens(units).min(self.limit as i64)
    }

    #[inline]
    pub(crate) fn charge(&self, full: u64, now: u64, n: u64) -> u64 {
        self.charge_up_to(full, now, n, self.debt_max)
    }

    /// See [`Rule::charge_within`](super::Rule::charge_within).
    #[inline]
    pub(super) fn charge_within(&self, full: u64, now: u64, n: u64, most: u64) -> u64 {
        // Where a unit is several tokens: only the whole units of what may be owed.
        let most = most >> (-self.scale.fraction).max(0) << (-self.scale.fraction).max(0);
        let owed = self.scale.units_at_most(most, self.debt_max);
        self.charge_up_to(full, now, n, self.burst.saturating_add(owed).min(self.debt_max))
    }

    /// Returns the full time after taking `n`, which makes no more than `most` units missing.
    #[inline(always)]
    fn charge_up_to(&self, full: u64, now: u64, n: u64, most: u64) -> u64 {
        let missing = self.missing(full, now);
        let room = most.saturating_sub(missing);
        now.wrapping_add(missing + self.scale.units_at_most(n, room))
    }

    #[inline]
    pub(crate) fn refund(&self, full: u64, now: u64, n: u64) -> Option<u64> {
        let missing = self.missing(full, now);
        let back = if self.scale.fraction >= 0 {
            self.scale.units_at_most(n, missing)
        } else {
            // A take rounds up, so a refund rounds down: giving back never gives more.
            (n >> -self.scale.fraction).min(missing)
        };
        (back > 0).then(|| now.wrapping_add(missing - back))
    }

    /// Returns the full time with a place in the queue for `n`, and the wait for it, if that is at
    /// most `longest`.
    #[inline]
    pub(super) fn reserve(&self, full: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        let missing = self.missing(full, now);
        let room = self.debt_max.saturating_sub(missing);
        let units = self.scale.units_at_most(n, room.saturating_add(1));
        let wait = (missing + units).saturating_sub(self.burst);
        (units <= room && wait <= longest).then(|| (now.wrapping_add(missing + units), wait))
    }

    /// See [`Rule::furthest_place`](super::Rule::furthest_place).
    pub(super) fn furthest_place(&self) -> u64 {
        self.debt_max.saturating_sub(self.burst)
    }

    /// See [`Rule::worth`](super::Rule::worth). Rounded up, as when the tokens were taken.
    pub(super) fn worth(&self, n: u64) -> u64 {
        self.scale.units_at_most(n, self.debt_max)
    }

    /// Returns the units until a place is due: the full time that it made, less the burst.
    #[inline]
    pub(super) fn until_place(&self, place: u64, now: u64) -> u64 {
        (place.wrapping_sub(self.burst).wrapping_sub(now) as i64).max(0) as u64
    }

    /// See [`Rule::take_back`](super::Rule::take_back). The word may lie before the end, if tokens
    /// were refunded behind it.
    pub(super) fn take_back(&self, full: u64, now: u64, end: u64, units: u64) -> Option<u64> {
        let last = full.wrapping_sub(end) as i64 <= 0;
        last.then(|| full.wrapping_sub(units.min(self.missing(full, now))))
    }

    /// See [`Rule::undo`](super::Rule::undo). No caller waits if the last place in the queue is
    /// due.
    pub(super) fn undo(&self, full: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        if self.until_place(full, now) > 0 {
            return None;
        }
        // What other callers have given back since has moved the word back: the bucket was full all
        // the sooner.
        let lacks = self.missing(given.place, now).saturating_sub(given.returned);
        let back = given.units.min(lacks).min(self.missing(full, now));
        Some((full.wrapping_sub(back), self.whole(back).min(given.n)))
    }

    #[inline]
    pub(super) fn until_full(&self, full: u64, now: u64) -> u64 {
        self.missing(full, now)
    }

    #[inline]
    pub(super) fn until(&self, full: u64, now: u64, n: u64) -> u64 {
        let units = self.scale.units_at_most(n, u64::MAX >> 1);
        (self.missing(full, now).saturating_add(units)).saturating_sub(self.burst)
    }
}
