//! Warming up: a bucket that goes slowly after it was idle, and pays for a request after it.
//!
//! ```text
//!     | full time (64 - b bits): when nothing is owed | warmth (b bits): M - stored |
//!
//!     from = max(full time, now)     warm = max(0, warmth - max(0, now - full time))
//!
//!     take n:    full time, warmth  ->  from + cost, min(M, warm + n)    if full time <= now
//!     reserve n: full time, warmth  ->  from + cost, min(M, warm + n)    if from - now <= the longest wait
//!     charge n:  full time, warmth  ->  from + cost, min(M, warm + n)
//!     refund n:  full time, warmth  ->  max(full time - n, now), warmth
//!     give up n: what reserving n made  ->  what it was made of          if nothing has come between
//!
//!     cost = n + 2a(2 above - a) / M     above = M/2 - warm, of which n takes a = min(n, max(0, above))
//! ```
//!
//! This is `SmoothWarmingUp` of Guava's `SmoothRateLimiter` with its cold factor of 3. Of `M` permits, those that flow
//! in the warm-up period, the lower half cost a token each, the upper half up to three: the cost is the area under
//! that line. A token of idle time stores one permit. Guava stores permits, here it is the permits
//! spent, so that state 0 is a cold bucket at any time.
//!
//! Everything is in units of token time, and `M` is rounded down to one. Nothing else is rounded but a request's extra
//! on the ramp, up; a warm bucket's rate is exact.
//!
//! A bucket that owes nothing is not yet as good as a fresh one, for it may be warm: no table may forget it, and so only
//! a direct limiter has this rule.

use super::terms::Span;
use super::{GivenUp, Mark, Source, Terms};
use crate::algorithm::Algorithm;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::time::{HORIZON_NS, Scale};
use core::time::Duration;

/// At least so many bits, so that the time field is small enough for a clock of 584 years not to wrap it.
const WARMTH_BITS_MIN: u32 = 4;
/// The longest period, which is a quota's too: 3,660 days.
const MAX_PERIOD_NS: u64 = 3_660 * 86_400 * 1_000_000_000;
const FRACTION_MAX: u32 = 54;
/// Bits set aside for what later rates store: of a warm-up that is not the longest there can be, of 8 times the rate.
const SPARE_BITS: u32 = 3;

/// All figures in units of token time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WarmUp {
    /// `M`.
    stored_max: u64,
    limit: u64,
    scale: Scale,
    warmth_bits: u8,
}

impl WarmUp {
    pub(super) fn new(stored_max: u64, scale: Scale, warmth_bits: u8) -> Self {
        let limit = scale.tokens(stored_max as i64).max(1) as u64;
        Self { stored_max, limit, scale, warmth_bits }
    }

    /// What is stored in the warm-up period, in whole tokens, and at least one.
    #[inline(always)]
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn debt_max(&self) -> u64 {
        quarter(self.warmth_bits.into()) - 1
    }

    fn full_time(&self, state: u64) -> u64 {
        state >> self.warmth_bits
    }

    fn owed(&self, state: u64, now: u64) -> u64 {
        self.full_time(state).saturating_sub(now)
    }

    fn pack(&self, full: u64, warmth: u64) -> u64 {
        debug_assert!(full < 4 * quarter(self.warmth_bits.into()) && warmth <= self.stored_max);
        full << self.warmth_bits | warmth
    }

    /// When the next request is paid for, and how warm the bucket is then.
    fn at(&self, state: u64, now: u64) -> (u64, u64) {
        let (full, warmth) = (self.full_time(state), state & ((1 << self.warmth_bits) - 1));
        match now.checked_sub(full) {
            Some(idle) => (now, warmth.saturating_sub(idle)),
            None => (full, warmth),
        }
    }

