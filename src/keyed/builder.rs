//! Choices for a keyed limiter.

use super::KeyedLimiter;
use super::hash::Seed;
use super::ledger::Ledger;
use super::lines::slots;
use super::table::{Room, Table};
use crate::algorithm::{Algorithm, Terms};
use crate::bucket::{Queue, Queues, Waiting};
use crate::clock::{Clock, Source};
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::timeline::{Schedule, Timeline};
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
    pub(super) quota: Quota,
    pub(super) capacity: usize,
    pub(super) algorithm: Algorithm,
    pub(super) when_full: WhenFull,
    pub(super) remembers: bool,
    pub(super) max_debt: u64,
    pub(super) waiting: Waiting,
    pub(super) queue: Queue,
    pub(super) schedule: Schedule,
    pub(super) source: Option<Source>,
    pub(super) seed: Option<Seed>,
    pub(super) keys: PhantomData<fn(&K)>,
}

impl<K: ?Sized> fmt::Debug for KeyedBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("quota", &self.quota)
            .field("capacity", &self.capacity)
            .field("algorithm", &self.algorithm)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + ?Sized> KeyedBuilder<K> {
    pub(super) fn new(quota: Quota, capacity: usize) -> Self {
        Self {
            quota,
            capacity,
            algorithm: Algorithm::TokenBucket,
            when_full: WhenFull::Evict,
            remembers: true,
            max_debt: u64::MAX,
            waiting: Waiting::default(),
            queue: Queue::default(),
            schedule: Schedule::default(),
            source: None,
            seed: None,
            keys: PhantomData,
        }
    }

    /// The algorithm, chosen at run time.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// [`Algorithm::TokenBucket`], the default.
    pub fn token_bucket(self) -> Self {
        self.algorithm(Algorithm::TokenBucket)
    }

    /// [`Algorithm::LeakyBucket`], as a meter.
    pub fn leaky_bucket(self) -> Self {
        self.algorithm(Algorithm::LeakyBucket)
    }

    /// [`Algorithm::FixedWindow`].
    pub fn fixed_window(self) -> Self {
        self.algorithm(Algorithm::FixedWindow)
    }

    /// [`Algorithm::SlidingWindow`].
    pub fn sliding_window(self) -> Self {
        self.algorithm(Algorithm::SlidingWindow)
    }

    /// Refills at intervals: see [`Builder::refill_at_intervals`](crate::Builder::refill_at_intervals). The periods are
    /// the same for all keys.
    pub fn refill_at_intervals(mut self) -> Self {
        self.schedule.intervals = true;
        self
    }

    /// Aligns windows and intervals to the calendar of UTC: see [`Builder::aligned`](crate::Builder::aligned).
    pub fn aligned(self) -> Self {
        self.aligned_at(0)
    }

    /// [`aligned`](Self::aligned) to the calendar of a place so many seconds east of UTC: see
    /// [`Builder::aligned_at`](crate::Builder::aligned_at).
    pub fn aligned_at(mut self, seconds_east: i32) -> Self {
        self.schedule.aligned = Some(seconds_east);
        self
    }

    /// What a new key gets when the table is full.
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// Reads this clock instead of the default one.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.source = Some(clock.into_source());
        self
    }

    /// Lets a new key know nothing of those that were forgotten: for accounts, of which none may be another's.
    #[cfg(feature = "redis")]
    pub(crate) fn forgetting(mut self) -> Self {
        self.remembers = false;
        self
    }

    #[cfg(any(sluicegate_loom, sluicegate_shuttle))]
    pub(crate) fn source(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// The key of the fingerprints, instead of a random one: for tests that must repeat, and for
    /// builds without the standard library. Keep it secret, or users can choose keys that collide.
    pub fn seed(mut self, seed: [u64; 2]) -> Self {
        self.seed = Some(Seed(seed));
        self
    }

    /// Bounds the debt that [`charge`](KeyedLimiter::charge) makes: it takes a key's balance no
    /// lower than `-tokens`, and what is over is forgotten. Unless set, debt ends at 10 years of
    /// flow (at most rates).
    ///
    /// Without it a caller that charges every denial, as a penalty, locks its key out for as long
    /// as it asks and then for what it has asked. With 0 a charge takes what is there. What a
    /// reservation takes beyond its tokens when it is [settled](crate::Reservation::settle) is a
    /// charge. Reservations themselves are bounded by [`max_waiting`](Self::max_waiting): where
    /// they have taken the balance lower, a charge adds nothing.
    ///
    /// Each process that opens a shared table chooses its own.
    pub fn max_debt(mut self, tokens: u64) -> Self {
        self.max_debt = tokens;
        self
    }

    /// Bounds how many tokens all who wait may be in debt for: a reservation that would take a key further
    /// is denied. Unless set, debt ends at 10 years of flow (at most rates).
    ///
    /// Of a window it is the time in which as many tokens would flow.
    pub fn max_waiting(mut self, tokens: u64) -> Self {
        self.waiting.most = tokens;
        self
    }

    /// Makes each key's leaky bucket a queue (a shaper): see [`Builder::queue`](crate::Builder::queue). As nginx's `limit_req`,
    /// which is one for each client.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{KeyedLimiter, Quota};
    ///
    /// let builder = KeyedLimiter::<str>::builder(Quota::per_second(10), 100_000);
    /// let clients = builder.leaky_bucket().queue(20).delay_free(8).build()?;
    /// let waits: Vec<_> = (0..10).map(|_| clients.reserve("::1", 1)).collect::<Result<_, _>>()?;
    /// assert!(waits[8].waits().is_zero() && !waits[9].waits().is_zero());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn queue(mut self, capacity: u64) -> Self {
        self.queue.capacity = Some(capacity);
        self
    }

    /// Of a [queue](Self::queue): so many of its capacity pass without delay, as with the `delay` of nginx.
    pub fn delay_free(mut self, requests: u64) -> Self {
        self.queue.delay_free = requests;
        self
    }

    /// Lets a cost over the burst be paid in instalments: a reservation of it is due when, after those
    /// before it, the last of its tokens has flowed. Unless this is chosen such a cost can never be reserved. `check`
    /// denies it either way, and so does a window.
    ///
    /// At the moment that it is due such a request takes more than the burst at once; what it takes has been
    /// saved up for it while nobody else was admitted.
    pub fn instalments(mut self) -> Self {
        self.waiting.instalments = true;
        self
    }

    pub(super) fn shaped(&self) -> Result<(Quota, Waiting), QuotaError> {
        self.queue.shape(self.algorithm, self.quota, self.waiting)
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
    pub fn build(self) -> Result<KeyedLimiter<K>, QuotaError> {
        let (quota, waiting) = self.shaped()?;
        let Self {
            capacity, algorithm, when_full, source, seed, keys, max_debt, remembers, ..
        } = self;
        let slots = slots(capacity)?;
        let bits = Terms::keyed_bits(&quota, algorithm);
        let terms = self.schedule.terms(Terms::new(quota, algorithm, bits)?)?;
        #[cfg(feature = "std")]
        let seed = seed.unwrap_or_else(Seed::random);
        #[cfg(not(feature = "std"))]
        let seed = seed.ok_or(QuotaError::SEED)?;
        let live = Timeline::new(terms, self.schedule.timer(source, &terms)?);
        let table = Table::new(slots, bits);
        let queues = Queues::of_keys();
        let ledger = Ledger::new(false);
        Ok(KeyedLimiter {
            table,
            live,
            capacity,
            seed,
            when_full,
            remembers,
            max_debt,
            waiting,
            ledger,
            queues,
            keys,
        })
    }
}
