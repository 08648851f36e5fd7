//! Pure decisions: a state, a time and a request in; a new state out. No clock, no atomics.
//!
//! A *state* is the word's value: what a limiter remembers of one bucket, in 56 bits (64 for a direct
//! limiter that needs them). Every algorithm keeps three rules, on which the keyed table stands:
//!
//! - state 0 is a full bucket, at any time;
//! - taking never makes a state smaller, and taking at least one token makes it larger;
//! - [`Rule::fresh`] of a later time is not smaller, and every full bucket's state is at most that.

mod batch;
mod carry;
mod fixed_window;
mod leaky_bucket;
mod sliding_window;
mod token_bucket;
mod undo;
mod warm_up;

pub(crate) use batch::Batch;
pub use carry::Carry;
use fixed_window::FixedWindow;
pub(crate) use leaky_bucket::level;
use sliding_window::SlidingWindow;
pub(crate) use token_bucket::TokenBucket;
use warm_up::WarmUp;

use crate::error::QuotaError;
use crate::quota::Quota;
use crate::time::{HORIZON_NS, NARROW_END, Pace, Ratio, Scale, YEAR_NS};
use crate::word;
use core::fmt;
use core::str::FromStr;

/// How a limiter counts.
///
/// | | admits, in any window of length W | when idle again |
/// | --- | --- | --- |
/// | token bucket | burst + rate * W | gains tokens smoothly, up to the burst |
/// | leaky bucket (meter) | capacity + rate * W | leaks smoothly, down to empty |
/// | fixed window | count in each aligned window, so up to twice that across a boundary | all at once, at the boundary |
/// | sliding window | count + rate * W | as the previous window slides out |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Tokens flow in at the rate, up to the burst; a request takes its cost. The default.
    #[default]
    TokenBucket,
    /// A request pours its cost into a bucket that leaks at the rate and is denied if it would
    /// overflow. The same word read from the other side.
    LeakyBucket,
    /// Counts requests in windows of one period, aligned to the limiter's start.
    FixedWindow,
    /// Counts the current window, and the previous one by the share of it that the last period
    /// still covers.
    SlidingWindow,
}

/// The four names, as printed and read: `token-bucket`, `leaky-bucket`, `fixed-window`, `sliding-window`.
const NAMES: [(Algorithm, &str); 4] = [
    (Algorithm::TokenBucket, "token-bucket"),
    (Algorithm::LeakyBucket, "leaky-bucket"),
    (Algorithm::FixedWindow, "fixed-window"),
    (Algorithm::SlidingWindow, "sliding-window"),
];

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            NAMES.iter().find(|(algorithm, _)| algorithm == self).map_or("", |(_, name)| name);
        f.pad(name)
    }
}

/// Reads the printed names, and the first word alone: `token`, `leaky`, `fixed`, `sliding`.
impl FromStr for Algorithm {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let named = |name: &str| text == name || name.split('-').next() == Some(text);
        let found = NAMES.iter().find(|(_, name)| named(name));
        let expected = "token-bucket, leaky-bucket, fixed-window or sliding-window";
        found.map(|(algorithm, _)| *algorithm).ok_or(QuotaError::parse(0, expected))
    }
}

/// How a limiter's states are to be read: the quota, the algorithm and the scale of its time.
///
/// Small and `Copy`, because every answer carries one to compute its figures from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) quota: Quota,
    pub(crate) algorithm: Algorithm,
    fraction: i8,
    count_bits: u8,
    span: Span,
    /// Of a bucket: what flows in a period comes all at once, at its end. The count bits are then those of the
    /// fraction of a period.
    stepped: bool,
    pub(crate) mark: Mark,
    /// Which of several combined limits it is an answer of.
    pub(crate) which: u8,
}

