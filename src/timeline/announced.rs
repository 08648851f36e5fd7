//! The changes that all who use a table agree on, and what tells one that is whole.
//!
//! ORDERING: see `timeline.rs`; of a beginning, see `begin.rs`. A beginning is put there after a fence, so whoever has
//! read a later one than it looks for then sees a later generation.

use super::Segment;
use crate::quota::Quota;
#[cfg(all(unix, feature = "shared"))]
use crate::sync::Ordering::Acquire;
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::{AtomicU64, fence};

/// A change of the quota. With its beginning it is a line, and needs no other one to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) quota: Quota,
    /// The line that ends.
    pub(super) before: Segment,
    /// How much further on the new line begins than that one ends, in units; it may be less than zero.
    pub(super) shift: u64,
    /// What of a unit is part of the shift already, in 2^-64 of one.
    pub(super) counted: u64,
}

/// Words of a change.
const WORDS: usize = 10;

impl Change {
    fn words(&self) -> [u64; WORDS] {
        let Self { quota, before, shift, counted } = *self;
        let Segment { quota: last, units, ticks } = before;
        let [count, period, burst] = parts(quota);
        let [last_count, last_period, last_burst] = parts(last);
        let before = [last_count, last_period, last_burst, units, ticks];
        let mut words = [count, period, burst, shift, counted, 0, 0, 0, 0, 0];
        words[WORDS - before.len()..].copy_from_slice(&before);
        words
    }

    fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [count, period, burst, shift, counted, rest @ ..] = words;
        let [last_count, last_period, last_burst, units, ticks] = rest;
        let last = Quota::from_words(last_count, last_period, last_burst)?;
        let before = Segment { quota: last, units, ticks };
        let quota = Quota::from_words(count, period, burst)?;
        Some(Self { quota, before, shift, counted })
    }
}

fn parts(quota: Quota) -> [u64; 3] {
    [quota.count(), quota.period_ns(), quota.burst_size()]
}

/// A change as it is announced: its words, their checksum, and the ticks at which it begins. Until it begins
/// these are the checksum, which no other change has.
#[derive(Debug)]
#[repr(C)]
struct Place {
    words: [AtomicU64; WORDS],
    check: AtomicU64,
    begun: AtomicU64,
}

impl Place {
    fn new() -> Self {
        let words = core::array::from_fn(|_| AtomicU64::new(0));
        Self { words, check: AtomicU64::new(0), begun: AtomicU64::new(0) }
    }
}

/// Where the ticks are put at which a change begins.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    begun: &'a AtomicU64,
    not_yet: u64,
}

impl Beginning<'_> {
    /// The ticks, if they are there.
    pub(super) fn seen(&self) -> Option<u64> {
        let begun = self.begun.load(Relaxed);
        (begun != self.not_yet).then_some(begun)
    }

    /// Puts them there, unless others are: those that are there then. After a Release fence.
    pub(super) fn put(&self, ticks: u64) -> u64 {
        match self.begun.compare_exchange(self.not_yet, ticks, Relaxed, Relaxed) {
            Ok(_) => ticks,
            Err(begun) => begun,
        }
    }
}

/// What all who use a table agree on. Made of atomics alone, since it may lie in a file.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Announced {
    pub(crate) generation: AtomicU64,
    changes: [Place; 2],
}

impl Announced {
    pub(crate) fn new() -> Self {
        Self { generation: AtomicU64::new(0), changes: [Place::new(), Place::new()] }
    }

    /// The quota in force, if it is not the first.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn changed(&self) -> Option<Quota> {
        let generation = self.generation.load(Acquire);
        if generation == 0 { None } else { self.read(generation).map(|(change, _)| change.quota) }
    }

    /// The change to a generation; `None` if it is not whole, because it is no longer meant, or corrupt.
    pub(super) fn read(&self, generation: u64) -> Option<(Change, Beginning<'_>)> {
        let place = &self.changes[(generation & 1) as usize];
        let words = core::array::from_fn(|i| place.words[i].load(Relaxed));
        let not_yet = checksum(generation, words);
        if place.check.load(Relaxed) != not_yet {
            return None;
        }
        Some((Change::from_words(words)?, Beginning { begun: &place.begun, not_yet }))
    }

    /// Writes the change to the next generation, which has not begun, and raises the generation. One caller at a
    /// time, after it has seen that this generation has begun.
    pub(super) fn publish(&self, generation: u64, change: Change) {
        let next = generation.wrapping_add(1);
        let words = change.words();
        let check = checksum(next, words);
        fence(Release);
        let place = &self.changes[(next & 1) as usize];
        for (place, word) in place.words.iter().zip(words) {
            place.store(word, Relaxed);
        }
        place.check.store(check, Relaxed);
        place.begun.store(check, Relaxed);
        self.generation.store(next, Release);
    }
}

#[cfg(any(sluicegate_loom, sluicegate_shuttle))]
impl Announced {
    /// As `Changing::harm`.
    pub(crate) fn harm(&self, word: usize) -> bool {
        let Place { words, check, .. } = self.in_force();
        let Some(word) = words.iter().chain([check]).nth(word) else { return false };
        word.fetch_add(1, Relaxed);
        true
    }

    /// As `Changing::begin_at`.
    pub(crate) fn begin_at(&self, ticks: u64) {
        self.in_force().begun.store(ticks, Relaxed);
    }

    fn in_force(&self) -> &Place {
        &self.changes[(self.generation.load(Relaxed) & 1) as usize]
    }
}

/// Tells a change that is whole from one that two writers, or chance, have made.
fn checksum(generation: u64, words: [u64; WORDS]) -> u64 {
    use core::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write_u64(generation);
    words.iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}
