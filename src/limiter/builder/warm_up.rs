//! Warming up after being idle.

use super::Builder;
use crate::algorithm::{Algorithm, Terms};
use crate::error::QuotaError;
use crate::quota::Quota;
use core::time::Duration;

impl Builder {
    /// Lets the limiter go slowly at first and after it was idle, and reach the quota's rate within `period` of steady
    /// demand: for a service whose caches must fill and whose connections must open before it can take the full load.
    ///
    /// It is Guava's `SmoothWarmingUp` (see `SmoothRateLimiter` there) with its cold factor of 3. In `period` M tokens flow;
    /// as many *permits* are stored while nothing is asked, one in the time of a token, and the limiter starts with all of
    /// them: cold. A request of `n` spends permits, and what it takes of the upper half is dearer, up to three times at the very
    /// top. With `above` permits over M/2, of which it takes `a = min(n, max(0, above))`, it costs
    ///
    /// ```text
    /// n + 2a(2 above - a) / M    tokens.
    /// ```
    ///
    /// So from cold the first M/2 tokens take the whole period, and from then on they flow at the rate. *The next* request
    /// waits for the cost: a request is granted whenever nothing is owed, whatever it costs itself, up to M in whole tokens
    /// (at least one), which is the limit. There is no other burst, since what is stored is not given out faster; a poll that
    /// comes late loses what it is late by. In any window of length W the limiter admits at most limit + rate * W.
    ///
    /// ```
    /// use sluicegate::{ManualClock, Quota, RateLimiter};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let builder = RateLimiter::builder(Quota::per_second(2)).clock(clock.clone());
    /// let limiter = builder.warm_up(Duration::from_secs(4)).build()?;
    /// let waits = [(); 7].map(|()| {
    ///     let Err(denied) = limiter.check() else { return 0 };
    ///     let wait = denied.retry_after().unwrap_or_default();
    ///     clock.advance(wait);
    ///     assert!(limiter.check().is_ok());
    ///     wait.as_millis()
    /// });
    /// assert_eq!(waits, [0, 1_375, 1_125, 875, 625, 500, 500]);
    /// # Ok::<(), sluicegate::QuotaError>(())
    /// ```
    ///
    /// A check costs the same atomic operations as otherwise. A grant leaves nothing: `remaining` is the limit where nothing
    /// is owed, and else 0; `available` is then what is owed, below zero, `reset_after` the time until it is
    /// paid. [`max_waiting`](Self::max_waiting) bounds the time that a reservation waits, by the tokens that flow in it. A
    /// refund gives back tokens at the price of a warm limiter, of what is owed; the limiter stays as warm as it is. Only the
    /// last in line can [cancel](crate::Reservation::cancel): the limiter is then as if he had never come.
    ///
    /// Time and permits share the word, so time is coarser than otherwise: its unit flows in 25 to 51 us for a period of
    /// a second, and longer as the period's square root, at any rate; at most it is a token. A window may admit what flows in
    /// one unit more. M is rounded down to a unit, and what a request costs over its `n` up to one; the rate of a warm
    /// limiter is not rounded.
    ///
    /// A [changed quota](crate::RateLimiter::set_quota) warms up in the same period; what is owed, and how warm the limiter is,
    /// stay as they are in tokens. There is room for 8 times the rate, unless the period is nearly the longest there can be.
    ///
    /// # Errors
    ///
    /// From [`build`](Self::build):
    ///
    /// - the period is over 3,660 days, or the word has no room for it: there is room for 2 hours at 1,000/s, 100 s at
    ///   10,000/s, 8 ms at a million a second, and for none over 910 million; the error says how long it may be;
    /// - the quota has a burst of its own;
    /// - the limiter is no token bucket, or has `initial`, batches, stripes or instalments.
    pub fn warm_up(mut self, period: Duration) -> Self {
        self.warm_up = Some(period);
        self
    }

    /// The terms of a limiter that warms up, if it is to.
    pub(super) fn warming_up(&self, quota: &Quota) -> Result<Option<Terms>, QuotaError> {
        let Some(period) = self.warm_up else { return Ok(None) };
        if self.algorithm != Algorithm::TokenBucket {
            return Err(QuotaError::WARM_UP);
        }
        if self.initial.is_some() {
            return Err(QuotaError::WARM_UP_INITIAL);
        }
        if self.batch.is_some() {
            return Err(QuotaError::WARM_UP_BATCH);
        }
        if self.stripes.is_some() {
            return Err(QuotaError::WARM_UP_STRIPED);
        }
        if self.waiting.instalments {
            return Err(QuotaError::WARM_UP_INSTALMENTS);
        }
        Terms::warming_up(quota, period).map(Some)
    }
}
