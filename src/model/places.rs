//! Places in the queue of a direct limiter.

use crate::bucket::{Bucket, Place, Whose, queue, verbs};
use crate::limiter::RateLimiter;
use crate::quota::Quota;

/// A limiter whose burst is taken, at a time that stands still, with places that go between
/// threads.
#[derive(Debug)]
pub struct Places(RateLimiter);

/// A place with a promised moment.
#[derive(Clone, Copy)]
pub struct Reserved(pub(super) Place);

impl core::fmt::Debug for Reserved {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Reserved").field(&self.0.place).finish()
    }
}

impl Reserved {
    /// Returns the wait until the place was due, when it was taken.
    #[must_use]
    pub fn waits(&self) -> core::time::Duration {
        self.0.waits()
    }
}

impl Places {
    /// Makes a bucket of `burst` tokens, empty.
    ///
    /// # Panics
    ///
    /// Never: the figures are permitted.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(burst: u64) -> Self {
        let builder = RateLimiter::builder(Quota::per_second(1).burst(burst));
        let limiter = builder.clock(crate::clock::ManualClock::new()).build();
        let limiter = limiter.expect("a quota that can be");
        limiter.charge(burst);
        Self(limiter)
    }

    /// Takes a place.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model asks for what there is")]
    pub fn reserve(&self, n: u64) -> Reserved {
        Reserved(self.0.place(Whose::default(), n, None).expect("a place"))
    }

    /// Gives the place up. Returns the tokens that come back.
    #[must_use]
    pub fn cancel(&self, place: Reserved) -> u64 {
        queue::cancel(&self.0, &place.0, place.0.n)
    }

    /// Undoes the debit of the place, as far as the word can tell.
    pub fn undo(&self, place: Reserved) {
        queue::undo(&self.0, &place.0, place.0.n);
    }

    /// Gives `n` tokens back.
    pub fn refund(&self, n: u64) {
        self.0.refund(n);
    }

    /// Makes the bucket full.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Makes the bucket full as another process does that shares it, and that does not know this
    /// queue.
    pub fn reset_elsewhere(&self) {
        verbs::fill(&self.0, Whose::default());
    }

    /// Takes `n` now.
    #[must_use]
    pub fn check(&self, n: u64) -> bool {
        self.0.check_n(n).is_ok()
    }

    /// Returns the whole tokens there, negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.0.available()
    }
}
