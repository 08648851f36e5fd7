//! The builder of a keyed limiter.

use super::KeyedLimiter;
use super::hash::Seed;
use super::layout::slots;
use super::ledger::Ledger;
use super::table::{Room, Table};
use crate::algorithm::Terms;
use crate::bucket::{Options, Queues, Waiting, option_setters};
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::timeline::Timeline;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;

/// The policy for a new key whose eight slots are taken by buckets that are not full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Forgets the bucket nearest to full, and gives its slot to the new key. The new key begins
    /// with no more tokens than the forgotten one had left. The same holds for the forgotten key
    /// itself and for some of its neighbours in the table, until its bucket would have been full.
    ///
    /// So a key that is forgotten and comes back gets no more than its quota, in any flood of keys,
    /// and the empty bucket of an abuser is the last to go. The price falls on the new keys of an
    /// overfull table. With as many active keys as the capacity, it denies 0.04 % of the requests
    /// that a larger table would grant; 0.3 % at 1.1 times the capacity and 4 % at 1.2 times. A
    /// request that is denied forgets no bucket.
    #[default]
    Evict,
    /// Denies the new key ([`Denied::is_table_full`](crate::Denied::is_table_full)) until a bucket
    /// is full again. It never forgets a bucket, so a flood of new keys locks other new keys out.
    Deny,
    /// Gives one bucket to all such keys together, until they find a slot of their own.
    Share,
}

impl WhenFull {
    /// The place for a first touch when the key's slots are taken.
    pub(super) fn room(self) -> Room {
        if self == Self::Evict { Room::Evict } else { Room::None }
    }
}

/// Choices for a [`KeyedLimiter`], from [`KeyedLimiter::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct KeyedBuilder<K: ?Sized> {
    pub(super) options: Options,
    pub(super) capacity: usize,
    pub(super) when_full: WhenFull,
    pub(super) remembers: bool,
    pub(super) seed: Option<Seed>,
    pub(super) keys: PhantomData<fn(&K)>,
}

impl<K: ?Sized> fmt::Debug for KeyedBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("quota", &self.options.quota)
            .field("capacity", &self.capacity)
            .field("algorithm", &self.options.algorithm)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + ?Sized> KeyedBuilder<K> {
    pub(super) fn new(quota: Quota, capacity: usize) -> Self {
        Self {
            options: Options::new(quota),
            capacity,
            when_full: WhenFull::Evict,
            remembers: true,
            seed: None,
            keys: PhantomData,
        }
    }

    option_setters!();

    /// Chooses how a new key is treated when the table is full.
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// Begins every new key with a full bucket, whatever keys were forgotten. A table of debts
    /// needs it, since no key may begin with the debt of another.
    #[cfg(feature = "redis")]
    pub(crate) fn forgetting(mut self) -> Self {
        self.remembers = false;
        self
    }

    /// Sets the key of the fingerprints, instead of a random one: for tests that must repeat, and
    /// for builds without the standard library. Keep it secret, or clients can choose keys that
    /// collide.
    pub fn seed(mut self, seed: [u64; 2]) -> Self {
        self.seed = Some(Seed(seed));
        self
    }

    /// Allocates the table and builds the limiter.
    ///
    /// # Errors
    ///
    /// - the capacity is 0 or over 2^40;
    /// - the quota of a window has a burst of its own, or a count that 56 bits cannot hold (at 1 s:
    ///   67,108,863 in a fixed window, 8,191 in a sliding one; more in longer windows);
    /// - intervals are given to anything but a token bucket; alignment to a bucket that flows
    ///   smoothly, or by more than a day;
    /// - a queue is made of anything but a leaky bucket, or `delay_free` is over its capacity or
    ///   given without a queue;
    /// - there is no clock or no seed, in a build without a default one.
    pub fn build(mut self) -> Result<KeyedLimiter<K>, QuotaError> {
        let (quota, waiting) = self.options.shaped()?;
        let Options { algorithm, schedule, .. } = self.options;
        let slots = slots(self.capacity)?;
        let bits = Terms::keyed_bits(&quota, algorithm);
        let terms = schedule.terms(Terms::new(quota, algorithm, bits)?)?;
        #[cfg(feature = "std")]
        let seed = self.seed.unwrap_or_else(Seed::random);
        #[cfg(not(feature = "std"))]
        let seed = self.seed.ok_or(QuotaError::SEED)?;
        let source = self.options.source.take();
        let timeline = Timeline::new(terms, schedule.timer(source, &terms)?);
        let table = Table::new(slots, bits);
        Ok(self.limiter(table, timeline, seed, (waiting, Ledger::new(false))))
    }

    /// Builds the limiter of a table from the remaining choices.
    pub(super) fn limiter(
        self,
        table: Table,
        timeline: Timeline,
        seed: Seed,
        (waiting, ledger): (Waiting, Ledger),
    ) -> KeyedLimiter<K> {
        let Self { options, capacity, when_full, remembers, keys, .. } = self;
        let (max_debt, queues) = (options.max_debt, Queues::of_keys());
        KeyedLimiter {
            table,
            timeline,
            capacity,
            seed,
            when_full,
            remembers,
            max_debt,
            waiting,
            ledger,
            queues,
            keys,
        }
    }
}
