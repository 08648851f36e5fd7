//! The choices for a limiter that leases.

use super::limiter::LeasedLimiter;
use super::metrics::Counters;
use super::shared::{Shared, flow, nanos};
use crate::algorithm::lease::{LONGEST, MOST, TICK_BITS};
use crate::clock::Timer;
use crate::error::QuotaError;
use crate::keyed::leases::Leases;
use crate::quota::Quota;
use crate::redis::error::RedisError;
use crate::redis::limiter::RedisLimiter;
use crate::redis::limiter::builder::RedisBuilder;
use alloc::string::ToString;
use core::time::Duration;
use tokio::sync::Semaphore;

const CAPACITY: usize = 65_536;
const HORIZON: Duration = Duration::from_millis(100);
const LEASE_FOR: Duration = Duration::from_secs(1);
/// More than two ticks, since the end of a lease is rounded down by one.
const SHORTEST: Duration = Duration::from_millis(10);

/// The choices for a [`LeasedLimiter`], from [`LeasedLimiter::builder`]. Choices about Redis come
/// before them: [`RedisBuilder`] has the deadline, the prefix, the fallback and the rest, and
/// [`leased`](RedisBuilder::leased).
///
/// ```no_run
/// use sluicegate::{Quota, RedisError, RedisLimiter};
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), RedisError> {
/// let redis = RedisLimiter::builder(Quota::per_second(10_000));
/// let builder = redis.deadline(Duration::from_millis(20));
/// let limiter = builder.leased().nodes(3).connect("redis://localhost").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct LeasedBuilder {
    redis: RedisBuilder,
    pub(super) nodes: u64,
    capacity: usize,
    horizon: Duration,
    lease_for: Duration,
}

impl LeasedLimiter {
    /// Chooses the number of nodes and the rest, and connects.
    pub fn builder(quota: Quota) -> LeasedBuilder {
        RedisLimiter::builder(quota).leased()
    }
}

impl RedisBuilder {
    /// Leases tokens ahead instead of asking for each, and otherwise as chosen so far.
    pub fn leased(self) -> LeasedBuilder {
        LeasedBuilder {
            nodes: self.nodes,
            redis: self,
            capacity: CAPACITY,
            horizon: HORIZON,
            lease_for: LEASE_FOR,
        }
    }
}

impl LeasedBuilder {
    /// Sets how many processes lease from the same buckets at a time; 1 unless set. Together they
    /// never hold more than half of a burst. If there are more processes, they may together hold
    /// more, and admit the difference too many.
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes;
        self.redis = self.redis.nodes(nodes);
        self
    }

    /// Sets the most keys that are tracked at a time: keys with a lease, with a spent lease, or
    /// denied. 65,536 unless set. They take 24 bytes each, and some 300 while a lease is out.
    /// Further keys are denied.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// Sets the time for which a lease should suffice: a key's next lease has the tokens that it
    /// spends in that time at its present rate. 100 ms unless set. Longer leases need fewer calls,
    /// and keep more tokens from the other nodes.
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.horizon = horizon;
        self
    }

    /// Sets how long a lease holds: from 10 ms to 4 minutes; a second unless set. The time starts
    /// when the lease is requested, not when it is granted. Tokens left at its end are given back
    /// to Redis.
    pub fn lease_for(mut self, time: Duration) -> Self {
        self.lease_for = time;
        self
    }

    /// [Connects](RedisBuilder::connect) to a server, and starts the task that leases in the
    /// present tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of [`RedisBuilder::connect`] and [`over`](Self::over).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its time and I/O enabled.
    pub async fn connect(self, url: &str) -> Result<LeasedLimiter, RedisError> {
        let redis = self.redis.clone().connect(url).await?;
        self.over(redis)
    }

    /// Leases from the buckets of an existing limiter. Its own quota and choices hold. Starts the
    /// task that leases in the present tokio runtime.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Quota`]: the burst is less than 4 tokens for each node, which is too few to
    ///   lease (take a larger one, or a [`RedisLimiter`] alone); a capacity of 0 or over 2^40;
    /// - [`RedisError::Configuration`]: no nodes, a window, several limits at once, or a lease
    ///   shorter than 10 ms or longer than 4 minutes.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its time enabled.
    pub fn over(self, redis: RedisLimiter) -> Result<LeasedLimiter, RedisError> {
        let wrong = |text: &str| Err(RedisError::Configuration(text.to_string()));
        if self.nodes == 0 {
            return wrong("leases need at least one node");
        }
        if redis.terms().is_window() {
            return wrong("windows cannot be leased: unspent tokens end with their window");
        }
        if redis.quotas().len() > 1 {
            return wrong("several limits at once cannot be leased");
        }
        if self.lease_for < SHORTEST || nanos(self.lease_for) >> TICK_BITS >= LONGEST {
            return wrong("a lease must hold for 10 ms to 4 minutes");
        }
        if self.capacity == 0 || self.capacity as u64 > 1 << 40 {
            return Err(RedisError::Quota(QuotaError::CAPACITY));
        }
        let quota = redis.quota();
        let burst = quota.burst_size();
        let nodes = self.nodes;
        let max_lease = (burst / nodes.saturating_mul(2)).min(MOST);
        if max_lease < 2 {
            return Err(RedisError::Quota(QuotaError::LEASE_BURST));
        }
        // An answer may wait for another call of the same key, and each of them for its deadline.
        let patience = nanos(redis.deadline()).saturating_mul(2);
        let patience = patience.saturating_add(nanos(self.lease_for));
        let timer = Timer::new(Timer::system());
        let slots = self.capacity + self.capacity.div_ceil(2);
        Ok(LeasedLimiter::start(Shared {
            leases: Leases::new(slots, timer, patience),
            terms: redis.terms(),
            redis,
            nodes,
            max_lease,
            capacity: self.capacity,
            horizon: nanos(self.horizon),
            lease_for: nanos(self.lease_for),
            reset_after: flow(&quota, burst),
            counters: Counters::default(),
            ended: Semaphore::new(0),
        }))
    }
}
