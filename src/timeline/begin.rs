//! Where another line begins.
//!
//! A change announces the line before it, the new quota and a shift, but not the moment: whoever changes the quota may
//! be stopped between a reading of the clock and the announcement, and checks that read the clock meanwhile would
//! count that time by the old line, and all checks after them once more by the new one. So a line begins when
//! it is first seen. The first user that needs it reads the clock, and puts its reading there; all others
//! compute with that one. Nobody waits: a thread that is stopped before it has put its reading there finds that of another.
//!
//! ```text
//!            old generation            |            new generation
//!   readings that are taken by it   <= | the beginning's reading <= those that are taken by it
//! ```
//!
//! ORDERING: a reading is taken by the old line if the old generation is seen after it. The beginning's reading comes
//! after the new generation was seen, and after a SeqCst fence: so it is the later one, even of the thread
//! that has raised the generation, whose store may otherwise reach the others after its reading.

use super::announced::Beginning;
use super::{Announced, Change, Moment, Segment, Slope, Timeline};
use crate::algorithm::Terms;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::sync::Ordering::SeqCst;
use crate::sync::fence;

/// By how many ticks one user's clock may lag behind another's that has begun a line: 13 days in nanoseconds. A beginning
/// that is further ahead is no clock's, and the line is corrupt.
const LAG: u64 = 1 << 50;

/// Where a line would begin at the moment of its change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    units: u64,
    /// What of a unit has been counted in them, in 2^-64 of one.
    counted: u64,
}

impl Begin {
    /// Where every bucket has what it had.
    pub(crate) fn as_is(now: &Moment, next: &Terms) -> Result<Self, QuotaError> {
        now.terms().as_is(next, now.units).map(Self::at)
    }

    pub(crate) fn at(units: u64) -> Self {
        Self { units, counted: 0 }
    }

    /// Where a bucket in this state has the same share of its burst.
    pub(crate) fn proportional(now: &Moment, next: &Terms, state: u64) -> Result<Self, QuotaError> {
        let counted = now.rest();
        let units = now.terms().proportional(next, state, now.units, counted)?;
        Ok(Self { units, counted })
    }

    /// The change to a quota that begins there.
    pub(super) fn change(&self, now: &Moment, quota: Quota) -> Change {
        let shift = self.units.wrapping_sub(now.units);
        Change { quota, before: now.segment, shift, counted: self.counted }
    }

    /// How far that is before the moment at which the last line ends.
    pub(crate) fn before(&self, units: u64) -> u64 {
        (units.wrapping_sub(self.units) as i64).max(0) as u64
    }
}

impl Timeline {
    /// The slope of a generation, which begins if it has not; `None` if its line is corrupt, or no longer meant.
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

    /// Whether a beginning is too far ahead; the upper half is the past.
    fn is_absurd(&self, began: u64) -> bool {
        (LAG..1 << 63).contains(&began.wrapping_sub(self.timer.ticks()))
    }

    /// The line that a change makes, if it begins at these ticks: the same for all who compute it.
    pub(super) fn segment_of(&self, change: &Change, began: u64) -> Segment {
        let before = self.slope_of(change.before);
        let now = self.moment(before, self.reading(&before, began));
        let (units, ticks) = self.in_period(&now, change);
        Segment { quota: change.quota, units, ticks }
    }

    /// Where a line begins, so that periods end when they should: of an aligned limiter by its calendar, at intervals a
    /// period after the last one, unless that is over by then.
    fn in_period(&self, now: &Moment, change: &Change) -> (u64, u64) {
        let next = self.first.with(change.quota);
        // Not before the last line, even if the clock that began this one was a little behind.
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
        // What has flowed of the next unit is not lost: often enough, it would be all.
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
    /// As a thread computes a line before it is stopped.
    pub(crate) fn slope_in_force(&self, announced: &Announced) -> Option<(u64, Slope)> {
        let generation = announced.generation.load(crate::sync::Ordering::Acquire);
        Some((generation, self.slope(announced, generation)?))
    }

    /// As that thread caches it when it goes on.
    pub(crate) fn cache(&self, (generation, slope): (u64, Slope)) {
        self.slots[(generation & 1) as usize].store(generation, slope);
    }
}
