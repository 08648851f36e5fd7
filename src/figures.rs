//! What an answer can say about its bucket, computed when asked.

use crate::algorithm::{Mark, Source, Terms};
use core::fmt;
use core::time::Duration;

/// A bucket's state at the time of an answer. An answer that nobody asks for figures is not charged
/// for them: nothing here is computed on the path of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    /// The state that the answer left; of a clock-free grant, the tokens still drawn.
    pub(crate) state: u64,
    /// The token time of the answer, and the same moment in nanoseconds since the epoch.
    pub(crate) now: u64,
    pub(crate) nanos: u64,
    pub(crate) terms: Terms,
}

/// Told of a retry: it is of no use.
const NEVER: u64 = u64::MAX;

/// No moment of any clock: the figures are of the nanosecond at which their token time had flowed, and count from there.
const AS_IT_FLOWS: u64 = u64::MAX;

/// The longest wait that a request accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// By how far the limiter may be in debt.
    Units(u64),
    /// By the caller's time, in nanoseconds.
    Nanos(u64),
}

impl Patience {
    const NONE: Self = Self::Units(0);

    fn is_none(self) -> bool {
        matches!(self, Self::Units(0) | Self::Nanos(0))
    }
}

impl Figures {
    pub(crate) fn limit(&self) -> u64 {
        self.terms.rule().limit()
    }

    pub(crate) fn remaining(&self) -> u64 {
        match self.terms.mark {
            Mark::ClockFree | Mark::Told => return self.state,
            Mark::TableFull => return 0,
            Mark::Plain => {}
        }
        self.terms.rule().balance(self.state, self.now).max(0) as u64
    }

    pub(crate) fn reset_after(&self) -> Duration {
        match self.terms.mark {
            Mark::Told => Duration::from_nanos(self.now),
            Mark::ClockFree => self.wait(self.terms.scale().units(self.limit())),
            _ => self.wait(self.terms.rule().until_full(self.state, self.now)),
        }
    }

    pub(crate) fn retry_after(&self, n: u64) -> Option<Duration> {
        match self.terms.mark {
            Mark::Told => (self.nanos < NEVER).then(|| Duration::from_nanos(self.nanos)),
            // Room in a full table comes when a bucket is full again. What never fits asks for none.
            Mark::TableFull => self.until(self.limit(), Patience::NONE),
            _ => self.until(n, Patience::NONE),
        }
    }

    pub(crate) fn is_never(&self, n: u64) -> bool {
        match self.terms.mark {
            Mark::Told => self.nanos == NEVER,
            Mark::TableFull => false,
            _ => n > self.limit(),
        }
    }

    fn until(&self, n: u64, patience: Patience) -> Option<Duration> {
        let units = self.terms.rule().until(self.state, self.now, n)?;
        Some(self.impatient(units, patience))
    }

    pub(crate) fn impatient(&self, units: u64, patience: Patience) -> Duration {
        match patience {
            Patience::Units(longest) => self.wait(units.saturating_sub(longest)),
            Patience::Nanos(longest) => {
                self.wait(units).saturating_sub(Duration::from_nanos(longest))
            }
        }
    }

    /// The figures of a place that cannot be had: until it can, for whoever may pay `n` in instalments. Never, if even
    /// behind a full bucket it would be due too late: of more than the burst the rest has to flow.
    pub(crate) fn without_place(self, n: u64, patience: Patience) -> Self {
        // Who does not wait is denied as by a check, and the figures can be computed when asked for.
        if patience.is_none() && n <= self.limit() {
            return self;
        }
        let rule = self.terms.rule();
        let (paid, full) =
            (rule.until_paid(self.state, self.now, n), rule.until_full(self.state, self.now));
        let retry_after = self.impatient(paid, patience);
        let is_never = n > self.limit()
            && match patience {
                // A unit may be less than a nanosecond.
                Patience::Units(longest) => paid.saturating_sub(longest) > full,
                Patience::Nanos(_) => retry_after > self.wait(full),
            };
        self.told((!is_never).then_some(retry_after))
    }

    /// The same figures, computed now, with another time until a retry.
    pub(crate) fn told(self, retry_after: Option<Duration>) -> Self {
        Self::computed(self.terms, self.remaining(), self.reset_after(), retry_after)
    }

