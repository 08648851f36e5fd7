//! The keyed table, with each caller's time given by hand, so that clocks may lag.

use crate::algorithm::{Algorithm, Rule, Terms};
use crate::keyed::table::{Buckets, Change, Room, Table};
use crate::quota::Quota;

/// A table under one algorithm, in which a moment is a number of tokens (of windows, for a window).
#[derive(Debug)]
pub struct Keyed {
    table: Table,
    rule: Rule,
    unit: u64,
}

/// The answer that a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The tokens were taken.
    Granted,
    /// The tokens were not there.
    Denied,
    /// The key has no slot, and none was free.
    NoSlot,
}

/// One caller, for one key, with its clock.
#[derive(Debug)]
pub struct Caller<'a> {
    keyed: &'a Keyed,
    hash: u64,
    time: Time<'a>,
}

#[derive(Debug)]
enum Time<'a> {
    /// The result of each reading in turn; the last one stays.
    Own(&'a [u64], core::cell::Cell<usize>),
    /// A clock that all callers share.
    Common(&'a core::sync::atomic::AtomicU64),
}

impl Keyed {
    /// Makes a table of `slots` slots, whose buckets hold `burst` tokens.
    #[must_use]
    pub fn new(slots: usize, burst: u64, algorithm: Algorithm) -> Self {
        let quota = Quota::per_second(burst);
        let bits = Terms::keyed_bits(&quota, algorithm);
        let bucket = Terms::bucket(quota, algorithm, bits);
        let terms = Terms::new(quota, algorithm, bits).unwrap_or(bucket);
        let unit = 1 << terms.scale().fraction;
        Self { table: Table::new(slots, bits), rule: terms.rule(), unit }
    }

    /// Returns a caller for the key of this fingerprint, at these times.
    #[must_use]
    pub fn at<'a>(&'a self, hash: u64, times: &'a [u64]) -> Caller<'a> {
        Caller { keyed: self, hash, time: Time::Own(times, core::cell::Cell::new(0)) }
    }

    /// Returns a caller for the key of this fingerprint, by a clock that all callers share.
    #[must_use]
    pub fn by<'a>(&'a self, hash: u64, clock: &'a core::sync::atomic::AtomicU64) -> Caller<'a> {
        Caller { keyed: self, hash, time: Time::Common(clock) }
    }

    /// Returns the number of buckets forgotten before they were full.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.table.evictions()
    }
}

impl Caller<'_> {
    /// Takes `n`, the short way if the key is there and its bucket is no window, as a limiter does.
    /// A first touch may take a free slot, or a live one if `evict`.
    #[must_use]
    pub fn take(&self, n: u64, evict: bool) -> Answer {
        if !matches!(self.keyed.rule, Rule::Bucket(_)) {
            return self.take_by_search(n, evict);
        }
        let short = self.keyed.table.update_live(
            || Some(self.now()),
            self.hash,
            |state, now| self.decide(state, now, n),
        );
        short.unwrap_or_else(|| self.take_by_search(n, evict))
    }

    /// Takes `n` without the short way, which only reads before a first touch: for models of three
    /// threads that it would make too large.
    #[must_use]
    pub fn take_by_search(&self, n: u64, evict: bool) -> Answer {
        let room = if evict { Room::Evict } else { Room::None };
        let take = |state, now| self.decide(state, now, n);
        let answer = self.keyed.table.update(self, self.hash, Some(room), take);
        answer.map_or(Answer::NoSlot, |answer| answer.unwrap_or(Answer::NoSlot))
    }

    fn decide(&self, state: u64, now: u64, n: u64) -> Change<Answer> {
        match self.keyed.rule.take(state, now, n) {
            Some(taken) => Change::Grow(taken, Answer::Granted),
            None => Change::Keep(Answer::Denied),
        }
    }

    /// Gives `n` back. Returns whether any was missing.
    pub fn refund(&self, n: u64) -> bool {
        let rule = &self.keyed.rule;
        let refund = |state, now| match rule.refund(state, now, n) {
            Some(refunded) => Change::Shrink(refunded, true),
            None => Change::Keep(false),
        };
        matches!(self.keyed.table.update(self, self.hash, None, refund), Ok(Some(true)))
    }

    /// Returns the whole tokens there, if the key has a slot.
    #[must_use]
    pub fn balance(&self) -> Option<i64> {
        let rule = &self.keyed.rule;
        let look = |state, now| Change::Keep(rule.balance(state, now));
        self.keyed.table.update(self, self.hash, None, look).ok().flatten()
    }

    /// Makes the bucket full. Returns whether it was not.
    pub fn reset(&self) -> bool {
        let rule = &self.keyed.rule;
        let reset = |state, now| {
            if rule.is_full(state, now) {
                Change::Keep(false)
            } else {
                Change::Shrink(rule.fresh(now), true)
            }
        };
        matches!(self.keyed.table.update(self, self.hash, None, reset), Ok(Some(true)))
    }
}

impl Buckets for Caller<'_> {
    type Now = u64;

    fn now(&self) -> u64 {
        let now = match &self.time {
            Time::Own(times, reading) => {
                let i = reading.get();
                reading.set((i + 1).min(times.len() - 1));
                times[i]
            }
            // ORDERING: SeqCst, so that this clock goes the same way for all; it is no part of the
            // model.
            Time::Common(clock) => clock.load(core::sync::atomic::Ordering::SeqCst),
        };
        now * self.keyed.unit
    }

    fn fresh(&self, now: u64) -> u64 {
        self.keyed.rule.fresh(now)
    }

    fn not_before(&self, now: u64, fresh: u64) -> u64 {
        now.max(self.keyed.rule.began(fresh))
    }

    fn until_full(&self, value: u64, now: u64) -> u64 {
        self.keyed.rule.until_full(value, now)
    }

    fn emptier(&self, value: u64, forgotten: u64, now: u64) -> u64 {
        self.keyed.rule.emptier(value, forgotten, now)
    }
}
