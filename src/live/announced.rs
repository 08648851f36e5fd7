//! The lines that all who use a table agree on, and what tells one that is whole.
//!
//! ORDERING: see `live.rs`.

use super::Line;
use crate::quota::Quota;
#[cfg(all(unix, feature = "shared"))]
use crate::sync::Ordering::Acquire;
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::{AtomicU64, fence};

/// What all who use a table agree on. Made of atomics alone, since it may lie in a file.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Announced {
    pub(super) generation: AtomicU64,
    lines: [[AtomicU64; 6]; 2],
}

impl Announced {
    pub(crate) fn new() -> Self {
        let zero = || core::array::from_fn(|_| AtomicU64::new(0));
        Self { generation: AtomicU64::new(0), lines: [zero(), zero()] }
    }

    /// The quota in force, if it is not the first.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn changed(&self) -> Option<Quota> {
        let generation = self.generation.load(Acquire);
        if generation == 0 { None } else { self.read(generation).map(|line| line.quota) }
    }

    /// The line of a generation; `None` if it is not whole, because it is no longer meant, or corrupt.
    pub(super) fn read(&self, generation: u64) -> Option<Line> {
        let words = &self.lines[(generation & 1) as usize];
        let [count, period, burst, units, ticks, check] =
            core::array::from_fn(|i| words[i].load(Relaxed));
        if check != checksum(generation, [count, period, burst, units, ticks]) {
            return None;
        }
        Some(Line { quota: Quota::from_words(count, period, burst)?, units, ticks })
    }

    /// Writes the next generation's line and raises the generation. One caller at a time.
    pub(super) fn publish(&self, generation: u64, line: Line) {
        let Line { quota, units, ticks } = line;
        let words = [quota.count(), quota.period_ns(), quota.burst_size(), units, ticks];
        let next = generation.wrapping_add(1);
        fence(Release);
        let places = &self.lines[(next & 1) as usize];
        for (place, word) in places.iter().zip(words) {
            place.store(word, Relaxed);
        }
        places[5].store(checksum(next, words), Relaxed);
        self.generation.store(next, Release);
    }
}

/// Tells a line that is whole from one that two writers, or chance, have made.
fn checksum(generation: u64, words: [u64; 5]) -> u64 {
    use core::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write_u64(generation);
    words.iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}
