//! Another quota while the limiter runs.

use super::KeyedLimiter;
use crate::error::QuotaError;
use crate::quota::Quota;

impl<K: ?Sized> KeyedLimiter<K> {
    /// Puts another quota in force for every key, now and in all processes that share the table.
    ///
    /// However many keys there are it takes the same moment: token time goes on at another rate, and no
    /// bucket is touched. What had flowed until then was by the old rate, and every key keeps the tokens that it
    /// has, up to the new burst: nobody gets a fresh one. A key that has been full for a while has, of a larger burst,
    /// what would have flowed since; one without a bucket has all of it. A window keeps what it has
    /// admitted, and what is left of it takes the same share of the new period. Every call that is under
    /// way is decided wholly by the old quota or wholly by the new one.
    ///
    /// ```
    /// use sluicegate::{KeyedLimiter, Quota};
    ///
    /// let users = KeyedLimiter::<str>::new(Quota::per_minute(10), 1_000);
    /// assert!(users.check_n("alice", 8).is_ok());
    /// users.set_quota(Quota::per_minute(250))?;
    /// assert_eq!((users.available("alice"), users.available("bob")), (2, 250));
    /// # Ok::<(), sluicegate::QuotaError>(())
    /// ```
    ///
    /// In a shared table the quota changes for all processes, and outlives them. A process that
    /// opens the table later may name the quota that it was made with, or the one in force.
    ///
    /// # Errors
    ///
    /// The old quota stays in force if
    ///
    /// - at the new rate token time would end within a year. It is laid out for 30 years at the
    ///   rate that the limiter was built with, so a rate may be about 30 times that;
    /// - the burst, or a window's count, does not fit the word that was laid out for the first one;
    /// - a window's quota has a burst of its own;
    /// - another change has been under way for some milliseconds.
    pub fn set_quota(&self, quota: Quota) -> Result<(), QuotaError> {
        let lines = &self.table.lines;
        lines.alone(|| self.live.change(&lines.common().announced, quota))
    }
}
