//! Token time: clock ticks turned into fixed-point tokens by one multiply.
//!
//! **Why tokens.** A bucket that stores a *time* must divide by the rate to learn what a token
//! costs, and a rate that does not divide a second evenly loses a remainder at each step. Here the
//! clock is converted instead: token time is the number of tokens that would have flowed since the
//! limiter's epoch. So a token costs exactly one token, and nothing is ever rounded when tokens are
//! taken.
//!
//! **The unit.** Token time counts *units* of `2^-fraction` tokens ([`Scale`]). The fraction is
//! chosen once, at construction, as large as 30 years of flow and twice the burst allow in the bits
//! that the word has for time. With 56 bits a unit is 17 to 35 ns of flow at any rate up to
//! 57,000,000 a second (30 ns at 1/s, where it is `2^-25` tokens). Two things push it off that
//! mark:
//!
//! - *very high rates*: 30 years at 10^12/s are 2^70 tokens, more than 64 bits of anything. A
//!   direct limiter then gives all 64 bits to time ("wide") and still counts single tokens. A keyed
//!   limiter, whose word holds slot states too, counts in units of several tokens ([`Scale`]
//!   negative) and rounds costs up to them. Units still flow at 28 to 57 million a second, so a
//!   call loses at most 35 ns of flow;
//! - *huge bursts at very low rates*: 2^40 tokens at 1 per 30 days are 90 billion years of flow;
//!   the unit grows so that they fit. A direct limiter goes wide before a unit exceeds 250 ns.
//!
//! **The end of time.** A 56-bit token time stops at [`NARROW_END`], 30 years or more after the
//! limiter was built (35 to 60 at most rates). From then on no token flows, and the limiter denies
//! once its bucket is empty. A wide token time wraps. Differences are signed, so nothing happens at
//! the wrap itself. Only a limiter that was left untouched for half of it (30 years up to 9.7 *
//! 10^9 a second, 106 days at 10^12) may take its old word for a debt.

use crate::quota::Quota;

/// The span that token time must last: 30 years of 365.25 days, in nanoseconds.
pub(crate) const HORIZON_NS: u128 = 30 * YEAR_NS;
/// A year of 365.25 days, in nanoseconds.
pub(crate) const YEAR_NS: u128 = 31_557_600 * 1_000_000_000;

/// The end of a 56-bit token time: three quarters of the field. The last quarter is for debt.
pub(crate) const NARROW_END: u64 = 3 << 54;

/// A positive ratio as `multiplier / 2^shift`, with 64 significant bits.
///
/// Rounded up, by less than one part in 2^63: an instant at which a whole number of units has
/// flowed then converts to that number, never to one less. Over 30 years the error stays under
/// 1/128 unit of a 56-bit token time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    multiplier: u64,
    shift: u32,
}

impl Ratio {
    /// The ratio one to one.
    pub(crate) const ONE: Self = Self { multiplier: 1 << 63, shift: 63 };

    /// Makes a ratio from the result of [`parts`](Self::parts).
    #[inline(always)]
    pub(crate) fn from_parts(multiplier: u64, shift: u64) -> Self {
        Self { multiplier, shift: shift as u32 & 127 }
    }

    /// Returns multiplier and shift, for a place that holds numbers only.
    pub(crate) fn parts(self) -> (u64, u64) {
        (self.multiplier, self.shift.into())
    }

    /// Makes `numerator / denominator`, both in `1..2^127`, the quotient under 2^64.
    pub(crate) fn new(numerator: u128, denominator: u128) -> Self {
        debug_assert!(numerator > 0 && denominator > 0 && denominator < 1 << 127);
        let mut quotient = numerator / denominator;
        let mut rest = numerator % denominator;
        let mut shift = 0;
        while quotient < 1 << 63 && shift < 127 {
            rest <<= 1;
            quotient <<= 1;
            if rest >= denominator {
                rest -= denominator;
                quotient |= 1;
            }
            shift += 1;
        }
        Self::rounded_up(quotient, rest != 0, shift)
    }

    /// Returns the product of both ratios.
    pub(crate) fn then(self, next: Self) -> Self {
        let product = u128::from(self.multiplier) * u128::from(next.multiplier);
        let drop = 64_u32.saturating_sub(product.leading_zeros());
        let shift = self.shift + next.shift - drop;
        Self::rounded_up(product >> drop, product & ((1 << drop) - 1) != 0, shift)
    }

