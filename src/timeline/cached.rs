//! The segments as this process computes with them.
//!
//! ORDERING: a segment is cached as it is announced, see `timeline.rs`. The swap that claims its
//! slot is Acquire, so that its words are not written before.

use super::Segment;
use crate::quota::Quota;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU64, fence};
use crate::time::Ratio;

/// No generation: the slot is empty, or a thread is writing it.
const NONE: u64 = u64::MAX;

/// A segment with its multiplier, on a cache line of its own.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: AtomicU64,
    words: [AtomicU64; 7],
}

/// A segment, with the multiplier that it is computed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope {
    pub(super) ratio: Ratio,
    pub(super) segment: Segment,
}

impl Slot {
    pub(super) fn empty() -> Self {
        let words = core::array::from_fn(|_| AtomicU64::new(0));
        Self { generation: AtomicU64::new(NONE), words }
    }

    #[inline(always)]
    pub(super) fn load(&self) -> Slope {
        let word = |i: usize| self.words[i].load(Relaxed);
        let quota = Quota::from_parts(word(4), word(5), word(6));
        let segment = Segment { quota, units: word(2), ticks: word(3) };
        Slope { ratio: Ratio::from_parts(word(0), word(1)), segment }
    }

    /// Caches the slope, unless another thread is writing the slot, or has cached a later one. A
    /// reader of a later one would see no later generation than its own.
    pub(super) fn store(&self, generation: u64, slope: Slope) {
        let seen = self.generation.load(Relaxed);
        let busy = generation | 1 << 63;
        // A busy slot's generation is higher, too.
        if seen >= generation && seen != NONE {
            return;
        }
        if self.generation.compare_exchange(seen, busy, Acquire, Relaxed).is_err() {
            return;
        }
        fence(Release);
        let Slope { ratio, segment: Segment { quota, units, ticks } } = slope;
        let (multiplier, shift) = ratio.parts();
        let quota = [quota.count(), quota.period_ns(), quota.burst_size()];
        for (cell, word) in
            self.words.iter().zip([multiplier, shift, units, ticks].into_iter().chain(quota))
        {
            cell.store(word, Relaxed);
        }
        self.generation.store(generation, Release);
    }
}
