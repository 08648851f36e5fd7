//! `RedisLimiter`: every decision is made in the server, in one round trip.

pub(super) mod builder;
pub(super) mod waiting;

use crate::algorithm::{Algorithm, Terms};
use crate::answer::Grant;
use crate::quota::Quota;
use crate::redis::error::RedisError;
use crate::redis::limiter::builder::RedisBuilder;
use crate::redis::metrics::RedisMetrics;
use crate::redis::request::Path;
use crate::redis::script::units::Ask;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// A limit for each key that all machines share, kept in Redis.
///
/// Every decision is one short script in the server, and so one round trip: exact, by the server's clock, and the same for
/// all who ask. A key takes memory there from its first token until its bucket is full again, when it expires.
///
/// ```no_run
/// use sluicegate::{Quota, RedisError, RedisLimiter};
///
/// # async fn example() -> Result<(), RedisError> {
/// let builder = RedisLimiter::builder(Quota::per_minute(100).burst(20)).prefix("api");
/// let limiter = builder.connect("redis://localhost").await?;
/// match limiter.check("alice").await {
///     Ok(grant) => println!("welcome, {} left", grant.remaining()),
///     Err(RedisError::Denied(denied)) => println!("retry after {:?}", denied.retry_after()),
///     Err(failure) => println!("no answer: {failure}"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// Cloning it is cheap; all clones share one connection, over which any number of calls are on their way at once. A
/// limiter belongs to the tokio runtime that it was connected in. Every verb panics outside of one that has its
/// time enabled.
///
/// | verb | in the server |
/// | --- | --- |
/// | `check`, `check_n`, `check_up_to`, granted; `charge`; `refund` | 1 `EVALSHA`: a `TIME`, a `GET`, a `SET` |
/// | the same, denied; `peek`, `available`, `level` | 1 `EVALSHA`: a `TIME`, a `GET` |
/// | `reset` | 1 `EVALSHA`: a `TIME`, a `GET`, a `DEL`; of a window, 1 `DEL` |
/// | `reserve`, `acquire`; a place that is given up | as `check` |
///
/// A dropped future may have been sent, and is then charged.
///
/// **Keys** are any bytes. One of over 256 bytes goes to Redis as a digest (BLAKE3) of it, which
/// takes the caller 0.5 ms for a megabyte and nobody else: no user can make others wait by long
/// keys, nor choose one whose digest is another's.
///
/// **While Redis is away**, the [`Fallback`](crate::Fallback) decides, by default a local limiter with this node's
/// share of the limit; [`Grant::source`] and [`Denied::source`](crate::Denied::source) tell. After some failures in a row
/// Redis is not asked any more, so that calls cost nothing, until a probe finds that it answers again.
///
/// **Calls for one key** that come while another is on its way go together, as one script, first come, first served.
#[derive(Clone)]
pub struct RedisLimiter {
    pub(in crate::redis) path: Arc<Path>,
}

impl RedisLimiter {
    /// Chooses the prefix, the deadline and the rest, and connects.
    pub fn builder(quota: Quota) -> RedisBuilder {
        RedisBuilder::new(quota)
    }

    pub(in crate::redis) fn over(path: Path) -> Self {
        Self { path: Arc::new(path) }
    }

    /// Takes one token of the key's bucket, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    pub async fn check(&self, key: impl AsRef<[u8]>) -> Result<Grant, RedisError> {
        self.check_n(key, 1).await
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`RedisError::Denied`] with the time until `n` tokens are there, or without one if `n` exceeds the limit; any
    /// other if there is no answer.
    pub async fn check_n(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.path.decide(&self.path.id(key.as_ref()).await, Ask::Take(n), n).await
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`RedisError::Denied`] with the time until the next token, if there is none; any other if there is no answer.
    pub async fn check_up_to(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.path.decide(&self.path.id(key.as_ref()).await, Ask::UpTo(n), n.min(1)).await
    }

    /// What [`check_n`](Self::check_n) would answer now. Takes nothing.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    pub async fn peek(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.path.decide(&self.path.id(key.as_ref()).await, Ask::Look(n), n).await
    }

    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards, and says how long
    /// until the debt is paid: zero if there is none. Debt ends at
    /// [`max_debt`](RedisBuilder::max_debt), if that is chosen, and else at 142 years of flow.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn charge(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Duration, RedisError> {
        self.path.charge(&self.path.id(key.as_ref()).await, n).await
    }

    /// Gives `n` tokens back, never above the burst. What is given back may be taken again.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn refund(&self, key: impl AsRef<[u8]>, n: u64) -> Result<(), RedisError> {
        self.path.refund(&self.path.id(key.as_ref()).await, n).await
    }

    /// Whole tokens there now, rounded down; negative in debt.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn available(&self, key: impl AsRef<[u8]>) -> Result<i64, RedisError> {
        self.path.available(&self.path.id(key.as_ref()).await).await
    }

    /// How full the leaky bucket is: whole tokens poured in and not yet leaked, rounded up. Of a token bucket: what
    /// is missing from the burst.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn level(&self, key: impl AsRef<[u8]>) -> Result<u64, RedisError> {
        self.path.level(&self.path.id(key.as_ref()).await).await
    }

    /// Makes the key's bucket full again, as if nothing had ever been taken. Who holds a place in its line keeps his moment, but
    /// nothing comes back of it any more.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn reset(&self, key: impl AsRef<[u8]>) -> Result<(), RedisError> {
        self.path.reset(&self.path.id(key.as_ref()).await).await
    }

    /// The quota of each key; of [several](RedisBuilder::and), the first.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.path.terms.quota
    }

    /// All quotas of each key, as they were given.
    #[must_use]
    pub fn quotas(&self) -> Vec<Quota> {
        self.path.all_terms().map(|terms| terms.quota).collect()
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.path.terms.algorithm
    }

    /// Under which name a key's bucket is in Redis: `prefix:fingerprint{:key}`, or, of a key of
    /// over 256 bytes, `prefix:fingerprint{#digest}`.
    ///
    /// The fingerprint is of the quota: another quota begins with other buckets, since it counts in other units.
    /// In a cluster all that is kept of a key is in one slot, which the braces choose. Of [several](RedisBuilder::and)
    /// limits this is the first's.
    #[must_use]
    pub fn key(&self, key: impl AsRef<[u8]>) -> Vec<u8> {
        self.path.name(&self.path.id_now(key.as_ref()))
    }

    /// The quota and how its answers are read.
    pub(in crate::redis) fn terms(&self) -> Terms {
        self.path.terms
    }

    pub(in crate::redis) fn is_window(&self) -> bool {
        self.path.terms.is_window()
    }

    /// The longest that a call takes.
    pub(in crate::redis) fn deadline(&self) -> Duration {
        self.path.link.deadline()
    }

    /// Whether Redis is away: it has failed so often that it is not asked, and is probed instead.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.path.breaker.is_open()
    }

    /// What has happened since the limiter was connected.
    #[must_use]
    pub fn metrics(&self) -> RedisMetrics {
        self.path.metrics()
    }
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter")
            .field("quota", &self.quota())
            .field("algorithm", &self.algorithm())
            .field("prefix", &self.path.prefix)
            .field("server", &self.path.link.server())
            .field("deadline", &self.path.link.deadline())
            .field("away", &self.is_away())
            .finish()
    }
}
