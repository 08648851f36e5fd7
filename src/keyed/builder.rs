//! Choices for a keyed limiter.

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

/// What a new key gets when its eight slots are taken by buckets that are not full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The slot of the bucket nearest to full, which is forgotten, and what that bucket lacks: the new
    /// key begins with no more than the forgotten one had left. The same holds for some keys that are
    /// neighbours of the forgotten one in the table, itself among them, until its bucket would have been full.
    ///
    /// So a key that is forgotten and comes back gets no more than its quota, whatever the flood, and
    /// an abuser's empty bucket is the last to go. The price falls on newcomers of an overfull table:
    /// with as many active keys as the capacity 0.04 % of requests are denied that a larger table
    /// would grant, 0.3 % at 1.1 times the capacity and 4 % at 1.2 times. A denial forgets nobody.
    #[default]
    Evict,
    /// A denial ([`Denied::is_table_full`](crate::Denied::is_table_full)) until a bucket is full
    /// again. Nobody's bucket is ever forgotten, and a flood of new keys locks newcomers out.
    Deny,
    /// One bucket for all such keys together, until they find a slot of their own.
    Share,
}

impl WhenFull {
    /// Where a first touch may go then.
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

    /// What a new key gets when the table is full.
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// Lets a new key know nothing of those that were forgotten: for accounts, of which none may be another's.
    #[cfg(feature = "redis")]
    pub(crate) fn forgetting(mut self) -> Self {
        self.remembers = false;
        self
    }

    /// The key of the fingerprints, instead of a random one: for tests that must repeat, and for
    /// builds without the standard library. Keep it secret, or users can choose keys that collide.
    pub fn seed(mut self, seed: [u64; 2]) -> Self {
        self.seed = Some(Seed(seed));
        self
    }

    /// Allocates the table and builds the limiter.
    ///
    /// # Errors
    ///
    /// - a capacity of 0 or over 2^40;
    /// - the quota of a window has a burst of its own, or a count that 56 bits cannot hold (at 1 s:
    ///   67,108,863 in a fixed window, 8,191 in a sliding one; more in longer windows);
    /// - intervals of anything but a token bucket; aligned what has no boundaries, or by more than a day;
    /// - a queue of anything but a leaky bucket, or of a capacity less than what is free of delay;
    /// - no clock or no seed, where the build has no default one.
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

    /// The limiter of a table, by the choices that are left.
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
