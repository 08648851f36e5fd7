//! What a key has, and what is put on its account and given back.

use super::KeyedLimiter;
use super::table::Change;
use crate::algorithm;
use crate::bucket::{Whose, queue};
use crate::timeline::Moment;
use core::hash::Hash;
use core::time::Duration;

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Takes `n` tokens even if they are not there, and says how long until the debt is paid: zero if
    /// there is none. Debt ends at [`max_debt`](crate::KeyedBuilder::max_debt), if that is chosen,
    /// and what is over is forgotten.
    ///
    /// With [`WhenFull::Deny`](crate::WhenFull::Deny), a key that finds no slot is not charged, and the answer is how long
    /// until there is one.
    pub fn charge(&self, key: &K, n: u64) -> Duration {
        if n == 0 {
            return self.debt(self.seed.fingerprint(key));
        }
        self.charge_to(self.whose(key), n)
    }

    /// How long until the key owes nothing.
    pub(super) fn debt(&self, hash: u64) -> Duration {
        let look = |state, now: Moment| Change::Keep(now.figures(state).owes());
        let found = self.table.update(self, hash, None, look);
        found.ok().flatten().unwrap_or_default()
    }

    /// Gives `n` tokens back, never above the burst. Of an untouched key, nothing is missing. While somebody waits for the
    /// key they go to the first in line.
    ///
    /// While places of the key, or of some others, are held, it takes their lock for a few steps.
    pub fn refund(&self, key: &K, n: u64) {
        self.put_back_to(self.whose(key), n);
    }

    /// Makes so many tokens missing of the key's bucket, whatever was before: what somebody else knows.
    #[cfg(feature = "redis")]
    pub(crate) fn follow(&self, key: &K, missing: u64) {
        let follow = |state, now: Moment| {
            let rule = now.rule();
            let full = rule.fresh(now.units);
            let next = if missing == 0 { full } else { rule.charge(full, now.units, missing) };
            if next > state && missing > 0 {
                self.owing(next, now);
                return Change::Grow(next, ());
            }
            // A full bucket may be older than now.
            if next < state { Change::Shrink(next, ()) } else { Change::Keep(()) }
        };
        // A full one needs no slot; without one a key is not followed.
        let room = if missing == 0 { None } else { self.room() };
        let _ = self.table.update(self, self.seed.fingerprint(key), room, follow);
    }

    pub(super) fn put_back_to(&self, whose: Whose, n: u64) {
        if queue::refund(self, whose, n) {
            return;
        }
        self.stand_by(whose, |state, now| self.refunded(whose, state, now, n));
        // The line may end now where a place was given up.
        queue::ended(self, whose);
    }

    /// Whole tokens there now, rounded down; negative in debt.
    #[must_use]
    pub fn available(&self, key: &K) -> i64 {
        self.available_to(self.seed.fingerprint(key))
    }

    pub(super) fn available_to(&self, hash: u64) -> i64 {
        self.look_into(hash, |state, now| now.rule().balance(state, now.units))
    }

    /// How full the key's leaky bucket is: whole tokens poured in and not yet leaked, rounded up. Of
    /// the other algorithms: what is missing from the limit.
    #[must_use]
    pub fn level(&self, key: &K) -> u64 {
        let level = |state, now: Moment| algorithm::level(&now.rule(), state, now.units);
        self.look_into(self.seed.fingerprint(key), level)
    }

    /// Makes the key's bucket full again, as if nothing had ever been taken. Those who wait are served of it in their order.
    pub fn reset(&self, key: &K) {
        let reset = |state, now: Moment| {
            let rule = now.rule();
            if rule.is_full(state, now.units) {
                Change::Keep(())
            } else {
                Change::Shrink(rule.fresh(now.units), ())
            }
        };
        let whose = self.whose(key);
        self.queues.reset(self, whose, || {
            self.entries(whose).reset(|| self.update_existing(whose.hash, reset));
        });
    }
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// The state after a refund, which is counted for those who may undo what they took.
    pub(super) fn refunded(&self, whose: Whose, state: u64, now: Moment, n: u64) -> Change<()> {
        let Some(refunded) = now.rule().refund(state, now.units, n) else {
            return Change::Keep(());
        };
        self.entries(whose).count(state.wrapping_sub(refunded));
        Change::Shrink(refunded, ())
    }

    /// Remembers how far the most indebted bucket goes, before it does.
    pub(super) fn owing(&self, state: u64, now: Moment) {
        if now.rule().until_paid(state, now.units, 0) > 0 {
            self.table.lines.common().furthest.raise(state);
        }
    }

    /// Charges a bucket by its key's fingerprint.
    pub(super) fn charge_to(&self, whose: Whose, n: u64) -> Duration {
        let charge = |state, now: Moment| {
            let charged = now.rule().charge_within(state, now.units, n, self.max_debt);
            if charged == state {
                return Change::Keep(now.figures(state));
            }
            self.owing(charged, now);
            Change::Grow(charged, now.figures(charged))
        };
        if whose.shared {
            return self.on_overflow(charge).owes();
        }
        let figures = match self.table.update(self, whose.hash, self.room(), charge) {
            Ok(Some(figures)) => figures,
            Ok(None) => return Duration::ZERO,
            Err(full) => match self.without_slot(full, n, charge) {
                Ok(figures) => figures,
                Err(denied) => return denied.reset_after(),
            },
        };
        figures.owes()
    }
}