    /// What `units` cost more than themselves. Twice what is above the threshold is a whole number, hence all is doubled.
    fn extra(&self, warmth: u64, units: u64) -> u64 {
        let above = self.stored_max.saturating_sub(2 * warmth);
        let taken = above.min(2 * units);
        let area = u128::from(taken) * u128::from(2 * above - taken);
        // At most half of `M`.
        if area == 0 { 0 } else { area.div_ceil(2 * u128::from(self.stored_max)) as u64 }
    }

    /// The state after a request, of which at most `room` is owed.
    fn spend(&self, (from, warmth): (u64, u64), units: u64, room: u64) -> u64 {
        let cost = (units + self.extra(warmth, units)).min(room);
        self.pack(from + cost, (warmth + units).min(self.stored_max))
    }

    pub(super) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        self.reserve(state, now, n, 0).map(|(taken, _)| taken)
    }

    /// The state with a place in line for `n`, at most the limit, and the wait for it, if that is at most `longest`.
    pub(super) fn reserve(&self, state: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        debug_assert!(n >= 1 && n <= self.limit && longest <= longest_wait(self.warmth_bits));
        let at = self.at(state, now);
        let wait = at.0 - now;
        (wait <= longest).then(|| (self.spend(at, self.scale.units(n), self.debt_max()), wait))
    }

    /// The whole limit where nothing is owed, which is when any request is granted.
    pub(super) fn balance(&self, state: u64, now: u64) -> i64 {
        match self.owed(state, now) {
            0 => self.limit as i64,
            owed => self.scale.tokens(-(owed as i64)),
        }
    }

    pub(super) fn charge(&self, state: u64, now: u64, n: u64) -> u64 {
        let room = self.debt_max().saturating_sub(self.owed(state, now));
        let units = self.scale.units_at_most(n, self.debt_max());
        self.spend(self.at(state, now), units, room)
    }

    /// Gives back `n` tokens of stable time. What was spent has warmed the bucket, and that stays.
    pub(super) fn refund(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        let back = self.scale.units_at_most(n, self.owed(state, now));
        // The full time is the upper field, so nothing borrows from it.
        (back > 0).then(|| state - (back << self.warmth_bits))
    }

    /// See [`Rule::give_up`](super::Rule::give_up). A place is the state that it was made of: if the state is still the
    /// one that it made, the place is the last one, and what of it is kept is reserved anew.
    pub(super) fn give_up(&self, state: u64, given: GivenUp) -> Option<(u64, u64)> {
        let GivenUp { place, n, of, made, .. } = given;
        let reserved = |n| match n {
            0 => place,
            n => {
                let at = self.at(place, self.full_time(place));
                self.spend(at, self.scale.units_at_most(n, self.debt_max()), self.debt_max())
            }
        };
        let last = n > 0 && made == state;
        last.then(|| (reserved(of.saturating_sub(n)), n))
    }

    pub(super) fn fresh(&self, now: u64) -> u64 {
        now << self.warmth_bits
    }

    /// How long until nothing is owed, and any request is granted; of a place, until it is due.
    pub(super) fn until(&self, state: u64, now: u64) -> u64 {
        self.owed(state, now)
    }

    /// From when nothing is owed, at the longest.
    pub(super) fn until_cold(&self) -> u64 {
        self.stored_max
    }

    pub(super) fn began(&self, fresh: u64) -> u64 {
        self.full_time(fresh)
    }
}

/// A quarter of the time field. Time stops after three; the last one is for debt.
fn quarter(warmth_bits: u32) -> u64 {
    1 << (u64::BITS - 2 - warmth_bits)
}

/// Where time stops.
pub(super) fn end(warmth_bits: u8) -> u64 {
    3 * quarter(warmth_bits.into())
}

/// Half of what is set aside for debt: what waits so long may still be charged for.
pub(super) fn longest_wait(warmth_bits: u8) -> u64 {
    quarter(warmth_bits.into()) / 2
}

