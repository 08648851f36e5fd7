//! The lines of a table: where a key's two lines lie, its floor, and what belongs to no key.
//!
//! ORDERING: tags are loaded with Acquire, for the reason that `table.rs` gives.

use super::layout::{self, CANDIDATES, Common, FLOOR, Line, WAYS};
#[cfg(all(unix, feature = "shared"))]
use super::shared::mapping::Mapping;
use crate::cell::{Cell, Step};
use crate::error::QuotaError;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Acquire;
use alloc::boxed::Box;
use core::ops::Deref;

/// The lines of a table, in this process's memory or in a file.
#[derive(Debug)]
pub(super) enum Lines {
    Own {
        lines: Box<[Line]>,
        floors: Box<[Cell]>,
        common: Box<Common>,
    },
    #[cfg(all(unix, feature = "shared"))]
    Mapped(Mapping),
}

impl Deref for Lines {
    type Target = [Line];

    #[inline(always)]
    fn deref(&self) -> &[Line] {
        match self {
            Self::Own { lines, .. } => lines,
            #[cfg(all(unix, feature = "shared"))]
            Self::Mapped(mapping) => mapping.lines(),
        }
    }
}

impl Lines {
    /// Computes the number of lines that fit, with their floors, into the memory of `slots` slots.
    pub(super) fn count(slots: usize) -> usize {
        let lines = slots.div_ceil(WAYS);
        let floor = size_of::<Line>() * FLOOR / size_of::<Cell>();
        (lines - lines / (floor + 1)).max(2)
    }

    /// Makes empty lines in this process's memory.
    pub(super) fn new(slots: usize) -> Self {
        let zero = || core::array::from_fn(|_| AtomicU64::new(0));
        let line = |_| Line { tags: zero(), words: zero() };
        let lines = Self::count(slots);
        Self::Own {
            lines: (0..lines).map(line).collect(),
            floors: (0..layout::floors(lines)).map(|_| Cell::new(0)).collect(),
            common: Box::new(Common::new()),
        }
    }

    /// Runs `change` while no other process runs one.
    pub(super) fn alone(
        &self,
        change: impl FnOnce() -> Result<(), QuotaError>,
    ) -> Result<(), QuotaError> {
        match self {
            Self::Own { .. } => change(),
            #[cfg(all(unix, feature = "shared"))]
            Self::Mapped(mapping) => mapping.alone(change),
        }
    }

    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Own { common, .. } => common,
            #[cfg(all(unix, feature = "shared"))]
            Self::Mapped(mapping) => mapping.common(),
        }
    }

    fn floors(&self) -> &[Cell] {
        match self {
            Self::Own { floors, .. } => floors,
            #[cfg(all(unix, feature = "shared"))]
            Self::Mapped(mapping) => mapping.floors(),
        }
    }

    /// The bytes of everything beside the lines.
    pub(super) fn bytes_beside(&self) -> usize {
        size_of_val(self.floors()) + size_of_val(self.common())
    }

    /// The floor under the key of this fingerprint.
    #[inline]
    pub(super) fn floor(&self, hash: u64) -> Floor<'_> {
        let floors = self.floors();
        Floor(&floors[((u128::from(hash) * floors.len() as u128) >> 64) as usize])
    }

    /// Finds the two lines of a key. The upper bits of the hash choose the first, and the lower
    /// bits choose the second among the 63 others of the same 4 KiB. So both lie in one page of the
    /// address translation.
    #[inline(always)]
    pub(super) fn pair(&self, hash: u64) -> Pair<'_> {
        const BLOCK: usize = 64;
        let lines = &**self;
        let count = lines.len();
        let first = ((u128::from(hash) * count as u128) >> 64) as usize;
        // 1 to 63: it flips at least one bit, and none above those of the block.
        let step = 1 + ((hash as u32 as u64 * (BLOCK as u64 - 1)) >> 32) as usize;
        let second = first ^ step;
        let second = if second < count { second } else { Self::in_last_block(count, first, step) };
        Pair([&lines[first], &lines[second]])
    }

    /// Finds the second line where the last block of lines is incomplete.
    #[cold]
    fn in_last_block(count: usize, first: usize, step: usize) -> usize {
        let start = first & !63;
        match count - start {
            // A block of one line borrows from the block before.
            1 => start - 1 - step % 32,
            size => start + (first - start + 1 + step % (size - 1)) % size,
        }
    }

    /// Prefetches the lines of a key that will be looked up soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        for line in self.pair(hash).0 {
            prefetch(line);
        }
    }
}