    /// Figures that somebody has computed; `retry_after` is `None` if it is of no use.
    pub(crate) fn computed(
        terms: Terms,
        remaining: u64,
        reset_after: Duration,
        retry_after: Option<Duration>,
    ) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(NEVER).min(NEVER - 1);
        Self {
            state: remaining,
            now: nanos(reset_after),
            nanos: retry_after.map_or(NEVER, nanos),
            terms: terms.marked(Mark::Told),
        }
    }

    /// Told figures, and those of another limit that denies as well: of both the least that remains, and the longest
    /// until all is back.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        let reset_after = u64::try_from(other.reset_after().as_nanos()).unwrap_or(NEVER);
        (self.state, self.now) = (self.state.min(other.remaining()), self.now.max(reset_after));
        self
    }

    /// How long until nothing is owed.
    pub(crate) fn owes(&self) -> Duration {
        self.until(0, Patience::NONE).unwrap_or_default()
    }

    /// Whether they were computed when they were made.
    pub(crate) fn is_told(&self) -> bool {
        self.terms.mark == Mark::Told
    }

    pub(crate) fn table_full(&self) -> bool {
        self.terms.mark == Mark::TableFull
    }

    /// The longest wait of somebody who waits for at most so many tokens, and `within` that time, in units, and by
    /// which of the two.
    #[inline]
    pub(crate) fn longest(&self, tokens: u64, within: Option<Duration>) -> (u64, Patience) {
        let most = self.terms.longest_wait(tokens, self.now);
        if let Some(within) = within {
            let nanos = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
            let reach = self.terms.pace().reach(self.nanos, self.now, nanos);
            if reach < most {
                return (reach, Patience::Nanos(nanos));
            }
        }
        (most, Patience::Units(most))
    }

    /// The same of a place in a bucket's line or a window, which must not lie further ahead than a state can say.
    pub(crate) fn longest_of_place(
        &self,
        tokens: u64,
        within: Option<Duration>,
    ) -> (u64, Patience) {
        let (longest, patience) = self.longest(tokens, within);
        let most = self.terms.rule().furthest_place();
        if most < longest { (most, Patience::Units(most)) } else { (longest, patience) }
    }

    /// The same state when `units` more have flowed; of what was told, when so many nanoseconds have passed. No division,
    /// since few ask for the figures of a wait.
    pub(crate) fn after(self, units: u64, told: u64) -> Self {
        if self.is_told() {
            return Self { now: self.now.saturating_sub(told), ..self };
        }
        if units == 0 {
            return self;
        }
        // A window's line does not say when exactly it flowed.
        let nanos = if self.terms.is_window() {
            self.nanos.saturating_add(self.nanos_of(units))
        } else {
            AS_IT_FLOWS
        };
        Self { now: self.now.wrapping_add(units), nanos, ..self }
    }

    /// The same in nanoseconds.
    pub(crate) fn nanos_of(&self, units: u64) -> u64 {
        u64::try_from(self.wait(units).as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long until `units` more have flowed.
    pub(crate) fn wait(&self, units: u64) -> Duration {
        let nanos = self.terms.pace().wait(self.nanos, self.now, units);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        // The remainder is under 10^9.
        Duration::new(seconds, (nanos % 1_000_000_000) as u32)
    }
}

/// A limiter's answer "yes".
///
/// Its figures are computed when asked for, so `check().is_ok()` pays for none of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    granted: u64,
    at: Figures,
}

impl Grant {
    pub(crate) fn new(granted: u64, at: Figures) -> Self {
        Self { granted, at }
    }

    /// The same answer, as somebody else's.
    #[cfg(feature = "redis")]
    pub(crate) fn by(mut self, source: Source) -> Self {
        self.at.terms.source = source;
        self
    }

    /// The same answer, as that of one of several limits.
    pub(crate) fn of(mut self, which: u8, granted: u64) -> Self {
        (self.at.terms.which, self.granted) = (which, granted);
        self
    }

    /// Which of [combined](crate::Combined) limits the figures are of, counted from 0 as they were given: the one
    /// with the least left. 0 of a limiter alone.
    #[must_use]
    pub fn which(&self) -> usize {
        self.at.terms.which.into()
    }

    /// Who granted it.
    #[must_use]
    pub fn source(&self) -> Source {
        self.at.terms.source
    }

    /// The tokens granted: those asked for, or fewer from `check_up_to`.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// The most tokens that one request can be granted: the burst, a window's count, or what a
    /// [warm-up](crate::WarmUpLimiter) stores.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.at.limit()
    }

    /// Whole tokens left after this grant.
    ///
    /// A batched limiter's grants that read no clock know only of the tokens drawn ahead, and say
    /// those: a lower bound.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.at.remaining()
    }

    /// How long until all tokens are back, if nobody takes any.
    ///
    /// A batched limiter's grants that read no clock say how long a whole burst takes: an upper
    /// bound, debt aside.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        self.at.reset_after()
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("granted", &self.granted)
            .field("limit", &self.limit())
            .field("remaining", &self.remaining())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}
