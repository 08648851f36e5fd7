//! `KeyedLimiter`: one quota, a bucket for each key, in a table of fixed memory.

mod account;
mod buckets;
mod builder;
mod check_many;
mod evict;
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
use crate::answer::{AnswerKind, Denied, Grant};
use crate::bucket::{Ask, Queues, Store, Waiting, Whose, verbs};
use crate::cell::Step;
use crate::quota::Quota;
use crate::timeline::{InForce, Moment, Reading, Timeline};
use alloc::sync::Arc;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use hash::Seed;
use ledger::Ledger;
use table::{Buckets, Change, Full, Room, Table};

/// One quota for each key: a user, an address, an API token.
///
/// Keys are never stored. A key's 64-bit fingerprint and its word stand in one of eight slots of a
/// table whose memory is fixed at construction: 24 bytes a key at its capacity, whatever the keys
/// are. A check of a known key takes no lock, allocates nothing, and writes nothing when it denies;
/// a key that has been idle until its bucket is full again gives its slot back without anybody's help,
/// since forgetting it loses nothing.
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
/// table and are fetched at the same time, reads the clock once and does one compare-and-swap, or,
/// denied, none. Besides, it loads the quota's generation, which nobody writes meanwhile. The first touch of a key does
/// two compare-and-swaps, two stores and a fence.
///
/// **Fingerprints.** Two keys share a bucket only if their 64-bit fingerprints are equal: among a
/// million live keys the chance that any two do is 3 in 100 million (n^2 / 2^65). The hash is
/// SipHash-1-3 with a random key for each limiter, so nobody can choose keys that collide.
///
/// **When the table is full.** With as many active keys as the capacity, at most 0.3 % of first
/// touches find all eight slots taken by buckets that are not full; the share grows with more keys
/// (to 1.5 % at 1.2 times the capacity). [`WhenFull`] says what happens then, and
/// [`evictions`](Self::evictions) counts it. Whatever it says, and however many keys there are, no
/// key ever gets more than its quota.
pub struct KeyedLimiter<K: ?Sized> {
    table: Table,
    timeline: Timeline,
    capacity: usize,
    seed: Seed,
    when_full: WhenFull,
    /// Whether a new key begins no fuller than those that were forgotten.
    remembers: bool,
    /// What a charge may take a key's balance to, below zero.
    max_debt: u64,
    waiting: Waiting,
    /// What is given back to keys that have places.
    ledger: Ledger,
    /// Those who wait in this process, which no check looks at.
    queues: Arc<Queues>,
    /// Keys are only ever borrowed.
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
    /// A token bucket for each key, on the default clock, tracking `capacity` active keys.
    ///
    /// # Panics
    ///
    /// If the capacity is 0 or over 2^40 (2^25 - 1 on a machine of 32 bits); [`builder`](Self::builder) returns an error instead.
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
    /// As [`check_n`](Self::check_n).
    #[inline]
    pub fn check(&self, key: &K) -> Result<Grant, Denied> {
        self.check_n(key, 1)
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the time until `n` tokens are there, or without one if `n` exceeds the limit.
    #[inline]
    pub fn check_n(&self, key: &K, n: u64) -> Result<Grant, Denied> {
        self.check_hash(self.seed.fingerprint(key), n)
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes nothing.
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
    #[inline(always)]
    fn check_hash(&self, hash: u64, n: u64) -> Result<Grant, Denied> {
        match self.take_unchanged(hash, n) {
            // The answer is put together here, where the compiler sees what is not used.
            Some((Ok(taken), read)) => Ok(Grant::new(n, self.timeline.figures(read, taken))),
            Some((Err(state), read)) => Err(Denied::new(n, self.timeline.figures(read, state))),
            None => self.take(hash, n),
        }
    }

    /// The common case of a check: a quota that has never changed, a bucket that is in the table, and the
    /// decision of a token bucket on it. The state that was left, or that was too empty, and when.
    #[inline]
    fn take_unchanged(&self, hash: u64, n: u64) -> Option<(Result<u64, u64>, Reading)> {
        let announced = &self.table.lines.common().announced;
        let rule = self.timeline.smooth()?;
        // One comparison for both ends: 0 wraps to the top.
        if n.wrapping_sub(1) >= rule.limit() {
            return None;
        }
        let read = || self.timeline.read_smoothly(announced);
        self.table.update_live(read, hash, |state, now| match rule.take(state, now.units, n) {
            Some(taken) => Change::Grow(taken, (Ok(taken), now)),
            None => Change::Keep((Err(state), now)),
        })
    }

    #[inline(always)]
    fn in_force(&self) -> Option<InForce> {
        self.timeline.in_force(&self.table.lines.common().announced)
    }

    /// The same by a quota that has changed.
    #[inline(always)]
    fn take_live(&self, hash: u64, n: u64, quota: &InForce) -> Option<(Result<u64, u64>, Reading)> {
        // One comparison for both ends: 0 wraps to the top.
        if n.wrapping_sub(1) >= quota.limit() {
            return None;
        }
        let rule = self.timeline.bucket(quota)?;
        let announced = &self.table.lines.common().announced;
        let read = || self.timeline.read(announced, quota);
        self.table.update_live(read, hash, |state, now: Reading| {
            match rule.take(state, now.units, n) {
                Some(taken) => Change::Grow(taken, (Ok(taken), now)),
                None => Change::Keep((Err(state), now)),
            }
        })
    }

    /// [`check_n`](Self::check_n) of any algorithm and any `n`, with and without a slot.
    #[inline(never)]
    fn take(&self, hash: u64, n: u64) -> Result<Grant, Denied> {
        if n == 0 {
            return verbs::peek(self, Whose { hash, shared: false }, 0);
        }
        // After a change the short way begins here; before one it has been tried.
        let announced = &self.table.lines.common().announced;
        if !self.timeline.first().is_window()
            && self.timeline.has_changed(announced)
            && let Some(quota) = self.in_force()
            && let Some((taken, read)) = self.take_live(hash, n, &quota)
        {
            let now = self.timeline.moment(quota.slope, read);
            return match taken {
                Ok(taken) => Ok(now.grant(n, taken)),
                Err(state) => Err(now.denied(n, state)),
            };
        }
        let whose = Whose { hash, shared: false };
        // What exceeds the limit makes no bucket.
        if n > 1 && n > self.now().rule().limit() {
            return verbs::peek(self, whose, n);
        }
        self.touch(Ask::of(whose, n), |_, state, now: Moment| {
            let rule = now.rule();
            match if n <= rule.limit() { rule.take(state, now.units, n) } else { None } {
                Some(taken) => Change::Grow(taken, Ok(now.grant(n, taken))),
                None => Change::Keep(Err(now.denied(n, state))),
            }
        })?
    }

    fn room(&self) -> Option<Room> {
        Some(self.when_full.room())
    }

    /// The denial of a key for which the table has no slot.
    #[cold]
    fn no_room(&self, full: Full, n: u64) -> Denied {
        let now = self.now();
        let soonest = full.soonest.unwrap_or_else(|| now.rule().fresh(now.units));
        Denied::new(n, now.figures(soonest).as_kind(AnswerKind::TableFull))
    }

    /// Computes something from the state of the bucket that keys without a slot share.
    fn look_at_overflow<R>(&self, look: impl Fn(u64, Moment) -> R) -> R {
        look(self.table.lines.common().overflow.load(), self.now())
    }

    /// Changes the bucket that keys without a slot share. `None`: the key that takes something of it
    /// has got a slot meanwhile.
    ///
    /// A key that takes of the shared bucket may get a slot a moment later. Its own bucket then
    /// begins no fuller than the shared one was left, or the key would have two bursts.
    fn on_overflow<R>(
        &self,
        taker: Option<u64>,
        change: impl Fn(u64, Moment) -> Change<R>,
    ) -> Option<R> {
        let now = self.now();
        self.table.lines.common().overflow.update(|state| match change(state, now) {
            Change::Grow(value, _)
                if taker.is_some_and(|hash| !self.table.keeps_out(self, hash, value, now)) =>
            {
                Step::Keep(None)
            }
            Change::Grow(value, answer) | Change::Shrink(value, answer) => {
                Step::Put(value, Some(answer))
            }
            Change::Keep(answer) => Step::Keep(Some(answer)),
        })
    }

    /// Keys whose buckets are not full: those that have been touched lately. Reads the whole table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len(self)
    }

    /// Whether no key's bucket lacks anything. Reads the whole table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most active keys that the limiter was built for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of the table and its limiter, all of them since its construction: 24 a key, and at most 3,072.
    ///
    /// What reservations and callers that wait need is not counted: some 6 KiB, and, where there are many of
    /// them, some 100 bytes for each key that has any.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.table.bytes()
    }

    /// How many buckets were forgotten before they were full, because a new key found its slots taken.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.table.evictions()
    }

    /// How many slots of a shared table had been left by killed processes, and are free again. 0 of a
    /// table in this process's memory.
    #[must_use]
    pub fn reclaimed(&self) -> u64 {
        self.table.reclaimed()
    }

    /// The quota of each key.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.now().quota()
    }

    /// The algorithm.
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
