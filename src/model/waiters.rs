//! Callers that wait for a direct limiter.

use super::{Reserved, Ticks};
use crate::bucket::{Bucket, Place, Whose, queue};
use crate::limiter::RateLimiter;
use crate::quota::Quota;

/// A waiter's number in the queue, and the place that it took.
#[derive(Clone, Copy)]
pub struct Waiting(usize, Place);

impl core::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Waiting").field(&self.0).field(&self.1).finish()
    }
}

/// A limiter with waiting callers, on a clock that only [`pass`](Self::pass) moves. No thread
/// sleeps: each caller polls the queue itself.
#[derive(Debug)]
pub struct Waiters {
    limiter: RateLimiter,
    clock: Ticks,
}

impl Waiters {
    /// Makes a bucket of this quota, empty.
    ///
    /// # Panics
    ///
    /// Never: the figures are permitted.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(quota: Quota) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let source = crate::clock::Source::bare(clock.clone());
        let limiter = RateLimiter::builder(quota).source(source).build();
        let limiter = limiter.expect("a limiter that can be");
        limiter.charge(quota.burst_size());
        Self { limiter, clock }
    }

    /// Lets `seconds` seconds pass.
    pub fn pass(&self, seconds: u64) {
        // ORDERING: Release, see `Ticks`.
        self.clock.0.fetch_add(seconds * 1_000_000_000, crate::sync::Ordering::AcqRel);
    }

    /// Enters the queue for `n`; `None` if the tokens were there.
    ///
    /// # Panics
    ///
    /// If the queue has an end, which it has not.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model asks for what there is")]
    pub fn enter(&self, n: u64) -> Option<Waiting> {
        let notify = || queue::Notify::Thread(std::thread::current());
        match queue::enter(&self.limiter, Whose::default(), n, None, notify).expect("a place") {
            queue::Entered::AtOnce(_) => None,
            queue::Entered::Waits(number, place) => Some(Waiting(number, place)),
        }
    }

    /// Returns whether the caller's place is due by now, as the caller finds out itself.
    #[must_use]
    pub fn is_due(&self, Waiting(number, _): Waiting) -> bool {
        let progress = queue::progress_as_thread(&self.limiter, Whose::default(), number);
        progress == queue::Progress::Granted
    }

    /// Acts on a place that is due.
    pub fn act(&self, Waiting(number, place): Waiting) {
        let _ = queue::act(&self.limiter, Whose::default(), number, &place);
    }

    /// Leaves the queue, whether or not the place is granted.
    pub fn leave(&self, Waiting(number, place): Waiting) {
        queue::leave(&self.limiter, Whose::default(), number, &place);
    }

    /// Takes a place with a promised moment.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model asks for what there is")]
    pub fn reserve(&self, n: u64) -> Reserved {
        Reserved(self.limiter.place(Whose::default(), n, None).expect("a place"))
    }

    /// Gives the place up.
    pub fn cancel(&self, place: Reserved) {
        queue::cancel(&self.limiter, &place.0, place.0.n);
    }

    /// Takes `n` now, as a check does.
    #[must_use]
    pub fn check(&self, n: u64) -> bool {
        self.limiter.check_n(n).is_ok()
    }

    /// Returns the whole tokens there, negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.limiter.available()
    }

    /// Puts another quota in force. Returns whether it is in force.
    #[must_use]
    pub fn change(&self, quota: Quota) -> bool {
        self.limiter.set_quota(quota).is_ok()
    }
}
