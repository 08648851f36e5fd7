//! A change of the quota while the limiter runs.

use super::KeyedLimiter;
use super::table::Buckets;
use crate::algorithm::{Carry, Terms};
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::timeline::{Begin, Moment};

impl<K: ?Sized> KeyedLimiter<K> {
    /// Puts another quota in force for every key at once, in all processes that share the table.
    ///
    /// The change takes the same time with any number of keys: token time goes on at another rate,
    /// and no bucket is touched. Tokens that flowed before the change flowed at the old rate. Every
    /// key keeps the tokens that it has, up to the new burst, so a change never grants a fresh
    /// burst. Under a larger burst, a key that has been full for a while has the tokens that would
    /// have flowed since it was full; a key without a bucket has the whole burst. A window keeps
    /// its count of admitted tokens, and the rest of it takes the same share of the new period.
    /// Every call that is under way is decided wholly by the old quota or wholly by the new one.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{KeyedLimiter, Quota};
    ///
    /// let users = KeyedLimiter::<str>::new(Quota::per_minute(10), 1_000);
    /// assert!(users.check_n("alice", 8).is_ok());
    /// users.set_quota(Quota::per_minute(250))?;
    /// assert_eq!((users.available("alice"), users.available("bob")), (2, 250));
    /// # }
    /// # Ok::<(), sluicegate::QuotaError>(())
    /// ```
    ///
    /// In a shared table the quota changes for all processes, and outlives them. A process that
    /// opens the table later may name the quota that the table was made with, or the one in force.
    ///
    /// # Errors
    ///
    /// The old quota stays in force if
    ///
    /// - at the new rate token time would end within a year. It is laid out for 30 years at the
    ///   rate that the limiter was built with, so a rate may be about 30 times that;
    /// - the burst, or a window's count, does not fit the word that was laid out for the first one.
    ///   The count of a fixed window may be 16 times the first one, that of a sliding window 8
    ///   times, and either may be 4,095 in any case;
    /// - a window's quota has a burst of its own;
    /// - another change has been under way for some milliseconds.
    pub fn set_quota(&self, quota: Quota) -> Result<(), QuotaError> {
        self.set_quota_with(quota, Carry::AsIs)
    }

    /// Puts another quota in force as [`set_quota`](Self::set_quota) does. `carry` decides what
    /// becomes of the tokens in the buckets. Making all keys full again takes the same time with
    /// any number of keys, too.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{Carry, KeyedLimiter, Quota};
    ///
    /// let users = KeyedLimiter::<str>::new(Quota::per_day(100), 1_000);
    /// assert!(users.check_n("alice", 100).is_ok());
    /// users.set_quota_with(Quota::per_day(100), Carry::Full)?;
    /// assert!(users.check_n("alice", 100).is_ok());
    /// # }
    /// # Ok::<(), sluicegate::QuotaError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`set_quota`](Self::set_quota). Also if `carry` is
    /// [`Proportional`](Carry::Proportional).
    ///
    /// Making all keys full uses up part of the limiter's 30 years of token time: the time in which
    /// a bucket fills.
    pub fn set_quota_with(&self, quota: Quota, carry: Carry) -> Result<(), QuotaError> {
        let (common, quota) = (self.table.lines.common(), self.waiting.shape(quota));
        let mut shifted_back = 0;
        let begin = |now: &Moment, next: &Terms| {
            let begin = match carry {
                Carry::AsIs => Begin::as_is(now, next),
                Carry::Full => Ok(Begin::at(now.terms().full_again(self.emptiest(now), now.units))),
                Carry::Proportional => Err(QuotaError::PROPORTIONAL),
            }?;
            shifted_back = begin.before(now.units);
            Ok(begin)
        };
        let done = self.table.lines.alone(|| self.timeline.change(&common.announced, quota, begin));
        // The callers that wait are due at other moments now.
        self.queues.requote(&self.now(), shifted_back);
        done
    }

    /// Computes a state that is at least as empty as every key's bucket.
    fn emptiest(&self, now: &Moment) -> u64 {
        let rule = now.rule();
        let empty = rule.charge(rule.fresh(now.units), now.units, rule.limit());
        empty.max(self.table.lines.common().furthest.seen())
    }
}
