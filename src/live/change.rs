//! Another line from now on.
//!
//! Whoever changes the quota is alone in its process by a [`Turn`].

use super::{Announced, Line, Live, Moment};
use crate::algorithm::Terms;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::sync::Ordering::Acquire;
use crate::sync::Turn;

/// How often a change of the quota tries while another one is under way.
const TRIES: u32 = 10_000;

/// Where a line begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    pub(crate) units: u64,
    /// Whether it goes on in the middle of a unit, as the last one ended.
    pub(crate) flows_on: bool,
}

impl Begin {
    /// Where every bucket has what it had.
    pub(crate) fn as_is(now: &Moment, next: &Terms) -> Result<Self, QuotaError> {
        let units = now.terms().as_is(next, now.units)?;
        Ok(Self { units, flows_on: true })
    }

    /// Where the last one ends.
    pub(crate) fn flowing_on(now: &Moment) -> Self {
        Self { units: now.units, flows_on: true }
    }

    pub(crate) fn at(units: u64) -> Self {
        Self { units, flows_on: false }
    }

    /// How far that is before the moment at which the last line ends.
    pub(crate) fn before(&self, units: u64) -> u64 {
        (units.wrapping_sub(self.units) as i64).max(0) as u64
    }
}

impl Live {
    /// Puts another quota in force, from that token time on which `begin` makes of the moment and of the next
    /// terms: what it is more or less than the moment's is what every bucket gains or loses.
    /// The caller sees to it that no other process does so meanwhile.
    pub(crate) fn change(
        &self,
        announced: &Announced,
        quota: Quota,
        begin: impl FnOnce(&Moment, &Terms) -> Result<Begin, QuotaError>,
    ) -> Result<(), QuotaError> {
        self.first.admits(&quota)?;
        for _ in 0..TRIES {
            if let Some(_alone) = Turn::take(&self.changing) {
                return self.change_alone(announced, quota, begin);
            }
            #[cfg(feature = "std")]
            std::thread::yield_now();
            core::hint::spin_loop();
        }
        Err(QuotaError::CHANGING)
    }

    /// Where a line begins, so that periods end when they should: of an aligned limiter by its calendar, at intervals a
    /// period after the last one, unless that is over by then.
    fn in_period(&self, now: &Moment, next: &Terms, begin: Begin, ticks: u64) -> (u64, u64) {
        let Begin { units, flows_on } = begin;
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
        let rest = if flows_on { now.rest() } else { 0 };
        (units, ticks.wrapping_sub(next.ratio(self.tick).ticks_of_rest(rest)))
    }

    fn change_alone(
        &self,
        announced: &Announced,
        quota: Quota,
        begin: impl FnOnce(&Moment, &Terms) -> Result<Begin, QuotaError>,
    ) -> Result<(), QuotaError> {
        let generation = announced.generation.load(Acquire);
        let now = self.now(announced);
        let next = self.first.with(quota);
        let ticks = now.line.ticks.wrapping_add(now.since);
        let begin = begin(&now, &next)?;
        let (units, ticks) = self.in_period(&now, &next, begin, ticks);
        if !next.lasts_a_year_from(units) {
            return Err(QuotaError::HORIZON);
        }
        if quota != now.quota() || units != now.units {
            announced.publish(generation, Line { quota, units, ticks });
        }
        Ok(())
    }
}
