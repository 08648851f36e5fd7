//! The moment at which another segment begins.
//!
//! A change announces the segment before it, the new quota and a shift, but not the moment. The
//! thread that changes the quota may be stopped between its reading of the clock and the
//! announcement. Checks that read the clock meanwhile would count that time by the old segment, and
//! all later checks would count it once more by the new one.
//!
//! So a segment begins when it is first seen. The first user that needs it reads the clock and
//! stores its reading in the announcement; all others compute with that reading. No thread waits: a
//! thread that is stopped before it has stored its reading finds that of another thread.
//!
//! ```text
//!             old generation            |            new generation
//!   readings by the old segment      <= | the beginning's reading <= readings by the new one
//! ```
//!
//! ORDERING: a reading counts by the old segment if the old generation is seen after it. The
//! beginning's reading comes after the new generation was seen, and after a SeqCst fence. So it is
//! the later one, even for the thread that has raised the generation, whose store may otherwise
//! reach the others after its reading.

use super::announced::Beginning;
use super::{Announced, Change, Moment, Segment, Slope, Timeline};
use crate::algorithm::Terms;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::sync::Ordering::SeqCst;
use crate::sync::fence;

/// The most ticks by which one user's clock may lag behind the clock of the user that has begun a
/// segment: 13 days in nanoseconds. No clock is further ahead, so such a beginning is corrupt.
const LAG: u64 = 1 << 50;

/// The beginning that a segment would have at the moment of its change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    units: u64,
    /// The part of a unit that `units` includes, in 2^-64 of a unit.
    counted: u64,
}

impl Begin {
    /// Computes the beginning at which every bucket keeps what it has.
    pub(crate) fn as_is(now: &Moment, next: &Terms) -> Result<Self, QuotaError> {
        now.terms().as_is(next, now.units).map(Self::at)
    }

    pub(crate) fn at(units: u64) -> Self {
        Self { units, counted: 0 }
    }

    /// Computes the beginning at which a bucket in this state keeps its share of the burst.
    pub(crate) fn proportional(now: &Moment, next: &Terms, state: u64) -> Result<Self, QuotaError> {
        let counted = now.rest();
        let units = now.terms().proportional(next, state, now.units, counted)?;
        Ok(Self { units, counted })
    }

    /// Returns the change to a quota that begins here.
    pub(super) fn change(&self, now: &Moment, quota: Quota) -> Change {
        let shift = self.units.wrapping_sub(now.units);
        Change { quota, before: now.segment, shift, counted: self.counted }
    }

    /// Returns by how much the beginning is before the end of the last segment, at `units`.
    pub(crate) fn before(&self, units: u64) -> u64 {
        (units.wrapping_sub(self.units) as i64).max(0) as u64
    }
}

impl Timeline {
    /// Returns the slope of a generation, and begins the generation if it has not begun. `None` if
    /// the change is corrupt, or its generation over.
    pub(super) fn slope(&self, announced: &Announced, generation: u64) -> Option<Slope> {
        if generation == 0 {
            return Some(self.initial);
        }
        let (change, beginning) = announced.read(generation)?;
        let admits = |quota| quota == self.first.quota || self.first.admits(&quota).is_ok();
        if !admits(change.quota) || !admits(change.before.quota) {
            return None;
        }
        let began = match beginning.seen() {
            Some(began) if self.is_absurd(began) => return None,
            Some(began) => began,
            None => self.begin(&beginning),
        };
        Some(self.slope_of(self.segment_of(&change, began)))
    }

    fn begin(&self, beginning: &Beginning<'_>) -> u64 {
        fence(SeqCst);
        beginning.put(self.timer.ticks())
    }

    /// Returns whether a beginning is too far ahead. The upper half is the past.
    fn is_absurd(&self, began: u64) -> bool {
        (LAG..1 << 63).contains(&began.wrapping_sub(self.timer.ticks()))
    }

    /// Computes the segment that a change makes if it begins at these ticks. All users compute the
    /// same.
    pub(super) fn segment_of(&self, change: &Change, began: u64) -> Segment {
        let before = self.slope_of(change.before);
        let now = self.moment(before, self.reading(&before, began));
        let (units, ticks) = self.in_period(&now, change);
        Segment { quota: change.quota, units, ticks }
    }

    /// Computes the units and ticks at which a segment begins, so that periods end when they
    /// should. An aligned limiter keeps its calendar. At intervals, the first period ends a period
    /// after the last boundary, unless that is over by then.
    fn in_period(&self, now: &Moment, change: &Change) -> (u64, u64) {
        let next = self.first.with(change.quota);
        // Not before the last segment, even if the clock that began this one was a little behind.
        let ticks = now.segment.ticks.wrapping_add(now.since);
        let (rest, borrows) = now.rest().overflowing_sub(change.counted);
        let units = self.shifted(now.units, change.shift.wrapping_sub(borrows.into()));
        let period = next.quota.period_ns();
        let by_calendar = self.timer.since_boundary(ticks, period);
        if next.is_stepped() {
            let last = self.tick.of(now.since) % now.quota().period_ns();
            let gone = by_calendar.unwrap_or(last);
            let gone = if gone < period { gone } else { 0 };
            return (units, ticks.wrapping_sub(self.tick.ticks_of(gone)));
        }
        if next.is_window() {
            return (by_calendar.map_or(units, |gone| next.within_window(units, gone)), ticks);
        }
        // What has flowed of the next unit is kept: many changes in a row would otherwise lose all
        // of the flow.
        (units, ticks.wrapping_sub(next.ratio(self.tick).ticks_of_rest(rest)))
    }

    fn shifted(&self, units: u64, shift: u64) -> u64 {
        if self.first.wraps() {
            return units.wrapping_add(shift);
        }
        units.saturating_add_signed(shift.cast_signed()).min(self.end)
    }

    fn slope_of(&self, segment: Segment) -> Slope {
        let segment = Segment { units: segment.units.min(self.end), ..segment };
        Slope { ratio: self.first.with(segment.quota).ratio(self.tick), segment }
    }
}

#[cfg(any(sluicegate_loom, sluicegate_shuttle))]
impl Timeline {
    /// Computes the slope in force, as a thread does before it is stopped.
    pub(crate) fn slope_in_force(&self, announced: &Announced) -> Option<(u64, Slope)> {
        let generation = announced.generation.load(crate::sync::Ordering::Acquire);
        Some((generation, self.slope(announced, generation)?))
    }

    /// Caches the slope, as that thread does when it goes on.
    pub(crate) fn cache(&self, (generation, slope): (u64, Slope)) {
        self.slots[(generation & 1) as usize].store(generation, slope);
    }
}
