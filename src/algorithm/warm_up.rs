//! Warming up: a bucket that grants slowly after it was idle, and whose requests are paid for after
//! they are granted.
//!
//! ```text
//!     | full time (64 - b bits): when nothing is owed | warmth (b bits): M - stored |
//!
//!     from = max(full time, now)     warm = max(0, warmth - max(0, now - full time))
//!
//!     reserve n: full time, warmth  ->  from + cost, min(M, warm + n)   if from - now <= longest
//!     charge n:  full time, warmth  ->  from + cost, min(M, warm + n)
//!     refund n:  full time, warmth  ->  max(full time - n, now), warmth
//!     give up n: full time, warmth  ->  full time - cost, warmth - n     once no caller can use it
//!
//!     cost = n + 2a(2 above - a) / M     above = M/2 - warm     n takes a = min(n, max(0, above))
//! ```
//!
//! This is `SmoothWarmingUp` of Guava's `SmoothRateLimiter` with its cold factor of 3. `M` permits
//! flow in the warm-up period. The lower half of them cost a token each, the upper half up to
//! three: the cost is the area under that line. A token of idle time stores one permit. Guava keeps
//! the permits stored; here the word keeps the permits spent, so that state 0 is a cold bucket at
//! any time.
//!
//! Everything is in units of token time, and `M` is rounded down to one. Nothing else is rounded
//! but a request's extra cost on the ramp, up; a warm bucket's rate is exact.
//!
//! A bucket that owes nothing is not yet as good as a fresh one, for it may be warm. So no table
//! may forget it, and only a [`WarmUpLimiter`](crate::WarmUpLimiter) has this rule.

use crate::error::QuotaError;
use crate::quota::Quota;
use crate::time::{HORIZON_NS, Scale, YEAR_NS};
use core::time::Duration;

/// The fewest bits of warmth, so that the time field is small enough for a clock of 584 years not
/// to wrap it.
const WARMTH_BITS_MIN: u32 = 4;
/// The longest period, which is a quota's too: 3,660 days.
const MAX_PERIOD_NS: u64 = 3_660 * 86_400 * 1_000_000_000;
/// Bits set aside for what later rates store: 8 times the rate, unless the warm-up is nearly the
/// longest that fits.
const SPARE_BITS: u32 = 3;

/// The layout of a limiter's word, for its first quota and all later ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    period_ns: u64,
    fraction: u8,
    warmth_bits: u8,
}

impl Layout {
    /// Makes the layout for a warm-up of `period`. A token has at most `finest` fraction bits.
    pub(crate) fn new(quota: &Quota, period: Duration, finest: u32) -> Result<Self, QuotaError> {
        expect_no_burst(quota)?;
        let room = Room::of(quota);
        let most = room.longest_period().ok_or(QuotaError::WARM_UP_RATE)?;
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let layout = |spare| {
            let fits = |fraction| Some((fraction, room.fits(period_ns, fraction, spare)?));
            (0..=finest).map_while(fits).last()
        };
        let found = layout(SPARE_BITS).or_else(|| layout(0));
        let (fraction, bits) = found.ok_or(QuotaError::warm_up(most))?;
        Ok(Self { period_ns, fraction: fraction as u8, warmth_bits: bits as u8 })
    }

    pub(crate) fn fraction(&self) -> u32 {
        self.fraction.into()
    }

    /// Returns the rule of a quota: the first, or a later one.
    pub(crate) fn rule(&self, quota: &Quota) -> Result<WarmUp, QuotaError> {
        expect_no_burst(quota)?;
        let stored = Room::of(quota).stored(self.period_ns, self.fraction.into());
        let stored = stored.and_then(|stored| u64::try_from(stored).ok());
        let stored =
            stored.filter(|stored| self.holds(*stored)).ok_or(QuotaError::WARM_UP_LATER)?;
        let scale = Scale { fraction: self.fraction as i8 };
        Ok(WarmUp::new(stored, scale, self.warmth_bits))
    }

    /// Returns whether `M` of a later quota fits the warmth's bits, and its cost the debt's.
    fn holds(&self, stored: u64) -> bool {
        stored < 1 << self.warmth_bits && 4 * stored <= quarter(self.warmth_bits)
    }

