//! Choices that the builders of direct and keyed limiters share.

use super::{Queue, Waiting};
use crate::algorithm::Algorithm;
use crate::clock::Source;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::timeline::Schedule;

/// The choices made on a builder of either kind.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) quota: Quota,
    pub(crate) algorithm: Algorithm,
    /// The debt in tokens at which a charge stops.
    pub(crate) max_debt: u64,
    pub(crate) waiting: Waiting,
    pub(crate) queue: Queue,
    pub(crate) schedule: Schedule,
    /// The clock, unless it is the default one.
    pub(crate) source: Option<Source>,
}

impl Options {
    pub(crate) fn new(quota: Quota) -> Self {
        Self {
            quota,
            algorithm: Algorithm::TokenBucket,
            max_debt: u64::MAX,
            waiting: Waiting::default(),
            queue: Queue::default(),
            schedule: Schedule::default(),
            source: None,
        }
    }

    /// Returns the quota and the bounds of waiting, shaped by a queue if one was chosen.
    pub(crate) fn shaped(&self) -> Result<(Quota, Waiting), QuotaError> {
        self.queue.shape(self.algorithm, self.quota, self.waiting)
    }
}

/// Defines the methods of a builder that set its [`Options`], which are its field `options`.
macro_rules! option_setters {
    () => {
        /// Counts by an algorithm that is chosen at run time.
        pub fn algorithm(mut self, algorithm: $crate::algorithm::Algorithm) -> Self {
            self.options.algorithm = algorithm;
            self
        }

        $crate::algorithm::algorithm_setters!();

        /// Refills a token bucket at intervals: the whole count of the quota comes at once, at the
        /// end of each period, instead of smoothly.
        ///
        /// In any window of length W at most burst + rate * W + count are admitted. Periods begin
        /// with the limiter, or [by the calendar](Self::aligned). After a change of the quota, the
        /// first period began when the last one did, unless it would be over.
        ///
        /// ```
        /// use sluicegate::{ManualClock, Quota, RateLimiter};
        /// use std::time::Duration;
        ///
        /// let clock = ManualClock::new();
        /// let builder = RateLimiter::builder(Quota::per_minute(30)).refill_at_intervals();
        /// let limiter = builder.clock(clock.clone()).build()?;
        /// assert!(limiter.check_n(30).is_ok());
        /// clock.advance(Duration::from_secs(59));
        /// assert_eq!(limiter.check().unwrap_err().retry_after(), Some(Duration::from_secs(1)));
        /// clock.advance(Duration::from_secs(1));
        /// assert_eq!(limiter.available(), 30);
        /// # Ok::<(), sluicegate::QuotaError>(())
        /// ```
        pub fn refill_at_intervals(mut self) -> Self {
            self.options.schedule.intervals = true;
            self
        }

        /// Aligns windows, or the intervals of a refill, to the calendar of UTC: a period of a day
        /// ends at midnight, one of an hour at the full hour, one of a week in the night to Monday.
        ///
        /// The limiter asks the calendar once, when it is built. From then on it follows its clock,
        /// and so no later correction of the time of day. The periods of a changed quota are
        /// aligned, too. On a [`ManualClock`](crate::ManualClock), whose zero is then 1970-01-01
        /// 00:00 UTC, tests need no other clock.
        ///
        /// ```
        /// use sluicegate::{ManualClock, Quota, RateLimiter};
        /// use std::time::Duration;
        ///
        /// let hours = |n: u64| Duration::from_secs(n * 3_600);
        /// let clock = ManualClock::new();
        /// clock.set(hours(21));
        /// let builder = RateLimiter::builder(Quota::per_day(1_000)).fixed_window().aligned();
        /// let limiter = builder.clock(clock.clone()).build()?;
        /// assert!(limiter.check_n(1_000).is_ok());
        /// assert_eq!(limiter.check().unwrap_err().retry_after(), Some(hours(3)));
        /// # Ok::<(), sluicegate::QuotaError>(())
        /// ```
        pub fn aligned(self) -> Self {
            self.aligned_at(0)
        }

        /// Aligns as [`aligned`](Self::aligned) does, to the calendar of a place `seconds_east`
        /// seconds east of UTC: at most a day, negative to the west. It knows no summer time.
        pub fn aligned_at(mut self, seconds_east: i32) -> Self {
            self.options.schedule.aligned = Some(seconds_east);
            self
        }

        /// Reads this clock instead of the default one.
        pub fn clock(mut self, clock: impl $crate::clock::Clock + 'static) -> Self {
            self.options.source = Some($crate::clock::Clock::into_source(clock));
            self
        }

        /// Bounds the debt that [`charge`](crate::RateLimiter::charge) makes: it takes the balance
        /// no lower than `-tokens`, and forgets what exceeds that. Unless set, debt ends at 10
        /// years of flow (at most rates).
        ///
        /// Without a bound, a caller that charges every denial as a penalty goes on deepening its
        /// debt while it asks, and stays denied until all of that debt has been paid off. With 0, a
        /// charge takes only the tokens that are there. The tokens that a reservation takes beyond
        /// its own when it is [settled](crate::Reservation::settle) are a charge. Reservations
        /// themselves are bounded by [`max_waiting`](Self::max_waiting): where they have taken the
        /// balance lower, a charge adds nothing.
        ///
        /// ```
        /// use sluicegate::{ManualClock, Quota, RateLimiter};
        /// use std::time::Duration;
        ///
        /// let builder = RateLimiter::builder(Quota::per_minute(10)).max_debt(5);
        /// let limiter = builder.clock(ManualClock::new()).build()?;
        /// for _ in 0..3_000 {
        ///     if limiter.check().is_err() {
        ///         limiter.charge(1);
        ///     }
        /// }
        /// assert_eq!(limiter.available(), -5);
        /// assert_eq!(limiter.check().unwrap_err().retry_after(), Some(Duration::from_secs(36)));
        /// # Ok::<(), sluicegate::QuotaError>(())
        /// ```
        pub fn max_debt(mut self, tokens: u64) -> Self {
            self.options.max_debt = tokens;
            self
        }

        /// Bounds the tokens that all waiting callers together may be in debt for: a reservation
        /// that would take the limiter further is denied. Unless set, debt ends at 10 years of flow
        /// (at most rates).
        ///
        /// For a window, it bounds the wait: to the time in which that number of tokens would flow.
        pub fn max_waiting(mut self, tokens: u64) -> Self {
            self.options.waiting.most = tokens;
            self
        }

        /// Makes the leaky bucket a queue (a shaper): requests depart evenly spaced at the quota's
        /// rate, at most `capacity` wait, and the next is denied.
        ///
        /// [`reserve`](crate::RateLimiter::reserve) returns the moment of departure, and `acquire`
        /// waits for it; `check` admits only requests that need not wait. A cost of `n` takes `n`
        /// places and leaves with its last. The burst of the quota is not used: one request passes
        /// at once, and with it those that are [free of delay](Self::delay_free).
        ///
        /// ```
        /// # #[cfg(feature = "std")] {
        /// use sluicegate::{Quota, RateLimiter};
        ///
        /// // nginx's `limit_req rate=10r/s burst=20 delay=8`.
        /// let builder = RateLimiter::builder(Quota::per_second(10)).leaky_bucket();
        /// let queue = builder.queue(20).delay_free(8).build()?;
        /// let places: Vec<_> = std::iter::from_fn(|| queue.reserve(1).ok()).collect();
        /// let at_once = places.iter().filter(|place| place.waits().is_zero()).count();
        /// assert_eq!((at_once, places.len()), (9, 21));
        /// # }
        /// # Ok::<(), sluicegate::QuotaError>(())
        /// ```
        pub fn queue(mut self, capacity: u64) -> Self {
            self.options.queue.capacity = Some(capacity);
            self
        }

        /// Lets `requests` of a [queue](Self::queue)'s capacity pass without delay, as the `delay`
        /// of nginx does.
        pub fn delay_free(mut self, requests: u64) -> Self {
            self.options.queue.delay_free = requests;
            self
        }

        /// Lets a cost over the burst be paid in instalments: a reservation of it is due when,
        /// after those before it, the last of its tokens has flowed. Unless this is chosen such a
        /// cost can never be reserved. `check` denies it either way, and so does a window.
        ///
        /// When it is due, such a request takes more than the burst at once; the tokens have been
        /// saved up for it while no other caller was admitted.
        pub fn instalments(mut self) -> Self {
            self.options.waiting.instalments = true;
            self
        }

        #[cfg(any(sluicegate_loom, sluicegate_shuttle))]
        pub(crate) fn source(mut self, source: $crate::clock::Source) -> Self {
            self.options.source = Some(source);
            self
        }
    };
}

pub(crate) use option_setters;
