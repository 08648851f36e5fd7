//! The figures of an answer: what it can say about its bucket, computed when asked.

use super::Source;
use crate::algorithm::Terms;
use core::time::Duration;

/// A bucket's state at the time of an answer. Nothing here is computed on the path of a check: only
/// a caller that asks for figures pays for them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    /// The state that the answer left; for a clock-free grant, the tokens still drawn.
    pub(crate) state: u64,
    /// The token time of the answer, and the same moment in nanoseconds since the epoch.
    pub(crate) now: u64,
    pub(crate) nanos: u64,
    pub(crate) terms: Terms,
}

/// The way in which the numbers of an answer are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AnswerKind {
    /// A state at a time, from which everything is computed.
    Plain,
    /// A grant from drawn tokens, made without reading the clock.
    ClockFree,
    /// A denial because a table had no room for the key.
    TableFull,
    /// Figures that are computed already: the state is what remains, the token time is the time
    /// until all is back, and the nanoseconds are the time until a retry.
    Told,
}

const CLOCK_FREE: u8 = AnswerKind::ClockFree as u8;
const TABLE_FULL: u8 = AnswerKind::TableFull as u8;
const TOLD: u8 = AnswerKind::Told as u8;

/// The told time until a retry that is of no use.
const NEVER: u64 = u64::MAX;

/// A mark instead of a clock's moment: the figures count from the nanosecond at which their token
/// time had flowed.
const AS_IT_FLOWS: u64 = u64::MAX;

/// The longest wait that a request accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The most units by which the limiter may be in debt.
    Units(u64),
    /// The caller's time, in nanoseconds.
    Nanos(u64),
}

impl Patience {
    const NONE: Self = Self::Units(0);

    fn is_none(self) -> bool {
        matches!(self, Self::Units(0) | Self::Nanos(0))
    }
}

impl AnswerKind {
    /// Returns the terms, for answers of this kind.
    #[inline(always)]
    pub(crate) fn label(self, mut terms: Terms) -> Terms {
        terms.label[0] = self as u8;
        terms
    }
}

impl Figures {
    /// Makes the figures of a state at a time, given in token time and in nanoseconds.
    #[inline(always)]
    pub(crate) fn new(terms: Terms, state: u64, now: u64, nanos: u64) -> Self {
        Self { state, now, nanos, terms }
    }

    /// Returns the same numbers, to be read as those of another kind of answer.
    #[inline(always)]
    pub(crate) fn as_kind(self, kind: AnswerKind) -> Self {
        Self { terms: kind.label(self.terms), ..self }
    }

    /// Returns the same figures, for one of several combined limits.
    pub(super) fn of(mut self, which: u8) -> Self {
        self.terms.label[1] = which;
        self
    }

    /// Returns the same figures for an answer that another source gave.
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

    /// Returns the index of the answering limit, among several combined ones.
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
            // A full table has room when a bucket is full again. A request that never fits needs no
            // room.
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

    /// Returns the figures of a place that cannot be had: they tell the time until it can, for a
    /// caller that may pay `n` in instalments. They tell "never" if the place would be due too late
    /// even behind a full bucket, since what exceeds the burst has to flow first.
    pub(crate) fn without_place(self, n: u64, patience: Patience) -> Self {
        // A caller that does not wait is denied as by a check, and the figures can be computed when
        // asked for.
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

    /// Returns the same figures, computed now, with another time until a retry.
    pub(crate) fn told(self, retry_after: Option<Duration>) -> Self {
        Self::computed(self.terms, self.remaining(), self.reset_after(), retry_after)
    }

    /// Makes figures that were computed elsewhere. `retry_after` is `None` if a retry is of no use.
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

    /// Joins told figures with those of another limit that denies as well: the least that remains
    /// of both, and the longest time until all is back.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        let reset_after = u64::try_from(other.reset_after().as_nanos()).unwrap_or(NEVER);
        (self.state, self.now) = (self.state.min(other.remaining()), self.now.max(reset_after));
        self
    }

    /// Returns the time until nothing is owed.
    pub(crate) fn owes(&self) -> Duration {
        self.until(0, Patience::NONE).unwrap_or_default()
    }

    /// Returns whether the figures were computed when they were made.
    pub(crate) fn is_told(&self) -> bool {
        self.kind() == AnswerKind::Told
    }

    pub(crate) fn table_full(&self) -> bool {
        self.kind() == AnswerKind::TableFull
    }

    /// Returns the longest wait, in units, of a caller that waits for at most this many tokens and
    /// at most the time `within`; and which of the two bounds it.
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

    /// Returns the longest wait for a place in a bucket's queue or a window, which must not lie
    /// further ahead than a state can express.
    pub(crate) fn longest_of_place(
        &self,
        tokens: u64,
        within: Option<Duration>,
    ) -> (u64, Patience) {
        let (longest, patience) = self.longest(tokens, within);
        let most = self.terms.rule().furthest_place();
        if most < longest { (most, Patience::Units(most)) } else { (longest, patience) }
    }

    /// Returns the figures of the same state when `units` more have flowed. Figures that another
    /// store computed move on by `told` nanoseconds instead. Divides nothing, since few callers ask
    /// for the figures of a wait.
    pub(crate) fn after(self, units: u64, told: u64) -> Self {
        if self.is_told() {
            return Self { now: self.now.saturating_sub(told), ..self };
        }
        if units == 0 {
            return self;
        }
        // A window's units do not give the exact nanosecond at which they flowed.
        let nanos = if self.terms.is_window() {
            self.nanos.saturating_add(self.nanos_of(units))
        } else {
            AS_IT_FLOWS
        };
        Self { now: self.now.wrapping_add(units), nanos, ..self }
    }

    /// Returns the time until `units` more have flowed, in nanoseconds.
    pub(crate) fn nanos_of(&self, units: u64) -> u64 {
        u64::try_from(self.wait(units).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the time until `units` more have flowed.
    pub(crate) fn wait(&self, units: u64) -> Duration {
        let nanos = self.terms.pace().wait(self.nanos, self.now, units);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        // The remainder is under 10^9.
        Duration::new(seconds, (nanos % 1_000_000_000) as u32)
    }
}