/// The tag and the word of a slot.
pub(super) type Place<'a> = (&'a AtomicU64, &'a AtomicU64);

/// A floor: the emptiest value of some buckets that were forgotten. No new bucket of their keys may
/// begin fuller than it.
#[derive(Clone, Copy)]
pub(super) struct Floor<'a>(&'a Cell);

impl Floor<'_> {
    /// Computes the value of a bucket that would begin with `fresh`, if there were no floor.
    /// `emptier` computes the emptier of two values.
    pub(super) fn under(self, fresh: u64, emptier: impl Fn(u64, u64) -> u64) -> u64 {
        match self.0.load() {
            0 => fresh,
            floor => emptier(fresh, floor),
        }
    }

    /// Raises the floor to a bucket's value, before that bucket is forgotten.
    pub(super) fn raise(self, value: u64, emptier: impl Fn(u64, u64) -> u64) {
        self.0.update(|floor| match emptier(floor, value) {
            raised if raised == floor => Step::Keep(()),
            raised => Step::Put(raised, ()),
        });
    }
}

/// The two lines of a key.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a>([&'a Line; 2]);

impl<'a> Pair<'a> {
    /// The tag and the word of candidate `i`.
    #[inline(always)]
    pub(super) fn slot(self, i: usize) -> Place<'a> {
        let line = self.0[i / WAYS];
        (&line.tags[i % WAYS], &line.words[i % WAYS])
    }

    /// Finds the candidates that bear the tag, a bit each.
    ///
    /// It looks at all of them, without a branch: both lines are then fetched at once, and a key in
    /// the second line costs no mispredicted branch. Trying the first line first was slower by a
    /// fifth.
    ///
    /// Use it where several candidates may bear the tag; a hit uses
    /// [`first_bearing`](Self::first_bearing).
    #[inline(always)]
    pub(super) fn bearing(self, tag: u64) -> u32 {
        let mut mask = 0;
        for i in 0..CANDIDATES {
            mask |= u32::from(self.slot(i).0.load(Acquire) == tag) << i;
        }
        mask
    }

    /// Finds the first candidate that bears the tag. It needs only a register, and a third of the
    /// instructions of [`bearing`](Self::bearing).
    #[inline(always)]
    pub(super) fn first_bearing(self, tag: u64) -> Option<usize> {
        let mut first = CANDIDATES;
        for i in (0..CANDIDATES).rev() {
            first = if self.slot(i).0.load(Acquire) == tag { i } else { first };
        }
        (first < CANDIDATES).then_some(first)
    }
}

/// Prefetches a line that will be needed soon, without waiting for it.
#[inline(always)]
fn prefetch(line: &Line) {
    #[cfg(all(target_arch = "x86_64", not(any(sluicegate_loom, sluicegate_shuttle))))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program could see, and the line exists.
        #[expect(unsafe_code, reason = "there is no safe way to this instruction")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast());
        }
    }
    // Elsewhere a load does nearly as well: nothing uses it, so nothing waits for it.
    #[cfg(all(not(target_arch = "x86_64"), not(any(sluicegate_loom, sluicegate_shuttle))))]
    core::hint::black_box(line.tags[0].load(Acquire));
    #[cfg(any(sluicegate_loom, sluicegate_shuttle))]
    let _ = line;
}