/// Whether `M` of a later quota, in the place of its burst, fits the warmth's bits, and what it costs the debt's.
pub(super) fn admits(warmth_bits: u8, quota: &Quota) -> Result<(), QuotaError> {
    let stored = quota.burst_size();
    let fits = stored < 1 << warmth_bits && 4 * stored <= quarter(warmth_bits.into());
    if fits { Ok(()) } else { Err(QuotaError::WARM_UP_LATER) }
}

impl Terms {
    /// Another quota of a limiter that warms up for as long: `M` stands in the place of the burst.
    pub(crate) fn warming_up_by(
        &self,
        quota: Quota,
        period: Duration,
    ) -> Result<Quota, QuotaError> {
        if quota.burst_size() != quota.count() {
            return Err(QuotaError::WARM_UP_BURST);
        }
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let stored = Room::of(&quota).stored(period, self.fraction as u32);
        let stored = stored.and_then(|stored| u64::try_from(stored).ok());
        Ok(quota.with_burst(stored.ok_or(QuotaError::WARM_UP_LATER)?))
    }

    /// What its quota was given as.
    pub(crate) fn as_given(&self) -> Quota {
        let quota = self.quota;
        if self.span == Span::WarmUp { quota.with_burst(quota.count()) } else { quota }
    }

    /// For a direct token bucket that warms up: `M` stands in the place of the burst, in units.
    pub(crate) fn warming_up(quota: &Quota, period: Duration) -> Result<Self, QuotaError> {
        if quota.burst_size() != quota.count() {
            return Err(QuotaError::WARM_UP_BURST);
        }
        let room = Room::of(quota);
        let most = room.longest_period().ok_or(QuotaError::WARM_UP_RATE)?;
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let too_long = QuotaError::warm_up(most);
        let finest = |spare| {
            let fits = |fraction| Some((fraction, room.fits(period, fraction, spare)?));
            (0..=FRACTION_MAX).map_while(fits).last()
        };
        let Some((fraction, (stored, bits))) = finest(SPARE_BITS).or_else(|| finest(0)) else {
            return Err(too_long);
        };
        Ok(Self {
            quota: Quota::from_parts(quota.count(), quota.period_ns(), stored),
            algorithm: Algorithm::TokenBucket,
            fraction: fraction as i8,
            count_bits: bits as u8,
            span: Span::WarmUp,
            stepped: false,
            mark: Mark::Plain,
            which: 0,
            source: Source::Memory,
        })
    }
}

/// What the word must hold at a rate.
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

    /// What is stored in a warm-up of `period` nanoseconds.
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

    /// The same, and the bits for it, if they leave enough for the time.
    fn fits(&self, period: u64, fraction: u32, spare: u32) -> Option<(u64, u32)> {
        let stored = self.stored(period, fraction)?;
        let bits = (u128::BITS - stored.leading_zeros() + spare).max(WARMTH_BITS_MIN);
        let fits = bits < u64::BITS - 2 && self.has_time(stored << spare, bits, fraction);
        fits.then_some((stored as u64, bits))
    }

    /// Whether what the warmth's bits leave holds 30 years, and debt for the dearest request twice over: from cold
    /// the whole of `M` costs one and a half times as much.
    fn has_time(&self, stored: u128, bits: u32, fraction: u32) -> bool {
        let quarter = u128::from(quarter(bits));
        self.flow << fraction <= 3 * quarter && 4 * stored.max(1 << fraction) <= quarter
    }

    /// The longest warm-up period at this rate, in nanoseconds.
    fn longest_period(&self) -> Option<u64> {
        let stored = |bits: u32| u128::from(((1 << bits) - 1).min(quarter(bits) / 4));
        let most = (WARMTH_BITS_MIN..u64::BITS - 4)
            .filter(|bits| self.has_time(stored(*bits), *bits, 0))
            .map(stored)
            .max()?;
        // The last at which not yet a token more is stored.
        let longest = ((most + 1) * self.period_ns - 1) / self.count;
        Some(u64::try_from(longest).unwrap_or(u64::MAX).min(MAX_PERIOD_NS))
    }
}
