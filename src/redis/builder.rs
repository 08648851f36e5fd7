//! Choices for a limiter in Redis.

use super::error::RedisError;
use super::exact::RedisLimiter;
use super::link::Link;
use super::units::Units;
use crate::algorithm::{Algorithm, Terms};
use crate::quota::Quota;
use alloc::string::{String, ToString};
use core::time::Duration;

/// Longer than the hiccups of a scheduler, far shorter than TCP's first retransmission (200 ms), which no caller on a
/// hot path would wait for.
const DEADLINE: Duration = Duration::from_millis(20);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Choices for a [`RedisLimiter`], from [`RedisLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RedisBuilder {
    quota: Quota,
    algorithm: Algorithm,
    prefix: String,
    deadline: Duration,
    connect_timeout: Duration,
}

impl RedisBuilder {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            algorithm: Algorithm::TokenBucket,
            prefix: "sluicegate".to_string(),
            deadline: DEADLINE,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// [`Algorithm::TokenBucket`], the default.
    pub fn token_bucket(mut self) -> Self {
        self.algorithm = Algorithm::TokenBucket;
        self
    }

    /// [`Algorithm::LeakyBucket`], as a meter: the burst is its capacity, the rate its leak. The same buckets, read from
    /// the other side.
    pub fn leaky_bucket(mut self) -> Self {
        self.algorithm = Algorithm::LeakyBucket;
        self
    }

    /// What the limiter's keys in Redis begin with; `sluicegate` unless set. Limiters that have prefix and quota in
    /// common share their buckets, in whatever process they are.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The longest that a call takes, all of it; 20 ms unless set. What is not answered by then is
    /// [`RedisError::Timeout`], and may have been charged. Timers have milliseconds: it ends up to one later.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The longest that connecting takes; a second unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects to the server at `redis://[[user]:password@]host[:port][/database]`, or a socket at `unix:///path`.
    ///
    /// A connection that is lost later is made anew without being asked for; calls fail meanwhile. `rediss://` works in a
    /// build that enables one of the TLS features of the crate `redis`.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Quota`]: the burst takes over 71 years to flow;
    /// - [`RedisError::Configuration`]: the URL, the login, another service at that address, braces in the prefix;
    /// - [`RedisError::Connection`]: nobody answers there, or not in time.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its time and I/O enabled.
    pub async fn connect(self, url: &str) -> Result<RedisLimiter, RedisError> {
        let units = Units::new(&self.quota)?;
        if self.prefix.contains(['{', '}']) {
            let text = "a prefix must have no braces: they choose the slot of a key in a cluster";
            return Err(RedisError::Configuration(text.to_string()));
        }
        let terms = Terms::bucket(self.quota, self.algorithm, 56);
        let link = Link::connect(url, self.connect_timeout, self.deadline).await?;
        Ok(RedisLimiter::assemble(terms, units, self.prefix, link))
    }
}
