//! The word in an atomic, and the only compare-and-swap loop of the direct limiters.
//!
//! ORDERING: every access is Relaxed. The word is the whole state: it publishes no other memory, so
//! there is nothing that an acquire could make visible or a release could order. The limiter's
//! promises are decided by the modification order of this one location. Every compare-and-swap
//! extends it by exactly one step from the value it saw, whatever its ordering. A load may lag
//! behind; a grant cannot, since its swap fails on any newer word. The loom models in `loom-tests/`
//! run with these orderings.

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// The result of a pure function on a word.
#[derive(Debug)]
pub(crate) enum Step<R> {
    /// Writes this word, and answers so if no other thread has written meanwhile.
    Put(u64, R),
    /// Writes nothing.
    Keep(R),
}

/// The result of a decision on a bucket's state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<R> {
    /// A larger state.
    Grow(u64, R),
    /// A state that may be smaller.
    Shrink(u64, R),
    /// No new state.
    Keep(R),
}

/// The word of one bucket.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn new(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    /// Returns the word as it is, perhaps a moment ago. One load.
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Decides on the word, and again on each newer word, until the word has not changed meanwhile.
    ///
    /// One load and, where something is written, one compare-and-swap if no other thread writes.
    /// Lock-free: a failed swap means that another thread's succeeded.
    #[inline]
    pub(crate) fn update<R>(&self, mut decide: impl FnMut(u64) -> Step<R>) -> R {
        let mut seen = self.0.load(Relaxed);
        loop {
            match decide(seen) {
                Step::Keep(answer) => return answer,
                Step::Put(word, answer) => {
                    match self.0.compare_exchange_weak(seen, word, Relaxed, Relaxed) {
                        Ok(_) => return answer,
                        Err(newer) => seen = newer,
                    }
                }
            }
        }
    }
}
