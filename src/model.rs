//! The view that the models in `loom-tests/` have of the crate: its real code, on clocks that are
//! moved by hand. Compiled for model checkers only.

mod changing;
mod keyed;
mod keyed_places;
mod leased;
mod places;
mod sharing;
mod stripes;
mod waiters;

pub use changing::{Changing, Clocks, Late};
pub use keyed::{Answer, Caller, Keyed};
pub use keyed_places::KeyedPlaces;
pub use leased::{Leased, Spent};
pub use places::{Places, Reserved};
pub use sharing::Sharing;
pub use stripes::Leases;
pub use waiters::{Waiters, Waiting};

use crate::limiter::RateLimiter;
use crate::quota::Quota;

/// A clock at which a model's threads may be interrupted, and which they may see late.
#[derive(Clone, Debug)]
struct Ticks(alloc::sync::Arc<crate::sync::AtomicU64>);

impl crate::clock::Clock for Ticks {
    fn nanos(&self) -> u64 {
        // ORDERING: Acquire, with the Release of `pass`: a thread that reads a later time sees what
        // was stored before it, as between cores it does, to within the nanoseconds that a store
        // takes.
        self.0.load(crate::sync::Ordering::Acquire)
    }
}

/// A direct limiter on a clock by hand.
#[derive(Debug)]
pub struct Direct {
    /// The limiter.
    pub limiter: RateLimiter,
    clock: Ticks,
}

impl Direct {
    /// Makes a limiter of this quota; in batches unless `batch` is 0.
    ///
    /// # Panics
    ///
    /// If there is no such limiter.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(quota: Quota, batch: u64) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let source = crate::clock::Source::bare(clock.clone());
        let builder = RateLimiter::builder(quota).source(source);
        let builder = if batch > 0 { builder.batch(batch) } else { builder };
        Self { limiter: builder.build().expect("a limiter that can be"), clock }
    }

    /// Makes a limiter with this many stripes.
    ///
    /// # Panics
    ///
    /// Never: the figures are permitted.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn striped(quota: Quota, stripes: usize) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let source = crate::clock::Source::bare(clock.clone());
        let builder = RateLimiter::builder(quota).source(source).stripes(stripes);
        Self { limiter: builder.build().expect("a limiter that can be"), clock }
    }

    /// Lets `nanos` nanoseconds pass.
    pub fn pass(&self, nanos: u64) {
        // ORDERING: Release, see `Ticks`.
        self.clock.0.fetch_add(nanos, crate::sync::Ordering::AcqRel);
    }
}
