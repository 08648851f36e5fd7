//! What an answer can say about its bucket, computed when asked.

use super::Source;
use crate::algorithm::Terms;
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

/// How the numbers of an answer are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AnswerKind {
    /// A state at a time, from which everything is computed.
    Plain,
    /// Granted from drawn tokens, without reading the clock.
    ClockFree,
    /// Denied because a table had no room for the key.
    TableFull,
    /// Computed already: the state is what remains, the token time how long until all is back, the
    /// nanoseconds how long until a retry.
    Told,
}

const CLOCK_FREE: u8 = AnswerKind::ClockFree as u8;
const TABLE_FULL: u8 = AnswerKind::TableFull as u8;
const TOLD: u8 = AnswerKind::Told as u8;

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

impl AnswerKind {
    /// The terms, for answers of this kind.
    #[inline(always)]
    pub(crate) fn label(self, mut terms: Terms) -> Terms {
        terms.label[0] = self as u8;
        terms
    }
}

impl Figures {
    /// The figures of a state at a time, in token time and in nanoseconds.
    #[inline(always)]
    pub(crate) fn new(terms: Terms, state: u64, now: u64, nanos: u64) -> Self {
        Self { state, now, nanos, terms }
    }

    /// The same numbers, to be read as those of another kind of answer.
    #[inline(always)]
    pub(crate) fn as_kind(self, kind: AnswerKind) -> Self {
        Self { terms: kind.label(self.terms), ..self }
    }

    /// The same figures, of one of several combined limits.
    pub(super) fn of(mut self, which: u8) -> Self {
        self.terms.label[1] = which;
        self
    }

    /// The same figures of an answer that another source gave.
    #[cfg(feature = "redis")]
    pub(crate) fn by(mut self, source: Source) -> Self {
        self.terms.label[2] = source as u8;
        self
    }

    fn kind(&self) -> AnswerKind {
        match self.terms.label[0] {
            CLOCK_FREE => AnswerKind::ClockFree,
            TABLE_FULL => AnswerKind::TableFull,
            TOLD => AnswerKind::Told,
            _ => AnswerKind::Plain,
        }
    }

    /// Which of several combined limits answered.
    pub(super) fn which(&self) -> u8 {
        self.terms.label[1]
    }

    pub(super) fn source(&self) -> Source {
        Source::of_byte(self.terms.label[2])
    }

    pub(crate) fn limit(&self) -> u64 {
        self.terms.rule().limit()
    }

    pub(crate) fn remaining(&self) -> u64 {
        match self.kind() {
            AnswerKind::ClockFree | AnswerKind::Told => return self.state,
            AnswerKind::TableFull => return 0,
            AnswerKind::Plain => {}
        }
        self.terms.rule().balance(self.state, self.now).max(0) as u64
    }

    pub(crate) fn reset_after(&self) -> Duration {
        match self.kind() {
            AnswerKind::Told => Duration::from_nanos(self.now),
            AnswerKind::ClockFree => self.wait(self.terms.scale().units(self.limit())),
            _ => self.wait(self.terms.rule().until_full(self.state, self.now)),
        }
    }

    pub(crate) fn retry_after(&self, n: u64) -> Option<Duration> {
        match self.kind() {
            AnswerKind::Told => (self.nanos < NEVER).then(|| Duration::from_nanos(self.nanos)),
            // Room in a full table comes when a bucket is full again. What never fits asks for none.
            AnswerKind::TableFull => self.until(self.limit(), Patience::NONE),
            _ => self.until(n, Patience::NONE),
        }
    }

    pub(crate) fn is_never(&self, n: u64) -> bool {
        match self.kind() {
            AnswerKind::Told => self.nanos == NEVER,
            AnswerKind::TableFull => false,
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
        let (reset_after, retry_after) = (nanos(reset_after), retry_after.map_or(NEVER, nanos));
        Self::new(terms, remaining, reset_after, retry_after).as_kind(AnswerKind::Told)
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
        self.kind() == AnswerKind::Told
    }

    pub(crate) fn table_full(&self) -> bool {
        self.kind() == AnswerKind::TableFull
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
