//! The store of leases, on a clock by hand.

use super::Ticks;
use crate::algorithm::lease::{TICK_BITS, Taken};
use crate::clock::{Source, Timer};
use crate::keyed::leases::Leases;

/// The ticks that an answer may take.
const PATIENCE: u64 = 100;

/// A store of leases whose time is in ticks.
#[derive(Debug)]
pub struct Leased {
    leases: Leases,
    clock: Ticks,
}

/// The answer that a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The tokens that the caller has.
    pub granted: u64,
    /// Set if the caller has to ask for more.
    pub ask: bool,
    /// Set if the caller was told that there are no tokens to be had.
    pub denied: bool,
}

impl Leased {
    /// Makes a store with `slots` slots, at this tick.
    #[must_use]
    pub fn new(slots: usize, now: u64) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let timer = Timer::new(Source::bare(clock.clone()));
        let leased = Self { leases: Leases::new(slots, timer, PATIENCE << TICK_BITS), clock };
        leased.pass(now);
        leased
    }

    /// Lets `ticks` ticks pass.
    pub fn pass(&self, ticks: u64) {
        // ORDERING: AcqRel, see `Ticks`.
        self.clock.0.fetch_add(ticks << TICK_BITS, crate::sync::Ordering::AcqRel);
    }

    /// Takes up to `n` for the key of this fingerprint.
    #[must_use]
    pub fn take(&self, hash: u64, n: u64) -> Spent {
        let (granted, ask, denied) = match self.leases.take(hash, 1, n) {
            Taken::Granted { granted, ask, .. } => (granted, ask, false),
            Taken::Short { ask, .. } => (0, ask, false),
            Taken::Denied { .. } | Taken::Unanswered { .. } => (0, false, true),
        };
        Spent { granted, ask, denied }
    }

    /// Deposits `tokens`, for a lease that ends at this tick. Returns whether there was a slot.
    #[must_use]
    pub fn deposit(&self, hash: u64, tokens: u64, end: u64) -> bool {
        self.leases.deposit(hash, tokens, tokens, end << TICK_BITS).is_some()
    }

    /// Denies until this tick, unless tokens are left.
    pub fn deny(&self, hash: u64, end: u64) -> bool {
        self.leases.deny(hash, end << TICK_BITS, Some(0))
    }

    /// Takes out the tokens that are left.
    #[must_use]
    pub fn withdraw(&self, hash: u64) -> u64 {
        self.leases.withdraw(hash)
    }

    /// Returns the number of leases forgotten before they had ended.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.leases.evictions()
    }
}