/// How a bucket's line fills the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    /// 56 bits, of which a quarter is for debt.
    Narrow,
    /// The units and the debt of a narrow one in 64 bits, so that it may wrap, and the rate grow.
    Roomy,
    /// 64 bits, and wraps.
    Wide,
    /// The burst is what a warm-up stores, in units, and the count's bits are the warmth's.
    WarmUp,
}

/// What an answer says beyond its figures. Here because it costs no byte here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Plain,
    /// Granted from drawn tokens, without reading the clock.
    ClockFree,
    /// Denied because a table had no room for the key.
    TableFull,
    /// Computed already: the state is what remains, the token time how long until all is back, the nanoseconds
    /// how long until a retry.
    Told,
}

impl Terms {
    /// For a limiter whose states have `bits` bits: 56, or 64 of a direct one.
    pub(crate) fn new(quota: Quota, algorithm: Algorithm, bits: u32) -> Result<Self, QuotaError> {
        let (fraction, count_bits) = match algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                return Ok(Self::bucket(quota, algorithm, bits));
            }
            Algorithm::FixedWindow => FixedWindow::layout(&quota, bits)?,
            Algorithm::SlidingWindow => SlidingWindow::layout(&quota, bits)?,
        };
        let (span, stepped, mark) = (Span::Narrow, false, Mark::Plain);
        Ok(Self { quota, algorithm, fraction, count_bits, span, stepped, mark, which: 0 })
    }

    /// For a token or leaky bucket, which every quota fits.
    pub(crate) fn bucket(quota: Quota, algorithm: Algorithm, bits: u32) -> Self {
        let narrow = Scale::narrow(&quota);
        let (span, Scale { fraction }) = match bits > word::VALUE_BITS {
            true if narrow.wants_wide(&quota) => (Span::Wide, Scale::wide(&quota)),
            true => (Span::Roomy, narrow),
            false => (Span::Narrow, narrow),
        };
        let (count_bits, stepped, mark) = (0, false, Mark::Plain);
        Self { quota, algorithm, fraction, count_bits, span, stepped, mark, which: 0 }
    }

    /// The same, refilled at intervals.
    pub(crate) fn at_intervals(self) -> Result<Self, QuotaError> {
        if self.algorithm != Algorithm::TokenBucket || self.span == Span::WarmUp {
            return Err(QuotaError::INTERVALS);
        }
        // With ten bits to spare, for shorter periods later.
        let room = PERIOD_BITS - window_bits(&self.quota);
        let count_bits = room.saturating_sub(10).max(2) as u8;
        Ok(Self { stepped: true, count_bits, ..self })
    }

    #[inline(always)]
    pub(crate) fn is_stepped(&self) -> bool {
        self.stepped
    }

    /// Of periods with their fraction, units that have come by then.
    pub(crate) fn step(&self, periods: u64) -> u64 {
        let tokens = u128::from(periods >> self.count_bits) * u128::from(self.quota.count());
        // Of a wide line, modulo 2^64.
        if self.fraction >= 0 {
            (tokens << self.fraction) as u64
        } else {
            (tokens >> -self.fraction) as u64
        }
    }

    /// A time of the same window, so many nanoseconds after its beginning.
    pub(crate) fn within_window(&self, now: u64, nanos: u64) -> u64 {
        let part = (u128::from(nanos) << self.fraction) / u128::from(self.quota.period_ns());
        (now >> self.fraction << self.fraction) + part as u64
    }

    /// The same layout for another quota that it [`admits`](Self::admits).
    #[inline(always)]
    pub(crate) fn with(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    pub(crate) fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }

    pub(crate) fn is_window(&self) -> bool {
        matches!(self.algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindow)
    }

    pub(crate) fn scale(&self) -> Scale {
        Scale { fraction: self.fraction }
    }

    /// The units of a tick.
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
            // Units of several tokens: the tick shrinks instead, since the count need not divide.
            let unit = Ratio::new(1, 1 << -self.fraction);
            tick.then(unit).then(Ratio::new(count, period))
        }
    }

    /// Units in which as many tokens flow: the longest wait of a line that may be so far in debt.
    pub(crate) fn wait_for(&self, tokens: u64) -> u64 {
        if !self.is_window() {
            return self.scale().units_at_most(tokens, u64::MAX >> 1);
        }
        let windows = (u128::from(tokens) << self.fraction) / u128::from(self.quota.count());
        u64::try_from(windows).unwrap_or(u64::MAX)
    }

    /// The longest wait that a state can hold at `now`. A bucket's own debt ends before.
    pub(crate) fn longest_wait(&self, now: u64) -> u64 {
        match self.span {
            _ if self.is_window() => self.end().saturating_sub(now),
            Span::WarmUp => warm_up::longest_wait(self.count_bits),
            _ => u64::MAX,
        }
    }

    /// Where the line stops.
    pub(crate) fn end(&self) -> u64 {
        match self.span {
            // The beginning of the last window, so that a denial there says to wait for a whole one.
            _ if self.is_window() => ((1 << window_bits(&self.quota)) - 1) << self.fraction,
            Span::Narrow => NARROW_END,
            Span::Roomy | Span::Wide => u64::MAX,
            Span::WarmUp => warm_up::end(self.count_bits),
        }
    }

    /// Where a line begins that may be shifted back later: as far on as leaves 30 years, and at most by the
    /// largest burst that there may be.
    pub(crate) fn head_start(&self) -> u64 {
        match self.span {
            _ if self.is_window() => return 0,
            Span::Roomy | Span::Wide | Span::WarmUp => return 0,
            Span::Narrow => {}
        }
        let period = u128::from(self.quota.period_ns());
        let tokens = (HORIZON_NS * u128::from(self.quota.count())).div_ceil(period);
        let fraction = i32::from(self.fraction);
        let flow = if fraction >= 0 { tokens << fraction } else { tokens.div_ceil(1 << -fraction) };
        let rest = u128::from(NARROW_END).saturating_sub(flow);
        rest.min(u128::from(NARROW_END / 6)) as u64
    }

    /// Whether another quota fits the states and the time that were laid out for this one.
    pub(crate) fn admits(&self, quota: &Quota) -> Result<(), QuotaError> {
        if self.is_window() {
            if quota.burst_size() != quota.count() {
                return Err(QuotaError::WINDOW_BURST);
            }
            let most = (1 << self.count_bits) - 1;
            return if quota.count() > most { Err(QuotaError::window_count(most)) } else { Ok(()) };
        }
        if self.span == Span::WarmUp {
            return warm_up::admits(self.count_bits, quota);
        }
        if self.stepped && window_bits(quota) + u32::from(self.count_bits) > PERIOD_BITS {
            return Err(QuotaError::HORIZON);
        }
        // Half of what is set aside for debt, as at construction.
        let most = u128::from(if self.is_wide() { 1 << 61 } else { NARROW_END / 6 });
        let units =
            (u128::from(quota.burst_size()) << self.fraction.max(0)) >> (-self.fraction).max(0);
        if units > most { Err(QuotaError::LATER_BURST) } else { Ok(()) }
    }

    /// Whether the line has a year's flow before it, from this time on.
    pub(crate) fn lasts_a_year_from(&self, time: u64) -> bool {
        // Of one that wraps, half must last; single tokens may last as short as they would at construction.
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

    /// The way back, from units to nanoseconds.
    pub(crate) fn pace(&self) -> Pace {
        let count = if self.is_window() { 1 } else { self.quota.count() };
        Pace::new(count, self.quota.period_ns(), self.fraction, self.stepped)
    }

    /// The decisions of a token or leaky bucket.
    pub(crate) fn as_bucket(&self) -> TokenBucket {
        TokenBucket::new(&self.quota, self.scale(), self.is_wide())
    }

    fn is_wide(&self) -> bool {
        self.span == Span::Wide
    }

    /// Whether the line begins at zero and has no end.
    pub(crate) fn wraps(&self) -> bool {
        matches!(self.span, Span::Roomy | Span::Wide)
    }

    /// The decisions under these terms.
    pub(crate) fn rule(&self) -> Rule {
        match self.algorithm {
            Algorithm::TokenBucket if self.span == Span::WarmUp => {
                let stored = self.quota.burst_size();
                Rule::WarmUp(WarmUp::new(stored, self.scale(), self.count_bits))
            }
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

/// Bits for a window's index: 30 years of windows.
fn window_bits(quota: &Quota) -> u32 {
    let windows = HORIZON_NS.div_ceil(u128::from(quota.period_ns()));
    u128::BITS - windows.leading_zeros()
}

/// A place in line that is given up: what it is, for how many tokens, of how many, and how far the line is known to
/// have gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenUp {
    pub(crate) place: u64,
    pub(crate) n: u64,
    pub(crate) of: u64,
    pub(crate) promised: u64,
}

/// What comes back of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) tokens: u64,
    /// How far the line has gone, if somebody behind holds a place there.
    pub(crate) promised: Option<u64>,
}

/// The decisions of one limiter. One predictable branch chooses the algorithm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Bucket(TokenBucket),
    Fixed(FixedWindow),
    Sliding(SlidingWindow),
    WarmUp(WarmUp),
}

