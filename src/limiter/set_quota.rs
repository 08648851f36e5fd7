//! A change of the quota while the limiter runs.

use super::{Mode, RateLimiter, Stripes};
use crate::algorithm::{Carry, Rule};
use crate::bucket::Whose;
use crate::cell::Step;
use crate::error::QuotaError;
use crate::limiter::striped;
use crate::quota::Quota;
use crate::timeline::{Begin, Moment};

impl RateLimiter {
    /// Puts another quota in force, and leaves the tokens [as they are](Carry::AsIs).
    ///
    /// Token time goes on at another rate. Tokens that flowed before the change flowed at the old
    /// rate. The limiter keeps the tokens that it has, up to the new burst, so a change never
    /// grants a fresh burst. Every call that is under way is decided wholly by the old quota or
    /// wholly by the new one, and places in line move with the rate. A window keeps its count of
    /// admitted tokens, and the rest of it takes the same share of the new period.
    ///
    /// In return a check pays one load, of a cache line that no thread writes between changes, and
    /// after the first change a few more.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_minute(10));
    /// assert!(limiter.check_n(8).is_ok());
    /// limiter.set_quota(Quota::per_minute(250))?;
    /// assert_eq!((limiter.available(), limiter.quota().count()), (2, 250));
    /// # }
    /// # Ok::<(), sluicegate::QuotaError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The old quota stays in force if
    ///
    /// - at the new rate token time would end within a year: the rate may be some 5,000 times the
    ///   one that the limiter was built with, or about 30 times in batches;
    /// - the burst, or a window's count, does not fit the word that was laid out for the first one;
    /// - the quota of a window has a burst of its own;
    /// - the burst is too small for the limiter's batches;
    /// - another change has been under way for some milliseconds.
    pub fn set_quota(&self, quota: Quota) -> Result<(), QuotaError> {
        self.set_quota_with(quota, Carry::AsIs)
    }

    /// Puts another quota in force as [`set_quota`](Self::set_quota) does. `carry` decides what
    /// becomes of the tokens in the bucket.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{Carry, Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(10));
    /// assert!(limiter.check_n(5).is_ok());
    /// limiter.set_quota_with(Quota::per_hour(60), Carry::Proportional)?;
    /// assert_eq!(limiter.available(), 30);
    /// limiter.set_quota_with(Quota::per_hour(60), Carry::Full)?;
    /// assert_eq!(limiter.available(), 60);
    /// # }
    /// # Ok::<(), sluicegate::QuotaError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`set_quota`](Self::set_quota). Also if the limiter is a window and `carry` is
    /// [`Proportional`](Carry::Proportional).
    pub fn set_quota_with(&self, quota: Quota, carry: Carry) -> Result<(), QuotaError> {
        let quota = self.waiting.shape(quota);
        let mut shifted_back = 0;
        let done = self.timeline.change(&self.announced, quota, |now, next| {
            if let Mode::Batched(batch) = &self.mode {
                batch.again(&next.rule())?;
            }
            let now = now.under(|terms| self.mode.lowered(terms));
            let next = self.mode.lowered(*next);
            let state = self.gathered(&now);
            let units = now.units;
            let begin = match carry {
                Carry::AsIs => Begin::as_is(&now, &next),
                Carry::Full => Ok(Begin::at(now.terms().full_again(state, units))),
                Carry::Proportional => Begin::proportional(&now, &next, state),
            }?;
            shifted_back = begin.before(units);
            Ok(begin)
        });
        // Gives back the tokens that were leased under the old quota after they were gathered.
        if let Mode::Striped(striped) = &self.mode {
            striped.empty(&self.cell, &Stripes(self, striped));
        }
        // The callers that wait are due at other moments now.
        if self.queues.is_busy(Whose::default()) {
            self.queues.requote(&self.now(), shifted_back);
        }
        done
    }

    /// Moves all tokens into the state and returns it. A full bucket's state is brought up to the
    /// moment, since an idle bucket holds no more than its burst.
    fn gathered(&self, now: &Moment) -> u64 {
        if let Mode::Striped(striped) = &self.mode {
            let before = self.cell.load();
            let leased = striped.collect(striped::mine(), u64::MAX);
            striped.give_back(&self.cell, before, &Stripes(self, striped), leased);
        }
        let rule = now.rule();
        self.cell.update(|seen| {
            let (drawn, state) = self.split(seen);
            let mut gathered = rule.refund(state, now.units, drawn).unwrap_or(state);
            if matches!(rule, Rule::Bucket(_)) && rule.is_full(gathered, now.units) {
                gathered = now.units;
            }
            match self.join(0, gathered) {
                same if same == seen => Step::Keep(gathered),
                word => Step::Put(word, gathered),
            }
        })
    }
}
