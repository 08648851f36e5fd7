//! A quota that changes while its limiter runs.
//!
//! Token time is a line over the clock: `base units + (ticks - base ticks) * rate`. A change gives it another
//! slope from the moment of the change on, so what had flowed by then is settled at the old rate, and
//! every word keeps its meaning. No word is rewritten. Where the burst changes, the line is shifted by the
//! difference as well, so that what a bucket *has* stays what it is: nobody gets a fresh burst. Lest a shift
//! back should lead to before the line's beginning, the first line does not begin at zero, unless it wraps.
//!
//! ```text
//!   announced, in the table's memory:   generation g      changes g and g - 1 (or g + 1, half written)
//!   cached, in this process's:          lines g and g - 1, with their multipliers
//! ```
//!
//! The generation's lowest bit says which of two changes is meant. A change is written where none is
//! meant, then the generation is raised: a process killed in between has changed nothing. Its line begins when
//! somebody first sees it, see `begin.rs`. A reader takes the generation, the line, the clock's reading, and the generation
//! again: if that is the same, the clock was read while the line was in force, and the decision is wholly by one quota. That
//! costs a check two loads; by the first quota, which needs no line to be loaded, only the second. Nobody waits for
//! anybody: a thread that cannot cache a line, because another one is just at it, computes it for itself.
//!
//! ORDERING: a generation is stored with Release after its change, and loaded with Acquire before it. Changes and lines are
//! written after a Release fence, and the second look at the generation comes after an Acquire fence: a reader of
//! a word that is being overwritten then sees a later generation, which the writer had seen. The same fence comes
//! between the clock and the generation, so that a reading after a line's beginning is not taken by the line before.

mod announced;
mod begin;
mod cached;
mod change;
mod schedule;
#[cfg(test)]
mod tests;

pub(crate) use announced::Announced;
pub(crate) use begin::Begin;
pub(crate) use cached::Slope;
pub(crate) use schedule::Schedule;

use crate::algorithm::{Rule, Terms, TokenBucket};
use crate::answer::{Denied, Figures, Grant};
use crate::clock::Timer;
use crate::quota::Quota;
use crate::sync::Ordering::{Acquire, Relaxed};
use crate::sync::{AtomicU64, fence};
use crate::time::Ratio;
use announced::Change;
use cached::Slot;
use crossbeam_utils::CachePadded;

/// A quota, and from when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    quota: Quota,
    units: u64,
    ticks: u64,
}

/// A quota that was found to be in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InForce {
    generation: u64,
    pub(crate) slope: Slope,
}

impl InForce {
    /// The burst, or a window's count.
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
    since: u64,
}

/// A reading, and the quota that was in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Token time.
    pub(crate) units: u64,
    since: u64,
    segment: Segment,
    terms: Terms,
    tick: Ratio,
}

impl Moment {
    /// The decisions under the quota.
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

    /// What has flowed beyond the whole units, in 2^-64 of one.
    pub(crate) fn rest(&self) -> u64 {
        let stepped = self.terms.is_stepped();
        if stepped { 0 } else { self.terms.ratio(self.tick).rest_of(self.since) }
    }

