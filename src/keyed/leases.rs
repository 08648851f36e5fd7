//! Leases of tokens for many keys, in a table of fixed memory. A limiter whose buckets are in Redis
//! keeps them here.
//!
//! The value of a key's bucket is its lease (`algorithm/lease.rs`). A lease may be forgotten once
//! it has ended and nothing is left of it. The slots follow the protocol of `table.rs`. Nothing
//! here adds an atomic to it.

use super::hash::Seed;
use super::table::{Buckets, Change, Room, Table};
use crate::algorithm::lease::{self, TICK_BITS, Taken};
use crate::clock::Timer;
use crate::time::Ratio;
use crate::word::VALUE_BITS;

/// The leases, and their clock.
#[derive(Debug)]
pub(crate) struct Leases {
    table: Table,
    timer: Timer,
    tick: Ratio,
    seed: Seed,
    /// The longest time until a caller that was told to ask has an answer, in ticks. After that the
    /// next caller is told to ask.
    patience: u64,
}

/// A reading of the clock, and whether the value seen with it may be that of the slot's last key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    ticks: u64,
    first: bool,
}

impl Buckets for Leases {
    type Now = Moment;

    #[inline(always)]
    fn now(&self) -> Moment {
        Moment { ticks: self.nanos() >> TICK_BITS, first: false }
    }

    fn fresh(&self, now: Moment) -> u64 {
        lease::nothing(now.ticks)
    }

    /// Marks the moment of a first touch. The slot may then hold the value of its last key, where
    /// the ends have wrapped or a clock lags.
    fn not_before(&self, now: Moment, _: u64) -> Moment {
        Moment { first: true, ..now }
    }

    fn until_full(&self, value: u64, now: Moment) -> u64 {
        lease::until_nothing(value, now.ticks)
    }

    /// Keeps the value: if a lease is forgotten, its tokens are merely never spent.
    fn emptier(&self, value: u64, _: u64, _: Moment) -> u64 {
        value
    }
}

impl Moment {
    /// The lease of the key itself.
    #[inline(always)]
    fn own(self, value: u64) -> u64 {
        if self.first { lease::nothing(self.ticks) } else { value }
    }
}

/// Commits a lease. A later end makes the value larger. The same end, or one that has wrapped, may
/// not.
#[inline(always)]
fn put<R>(before: u64, after: u64, answer: R) -> Change<R> {
    match after.cmp(&before) {
        core::cmp::Ordering::Greater => Change::Grow(after, answer),
        core::cmp::Ordering::Equal => Change::Keep(answer),
        core::cmp::Ordering::Less => Change::Shrink(after, answer),
    }
}

impl Leases {
    /// Makes room for leases in `slots` slots. Redis answers within `patience` nanoseconds.
    pub(crate) fn new(slots: usize, timer: Timer, patience: u64) -> Self {
        let (tick, seed) = (timer.tick(), Seed::random());
        Self {
            table: Table::new(slots, VALUE_BITS),
            tick,
            timer,
            seed,
            patience: ticks_up(patience),
        }
    }

    /// The nanoseconds since the table was made.
    #[inline(always)]
    pub(crate) fn nanos(&self) -> u64 {
        self.tick.of(self.timer.ticks())
    }

    /// The fingerprint of a key.
    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.seed.fingerprint(key)
    }

    /// Counts the leases forgotten before they had ended.
    pub(crate) fn evictions(&self) -> u64 {
        self.table.evictions()
    }

    /// Takes as many of the key's tokens as there are, from `least` to `most`.
    #[inline]
    pub(crate) fn take(&self, hash: u64, least: u64, most: u64) -> Taken {
        let take = |value, now: Moment| {
            let (after, taken) = lease::take(value, now.ticks, least, most, self.patience);
            put(value, after, taken)
        };
        let now = || Some(self.now());
        self.table
            .update_live(now, hash, take)
            .unwrap_or_else(|| self.take_by_search(hash, least, most))
    }

    /// Takes tokens of a key without a slot. The key gets a slot, which remembers the question.
    #[cold]
    #[inline(never)]
    fn take_by_search(&self, hash: u64, least: u64, most: u64) -> Taken {
        let take = |value, now: Moment| {
            let own = now.own(value);
            let (after, taken) = lease::take(own, now.ticks, least, most, self.patience);
            put(value, after, taken)
        };
        let taken = self.table.update(self, hash, Some(Room::Evict), take);
        // Other threads hold all of the key's slots, so another call will have to ask.
        taken.ok().flatten().unwrap_or(Taken::Short { left: 0, ask: false })
    }

    /// Adds tokens to the key's lease. It was meant to be of `size` tokens and ends at `until`, in
    /// nanoseconds. Returns the tokens left, or `None` if the table has no room for the key.
    #[must_use]
    pub(crate) fn deposit(&self, hash: u64, tokens: u64, size: u64, until: u64) -> Option<u64> {
        let deposit = |value, now: Moment| {
            let after = lease::deposit(now.own(value), tokens, size, until >> TICK_BITS);
            put(value, after, lease::left(after))
        };
        self.table.update(self, hash, Some(Room::Evict), deposit).ok().flatten()
    }

    /// Denies the key until `until`, in nanoseconds, if its lease is empty. The denial says that it
    /// may last `seconds` more, or without them that Redis does not answer. Returns `false` if
    /// tokens are left; then whether another lease is asked for stays as it was.
    pub(crate) fn deny(&self, hash: u64, until: u64, seconds: Option<u64>) -> bool {
        let deny = |value, now: Moment| match lease::deny(now.own(value), ticks_up(until), seconds)
        {
            Some(after) => put(value, after, true),
            None => Change::Keep(false),
        };
        let denied = self.table.update(self, hash, Some(Room::Evict), deny);
        denied.ok().flatten().unwrap_or(false)
    }

    /// Lets the next caller that finds too few tokens ask.
    pub(crate) fn unask(&self, hash: u64) {
        let unask = |value, now: Moment| put(value, lease::unask(now.own(value)), ());
        // A key without a slot asks anyway.
        let _ = self.table.update(self, hash, None, unask);
    }

    /// Takes out all tokens of the key's lease.
    #[must_use]
    pub(crate) fn withdraw(&self, hash: u64) -> u64 {
        let withdraw = |value, now: Moment| {
            let (after, tokens) = lease::withdraw(now.own(value));
            put(value, after, tokens)
        };
        self.table.update(self, hash, None, withdraw).ok().flatten().unwrap_or(0)
    }

    /// The tokens left of the key's lease, whether it has ended or not.
    pub(crate) fn left(&self, hash: u64) -> u64 {
        let look = |value, now: Moment| Change::Keep(lease::left(now.own(value)));
        self.table.update(self, hash, None, look).ok().flatten().unwrap_or(0)
    }
}

/// Converts nanoseconds to ticks, rounded up, so that no caller comes back too early.
fn ticks_up(nanos: u64) -> u64 {
    nanos.div_ceil(1 << TICK_BITS)
}

#[cfg(test)]
#[path = "leases/tests.rs"]
mod tests;
