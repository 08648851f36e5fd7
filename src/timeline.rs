//! A quota that can change while its limiter runs.
//!
//! Token time is a linear function of the clock: `base units + (ticks - base ticks) * rate`. A
//! change of the quota begins a new segment with another slope. Time before the change is settled
//! at the old rate, so every word keeps its meaning and no word is rewritten.
//!
//! A change of the burst also shifts the new segment by the difference, so that each bucket keeps
//! the tokens that it has and no key gets a fresh burst. A shift may point backwards. So that it
//! never leads to before the beginning of the first segment, the first segment does not begin at
//! zero, unless its time wraps.
//!
//! ```text
//!   announced, in the table's memory:  generation g   changes g and g - 1 (or g + 1, half written)
//!   cached, in this process:                          segments g and g - 1, with their multipliers
//! ```
//!
//! The lowest bit of the generation selects one of two changes. The writer fills the other one,
//! then raises the generation: a process that is killed in between has changed nothing. The segment
//! begins when the first reader sees it, see `begin.rs`.
//!
//! A reader loads the generation and the segment, reads the clock, and loads the generation again.
//! If the generation is the same, the clock was read while the segment was in force, and one quota
//! makes the whole decision. That costs a check two loads. Under the first quota it costs one,
//! since the first segment need not be loaded.
//!
//! No thread waits for another one: a thread that cannot cache a segment, because another thread is
//! caching it, computes the segment for itself.
//!
//! ORDERING: the generation is stored with Release after its change, and loaded with Acquire before
//! it. Changes and segments are written after a Release fence, and the second load of the
//! generation comes after an Acquire fence: a reader of a word that is being overwritten then sees
//! a later generation, which the writer had seen. The same fence comes between the clock and the
//! generation, so that a reading after a segment's beginning is never computed with the segment
//! before.

mod announced;
mod begin;
mod cached;
mod change;
mod moment;
mod schedule;
#[cfg(test)]
mod tests;

pub(crate) use announced::Announced;
pub(crate) use begin::Begin;
pub(crate) use cached::Slope;
pub(crate) use moment::{InForce, Moment, Reading};
pub(crate) use schedule::Schedule;

use crate::algorithm::{Rule, Terms, TokenBucket};
use crate::answer::Figures;
use crate::clock::Timer;
use crate::sync::Ordering::{Acquire, Relaxed};
use crate::sync::{AtomicU64, fence};
use crate::time::Ratio;
use announced::Change;
use cached::Slot;
use crossbeam_utils::CachePadded;
use moment::Segment;

/// A clock, and the segments that all users of a table agree on.
#[derive(Debug)]
pub(crate) struct Timeline {
    timer: Timer,
    tick: Ratio,
    /// The terms of the first quota, which the word's layout was chosen for.
    first: Terms,
    end: u64,
    /// The slope of the first quota. It needs no cache, and most limiters never get another quota.
    initial: Slope,
    smooth: Option<TokenBucket>,
    slots: [CachePadded<Slot>; 2],
    /// Held by the thread of this process that is changing the quota.
    changing: AtomicU64,
}

impl Timeline {
    pub(crate) fn new(terms: Terms, timer: Timer) -> Self {
        let tick = timer.tick();
        let slots = [CachePadded::new(Slot::empty()), CachePadded::new(Slot::empty())];
        let changing = AtomicU64::new(0);
        let segment = Segment { quota: terms.quota, units: terms.head_start(), ticks: 0 };
        let initial = Slope { ratio: terms.ratio(tick), segment };
        let smooth = match terms.rule() {
            Rule::Bucket(bucket) if !terms.is_stepped() => Some(bucket),
            _ => None,
        };
        Self { tick, end: terms.end(), first: terms, initial, smooth, timer, slots, changing }
    }

    /// Returns the terms in force.
    #[inline]
    pub(crate) fn terms(&self, announced: &Announced) -> Terms {
        if let Some(seen) = self.in_force(announced) {
            fence(Acquire);
            // If the generation has changed, the words may be of two segments.
            if announced.generation.load(Relaxed) == seen.generation {
                return self.first.with(seen.slope.segment.quota);
            }
        }
        self.now_slowly(announced).terms
    }

    /// Turns `state` into an answer's figures, at a moment of the first quota's smooth flow.
    #[inline(always)]
    pub(crate) fn figures(&self, reading: Reading, state: u64) -> Figures {
        let from = self.initial.segment.units;
        let now = reading.units.wrapping_sub(from);
        Figures::new(self.first, state.wrapping_sub(from), now, self.tick.of(reading.since))
    }

    /// Returns whether the segment of a moment is still in force. Does not read the clock.
    pub(crate) fn is_current(&self, announced: &Announced, now: &Moment) -> bool {
        if !self.has_changed(announced) {
            return now.segment == self.initial.segment;
        }
        // A change that is being made just now comes after this call.
        self.in_force(announced).is_some_and(|seen| seen.slope.segment == now.segment)
    }

    /// Returns whether the first quota is no longer in force.
    #[inline(always)]
    pub(crate) fn has_changed(&self, announced: &Announced) -> bool {
        announced.generation.load(Relaxed) != 0
    }

    /// Returns the terms of the first quota. Every later quota has the same algorithm and layout.
    #[inline(always)]
    pub(crate) fn first(&self) -> &Terms {
        &self.first
    }

    /// Returns the first quota's rule, if it is a bucket that flows smoothly. The rule is the
    /// limiter's while the quota has [not changed](Self::read_smoothly).
    #[inline(always)]
    pub(crate) fn smooth(&self) -> Option<&TokenBucket> {
        self.smooth.as_ref()
    }