impl Rule {
    /// The most tokens that one request can be granted.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        match self {
            Self::Bucket(rule) => rule.limit(),
            Self::Fixed(rule) => rule.limit(),
            Self::Sliding(rule) => rule.limit(),
            Self::WarmUp(rule) => rule.limit(),
        }
    }

    /// The state after taking `n`, or `None` if they are not there. `n` is from 1 to the limit.
    #[inline(always)]
    pub(crate) fn take(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) => rule.take(state, now, n),
            Self::Fixed(rule) => rule.take(state, now, n),
            Self::Sliding(rule) => rule.take(state, now, n),
            Self::WarmUp(rule) => rule.take(state, now, n),
        }
    }

    /// Whole tokens there, rounded down; negative in debt.
    #[inline]
    pub(crate) fn balance(&self, state: u64, now: u64) -> i64 {
        match self {
            Self::Bucket(rule) => rule.balance(state, now),
            Self::Fixed(rule) => rule.balance(state, now),
            Self::Sliding(rule) => rule.balance(state, now),
            Self::WarmUp(rule) => rule.balance(state, now),
        }
    }

    /// The state after taking `n` whatever is there. Debt has an end: 2^54 units of tokens (10 years
    /// of flow at most rates), or what a window's field holds.
    #[inline]
    pub(crate) fn charge(&self, state: u64, now: u64, n: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.charge(state, now, n),
            Self::Fixed(rule) => rule.charge(state, now, n),
            Self::Sliding(rule) => rule.charge(state, now, n),
            Self::WarmUp(rule) => rule.charge(state, now, n),
        }
    }

    /// The state after giving `n` back, or `None` if nothing is missing.
    #[inline]
    pub(crate) fn refund(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        match self {
            Self::Bucket(rule) => rule.refund(state, now, n),
            Self::Fixed(rule) => rule.refund(state, now, n),
            Self::Sliding(rule) => rule.refund(state, now, n),
            Self::WarmUp(rule) => rule.refund(state, now, n),
        }
    }

    /// The state with a place in line for `n`, and the units until it is due; `None` if that is over `longest`. With
    /// `longest` 0 it is [`take`](Self::take). `n` is from 1 to the limit; of a bucket it may be more.
    #[inline]
    pub(crate) fn reserve(&self, state: u64, now: u64, n: u64, longest: u64) -> Option<(u64, u64)> {
        match self {
            Self::Bucket(rule) => rule.reserve(state, now, n, longest),
            Self::Fixed(rule) => rule.reserve(state, now, n, longest),
            Self::Sliding(rule) => rule.reserve(state, now, n, longest),
            Self::WarmUp(rule) => rule.reserve(state, now, n, longest),
        }
    }

    /// What is to be remembered of a place in the line, `before` being the state that it was made of: of a bucket the
    /// state that it made, which keeps its meaning when the quota changes, or, if it warms up, what it was before;
    /// of a window the moment that it is due.
    #[inline]
    pub(crate) fn place(&self, before: u64, state: u64, now: u64, wait: u64) -> u64 {
        match self {
            Self::Bucket(_) => state,
            Self::WarmUp(_) => before,
            Self::Fixed(_) | Self::Sliding(_) => now + wait,
        }
    }

    /// Units until a place is due.
    #[inline]
    pub(crate) fn until_place(&self, place: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until_place(place, now),
            Self::WarmUp(rule) => rule.until(place, now),
            _ => place.saturating_sub(now),
        }
    }

    /// The state after giving up a place that is not due yet, or `None` if nothing comes back.
    ///
    /// Of a bucket `n - behind` tokens do, `behind` being those reserved after it: so everything if nobody is
    /// behind. The places of those behind stay. That is the rule of Go's x/time/rate, but for one thing: there
    /// the end of the line moves back with a last place that is given up, even if others have one at the same
    /// moment, and then too much is returned for the next. Here the end is `promised` for as long as it is ahead of the
    /// state. Of a bucket that warms up the whole `n` does if nobody is behind, and else nothing.
    pub(crate) fn give_up(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, Returned)> {
        if self.until_place(given.place, now) == 0 {
            return None;
        }
        match self {
            Self::Bucket(rule) => rule.give_up(state, now, given),
            Self::Fixed(rule) => rule.give_up(state, now, given),
            Self::Sliding(rule) => rule.give_up(state, now, given),
            Self::WarmUp(rule) => rule.give_up(state, given),
        }
    }

    /// A full bucket's state that is as new as `now`.
    #[inline]
    pub(crate) fn fresh(&self, now: u64) -> u64 {
        match self {
            Self::Bucket(_) => now,
            Self::WarmUp(rule) => rule.fresh(now),
            Self::Fixed(rule) => rule.fresh(now),
            Self::Sliding(rule) => rule.fresh(now),
        }
    }

    /// The time that a state made by [`fresh`](Self::fresh) belongs to.
    #[inline]
    pub(crate) fn began(&self, fresh: u64) -> u64 {
        match self {
            Self::Bucket(_) => fresh,
            Self::WarmUp(rule) => rule.began(fresh),
            Self::Fixed(rule) => rule.began(fresh),
            Self::Sliding(rule) => rule.began(fresh),
        }
    }

    /// Units of time until the bucket is full again; 0 if it is.
    #[inline]
    pub(crate) fn until_full(&self, state: u64, now: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until_full(state, now),
            Self::Fixed(rule) => rule.until_full(state, now),
            Self::Sliding(rule) => rule.until_full(state, now),
            Self::WarmUp(rule) => rule.until(state, now),
        }
    }

    /// Units of time until `n` tokens are there; `None` if they never are.
    #[inline]
    pub(crate) fn until(&self, state: u64, now: u64, n: u64) -> Option<u64> {
        (n <= self.limit()).then(|| self.until_paid(state, now, n))
    }

    /// Units of time until `n` tokens have flowed; of a window `n` is at most the limit.
    pub(crate) fn until_paid(&self, state: u64, now: u64, n: u64) -> u64 {
        match self {
            Self::Bucket(rule) => rule.until(state, now, n),
            Self::Fixed(rule) => rule.until(state, now, n),
            Self::Sliding(rule) => rule.until(state, now, n),
            Self::WarmUp(rule) => rule.until(state, now),
        }
    }

    /// Whether forgetting the state loses nothing.
    #[inline]
    pub(crate) fn is_full(&self, state: u64, now: u64) -> bool {
        self.until_full(state, now) == 0
    }
}
