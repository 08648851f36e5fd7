//! What a key has, and what is put on its account and given back.

use super::KeyedLimiter;
#[cfg(feature = "redis")]
use super::table::Change;
use crate::answer::{Denied, Grant};
#[cfg(feature = "redis")]
use crate::bucket::Store;
use crate::bucket::verbs;
#[cfg(feature = "redis")]
use crate::timeline::Moment;
use core::hash::Hash;
use core::time::Duration;

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// What [`check_n`](Self::check_n) would answer now. Takes nothing, and makes no bucket.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    pub fn peek(&self, key: &K, n: u64) -> Result<Grant, Denied> {
        verbs::peek(self, self.whose(key), n)
    }

    /// Takes `n` tokens even if they are not there, and says how long until the debt is paid: zero if
    /// there is none. Debt ends at [`max_debt`](crate::KeyedBuilder::max_debt), if that is chosen,
    /// and what is over is forgotten.
    ///
    /// With [`WhenFull::Deny`](crate::WhenFull::Deny), a key that finds no slot is not charged, and the answer is how long
    /// until there is one.
    pub fn charge(&self, key: &K, n: u64) -> Duration {
        verbs::charge(self, self.whose(key), n)
    }

    /// Gives `n` tokens back, never above the burst. Of an untouched key, nothing is missing. While somebody waits for the
    /// key they go to the first in line.
    ///
    /// While places of the key, or of some others, are held, it takes their lock for a few steps.
    pub fn refund(&self, key: &K, n: u64) {
        verbs::refund(self, self.whose(key), n);
    }

    /// Whole tokens there now, rounded down; negative in debt.
    #[must_use]
    pub fn available(&self, key: &K) -> i64 {
        verbs::available(self, self.whose(key))
    }

    /// How full the key's leaky bucket is: whole tokens poured in and not yet leaked, rounded up. Of
    /// the other algorithms: what is missing from the limit.
    #[must_use]
    pub fn level(&self, key: &K) -> u64 {
        verbs::level(self, self.whose(key))
    }

    /// Makes the key's bucket full again, as if nothing had ever been taken. Those who wait are served of it in their order.
    pub fn reset(&self, key: &K) {
        verbs::reset(self, self.whose(key));
    }

    /// Makes so many tokens missing of the key's bucket, whatever was before: what somebody else knows.
    #[cfg(feature = "redis")]
    pub(crate) fn follow(&self, key: &K, missing: u64) {
        let follow = |state, now: Moment| {
            let rule = now.rule();
            let full = rule.fresh(now.units);
            let next = if missing == 0 { full } else { rule.charge(full, now.units, missing) };
            if next > state && missing > 0 {
                self.before_debt(next, &now);
                return Change::Grow(next, ());
            }
            // A full bucket may be older than now.
            if next < state { Change::Shrink(next, ()) } else { Change::Keep(()) }
        };
        // A full one needs no slot; without one a key is not followed.
        let room = if missing == 0 { None } else { self.room() };
        let _ = self.table.update(self, self.seed.fingerprint(key), room, follow);
    }
}
