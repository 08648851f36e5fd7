//! The changes of the quota that all users of a table agree on, and the checksum that tells a whole
//! one.
//!
//! ORDERING: see `timeline.rs`; for the beginning of a change, see `begin.rs`. A beginning is
//! written after a fence, so a reader of a later beginning than the one it looks for then sees a
//! later generation.

use super::Segment;
use crate::quota::Quota;
#[cfg(all(unix, feature = "shared"))]
use crate::sync::Ordering::Acquire;
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::{AtomicU64, fence};

/// A change of the quota. With its beginning it determines a segment, without any earlier segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) quota: Quota,
    /// The segment that ends.
    pub(super) before: Segment,
    /// The distance from the end of the last segment to the beginning of the new one, in units; may
    /// be negative, in two's complement.
    pub(super) shift: u64,
    /// The part of a unit that the shift includes already, in 2^-64 of a unit.
    pub(super) counted: u64,
}

/// The number of words in a change.
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

/// A change as it is announced: its words, their checksum, and the ticks at which it begins. Until
/// it begins, `begun` holds the checksum, which no other change has.
#[derive(Debug)]
#[repr(C)]
struct Record {
    words: [AtomicU64; WORDS],
    check: AtomicU64,
    begun: AtomicU64,
}

impl Record {
    fn new() -> Self {
        let words = core::array::from_fn(|_| AtomicU64::new(0));
        Self { words, check: AtomicU64::new(0), begun: AtomicU64::new(0) }
    }
}

/// The word that holds the ticks at which a change begins.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    begun: &'a AtomicU64,
    not_yet: u64,
}

impl Beginning<'_> {
    /// Returns the ticks, if the change has begun.
    pub(super) fn seen(&self) -> Option<u64> {
        let begun = self.begun.load(Relaxed);
        (begun != self.not_yet).then_some(begun)
    }

    /// Stores `ticks` as the beginning, unless another user has stored one, and returns the
    /// beginning. To be called after a fence that releases.
    pub(super) fn put(&self, ticks: u64) -> u64 {
        match self.begun.compare_exchange(self.not_yet, ticks, Relaxed, Relaxed) {
            Ok(_) => ticks,
            Err(begun) => begun,
        }
    }
}

/// The state that all users of a table agree on. It consists of atomics alone, since it may lie in
/// a file.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Announced {
    pub(crate) generation: AtomicU64,
    changes: [Record; 2],
}

impl Announced {
    pub(crate) fn new() -> Self {
        Self { generation: AtomicU64::new(0), changes: [Record::new(), Record::new()] }
    }

    /// Returns the quota in force, if it is not the first.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn changed(&self) -> Option<Quota> {
        let generation = self.generation.load(Acquire);
        if generation == 0 { None } else { self.read(generation).map(|(change, _)| change.quota) }
    }

    /// Reads the change to a generation. `None` if it is not whole: the generation is over, or the
    /// words are corrupt.
    pub(super) fn read(&self, generation: u64) -> Option<(Change, Beginning<'_>)> {
        let record = &self.changes[(generation & 1) as usize];
        let words = core::array::from_fn(|i| record.words[i].load(Relaxed));
        let not_yet = checksum(generation, words);
        if record.check.load(Relaxed) != not_yet {
            return None;
        }
        Some((Change::from_words(words)?, Beginning { begun: &record.begun, not_yet }))
    }

    /// Writes the change to the next generation, which has not begun, and raises the generation.
    /// Only one caller may do so at a time, after it has seen that this generation has begun.
    pub(super) fn publish(&self, generation: u64, change: Change) {
        let next = generation.wrapping_add(1);
        let words = change.words();
        let check = checksum(next, words);
        fence(Release);
        let record = &self.changes[(next & 1) as usize];
        for (cell, word) in record.words.iter().zip(words) {
            cell.store(word, Relaxed);
        }
        record.check.store(check, Relaxed);
        record.begun.store(check, Relaxed);
        self.generation.store(next, Release);
    }
}

#[cfg(any(sluicegate_loom, sluicegate_shuttle))]
impl Announced {
    /// Alters a word of the change in force, for `Changing::harm`.
    pub(crate) fn harm(&self, word: usize) -> bool {
        let Record { words, check, .. } = self.in_force();
        let Some(word) = words.iter().chain([check]).nth(word) else { return false };
        word.fetch_add(1, Relaxed);
        true
    }

    /// Sets the beginning of the change in force, for `Changing::begin_at`.
    pub(crate) fn begin_at(&self, ticks: u64) {
        self.in_force().begun.store(ticks, Relaxed);
    }

    fn in_force(&self) -> &Record {
        &self.changes[(self.generation.load(Relaxed) & 1) as usize]
    }
}

/// Computes the checksum that tells a whole change from a mixture of two writers' words.
fn checksum(generation: u64, words: [u64; WORDS]) -> u64 {
    use core::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write_u64(generation);
    words.iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}
