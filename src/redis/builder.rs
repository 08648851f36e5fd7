//! Choices for a limiter in Redis.

use super::connection::Way;
use super::error::RedisError;
use super::exact::RedisLimiter;
use super::link::Link;
use super::units::Units;
use crate::algorithm::{Algorithm, Terms};
use crate::quota::Quota;
use alloc::string::{String, ToString};
#[cfg(feature = "redis-tls")]
use alloc::vec::Vec;
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
    way: Way,
}

impl RedisBuilder {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            algorithm: Algorithm::TokenBucket,
            prefix: "sluicegate".to_string(),
            deadline: DEADLINE,
            way: Way::new(CONNECT_TIMEOUT),
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
        self.way.within = timeout;
        self
    }

    /// Whose certificates to trust, in PEM, in place of Mozilla's list: those of your own authority, or a server's own if nobody
    /// signed it.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.way.trust.roots = Some(pem.into());
        self
    }

    /// What tells the server who asks, in PEM: a certificate, with those that lead to its root, and its key. A Redis
    /// server wants one unless its `tls-auth-clients` says otherwise.
    #[cfg(feature = "redis-tls")]
    pub fn client_certificate(
        mut self,
        certificates: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.way.trust.identity = Some((certificates.into(), key.into()));
        self
    }

    /// Connects to the server at `redis://[[user]:password@]host[:port][/database]`, or a socket at `unix:///path`.
    ///
    /// A connection that is lost later is made anew without being asked for; calls fail meanwhile. `rediss://` asks over TLS,
    /// in a build with the feature `redis-tls`; with `#insecure` at its end whoever answers there is trusted.
    ///
    /// A cluster is `redis-cluster://[[user]:password@]host[:port][,host[:port]...]`, some of its nodes, or `rediss-cluster://`, in
    /// a build with the feature `redis-cluster`. A server that sentinels watch is
    /// `redis-sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/database]`, with the hosts of the sentinels and the
    /// login of the server, or `rediss-sentinel://`, in a build with the feature `redis-sentinel`.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Quota`]: the burst takes over 71 years to flow;
    /// - [`RedisError::Configuration`]: the URL, the login, the certificates, another service at that address, braces in the prefix;
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
        let link = Link::connect(url, &self.way, self.deadline).await?;
        Ok(RedisLimiter::assemble(terms, units, self.prefix, link))
    }
}
