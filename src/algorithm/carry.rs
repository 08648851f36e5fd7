//! Balances across a change of the quota: the token time at which the new segment begins.
//!
//! ```text
//!   missing = full time - now, so a segment that goes on at another `now` changes every bucket:
//!
//!   as is:         now' = now + burst - burst'                 burst' - missing' = burst - missing
//!   full:          now' = now + the most that is missing       missing' <= 0
//!   proportional:  now' = now + missing - missing'             missing' / burst' = missing / burst
//! ```

use super::{Rule, Terms};
use crate::error::QuotaError;

/// The treatment of a bucket's tokens when the quota changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Carry {
    /// Keeps the number of tokens, up to the new burst; a debt stays as it is. The default.
    #[default]
    AsIs,
    /// Fills the bucket: a burst of the new quota is there, debts are forgiven, and places in the
    /// waiting queue are due. A window begins anew and keeps its boundaries; a limiter that warms
    /// up is cold.
    Full,
    /// Keeps the share of the burst: a half empty bucket has half of the new burst. Works only for
    /// direct token and leaky buckets, since each bucket's own word decides.
    Proportional,
}

impl Terms {
    /// Returns the token time to go on at under the `next` terms, so that every bucket keeps what
    /// it has.
    pub(crate) fn as_is(&self, next: &Self, now: u64) -> Result<u64, QuotaError> {
        next.back_from(now.wrapping_add(self.burst_units()), next.burst_units())
    }

    /// Returns the token time to go on at, so that a bucket in this state is full, and so is every
    /// bucket that is less empty.
    pub(crate) fn full_again(&self, state: u64, now: u64) -> u64 {
        let missing = self.rule().until_full(state, now);
        // By whole windows, so that their boundaries stay.
        let window = if self.is_window() { 1 << self.fraction } else { 1 };
        now.wrapping_add(missing.checked_next_multiple_of(window).unwrap_or(missing))
    }

    /// Returns the token time to go on at, so that a bucket in this state keeps its share of the
    /// burst. `rest`, in 2^-64 of a unit, has flowed beyond `now`, and is scaled with the missing
    /// tokens.
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
        // Rounded up, so that no caller gains.
        let scaled = scaled.div_ceil(u128::from(self.burst_units().max(1)));
        // A larger number than the longest debt would be taken for a full bucket.
        let scaled = u64::try_from(scaled).ok().filter(|scaled| *scaled <= bucket.debt_max());
        let scaled = scaled.ok_or(QuotaError::LATER_BURST)?;
        next.back_from(now.wrapping_add(missing), scaled)
    }

    /// Returns the units by which a change of the burst shifts a bucket's token time; 0 for a
    /// window.
    pub(crate) fn burst_units(&self) -> u64 {
        match self.rule() {
            Rule::Bucket(bucket) => self.scale().units(bucket.limit()),
            _ => 0,
        }
    }

    /// Returns the time `units` earlier, if token time goes back that far.
    fn back_from(&self, time: u64, units: u64) -> Result<u64, QuotaError> {
        let back = time.wrapping_sub(units);
        if back > time && !self.wraps() { Err(QuotaError::LATER_BURST) } else { Ok(back) }
    }
}
