//! The terms of a limiter: how to read its states, and where its token time begins and ends.

use super::fixed_window::FixedWindow;
use super::sliding_window::SlidingWindow;
use super::windows::window_bits;
use super::{Algorithm, Rule, TokenBucket};
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::time::{HORIZON_NS, NARROW_END, Pace, Ratio, Scale, YEAR_NS};
use crate::word;

/// The way to read a limiter's states: the quota, the algorithm and the scale of its time.
///
/// Small and `Copy`, because every answer carries one to compute its figures from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) quota: Quota,
    pub(crate) algorithm: Algorithm,
    pub(super) fraction: i8,
    pub(super) count_bits: u8,
    span: Span,
    /// Set if all that flows in a bucket's period comes at its end. The count bits are then those
    /// of the fraction of a period.
    pub(super) stepped: bool,
    /// Bytes that no decision reads, in which an answer says of which kind it is. They would be
    /// padding.
    pub(crate) label: [u8; 3],
}

/// The way in which a bucket's token time fills the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    /// 56 bits, a quarter of which is for debt.
    Narrow,
    /// The units and the debt of a narrow one in 64 bits, so that time may wrap, and the rate grow.
    Roomy,
    /// 64 bits; time wraps.
    Wide,
}

impl Terms {
    /// Makes the terms of a limiter whose states have `bits` bits: 56, or 64 for a direct one.
    pub(crate) fn new(quota: Quota, algorithm: Algorithm, bits: u32) -> Result<Self, QuotaError> {
        let (fraction, count_bits) = match algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                return Ok(Self::bucket(quota, algorithm, bits));
            }
            Algorithm::FixedWindow => FixedWindow::layout(&quota, bits)?,
            Algorithm::SlidingWindow => SlidingWindow::layout(&quota, bits)?,
        };
        Ok(Self {
            quota,
            algorithm,
            fraction,
            count_bits,
            span: Span::Narrow,
            stepped: false,
            label: [0; 3],
        })
    }

    /// Returns the bits that a keyed limiter gives to its states. A bucket gets all bits of its
    /// slots. A window gets enough to hold 16 times its count (8 times for a sliding one), at least
    /// 4,095, for later counts and for debt, but not less than 40 bits. The slot counts epochs with
    /// the rest.
    pub(crate) fn keyed_bits(quota: &Quota, algorithm: Algorithm) -> u32 {
        let count = u64::BITS - quota.count().leading_zeros();
        let bits = match algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => word::VALUE_BITS,
            Algorithm::FixedWindow => window_bits(quota) + (count + 4).max(12),
            // A moment is as fine as there are bits for.
            Algorithm::SlidingWindow if quota.count() == 1 => word::VALUE_BITS,
            // One bit more notes that the limit was reached.
            Algorithm::SlidingWindow => window_bits(quota) + 2 * (count + 3).max(12),
        };
        bits.clamp(40, word::VALUE_BITS)
    }

    /// Makes the terms of a token or leaky bucket, which every quota fits.
    pub(crate) fn bucket(quota: Quota, algorithm: Algorithm, bits: u32) -> Self {
        let narrow = Scale::narrow(&quota);
        let (span, Scale { fraction }) = match bits > word::VALUE_BITS {
            true if narrow.wants_wide(&quota) => (Span::Wide, Scale::wide(&quota)),
            true => (Span::Roomy, narrow),
            false => (Span::Narrow, narrow),
        };
        Self { quota, algorithm, fraction, count_bits: 0, span, stepped: false, label: [0; 3] }
    }

    /// Returns the same terms, refilled at intervals.
    pub(crate) fn at_intervals(self) -> Result<Self, QuotaError> {
        if self.algorithm != Algorithm::TokenBucket {
            return Err(QuotaError::INTERVALS);
        }
        // Ten bits are spared, for shorter periods later.
        let room = PERIOD_BITS - window_bits(&self.quota);
        let count_bits = room.saturating_sub(10).max(2) as u8;
        Ok(Self { stepped: true, count_bits, ..self })
    }

    #[inline(always)]
    pub(crate) fn is_stepped(&self) -> bool {
        self.stepped
    }

    /// Returns the units that have come by a time in periods with their fraction.
    pub(crate) fn step(&self, periods: u64) -> u64 {
        let tokens = u128::from(periods >> self.count_bits) * u128::from(self.quota.count());
        // Modulo 2^64 in a wide one.
        if self.fraction >= 0 {
            (tokens << self.fraction) as u64
        } else {
            (tokens >> -self.fraction) as u64
        }
    }

    /// Returns a time of the same window, `nanos` nanoseconds after its beginning.
    pub(crate) fn within_window(&self, now: u64, nanos: u64) -> u64 {
        let part = (u128::from(nanos) << self.fraction) / u128::from(self.quota.period_ns());
        (now >> self.fraction << self.fraction) + part as u64
    }

    /// Returns the same layout for another quota that it [`admits`](Self::admits).
    #[inline(always)]
    pub(crate) fn with(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    pub(crate) fn is_window(&self) -> bool {
        matches!(self.algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindow)
    }

    pub(crate) fn scale(&self) -> Scale {
        Scale { fraction: self.fraction }
    }

    /// Returns the units in a tick.
    pub(crate) fn ratio(&self, tick: Ratio) -> Ratio {
        let period = u128::from(self.quota.period_ns());
        if self.stepped {
            return tick.then(Ratio::new(1 << self.count_bits, period));
        }
        if self.is_window() {
            return tick.then(Ratio::new(1 << self.fraction, period));
        }
        let count = u128::from(self.quota.count());
        if self.fraction >= 0 {
            tick.then(Ratio::new(count << self.fraction, period))
        } else {
            // A unit is several tokens: the tick shrinks instead, since the count need not divide.
            let unit = Ratio::new(1, 1 << -self.fraction);
            tick.then(unit).then(Ratio::new(count, period))
        }
    }

    /// Returns the longest wait of a queue that may be in debt for `tokens`, as far as a state can
    /// hold it at `now`. A bucket's own debt ends before.
    #[inline]
    pub(crate) fn longest_wait(&self, tokens: u64, now: u64) -> u64 {
        if !self.is_window() {
            return self.scale().units_at_most(tokens, u64::MAX >> 1);
        }
        let windows = (u128::from(tokens) << self.fraction) / u128::from(self.quota.count());
        u64::try_from(windows).unwrap_or(u64::MAX).min(self.end().saturating_sub(now))
    }

    /// Returns the end of token time.
    pub(crate) fn end(&self) -> u64 {
        match self.span {
            // The beginning of the last window, so that a denial there asks for a wait of a whole
            // window.
            _ if self.is_window() => ((1 << window_bits(&self.quota)) - 1) << self.fraction,
            Span::Narrow => NARROW_END,
            Span::Roomy | Span::Wide => u64::MAX,
        }
    }

    /// Returns the beginning of a token time that may be shifted back later: as far on as leaves 30
    /// years, and at most by the largest permitted burst.
    pub(crate) fn head_start(&self) -> u64 {
        match self.span {
            _ if self.is_window() => return 0,
            Span::Roomy | Span::Wide => return 0,
            Span::Narrow => {}
        }
        let period = u128::from(self.quota.period_ns());
        let tokens = (HORIZON_NS * u128::from(self.quota.count())).div_ceil(period);
        let fraction = i32::from(self.fraction);
        let flow = if fraction >= 0 { tokens << fraction } else { tokens.div_ceil(1 << -fraction) };
        let rest = u128::from(NARROW_END).saturating_sub(flow);
        rest.min(u128::from(NARROW_END / 6)) as u64
    }

    /// Checks that another quota fits the states and the time that are laid out for this one.
    pub(crate) fn admits(&self, quota: &Quota) -> Result<(), QuotaError> {
        if self.is_window() {
            if quota.burst_size() != quota.count() {
                return Err(QuotaError::WINDOW_BURST);
            }
            let most = (1 << self.count_bits) - 1;
            return if quota.count() > most { Err(QuotaError::window_count(most)) } else { Ok(()) };
        }
        if self.stepped && window_bits(quota) + u32::from(self.count_bits) > PERIOD_BITS {
            return Err(QuotaError::HORIZON);
        }
        // Half of the range that is set aside for debt, as at construction.
        let most = u128::from(if self.is_wide() { 1 << 61 } else { NARROW_END / 6 });
        let units =
            (u128::from(quota.burst_size()) << self.fraction.max(0)) >> (-self.fraction).max(0);
        if units > most { Err(QuotaError::LATER_BURST) } else { Ok(()) }
    }

    /// Returns whether a year's flow fits before the end of token time, from `time` on.
    pub(crate) fn lasts_a_year_from(&self, time: u64) -> bool {
        // A time that wraps must last for half of that. A time in single tokens may last as short
        // as at construction.
        if self.wraps() && self.fraction == 0 {
            return true;
        }
        let left = if self.wraps() { Some(1 << 63) } else { self.end().checked_sub(time) };
        let Some(left) = left else { return false };
        let flows = if self.is_window() { 1 } else { u128::from(self.quota.count()) };
        let tokens = (flows * YEAR_NS).div_ceil(u128::from(self.quota.period_ns()));
        let fraction = i32::from(self.fraction);
        let needed =
            if fraction >= 0 { tokens.saturating_mul(1 << fraction) } else { tokens >> -fraction };
        needed <= u128::from(left)
    }

    /// Returns the conversion back, from units to nanoseconds.
    pub(crate) fn pace(&self) -> Pace {
        if self.is_window() {
            return Pace::of_windows(self.quota.period_ns(), self.fraction);
        }
        Pace::new(self.quota.count(), self.quota.period_ns(), self.fraction, self.stepped)
    }

    /// Returns the decisions of a token or leaky bucket.
    pub(crate) fn as_bucket(&self) -> TokenBucket {
        TokenBucket::new(&self.quota, self.scale(), self.is_wide())
    }

    fn is_wide(&self) -> bool {
        self.span == Span::Wide
    }

    /// Returns whether token time begins at zero and has no end.
    pub(crate) fn wraps(&self) -> bool {
        matches!(self.span, Span::Roomy | Span::Wide)
    }

    /// Returns the decisions under these terms.
    pub(crate) fn rule(&self) -> Rule {
        match self.algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => Rule::Bucket(self.as_bucket()),
            Algorithm::FixedWindow => {
                Rule::Fixed(FixedWindow::new(&self.quota, self.fraction, self.count_bits))
            }
            Algorithm::SlidingWindow => {
                Rule::Sliding(SlidingWindow::new(&self.quota, self.fraction, self.count_bits))
            }
        }
    }
}

/// Bits for periods and their fraction, where both are counted in one number.
const PERIOD_BITS: u32 = u64::BITS - 2;