    /// Returns whether the time has a year's flow left, from `time` on.
    pub(crate) fn lasts_a_year_from(&self, quota: &Quota, time: u64) -> bool {
        let tokens = (YEAR_NS * u128::from(quota.count())).div_ceil(quota.period_ns().into());
        let left = 3 * quarter(self.warmth_bits);
        left.checked_sub(time).is_some_and(|left| tokens << self.fraction <= left.into())
    }
}

fn expect_no_burst(quota: &Quota) -> Result<(), QuotaError> {
    if quota.burst_size() == quota.count() { Ok(()) } else { Err(QuotaError::WARM_UP_BURST) }
}

/// The moment at which the next request is paid for, and the warmth of the bucket then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) from: u64,
    pub(crate) warmth: u64,
}

/// The rule, with all figures in units of token time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WarmUp {
    /// `M`.
    stored_max: u64,
    limit: u64,
    scale: Scale,
    warmth_bits: u8,
}

impl WarmUp {
    fn new(stored_max: u64, scale: Scale, warmth_bits: u8) -> Self {
        let limit = scale.tokens(stored_max as i64).max(1) as u64;
        Self { stored_max, limit, scale, warmth_bits }
    }

    /// Returns the permits that the warm-up period stores, in whole tokens, and at least one.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    fn debt_max(&self) -> u64 {
        quarter(self.warmth_bits) - 1
    }

    /// Returns the end of time: after three quarters of the field; the last quarter is for debt.
    pub(crate) fn end(&self) -> u64 {
        3 * quarter(self.warmth_bits)
    }

    /// Returns half of the range that is set aside for debt: a request that waits so long can still
    /// be charged for.
    pub(crate) fn longest_wait(&self) -> u64 {
        quarter(self.warmth_bits) / 2
    }

    /// Returns the time from which on nothing is owed.
    pub(crate) fn full_time(&self, state: u64) -> u64 {
        state >> self.warmth_bits
    }

    fn warmth(&self, state: u64) -> u64 {
        state & ((1 << self.warmth_bits) - 1)
    }

    fn owed(&self, state: u64, now: u64) -> u64 {
        self.full_time(state).saturating_sub(now)
    }

    fn pack(&self, full: u64, warmth: u64) -> u64 {
        debug_assert!(full < 4 * quarter(self.warmth_bits) && warmth < 1 << self.warmth_bits);
        full << self.warmth_bits | warmth
    }

    /// Returns the turn of a request that comes now.
    pub(crate) fn turn(&self, state: u64, now: u64) -> Turn {
        let (full, warmth) = (self.full_time(state), self.warmth(state));
        match now.checked_sub(full) {
            Some(idle) => Turn { from: now, warmth: warmth.saturating_sub(idle) },
            None => Turn { from: full, warmth },
        }
    }

    /// Returns the cost of `units` beyond themselves. Twice the warmth above the threshold is a
    /// whole number, so all is doubled.
    fn extra(&self, warmth: u64, units: u64) -> u64 {
        let above = self.stored_max.saturating_sub(2 * warmth);
        let taken = above.min(2 * units);
        let area = u128::from(taken) * u128::from(2 * above - taken);
        // At most half of `M`.
        if area == 0 { 0 } else { area.div_ceil(2 * u128::from(self.stored_max)) as u64 }
    }

    /// Returns the cost of `n` tokens in their turn.
    pub(crate) fn cost(&self, turn: Turn, n: u64) -> u64 {
        let units = self.scale.units_at_most(n, self.debt_max());
        units + self.extra(turn.warmth, units)
    }

    /// Returns the state after a request that leaves at most `room` owed.
    fn spend(&self, turn: Turn, units: u64, room: u64) -> u64 {
        let cost = (units + self.extra(turn.warmth, units)).min(room);
        // A later quota may store less than had been spent.
        let warmth = turn.warmth.min(self.stored_max).saturating_add(units);
        self.pack(turn.from + cost, warmth.min(self.stored_max))
    }

    /// Returns the state with a place in the queue for `n`, from 1 to the limit.
    pub(crate) fn reserve(&self, turn: Turn, n: u64) -> u64 {
        debug_assert!(n >= 1 && n <= self.limit);
        self.spend(turn, self.scale.units(n), self.debt_max())
    }

    /// Returns the whole limit if nothing is owed, which is when any request is granted.
    pub(crate) fn balance(&self, state: u64, now: u64) -> i64 {
        match self.owed(state, now) {
            0 => self.limit as i64,
            owed => self.scale.tokens(-(owed as i64)),
        }
    }

    /// Returns the state after spending `n`, however large the debt is. It adds no debt beyond
    /// `most` tokens.
    pub(crate) fn charge(&self, state: u64, now: u64, n: u64, most: u64) -> u64 {
        let most = self.scale.units_at_most(most, self.debt_max());
        let room = most.saturating_sub(self.owed(state, now));
        let units = self.scale.units_at_most(n, self.debt_max());
        self.spend(self.turn(state, now), units, room)
    }

    /// Returns the state with `units` given back, at most the debt. Spending them has warmed the
    /// bucket, and the warmth stays.
    pub(crate) fn give_back(&self, state: u64, now: u64, units: u64) -> Option<u64> {
        let back = units.min(self.owed(state, now));
        // The full time is the upper field, so nothing borrows from it.
        (back > 0).then(|| state - (back << self.warmth_bits))
    }

    /// Returns the warmth of the bucket before it spent `n`, as far as it has not been as warm as
    /// can be since.
    pub(crate) fn warmth_before(&self, state: u64, n: u64) -> u64 {
        self.warmth(state).saturating_sub(self.scale.units_at_most(n, self.debt_max()))
    }

    /// Returns the state that has not spent `n`, which are paid for still.
    pub(crate) fn unspent(&self, state: u64, n: u64) -> u64 {
        self.pack(self.full_time(state), self.warmth_before(state, n))
    }

    /// Returns the state of a cold bucket.
    pub(crate) fn cold(&self, now: u64) -> u64 {
        now << self.warmth_bits
    }
}

