//! A quota that changes, for two processes that share what is announced, on a clock by hand.

use crate::algorithm::{Algorithm, Terms};
use crate::clock::{Clock, Source, Timer};
use crate::quota::Quota;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use crate::timeline::{Announced, Begin, Slope, Timeline};
use alloc::sync::Arc;

/// A quota that changes.
#[derive(Debug)]
pub struct Changing {
    timeline: Timeline,
    elsewhere: Timeline,
    announced: Announced,
    clock: Hand,
}

/// A slope that a thread has computed, and caches late.
#[derive(Clone, Copy, Debug)]
pub struct Late(Option<(u64, Slope)>);

/// The way in which a clock is read.
#[derive(Clone, Copy, Debug)]
pub enum Clocks {
    /// A counter: the later of two readings is never the lower, whichever threads take them.
    /// Readings are modelled as swaps only for that; no swap acquires or releases anything.
    Counter,
    /// A word of memory, which may be seen late, and orders nothing.
    Word,
}

#[derive(Clone, Debug)]
struct Hand {
    nanos: Arc<AtomicU64>,
    read: Clocks,
}

impl Clock for Hand {
    fn nanos(&self) -> u64 {
        match self.read {
            Clocks::Counter => self.nanos.fetch_add(0, Relaxed),
            Clocks::Word => self.nanos.load(Relaxed),
        }
    }
}

impl Changing {
    /// Makes a limiter of this quota.
    ///
    /// # Panics
    ///
    /// Never: a clock is given.
    #[must_use]
    pub fn new(quota: Quota, read: Clocks) -> Self {
        let clock = Hand { nanos: Arc::new(AtomicU64::new(0)), read };
        let terms = Terms::bucket(quota, Algorithm::TokenBucket, 56);
        let timeline = || Timeline::new(terms, Timer::new(Source::bare(clock.clone())));
        Self { timeline: timeline(), elsewhere: timeline(), announced: Announced::new(), clock }
    }

    /// Lets `nanos` nanoseconds pass.
    pub fn pass(&self, nanos: u64) {
        self.clock.nanos.fetch_add(nanos, Relaxed);
    }

    /// Sets the clock back, as another core's may be.
    pub fn step_back(&self, nanos: u64) {
        self.clock.nanos.fetch_sub(nanos, Relaxed);
    }

    /// Returns the clock's nanoseconds.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        self.clock.nanos()
    }

    /// Puts another quota in force. Returns whether it is in force.
    #[must_use]
    pub fn change(&self, quota: Quota) -> bool {
        self.timeline.change(&self.announced, quota, Begin::as_is).is_ok()
    }

    /// Returns the number of changes in force.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.announced.generation.load(Relaxed)
    }

    /// Returns the quota that a call sees, and the token time that it reads, in units.
    #[must_use]
    pub fn now(&self) -> (Quota, u64) {
        self.now_of(&self.timeline)
    }

    /// Returns the same in the other process.
    #[must_use]
    pub fn now_elsewhere(&self) -> (Quota, u64) {
        self.now_of(&self.elsewhere)
    }

    fn now_of(&self, timeline: &Timeline) -> (Quota, u64) {
        // As a check does: first the way of a quota that has never changed.
        if let Some(reading) = timeline.read_unchanged(&self.announced) {
            return (timeline.unchanged_moment(reading).quota(), reading.units);
        }
        let now = timeline.now(&self.announced);
        (now.quota(), now.units)
    }

    /// Computes the slope in force, as a thread does that has not cached it yet.
    #[must_use]
    pub fn slope(&self) -> Late {
        Late(self.timeline.slope_in_force(&self.announced))
    }

    /// Caches the slope late.
    pub fn cache(&self, late: Late) {
        if let Some(slope) = late.0 {
            self.timeline.cache(slope);
        }
    }

    /// Alters one word of the change in force; `false` if it has no such word.
    #[must_use]
    pub fn harm(&self, word: usize) -> bool {
        self.announced.harm(word)
    }

    /// Makes the change in force begin at this nanosecond.
    pub fn begin_at(&self, nanos: u64) {
        self.announced.begin_at(nanos);
    }
}
