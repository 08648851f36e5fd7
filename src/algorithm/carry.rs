//! What becomes of balances when the quota changes: where the line of token time goes on.
//!
//! ```text
//!   missing = full time - now, so a line that goes on at another `now` changes every bucket at once:
//!
//!   as is:         now' = now + burst - burst'                 burst' - missing' = burst - missing
//!   full:          now' = now + the most that is missing       missing' <= 0
//!   proportional:  now' = now + missing - missing'             missing' / burst' = missing / burst
//! ```

use super::{Rule, Terms};
use crate::error::QuotaError;

/// What becomes of the tokens that are there when a quota changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Carry {
    /// They stay as many, up to the new burst; what is owed stays owed. The default.
    #[default]
    AsIs,
    /// The bucket is full: a burst of the new quota is there, debts are forgiven, places in line are due. A window begins
    /// anew, its boundaries stay; what warms up is cold.
    Full,
    /// The same share of the burst is there: of a half empty bucket, half of the new burst. For direct
    /// token and leaky buckets, since each bucket's own word decides.
    Proportional,
}

impl Terms {
    /// Where the line goes on under the `next` terms if every bucket shall have what it has.
    pub(crate) fn as_is(&self, next: &Self, now: u64) -> Result<u64, QuotaError> {
        next.back_from(now.wrapping_add(self.burst_units()), next.burst_units())
    }

    /// Where it goes on if a bucket in this state shall be full, and every one that is less empty.
    pub(crate) fn full_again(&self, state: u64, now: u64) -> u64 {
        let missing = self.rule().until_full(state, now);
        // By whole windows, so that their boundaries stay.
        let window = if self.is_window() { 1 << self.fraction } else { 1 };
        now.wrapping_add(missing.checked_next_multiple_of(window).unwrap_or(missing))
    }

    /// Where it goes on if a bucket in this state shall have the same share of its burst. `rest`, in 2^-64 of a unit,
    /// has flowed beyond `now`, and is scaled with what is missing.
    pub(crate) fn proportional(
        &self,
        next: &Self,
        state: u64,
        now: u64,
        rest: u64,
    ) -> Result<u64, QuotaError> {
        let Rule::Bucket(bucket) = self.rule() else { return Err(QuotaError::PROPORTIONAL) };
        let missing = bucket.missing(state, now);
        let burst = u128::from(next.burst_units());
        let flowed = (u128::from(rest) * burst).div_ceil(1 << 64);
        let scaled = (u128::from(missing) * burst).saturating_sub(flowed);
        // Rounded up, so that nobody has more.
        let scaled = scaled.div_ceil(u128::from(self.burst_units().max(1)));
        // Beyond the longest debt it would be taken for a full bucket.
        let scaled = u64::try_from(scaled).ok().filter(|scaled| *scaled <= bucket.debt_max());
        let scaled = scaled.ok_or(QuotaError::LATER_BURST)?;
        next.back_from(now.wrapping_add(missing), scaled)
    }

    /// What a bucket's line is shifted by when the burst changes; that of a window never is.
    pub(crate) fn burst_units(&self) -> u64 {
        match self.rule() {
            Rule::Bucket(bucket) => self.scale().units(bucket.limit()),
            _ => 0,
        }
    }

    /// The time `units` before, if the line goes so far back.
    fn back_from(&self, time: u64, units: u64) -> Result<u64, QuotaError> {
        let back = time.wrapping_sub(units);
        if back > time && !self.wraps() { Err(QuotaError::LATER_BURST) } else { Ok(back) }
    }
}