    /// Reads the clock. `None`: by then the first quota was no longer in force. A generation only
    /// grows, so one load after the clock is enough.
    #[inline(always)]
    fn ticks_unchanged(&self, announced: &Announced) -> Option<u64> {
        let ticks = self.timer.ticks();
        fence(Acquire);
        if announced.generation.load(Relaxed) != 0 {
            return None;
        }
        Some(ticks)
    }

    /// Reads the clock once by the first quota, if that is still in force.
    #[inline(always)]
    pub(crate) fn read_unchanged(&self, announced: &Announced) -> Option<Reading> {
        Some(self.units(&self.initial, self.ticks_unchanged(announced)?))
    }

    /// Reads the clock as [`read_unchanged`](Self::read_unchanged) does, for a smooth flow: all
    /// that a check of a keyed limiter needs.
    #[inline(always)]
    pub(crate) fn read_smoothly(&self, announced: &Announced) -> Option<Reading> {
        debug_assert!(!self.first.is_stepped());
        let since = self.ticks_unchanged(announced)?;
        Some(self.until_end(self.initial.ratio.of(since), &self.initial, since))
    }

    /// Reads the clock as [`read_unchanged`](Self::read_unchanged) does, for a time that
    /// [wraps](Terms::wraps): all that a check of a direct limiter needs.
    #[inline(always)]
    pub(crate) fn read_wrapping(&self, announced: &Announced) -> Option<Reading> {
        debug_assert!(self.first.wraps() && !self.first.is_stepped());
        let since = self.ticks_unchanged(announced)?;
        Some(Reading { units: self.initial.ratio.of(since), since })
    }

    /// Joins a reading of the first quota with that quota.
    #[inline(always)]
    pub(crate) fn unchanged_moment(&self, reading: Reading) -> Moment {
        self.moment(self.initial, reading)
    }

    /// Returns the quota in force, if this process has computed with it before.
    #[inline(always)]
    pub(crate) fn in_force(&self, announced: &Announced) -> Option<InForce> {
        let generation = announced.generation.load(Acquire);
        let slot = &self.slots[(generation & 1) as usize];
        // No generation reaches 2^63, but a corrupt file's may look like an empty slot's.
        let cached = slot.generation.load(Acquire) == generation && generation >> 63 == 0;
        cached.then(|| InForce { generation, slope: slot.load() })
    }

    /// Returns the rule of a token or leaky bucket under that quota; `None` for a window.
    #[inline(always)]
    pub(crate) fn bucket(&self, seen: &InForce) -> Option<TokenBucket> {
        match self.first.with(seen.slope.segment.quota).rule() {
            Rule::Bucket(bucket) => Some(bucket),
            _ => None,
        }
    }

    /// Reads the clock once. `None`: by then the quota was no longer in force.
    #[inline(always)]
    pub(crate) fn read(&self, announced: &Announced, seen: &InForce) -> Option<Reading> {
        let ticks = self.timer.ticks();
        fence(Acquire);
        let still = announced.generation.load(Relaxed) == seen.generation;
        still.then(|| self.reading(&seen.slope, ticks))
    }

    #[inline(always)]
    fn reading(&self, slope: &Slope, ticks: u64) -> Reading {
        let since = ticks.wrapping_sub(slope.segment.ticks);
        // The clock of another core may be a little behind the change.
        self.units(slope, if since >> 60 == 15 { 0 } else { since })
    }

    #[inline(always)]
    fn units(&self, slope: &Slope, since: u64) -> Reading {
        let mut units = slope.ratio.of(since);
        if self.first.is_stepped() {
            units = self.first.with(slope.segment.quota).step(units);
        }
        self.until_end(units, slope, since)
    }

    #[inline(always)]
    fn until_end(&self, flowed: u64, slope: &Slope, since: u64) -> Reading {
        let units = flowed.wrapping_add(slope.segment.units);
        Reading { units: if units > self.end { self.ended() } else { units }, since }
    }

    /// Returns the end of time. A call, not a select: the branch is predicted, so nothing waits for
    /// the comparison.
    #[cold]
    #[inline(never)]
    fn ended(&self) -> u64 {
        self.end
    }

    /// Joins a reading with the quota that was in force.
    #[inline(always)]
    pub(crate) fn moment(&self, slope: Slope, reading: Reading) -> Moment {
        let Reading { units, since } = reading;
        Moment {
            units,
            since,
            segment: slope.segment,
            terms: self.first.with(slope.segment.quota),
            tick: self.tick,
        }
    }

    /// Reads the clock once, by the quota that is in force.
    #[inline(always)]
    pub(crate) fn now(&self, announced: &Announced) -> Moment {
        if announced.generation.load(Relaxed) == 0
            && let Some(reading) = self.read_unchanged(announced)
        {
            return self.unchanged_moment(reading);
        }
        if let Some(seen) = self.in_force(announced)
            && let Some(reading) = self.read(announced, &seen)
        {
            return self.moment(seen.slope, reading);
        }
        self.now_slowly(announced)
    }

    /// Computes and caches the segment after a change, then reads the clock.
    #[cold]
    #[inline(never)]
    fn now_slowly(&self, announced: &Announced) -> Moment {
        loop {
            let generation = announced.generation.load(Acquire);
            let slope = self.slope(announced, generation);
            if let Some(slope) = slope {
                self.slots[(generation & 1) as usize].store(generation, slope);
            }
            let ticks = self.timer.ticks();
            fence(Acquire);
            if announced.generation.load(Relaxed) == generation {
                // A corrupt change makes no segment: the first quota is in force again.
                let slope = slope.unwrap_or(self.initial);
                return self.moment(slope, self.reading(&slope, ticks));
            }
            core::hint::spin_loop();
        }
    }
}
