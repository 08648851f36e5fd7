//! The stripes of a limiter, driven by hand.

use crate::algorithm::{Algorithm, Terms};
use crate::cell::Cell;
use crate::limiter::striped::{Centre, Striped, Timed};
use crate::quota::Quota;

/// Stripes over one bucket, driven by hand, at a time that stands still.
#[derive(Debug)]
pub struct Leases {
    striped: Striped,
    cell: Cell,
    now: Centre,
}

impl Timed for Centre {
    type Now = Self;

    fn read(&self) -> Self {
        *self
    }

    fn centre(&self, now: Self) -> Self {
        now
    }

    fn is_current(&self, _: Self) -> bool {
        true
    }
}

impl Leases {
    /// Makes a bucket of `burst` tokens, with this many stripes.
    ///
    /// # Panics
    ///
    /// If the burst is too small to share.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(burst: u64, stripes: usize) -> Self {
        let terms = Terms::bucket(Quota::per_second(burst), Algorithm::TokenBucket, 56);
        let bucket = terms.as_bucket();
        let striped = Striped::new(bucket, stripes).expect("a burst worth sharing");
        let now = Centre { split: striped.split(bucket), units: 1 << terms.scale().fraction };
        Self { striped, cell: Cell::new(0), now }
    }

    /// Takes `n` as the thread of this stripe.
    #[must_use]
    pub fn take(&self, mine: usize, n: u64) -> bool {
        let spent = self.striped.spend(mine, n).is_some();
        spent || self.striped.draw(&self.cell, &self.now, mine, n).0.is_ok()
    }

    /// Takes up to `n` out of the stripes alone, as a charge does.
    #[must_use]
    pub fn collect(&self, mine: usize, n: u64) -> u64 {
        self.striped.collect(mine, n)
    }

    /// Returns the whole tokens in centre and stripes.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.now.balance(self.cell.load()) + self.striped.held() as i64
    }

    /// Returns the tokens in the stripes.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.striped.held()
    }

    /// Returns the most that the centre can hold.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.now.split.bucket.limit()
    }
}
