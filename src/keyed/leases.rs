//! Leases of tokens for many keys, in a table of fixed memory: the local store of a limiter whose buckets are elsewhere.
//!
//! A key's value is its lease (`algorithm/lease.rs`); a lease that has ended and of which nothing is left may be
//! forgotten. The slots' protocol is that of `table.rs`. Nothing here adds an atomic to it.

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
    /// For how long who has been told to ask may take to have an answer, in ticks.
    patience: u64,
}

/// A moment, and whether the value that is seen at it is that of a slot's last key.
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

    /// Asked at a first touch only. The value there may be the last key's, where the ends have wrapped or a clock lags.
    fn not_before(&self, now: Moment, _: u64) -> Moment {
        Moment { first: true, ..now }
    }

    fn until_full(&self, value: u64, now: Moment) -> u64 {
        lease::until_nothing(value, now.ticks)
    }

    /// A lease that is forgotten is tokens that nobody spends.
    fn emptier(&self, value: u64, _: u64, _: Moment) -> u64 {
        value
    }
}

impl Moment {
    /// What the key had.
    #[inline(always)]
    fn own(self, value: u64) -> u64 {
        if self.first { lease::nothing(self.ticks) } else { value }
    }
}

/// A later end makes a value larger; the same one, or one that has wrapped, need not.
#[inline(always)]
fn put<R>(before: u64, after: u64, answer: R) -> Change<R> {
    match after.cmp(&before) {
        core::cmp::Ordering::Greater => Change::Grow(after, answer),
        core::cmp::Ordering::Equal => Change::Keep(answer),
        core::cmp::Ordering::Less => Change::Shrink(after, answer),
    }
}

impl Leases {
    /// For leases in `slots` slots. An answer takes at most so many nanoseconds.
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

    /// Nanoseconds since it was made.
    #[inline(always)]
    pub(crate) fn nanos(&self) -> u64 {
        self.tick.of(self.timer.ticks())
    }

    /// The fingerprint of a key.
    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.seed.fingerprint(key)
    }

    /// Leases forgotten before they had ended.
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

    /// The same of a key without a slot: it gets one, for the question.
    #[cold]
    #[inline(never)]
    fn take_by_search(&self, hash: u64, least: u64, most: u64) -> Taken {
        let take = |value, now: Moment| {
            let own = now.own(value);
            let (after, taken) = lease::take(own, now.ticks, least, most, self.patience);
            put(value, after, taken)
        };
        let taken = self.table.update(self, hash, Some(Room::Evict), take);
        // All its slots in other threads' hands: somebody else will have to ask.
        taken.ok().flatten().unwrap_or(Taken::Short { left: 0, ask: false })
    }

    /// Adds tokens to the key's lease, which was meant to be of `size`, until then in nanoseconds. What is left;
    /// `None` if there was no place to put them.
    #[must_use]
    pub(crate) fn deposit(&self, hash: u64, tokens: u64, size: u64, until: u64) -> Option<u64> {
        let deposit = |value, now: Moment| {
            let after = lease::deposit(now.own(value), tokens, size, until >> TICK_BITS);
            put(value, after, lease::left(after))
        };
        self.table.update(self, hash, Some(Room::Evict), deposit).ok().flatten()
    }

    /// Denies until then, in nanoseconds, saying that it may last so many seconds more, or that nobody answers. Not if
    /// something is left: then whether another lease is asked for is as it was.
    pub(crate) fn deny(&self, hash: u64, until: u64, seconds: Option<u64>) -> bool {
        let deny = |value, now: Moment| match lease::deny(now.own(value), ticks_up(until), seconds)
        {
            Some(after) => put(value, after, true),
            None => Change::Keep(false),
        };
        let denied = self.table.update(self, hash, Some(Room::Evict), deny);
        denied.ok().flatten().unwrap_or(false)
    }

    /// Lets the next who finds too few ask.
    pub(crate) fn unask(&self, hash: u64) {
        let unask = |value, now: Moment| put(value, lease::unask(now.own(value)), ());
        // Who has no slot asks anyway.
        let _ = self.table.update(self, hash, None, unask);
    }

    /// Takes out all that is left of the key's lease.
    #[must_use]
    pub(crate) fn withdraw(&self, hash: u64) -> u64 {
        let withdraw = |value, now: Moment| {
            let (after, tokens) = lease::withdraw(now.own(value));
            put(value, after, tokens)
        };
        self.table.update(self, hash, None, withdraw).ok().flatten().unwrap_or(0)
    }

    /// What is left of the key's lease, whether it has ended or not.
    pub(crate) fn left(&self, hash: u64) -> u64 {
        let look = |value, now: Moment| Change::Keep(lease::left(now.own(value)));
        self.table.update(self, hash, None, look).ok().flatten().unwrap_or(0)
    }
}

/// Nanoseconds in ticks, rounded up: nobody comes back too early.
fn ticks_up(nanos: u64) -> u64 {
    nanos.div_ceil(1 << TICK_BITS)
}

#[cfg(test)]
#[path = "leases/tests.rs"]
mod tests;
