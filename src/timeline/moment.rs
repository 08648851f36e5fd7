//! Moments: readings of the clock, with the quota that was in force.

use super::Slope;
use crate::algorithm::{Rule, Terms};
use crate::answer::{Denied, Figures, Grant};
use crate::quota::Quota;
use crate::time::Ratio;

/// A quota, and the moment from which it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) quota: Quota,
    pub(super) units: u64,
    pub(super) ticks: u64,
}

/// A quota that was found to be in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InForce {
    pub(super) generation: u64,
    pub(crate) slope: Slope,
}

impl InForce {
    /// Returns the burst, or a window's count.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        self.slope.segment.quota.burst_size()
    }
}

/// A reading of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Token time.
    pub(crate) units: u64,
    /// The clock's ticks since the quota came into force.
    pub(super) since: u64,
}

/// A reading, and the quota that was in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Token time.
    pub(crate) units: u64,
    pub(super) since: u64,
    pub(super) segment: Segment,
    pub(super) terms: Terms,
    pub(super) tick: Ratio,
}

impl Moment {
    /// Returns the decisions under the quota.
    #[inline(always)]
    pub(crate) fn rule(&self) -> Rule {
        self.terms.rule()
    }

    pub(crate) fn quota(&self) -> Quota {
        self.terms.quota
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Returns the flow beyond the whole units, in 2^-64 of a unit.
    pub(crate) fn rest(&self) -> u64 {
        let stepped = self.terms.is_stepped();
        if stepped { 0 } else { self.terms.ratio(self.tick).rest_of(self.since) }
    }

    /// Returns the burst, or a window's count.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        self.rule().limit()
    }

    /// Returns the same moment under other terms of the same layout.
    #[inline(always)]
    pub(crate) fn under(self, terms: impl FnOnce(Terms) -> Terms) -> Self {
        Self { terms: terms(self.terms), ..self }
    }

    /// Returns the same moment, but not before the time of `units`.
    pub(crate) fn not_before(self, units: u64) -> Self {
        Self { units: self.units.max(units), ..self }
    }

    /// Returns whether a place, as its algorithm remembers it, is not due yet.
    pub(crate) fn is_due_later(&self, place: u64) -> bool {
        self.rule().until_place(place, self.units) > 0
    }

    /// Returns whether this moment is more than a second after another one, or under another quota.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_long_after(&self, other: &Self) -> bool {
        let ticks = self.since.wrapping_sub(other.since);
        self.segment != other.segment || self.tick.of(ticks) > 1_000_000_000
    }

    /// Returns the moment that is `time` later, if the quota stays.
    #[cfg(feature = "tokio")]
    pub(crate) fn after(self, time: core::time::Duration) -> Self {
        let Figures { now, nanos, terms, .. } = self.figures(0);
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let units = self.units.wrapping_add(terms.pace().reach(nanos, now, time));
        Self { units, since: self.since.wrapping_add(self.tick.ticks_of(time)), ..self }
    }

    /// Turns `state` into an answer's figures.
    #[inline(always)]
    pub(crate) fn figures(&self, state: u64) -> Figures {
        let Segment { units, ticks, .. } = self.segment;
        // A bucket's figures count from the change on, where its segment is that of a new limiter.
        // A window's state holds the window's number, and stays.
        let (from, before) = if self.terms.is_window() { (0, ticks) } else { (units, 0) };
        let nanos = self.tick.of(self.since.wrapping_add(before));
        let now = self.units.wrapping_sub(from);
        Figures::new(self.terms, state.wrapping_sub(from), now, nanos)
    }

    #[inline(always)]
    pub(crate) fn grant(&self, granted: u64, state: u64) -> Grant {
        Grant::new(granted, self.figures(state))
    }

    #[inline(always)]
    pub(crate) fn denied(&self, asked: u64, state: u64) -> Denied {
        Denied::new(asked, self.figures(state))
    }
}