    fn rounded_up(quotient: u128, inexact: bool, shift: u32) -> Self {
        match u64::try_from(quotient + u128::from(inexact)) {
            Ok(multiplier) if shift <= 127 => Self { multiplier, shift },
            // Too small to hold with 64 significant bits: the ratio has fewer.
            Ok(multiplier) => {
                let drop = (shift - 127).min(63);
                Self { multiplier: (multiplier >> drop) + 1, shift: 127 }
            }
            // Rounding carried into bit 64.
            Err(_) => Self { multiplier: 1 << 63, shift: shift - 1 },
        }
    }

    /// Converts `ticks`, rounded down, modulo 2^64. One multiply.
    ///
    /// At ordinary rates a unit is two ticks or more, and then the product's upper half is all that
    /// counts. Shifting both halves takes four times as long as that, and a check waits for it.
    #[inline(always)]
    pub(crate) fn of(self, ticks: u64) -> u64 {
        match self.shift.checked_sub(u64::BITS) {
            Some(shift) => {
                let product = u128::from(ticks) * u128::from(self.multiplier);
                ((product >> u64::BITS) as u64) >> (shift % u64::BITS)
            }
            None => self.of_both_halves(ticks),
        }
    }

    /// Converts units to ticks, rounded down: the inverse of [`of`](Self::of), for a ratio of at
    /// most 16 units a tick.
    pub(crate) fn ticks_of(self, units: u64) -> u64 {
        let scaled = u128::from(units).saturating_mul(1 << self.shift.min(127));
        u64::try_from(scaled / u128::from(self.multiplier)).unwrap_or(u64::MAX)
    }

    /// Returns the ticks in which `rest`, in 2^-64 of a unit, flows, rounded down.
    pub(crate) fn ticks_of_rest(self, rest: u64) -> u64 {
        let scaled = match self.shift.checked_sub(u64::BITS) {
            Some(above) => u128::from(rest) << above,
            None => u128::from(rest) >> (u64::BITS - self.shift),
        };
        (scaled / u128::from(self.multiplier)) as u64
    }

    /// Returns what [`of`](Self::of) rounds off, in 2^-64 of a unit.
    pub(crate) fn rest_of(self, ticks: u64) -> u64 {
        let product = u128::from(ticks) * u128::from(self.multiplier);
        // Bits above the point fall off.
        match self.shift.checked_sub(u64::BITS) {
            Some(below) => (product >> below) as u64,
            None => (product << (u64::BITS - self.shift)) as u64,
        }
    }

    /// Converts by both halves of the product. Not inlined: the compiler would compute both ways.
    #[inline(never)]
    fn of_both_halves(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.multiplier)) >> self.shift) as u64
    }
}

/// The number of units in a token: `2^fraction`. With a negative fraction a unit is several tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) fraction: i8,
}

impl Scale {
    /// Converts `tokens` to units, rounded up. The caller keeps `tokens` within a burst, which
    /// always fits.
    #[inline(always)]
    pub(crate) fn units(self, tokens: u64) -> u64 {
        if self.fraction >= 0 {
            tokens << self.fraction
        } else {
            tokens.div_ceil(1 << -self.fraction)
        }
    }

    /// Converts `tokens`, of any number, to units, rounded up, at most `most`.
    #[inline]
    pub(crate) fn units_at_most(self, tokens: u64, most: u64) -> u64 {
        if self.fraction > 0 && tokens > most >> self.fraction {
            most
        } else {
            self.units(tokens).min(most)
        }
    }

    /// Converts a signed number of `units` to whole tokens, rounded down.
    #[inline]
    pub(crate) fn tokens(self, units: i64) -> i64 {
        if self.fraction >= 0 {
            units >> self.fraction
        } else {
            units.saturating_mul(1 << -self.fraction)
        }
    }

    /// Returns the largest scale at which 30 years of `quota` and twice its burst fit in `room`
    /// units.
    fn fitting(quota: &Quota, room: u128) -> i32 {
        let flow = (HORIZON_NS * u128::from(quota.count())).div_ceil(u128::from(quota.period_ns()));
        // A burst is at most half of the range that is set aside for debt, so that one can be
        // charged on top.
        let burst = u128::from(quota.burst_size());
        let tokens = (flow + 2 * burst).max(6 * burst);
        let mut fraction = 0;
        while fraction < 54 && tokens << (fraction + 1) <= room {
            fraction += 1;
        }
        while fraction > -62 && tokens.div_ceil(1 << -fraction.min(0)) > room {
            fraction -= 1;
        }
        fraction
    }

