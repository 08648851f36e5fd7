//! `KeyedLimiter`: one quota, and a bucket for each key, in a table of fixed memory.

mod account;
mod buckets;
mod builder;
mod check;
mod check_many;
mod evict;
mod first_touch;
mod hash;
mod layout;
#[cfg(any(feature = "redis", sluicegate_loom, sluicegate_shuttle))]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "models need a part of it"))]
pub(crate) mod leases;
mod ledger;
mod lines;
mod set_quota;
#[cfg(all(unix, feature = "shared"))]
mod shared;
mod slot;
mod store;
pub(crate) mod table;

pub use builder::{KeyedBuilder, WhenFull};
#[cfg(all(unix, feature = "shared"))]
pub use shared::SharedError;

use crate::algorithm::Algorithm;
use crate::answer::{Denied, Grant};
use crate::bucket::{Queues, Waiting, verbs};
use crate::quota::Quota;
use crate::timeline::{Moment, Timeline};
use alloc::sync::Arc;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use hash::Seed;
use ledger::Ledger;
use table::{Buckets, Table};

/// One quota for each key: a user, an address, an API token.
///
/// The limiter never stores a key. A key's 64-bit fingerprint and its word lie in one of eight
/// slots of a table. The table's memory is fixed at construction: 24 bytes for each key of its
/// capacity, whatever the type of the keys. A check of a known key takes no lock, allocates
/// nothing, and writes nothing when it denies. A key that stays idle until its bucket is full again
/// loses nothing by being forgotten, so another key may take its slot.
///
/// ```
/// # #[cfg(feature = "std")] {
/// use sluicegate::{KeyedLimiter, Quota};
/// use std::net::IpAddr;
///
/// let users = KeyedLimiter::<str>::new(Quota::per_second(1).burst(5), 100_000);
/// assert!(users.check("alice").is_ok());
///
/// let clients = KeyedLimiter::<(IpAddr, u16)>::new(Quota::per_minute(100), 1_000_000);
/// assert!(clients.check(&("::1".parse()?, 443)).is_ok());
/// # }
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
///
/// **Cost.** A check of a known key reads the key's two cache lines, which lie in one 4 KiB of the
/// table and are fetched at the same time. It reads the clock once, and does one compare-and-swap
/// if it grants and none if it denies. It also loads the quota's generation, which no thread writes
/// between changes of the quota. The first touch of a key does two compare-and-swaps, two stores
/// and a fence.
///
/// **Fingerprints.** Two keys share a bucket only if their 64-bit fingerprints are equal: among a
/// million live keys the chance that any two do is 3 in 100 million (n^2 / 2^65). The hash is
/// SipHash-1-3 with a random key for each limiter, so a client cannot choose keys that collide.
///
/// **Full tables.** With as many active keys as the capacity, at most 0.3 % of first touches find
/// all eight slots taken by buckets that are not full. The share grows with more keys (to 1.5 % at
/// 1.2 times the capacity). [`WhenFull`] decides what happens then, and
/// [`evictions`](Self::evictions) counts the buckets that are forgotten. Under every policy, and
/// with any number of keys, no key ever gets more than its quota.
pub struct KeyedLimiter<K: ?Sized> {
    table: Table,
    timeline: Timeline,
    capacity: usize,
    seed: Seed,
    when_full: WhenFull,
    /// Whether a new key begins no fuller than its forgotten neighbours were.
    remembers: bool,
    /// The debt in tokens at which a charge stops.
    max_debt: u64,
    waiting: Waiting,
    /// The accounts of the tokens given back to keys that have places.
    ledger: Ledger,
    /// The callers of this process that wait. No check looks at them.
    queues: Arc<Queues>,
    /// The limiter only ever borrows keys.
    keys: PhantomData<fn(&K)>,
}

impl<K: ?Sized> Buckets for KeyedLimiter<K> {
    type Now = Moment;

    #[inline(always)]
    fn now(&self) -> Moment {
        self.timeline.now(&self.table.lines.common().announced)
    }

    fn fresh(&self, now: Moment) -> u64 {
        now.rule().fresh(now.units)
    }

    fn not_before(&self, now: Moment, fresh: u64) -> Moment {
        now.not_before(now.rule().began(fresh))
    }

    #[inline]
    fn until_full(&self, value: u64, now: Moment) -> u64 {
        now.rule().until_full(value, now.units)
    }

    fn emptier(&self, value: u64, forgotten: u64, now: Moment) -> u64 {
        if self.remembers { now.rule().emptier(value, forgotten, now.units) } else { value }
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Makes a token bucket for each key, on the default clock, for `capacity` active keys.
    ///
    /// # Panics
    ///
    /// The capacity must be from 1 to 2^40 (2^25 - 1 on a machine of 32 bits).
    /// [`builder`](Self::builder) returns an error instead.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn new(quota: Quota, capacity: usize) -> Self {
        match Self::builder(quota, capacity).build() {
            Ok(limiter) => limiter,
            #[expect(clippy::panic, reason = "documented; any quota fits a token bucket")]
            Err(error) => panic!("{error}"),
        }
    }

    /// Chooses the algorithm, the clock and the rest.
    pub fn builder(quota: Quota, capacity: usize) -> KeyedBuilder<K> {
        KeyedBuilder::new(quota, capacity)
    }

    /// Takes one token of the key's bucket, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    #[inline]
    pub fn check(&self, key: &K) -> Result<Grant, Denied> {
        self.check_n(key, 1)
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the time until `n` tokens are there, or without one if `n` exceeds the
    /// limit.
    #[inline]
    pub fn check_n(&self, key: &K, n: u64) -> Result<Grant, Denied> {
        self.check_hash(self.seed.fingerprint(key), n)
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the time until the next token, if there is none.
    #[inline]
    pub fn check_up_to(&self, key: &K, n: u64) -> Result<Grant, Denied> {
        verbs::check_up_to(self, self.whose(key), n)
    }
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// Counts the keys whose buckets are not full: those that have been touched lately. Reads the
    /// whole table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len(self)
    }

    /// Tells whether every key's bucket is full. Reads the whole table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of active keys that the limiter was built for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bytes of the table and its limiter, all of which are allocated at construction: 24 for
    /// each key, and at most 3,072 more.
    ///
    /// Reservations and callers that wait need memory that is not counted: some 6 KiB, and, where
    /// there are many of them, some 100 bytes for each key that has any.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.table.bytes()
    }

    /// Counts the buckets that were forgotten before they were full, because a new key found its
    /// slots taken.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.table.evictions()
    }

    /// Counts the slots of a shared table that killed processes had left reserved, and that are
    /// free again. It is 0 for a table in this process's memory.
    #[must_use]
    pub fn reclaimed(&self) -> u64 {
        self.table.reclaimed()
    }

    /// The quota in force for each key.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.now().quota()
    }

    /// The algorithm that decides.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.timeline.first().algorithm
    }
}

impl<K: ?Sized> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiter")
            .field("quota", &self.quota())
            .field("algorithm", &self.algorithm())
            .field("capacity", &self.capacity)
            .field("evictions", &self.evictions())
            .finish_non_exhaustive()
    }
}