    /// The burst, or a window's count.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        self.rule().limit()
    }

    /// The same moment under other terms of the same layout.
    #[inline(always)]
    pub(crate) fn under(self, terms: impl FnOnce(Terms) -> Terms) -> Self {
        Self { terms: terms(self.terms), ..self }
    }

    /// The same, but not before the time of `units`.
    pub(crate) fn not_before(self, units: u64) -> Self {
        Self { units: self.units.max(units), ..self }
    }

    /// Whether a place, as its algorithm remembers it, is not due yet.
    pub(crate) fn is_due_later(&self, place: u64) -> bool {
        self.rule().until_place(place, self.units) > 0
    }

    /// Whether it is more than a second after another moment, or under another quota.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_long_after(&self, other: &Self) -> bool {
        let ticks = self.since.wrapping_sub(other.since);
        self.segment != other.segment || self.tick.of(ticks) > 1_000_000_000
    }

    /// The moment after this time, if the quota stays.
    #[cfg(feature = "tokio")]
    pub(crate) fn after(self, time: core::time::Duration) -> Self {
        let Figures { now, nanos, terms, .. } = self.figures(0);
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let units = self.units.wrapping_add(terms.pace().reach(nanos, now, time));
        Self { units, since: self.since.wrapping_add(self.tick.ticks_of(time)), ..self }
    }

    /// `state` as an answer's figures.
    #[inline(always)]
    pub(crate) fn figures(&self, state: u64) -> Figures {
        let Segment { units, ticks, .. } = self.segment;
        // From the moment of the change on, where a bucket's line is that of a new limiter. A
        // window's state bears its number, and stays.
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

/// A clock, and the line that a table's users agree on.
#[derive(Debug)]
pub(crate) struct Timeline {
    timer: Timer,
    tick: Ratio,
    /// The first quota's, which the word's layout was chosen for.
    first: Terms,
    end: u64,
    /// The first quota's slope, which needs no cache: most limiters never get another.
    initial: Slope,
    smooth: Option<TokenBucket>,
    slots: [CachePadded<Slot>; 2],
    /// Taken by a thread of this process that is changing the quota.
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

    /// The terms in force.
    #[inline]
    pub(crate) fn terms(&self, announced: &Announced) -> Terms {
        if let Some(seen) = self.in_force(announced) {
            fence(Acquire);
            // Otherwise its words may be of two lines.
            if announced.generation.load(Relaxed) == seen.generation {
                return self.first.with(seen.slope.segment.quota);
            }
        }
        self.now_slowly(announced).terms
    }

    /// `state` as an answer's figures, at a moment of the first quota's smooth flow.
    #[inline(always)]
    pub(crate) fn figures(&self, reading: Reading, state: u64) -> Figures {
        let from = self.initial.segment.units;
        let now = reading.units.wrapping_sub(from);
        Figures::new(self.first, state.wrapping_sub(from), now, self.tick.of(reading.since))
    }

    /// Whether the line of a moment is still in force. No clock.
    pub(crate) fn is_current(&self, announced: &Announced, now: &Moment) -> bool {
        if !self.has_changed(announced) {
            return now.segment == self.initial.segment;
        }
        // If it changes just now, whoever changes it comes after.
        self.in_force(announced).is_some_and(|seen| seen.slope.segment == now.segment)
    }

    /// Whether the first quota is no longer in force.
    #[inline(always)]
    pub(crate) fn has_changed(&self, announced: &Announced) -> bool {
        announced.generation.load(Relaxed) != 0
    }

    /// The terms of the first quota: algorithm and layout are those of every later one.
    #[inline(always)]
    pub(crate) fn first(&self) -> &Terms {
        &self.first
    }

    /// The first quota's decisions, of a bucket that flows smoothly: the limiter's for as long as the quota has
    /// [not changed](Self::read_smoothly).
    #[inline(always)]
    pub(crate) fn smooth(&self) -> Option<&TokenBucket> {
        self.smooth.as_ref()
    }

    /// The ticks of the clock. `None`: by then the first quota was no longer in force. A generation only grows, so one
    /// look after the clock is enough.
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

    /// The same of a smooth flow: what a check of a keyed limiter needs and no more.
    #[inline(always)]
    pub(crate) fn read_smoothly(&self, announced: &Announced) -> Option<Reading> {
        debug_assert!(!self.first.is_stepped());
        let since = self.ticks_unchanged(announced)?;
        Some(self.until_end(self.initial.ratio.of(since), &self.initial, since))
    }

    /// The same of a line that [wraps](Terms::wraps): what a check of a direct limiter needs and no more.
    #[inline(always)]
    pub(crate) fn read_wrapping(&self, announced: &Announced) -> Option<Reading> {
        debug_assert!(self.first.wraps() && !self.first.is_stepped());
        let since = self.ticks_unchanged(announced)?;
        Some(Reading { units: self.initial.ratio.of(since), since })
    }

    /// A reading by the first quota, with that.
    #[inline(always)]
    pub(crate) fn unchanged_moment(&self, reading: Reading) -> Moment {
        self.moment(self.initial, reading)
    }

    /// The quota in force, if this process has computed with it before.
    #[inline(always)]
    pub(crate) fn in_force(&self, announced: &Announced) -> Option<InForce> {
        let generation = announced.generation.load(Acquire);
        let slot = &self.slots[(generation & 1) as usize];
        // No change is the 2^63rd; a corrupt file's generation may look like a line that is not there.
        let cached = slot.generation.load(Acquire) == generation && generation >> 63 == 0;
        cached.then(|| InForce { generation, slope: slot.load() })
    }

    /// The decisions of a token or leaky bucket under that quota; `None` of a window.
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
        // A clock of another core may be a little behind the change.
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

    /// A call, so that there is a branch, which is guessed, and nothing to wait for.
    #[cold]
    #[inline(never)]
    fn ended(&self) -> u64 {
        self.end
    }

    /// A reading with the quota that was in force.
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

    /// After a change: computes the line, and caches it.
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
                // A corrupt line is no line: the first quota is in force again.
                let slope = slope.unwrap_or(self.initial);
                return self.moment(slope, self.reading(&slope, ticks));
            }
            core::hint::spin_loop();
        }
    }
}