/// Returns a quarter of the time field.
fn quarter(warmth_bits: u8) -> u64 {
    1 << (u64::BITS - 2 - u32::from(warmth_bits))
}

/// The numbers that the word must hold at a rate.
struct Room {
    count: u128,
    period_ns: u128,
    /// Tokens in 30 years.
    flow: u128,
}

impl Room {
    fn of(quota: &Quota) -> Self {
        let (count, period_ns) = (u128::from(quota.count()), u128::from(quota.period_ns()));
        Self { count, period_ns, flow: (HORIZON_NS * count).div_ceil(period_ns) }
    }

    /// Returns the permits that a warm-up of `period` nanoseconds stores.
    fn stored(&self, period: u64, fraction: u32) -> Option<u128> {
        if period > MAX_PERIOD_NS {
            return None;
        }
        let product = u128::from(period) * self.count;
        let (whole, rest) = (product / self.period_ns, product % self.period_ns);
        // More would not fit any field.
        let fits = whole >> (u64::BITS - 2) == 0;
        fits.then(|| (whole << fraction) + (rest << fraction) / self.period_ns)
    }

    /// Returns the bits for `stored`, if they leave enough for the time.
    fn fits(&self, period: u64, fraction: u32, spare: u32) -> Option<u32> {
        let stored = self.stored(period, fraction)?;
        let bits = (u128::BITS - stored.leading_zeros() + spare).max(WARMTH_BITS_MIN);
        let fits = bits < u64::BITS - 2 && self.has_time(stored << spare, bits, fraction);
        fits.then_some(bits)
    }

    /// Returns whether the bits beside the warmth hold 30 years, and debt for the dearest request
    /// twice over: from cold the whole of `M` costs one and a half times as much.
    fn has_time(&self, stored: u128, bits: u32, fraction: u32) -> bool {
        let quarter = u128::from(quarter(bits as u8));
        self.flow << fraction <= 3 * quarter && 4 * stored.max(1 << fraction) <= quarter
    }

    /// Returns the longest warm-up period at this rate, in nanoseconds.
    fn longest_period(&self) -> Option<u64> {
        let stored = |bits: u32| u128::from(((1 << bits) - 1).min(quarter(bits as u8) / 4));
        let most = (WARMTH_BITS_MIN..u64::BITS - 4)
            .filter(|bits| self.has_time(stored(*bits), *bits, 0))
            .map(stored)
            .max()?;
        // The longest period that does not yet store the next token.
        let longest = ((most + 1) * self.period_ns - 1) / self.count;
        Some(u64::try_from(longest).unwrap_or(u64::MAX).min(MAX_PERIOD_NS))
    }
}
