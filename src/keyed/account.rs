//! The verbs of a keyed limiter that look at a key's balance or correct it.

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
    /// Predicts the answer of [`check_n`](Self::check_n). Takes nothing, and makes no bucket.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    pub fn peek(&self, key: &K, n: u64) -> Result<Grant, Denied> {
        verbs::peek(self, self.whose(key), n)
    }

    /// Takes `n` tokens even if they are not there. Returns the time until the debt is paid: zero
    /// if there is none. A charge stops at the bound of the debt, which is
    /// [`max_debt`](crate::KeyedBuilder::max_debt) if that is set, and forgets the excess.
    ///
    /// With [`WhenFull::Deny`](crate::WhenFull::Deny), a key that finds no slot is not charged, and
    /// `charge` returns the time until a slot may be free.
    pub fn charge(&self, key: &K, n: u64) -> Duration {
        verbs::charge(self, self.whose(key), n)
    }

    /// Gives `n` tokens back, never above the burst. It changes nothing for an untouched key, whose
    /// bucket is full. While callers wait for the key, the tokens go to the first in line.
    ///
    /// While places of the key, or of some other keys, are held, it takes their lock for a few
    /// steps.
    pub fn refund(&self, key: &K, n: u64) {
        verbs::refund(self, self.whose(key), n);
    }

    /// The number of whole tokens that are there now, rounded down; negative in debt.
    #[must_use]
    pub fn available(&self, key: &K) -> i64 {
        verbs::available(self, self.whose(key))
    }

    /// The level of the key's leaky bucket: whole tokens poured in and not yet leaked, rounded up.
    /// For any other algorithm: the tokens missing from the limit.
    #[must_use]
    pub fn level(&self, key: &K) -> u64 {
        verbs::level(self, self.whose(key))
    }

    /// Makes the key's bucket full again, as if no token had ever been taken. Callers that wait are
    /// served from it in their order.
    pub fn reset(&self, key: &K) {
        verbs::reset(self, self.whose(key));
    }

    /// Sets the number of tokens that the key's bucket lacks, whatever it lacked before. The
    /// fallback of a limiter in Redis follows Redis by it.
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
            // If nothing is missing, a smaller state is a full bucket as of an earlier time.
            if next < state { Change::Shrink(next, ()) } else { Change::Keep(()) }
        };
        // A full bucket needs no slot. A key without a slot is not followed.
        let room = if missing == 0 { None } else { self.room() };
        let _ = self.table.update(self, self.seed.fingerprint(key), room, follow);
    }
}
