//! Places of one key, whose tokens other threads give back.

use super::{Reserved, Ticks};
use crate::bucket::{Bucket, queue};
use crate::keyed::KeyedLimiter;
use crate::quota::Quota;

/// A keyed limiter with one key, on a clock by hand.
#[derive(Debug)]
pub struct KeyedPlaces {
    limiter: KeyedLimiter<u64>,
    clock: Ticks,
}

const KEY: u64 = 7;

impl KeyedPlaces {
    /// Makes a bucket of this quota, empty.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let places = Self::untouched(quota);
        places.limiter.charge(&KEY, quota.burst_size());
        places
    }

    /// Makes a table without a bucket.
    ///
    /// # Panics
    ///
    /// Never: the figures are permitted.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn untouched(quota: Quota) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let builder = KeyedLimiter::builder(quota, 1).seed([1, 2]);
        let builder = builder.source(crate::clock::Source::bare(clock.clone()));
        let limiter = builder.build().expect("a limiter that can be");
        Self { limiter, clock }
    }

    /// Lets `seconds` seconds pass.
    pub fn pass(&self, seconds: u64) {
        // ORDERING: Release, see `Ticks`.
        self.clock.0.fetch_add(seconds * 1_000_000_000, crate::sync::Ordering::AcqRel);
    }

    /// Takes a place.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model asks for what there is")]
    pub fn reserve(&self, n: u64) -> Reserved {
        Reserved(self.limiter.place(self.limiter.whose(&KEY), n, None).expect("a place"))
    }

    /// Undoes the debit of the place, as far as the word can tell.
    pub fn undo(&self, place: Reserved) {
        queue::undo(&self.limiter, &place.0, place.0.n);
    }

    /// Gives `n` tokens back.
    pub fn refund(&self, n: u64) {
        self.limiter.refund(&KEY, n);
    }

    /// Makes the bucket full.
    pub fn reset(&self) {
        self.limiter.reset(&KEY);
    }

    /// Takes `n` now.
    #[must_use]
    pub fn check(&self, n: u64) -> bool {
        self.limiter.check_n(&KEY, n).is_ok()
    }
}
