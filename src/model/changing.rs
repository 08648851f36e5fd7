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

/// A line that has been computed.
#[derive(Clone, Copy, Debug)]
pub struct Late(Option<(u64, Slope)>);

/// How a clock is read.
#[derive(Clone, Copy, Debug)]
pub enum Clocks {
    /// As a counter: of two readings the later one is not the lower, whichever threads they are of. That they
    /// are swaps means no more than that, since no swap of them acquires or releases anything.
    Counter,
    /// As a word of memory, which may be seen late, and orders nothing.
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
    /// So many tokens a second, and at once.
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

    /// Lets so many nanoseconds pass.
    pub fn pass(&self, nanos: u64) {
        self.clock.nanos.fetch_add(nanos, Relaxed);
    }

    /// Sets the clock back, as another core's may be.
    pub fn step_back(&self, nanos: u64) {
        self.clock.nanos.fetch_sub(nanos, Relaxed);
    }

    /// The clock's nanoseconds.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        self.clock.nanos()
    }

    /// Another quota; whether it is in force.
    #[must_use]
    pub fn change(&self, quota: Quota) -> bool {
        self.timeline.change(&self.announced, quota, Begin::as_is).is_ok()
    }

    /// How many changes are in force.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.announced.generation.load(Relaxed)
    }

    /// The quota that a call sees, and the token time that it reads, in units.
    #[must_use]
    pub fn now(&self) -> (Quota, u64) {
        self.now_of(&self.timeline)
    }

    /// The same in the other process.
    #[must_use]
    pub fn now_elsewhere(&self) -> (Quota, u64) {
        self.now_of(&self.elsewhere)
    }

    fn now_of(&self, timeline: &Timeline) -> (Quota, u64) {
        // As a check does: the way of a quota that has never changed first.
        if let Some(reading) = timeline.read_unchanged(&self.announced) {
            return (timeline.unchanged_moment(reading).quota(), reading.units);
        }
        let now = timeline.now(&self.announced);
        (now.quota(), now.units)
    }

    /// The line in force, as a thread has it that has not cached it yet.
    #[must_use]
    pub fn line(&self) -> Late {
        Late(self.timeline.slope_in_force(&self.announced))
    }

    /// Caches it late.
    pub fn cache(&self, late: Late) {
        if let Some(slope) = late.0 {
            self.timeline.cache(slope);
        }
    }

    /// Makes another word of one of those of the change in force; `false` if it has no such word.
    #[must_use]
    pub fn harm(&self, word: usize) -> bool {
        self.announced.harm(word)
    }

    /// Makes the change in force begin at this nanosecond.
    pub fn begin_at(&self, nanos: u64) {
        self.announced.begin_at(nanos);
    }
}
