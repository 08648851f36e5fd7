//! A place in the waiting queue.

use super::{Since, Span, Whose};
use crate::algorithm::GivenUp;
use crate::answer::{Figures, Grant};
use crate::timeline::Moment;
use core::time::Duration;

/// A place in the waiting queue.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) whose: Whose,
    pub(crate) n: u64,
    /// The place as the algorithm remembers it.
    pub(crate) place: u64,
    /// The state that the place made.
    pub(crate) made: u64,
    /// The time at which it was taken.
    pub(crate) since: Since,
    /// The wait until it was due, when it was taken, in units.
    pub(crate) wait: u64,
    /// The wait in nanoseconds, for told figures, from which it cannot be computed.
    pub(crate) told: u64,
    /// The state that the place made, at the moment at which it was made.
    pub(crate) at: Figures,
}

impl Place {
    /// Makes a place that is due already.
    #[inline]
    pub(crate) fn at_once(whose: Whose, n: u64, made: u64, since: Since, at: Figures) -> Self {
        Self { whose, n, place: made, made, since, wait: 0, told: 0, at }
    }

    /// Makes a place that ends at `end`, with the figures of the bucket then.
    pub(crate) fn ending(whose: Whose, n: u64, end: u64, since: Since, now: &Moment) -> Self {
        let at = now.figures(end);
        let wait = now.rule().until_place(end, now.units);
        Self { whose, n, place: end, made: end, since, wait, told: 0, at }
    }

    /// Returns the wait until the place was due, when it was taken.
    pub(crate) fn waits(&self) -> Duration {
        let nanos = if self.at.is_told() { self.told } else { self.at.nanos_of(self.wait) };
        Duration::from_nanos(nanos)
    }

    /// Returns the limiter's answer as it will be when the place is due.
    pub(crate) fn grant(&self) -> Grant {
        Grant::new(self.n, self.at.after(self.wait, self.told))
    }

    /// Returns the last `n` tokens of the place as a span of token time. `None` for windows, which
    /// have no spans, and for keys that share a bucket since they have no slot.
    pub(crate) fn span_of(&self, n: u64) -> Option<Span> {
        let rule = self.at.terms.rule();
        let worth = |n| rule.worth(n);
        let units = worth(self.n)? - worth(self.n.saturating_sub(n))?;
        (!self.whose.shared).then(|| Span::ending(self.place, units))
    }

    /// Returns the give-back of `n` tokens of the place. `place` is what is remembered of it,
    /// `returned` the units that other callers have given back.
    pub(crate) fn given(&self, place: u64, n: u64, returned: u64) -> GivenUp {
        let rule = self.at.terms.rule();
        let worth = |n| rule.worth(n).unwrap_or(0);
        let units = worth(self.n) - worth(self.n.saturating_sub(n));
        GivenUp { place, n, made: self.made, units, returned }
    }

    /// Returns the units by which token time was shifted back since the place was taken, for a
    /// larger burst.
    ///
    /// A bucket that had been full then lacks the difference, and its full time lies ahead again.
    /// The remembered place is shifted as well, so that it still shows that the bucket had been
    /// full.
    fn shift(&self, now: &Moment) -> u64 {
        // Figures that another store computed do not come from this token time.
        if self.at.is_told() {
            return 0;
        }
        now.terms().burst_units().saturating_sub(self.at.terms.burst_units())
    }

    /// Returns what is remembered of the place, as the quota in force would have it.
    pub(crate) fn place_by(&self, now: &Moment) -> u64 {
        self.place.wrapping_sub(self.shift(now))
    }

    /// Returns a span of the place as the quota in force would have it, with `returned` units given
    /// back since. Those went back from the end of a queue in which no caller waited, so the places
    /// taken before moved down with it.
    pub(crate) fn by_now(&self, span: Span, returned: u64, now: &Moment) -> Span {
        let down = self.shift(now).wrapping_add(returned);
        Span { start: span.start.wrapping_sub(down), end: span.end.wrapping_sub(down) }
    }
}

impl core::fmt::Debug for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Place").field("n", &self.n).field("waits", &self.waits()).finish()
    }
}