    /// Returns the scale of a 56-bit token time.
    pub(crate) fn narrow(quota: &Quota) -> Self {
        Self { fraction: Self::fitting(quota, u128::from(NARROW_END)) as i8 }
    }

    /// Returns the scale of a 64-bit token time, which never counts in more than single tokens.
    pub(crate) fn wide(quota: &Quota) -> Self {
        Self { fraction: Self::fitting(quota, 1 << 63).max(0) as i8 }
    }

    /// Returns whether a 56-bit token time would be too coarse for a limiter that can have a wide
    /// one: units of several tokens, or over 250 ns.
    pub(crate) fn wants_wide(self, quota: &Quota) -> bool {
        self.fraction < 0
            || u128::from(quota.period_ns()) > (250 * u128::from(quota.count())) << self.fraction
    }
}

/// The conversion of units back to the exact nanosecond, since the epoch, at which they have
/// flowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Units in a period; with a negative scale, tokens in it.
    per_period: u128,
    period_ns: u64,
    /// Tokens in a unit, over 1 with a negative scale.
    unit: u32,
    /// Set if they come all at once, at the end of each period.
    stepped: bool,
    /// Set if units are parts of windows.
    windows: bool,
}

impl Pace {
    pub(crate) fn new(count: u64, period_ns: u64, fraction: i8, stepped: bool) -> Self {
        let unit = (-i32::from(fraction)).max(0) as u32;
        let per_period = u128::from(count) << fraction.max(0);
        Self { per_period, period_ns, unit, stepped, windows: false }
    }

    /// Makes the conversion for windows of `2^fraction` units.
    pub(crate) fn of_windows(period_ns: u64, fraction: i8) -> Self {
        Self { windows: true, ..Self::new(1, period_ns, fraction, false) }
    }

    /// Returns the first nanosecond at which `units` have flowed.
    fn when(&self, units: u128) -> u128 {
        if self.stepped {
            let periods = (units << self.unit).div_ceil(self.per_period);
            return periods.saturating_mul(u128::from(self.period_ns));
        }
        (units << self.unit).saturating_mul(u128::from(self.period_ns)).div_ceil(self.per_period)
    }

    /// Returns the time from `at` (the nanosecond at which token time read `now`) until `units`
    /// more have flowed, to the nanosecond.
    ///
    /// Waiting that long is enough, and a nanosecond less is not, because both ends are measured by
    /// the same slope: the part of a unit that has already flowed at `at` counts.
    pub(crate) fn wait(&self, at: u64, now: u64, units: u64) -> u128 {
        if units == 0 {
            return 0;
        }
        let began = self.when(u128::from(now));
        let target = self.when(u128::from(now) + u128::from(units));
        // Since the slope is rounded up, `now` may have been read a nanosecond before `began`. If
        // token time has wrapped or ended, or a clock is coarser than a unit, the moments do not
        // tell the phase.
        let at = u128::from(at);
        let in_phase = at + 1 >= began && at <= began + self.when(1);
        // A window's time is out of phase if the period was another one before. Two moments rounded
        // up may then be a nanosecond nearer to each other than the true ones.
        let began = if self.windows { began.saturating_sub(1) } else { began };
        // After the end of token time `at` may be past the target by chance; flow that is still to
        // come takes a while.
        target.saturating_sub(if in_phase { at } else { began }).max(1)
    }

    /// Returns the most units whose [`wait`](Self::wait) is at most `within` nanoseconds.
    pub(crate) fn reach(&self, at: u64, now: u64, within: u64) -> u64 {
        if within == 0 {
            return 0;
        }
        let began = self.when(u128::from(now));
        let at = u128::from(at);
        let in_phase = at + 1 >= began && at <= began + self.when(1);
        let end = if in_phase { at } else { began } + u128::from(within);
        let period = u128::from(self.period_ns);
        let end = if self.stepped { end - end % period } else { end };
        let Some(flowed) = end.checked_mul(self.per_period) else { return u64::MAX };
        let units = (flowed / period) >> self.unit;
        u64::try_from(units.saturating_sub(u128::from(now))).unwrap_or(u64::MAX)
    }
}
