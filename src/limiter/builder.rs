//! Choices for a direct limiter.

use super::{Mode, RateLimiter};
use crate::algorithm::{Algorithm, Batch, Rule, Terms};
use crate::bucket::{Queue, Waiting};
use crate::clock::{Clock, Source};
use crate::error::QuotaError;
use crate::limiter::striped::Striped;
use crate::quota::Quota;
use crate::timeline::Schedule;
use crate::word;

/// Choices for a [`RateLimiter`], from [`RateLimiter::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    quota: Quota,
    algorithm: Algorithm,
    initial: Option<u64>,
    batch: Option<u64>,
    stripes: Option<usize>,
    max_debt: u64,
    waiting: Waiting,
    queue: Queue,
    schedule: Schedule,
    source: Option<Source>,
}

impl Builder {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            algorithm: Algorithm::TokenBucket,
            initial: None,
            batch: None,
            stripes: None,
            max_debt: u64::MAX,
            waiting: Waiting::default(),
            queue: Queue::default(),
            schedule: Schedule::default(),
            source: None,
        }
    }

    /// The algorithm, chosen at run time.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// [`Algorithm::TokenBucket`], the default.
    pub fn token_bucket(self) -> Self {
        self.algorithm(Algorithm::TokenBucket)
    }

    /// [`Algorithm::LeakyBucket`], as a meter: the burst is its capacity, the rate its leak.
    pub fn leaky_bucket(self) -> Self {
        self.algorithm(Algorithm::LeakyBucket)
    }

    /// [`Algorithm::FixedWindow`]: the count in each window of one period.
    pub fn fixed_window(self) -> Self {
        self.algorithm(Algorithm::FixedWindow)
    }

    /// [`Algorithm::SlidingWindow`].
    pub fn sliding_window(self) -> Self {
        self.algorithm(Algorithm::SlidingWindow)
    }

    /// Refills at intervals: of the token bucket's quota, the whole count comes at once, at the end of each period,
    /// instead of smoothly.
    ///
    /// In any window of length W at most burst + rate * W + count are admitted. Periods begin with the limiter, or
    /// [by the calendar](Self::aligned). A changed quota's first period began when the last one did, unless it
    /// would be over.
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
        self.schedule.intervals = true;
        self
    }

    /// Aligns windows, or the intervals of a refill, to the calendar of UTC: a period of a day ends at midnight, one of
    /// an hour at the full hour, one of a week in the night to Monday.
    ///
    /// The calendar is asked once, when the limiter is built; from then on it goes by its clock, and so
    /// follows no later correction of the time of day. A changed quota's periods are aligned, too. On a
    /// [`ManualClock`](crate::ManualClock), whose zero is then 1970-01-01 00:00 UTC, tests need no other.
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

    /// [`aligned`](Self::aligned) to the calendar of a place so many seconds east of UTC; at most a day, negative to the
    /// west. It knows of no summer time.
    pub fn aligned_at(mut self, seconds_east: i32) -> Self {
        self.schedule.aligned = Some(seconds_east);
        self
    }

    /// Starts with `tokens` instead of a full burst.
    pub fn initial(mut self, tokens: u64) -> Self {
        self.initial = Some(tokens);
        self
    }

    /// Reads this clock instead of the default one.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.source = Some(clock.into_source());
        self
    }

    #[cfg(any(sluicegate_loom, sluicegate_shuttle))]
    pub(crate) fn source(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// Draws tokens in batches of `size`, so that most grants do not read the clock: about a third
    /// of the cost.
    ///
    /// The law of the burst stands. The price: up to `size - 1` tokens of a burst are withheld
    /// (`limit()` says what is left), and figures of most grants are bounds.
    pub fn batch(mut self, size: u64) -> Self {
        self.batch = Some(size);
        self
    }

    /// Gives every core a stripe of its own, a cache line with tokens leased from the limit, so that
    /// threads do not take turns at one word and most grants do not read the clock.
    ///
    /// The law of the burst stands exactly: a lease is taken out of the bucket before it is spent. It is
    /// large while tokens abound and nothing where they are scarce; a thread that finds neither in
    /// its stripe nor in the bucket enough takes from the other stripes before it denies; stripes
    /// of threads that have gone are emptied by the others. The price: up to a quarter of the burst
    /// is withheld from a single burst (`limit()` says what is left), and figures of grants are lower
    /// bounds. A quota with a burst under 8 is too small to share, and gets no stripes.
    #[cfg(feature = "std")]
    pub fn striped(self) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        self.stripes(cores)
    }

    /// As [`striped`](Self::striped), with as many stripes as given, rounded up to a power of two; at
    /// most 256. For programs that know better how many threads will ask.
    #[cfg(feature = "std")]
    pub fn stripes(mut self, stripes: usize) -> Self {
        self.stripes = Some(stripes);
        self
    }

    /// Bounds the debt that [`charge`](RateLimiter::charge) makes: it takes the balance no lower
    /// than `-tokens`, and what is over is forgotten. Unless set, debt ends at 10 years of flow (at
    /// most rates).
    ///
    /// Without it a caller that charges every denial, as a penalty, locks itself out for as long as
    /// it asks and then for what it has asked. With 0 a charge takes what is there. What a
    /// reservation takes beyond its tokens when it is [settled](crate::Reservation::settle) is a
    /// charge. Reservations themselves are bounded by [`max_waiting`](Self::max_waiting): where
    /// they have taken the balance lower, a charge adds nothing.
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
        self.max_debt = tokens;
        self
    }

    /// Bounds how many tokens all who wait may be in debt for: a reservation that would take the limiter further
    /// is denied. Unless set, debt ends at 10 years of flow (at most rates).
    ///
    /// Of a window it is the time in which as many tokens would flow.
    pub fn max_waiting(mut self, tokens: u64) -> Self {
        self.waiting.most = tokens;
        self
    }

    /// Makes the leaky bucket a queue (a shaper): requests depart evenly spaced at the quota's rate, at most `capacity`
    /// wait, and the next is denied.
    ///
    /// [`reserve`](RateLimiter::reserve) and `acquire` say, or wait for, the departure; `check` admits only who need not
    /// wait. A cost of `n` takes `n` places and leaves with its last. The burst of the quota is not used: one
    /// request passes at once, and as many more as are [free of delay](Self::delay_free).
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
        self.queue.capacity = Some(capacity);
        self
    }

    /// Of a [queue](Self::queue): so many of its capacity pass without delay, as with the `delay` of nginx.
    pub fn delay_free(mut self, requests: u64) -> Self {
        self.queue.delay_free = requests;
        self
    }

    /// Lets a cost over the burst be paid in instalments: a reservation of it is due when, after those
    /// before it, the last of its tokens has flowed. Unless this is chosen such a cost can never be reserved. `check`
    /// denies it either way, and so does a window.
    ///
    /// At the moment that it is due such a request takes more than the burst at once; what it takes has been
    /// saved up for it while nobody else was admitted.
    pub fn instalments(mut self) -> Self {
        self.waiting.instalments = true;
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// - the quota of a window has a burst of its own, or a count that its packing cannot hold
    ///   (at 1 s: 17 * 10^9 in a fixed window, 131,071 in a sliding one; more in longer windows);
    /// - `initial` over the burst, or given to a window;
    /// - `batch` of 0 or over what the word holds (255) or over about half of the burst, or given to a
    ///   window;
    /// - stripes for a window, or together with batches;
    /// - intervals of anything but a token bucket; aligned what has no boundaries, or by more than a day;
    /// - a queue of anything but a leaky bucket, or of a capacity less than what is free of delay;
    /// - no clock, where the build has no default one.
    pub fn build(self) -> Result<RateLimiter, QuotaError> {
        let (quota, waiting) = self.queue.shape(self.algorithm, self.quota, self.waiting)?;
        let Self { algorithm, initial, batch, stripes, schedule, source, max_debt, .. } = self;
        let bits = if batch.is_some() { word::VALUE_BITS } else { u64::BITS };
        let terms = Terms::new(quota, algorithm, bits)?;
        let terms = schedule.terms(terms)?;
        let timer = schedule.timer(source, &terms)?;
        let mode = match (batch, stripes, terms.rule()) {
            (Some(_), Some(_), _) => return Err(QuotaError::STRIPED_BATCH),
            (Some(size), None, rule) => Mode::Batched(Batch::new(&rule, size)?),
            (None, Some(stripes), Rule::Bucket(bucket)) => {
                Striped::new(bucket, stripes).map_or(Mode::of(&terms), Mode::Striped)
            }
            (None, Some(_), _) => return Err(QuotaError::STRIPED_WINDOW),
            (None, None, _) => Mode::of(&terms),
        };
        let assembled = RateLimiter::assemble(terms, timer, mode, waiting);
        let limiter = RateLimiter { max_debt, ..assembled };
        if let Some(tokens) = initial {
            limiter.start_with(tokens)?;
        }
        Ok(limiter)
    }
}

impl RateLimiter {
    /// Sets what is there at the start.
    fn start_with(&self, tokens: u64) -> Result<(), QuotaError> {
        if self.free.is_window() {
            return Err(QuotaError::WINDOW_INITIAL);
        }
        let limit = self.free.rule().limit();
        let missing = limit.checked_sub(tokens).ok_or(QuotaError::INITIAL)?;
        self.reset();
        self.charge(missing);
        Ok(())
    }
}
