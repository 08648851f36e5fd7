//! `RedisLimiter`: every decision is made in the server, in one round trip.

pub(super) mod builder;
mod waiting;

use crate::algorithm::{Algorithm, Terms};
use crate::answer::Grant;
use crate::quota::Quota;
use crate::redis::error::RedisError;
use crate::redis::metrics::RedisMetrics;
use crate::redis::request::{Requests, key};
use crate::redis::script::Ask;
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// A limit for each key that all machines share, kept in Redis.
///
/// Every decision is one short script in the server, and so one round trip: exact, by the server's
/// clock, and the same for all that ask. A key takes memory in the server from its first token
/// until its bucket is full again, when it expires.
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
/// Cloning it is cheap. All clones share one connection, over which any number of calls are in
/// flight at once. A limiter belongs to the tokio runtime that it was connected in. Every verb
/// panics outside of a runtime that has its time enabled.
///
/// | verb | its one `EVALSHA` in the server |
/// | --- | --- |
/// | `check`, `check_n`, `check_up_to`, granted; `charge`; `refund` | a `TIME`, a `GET`, a `SET` |
/// | the same, denied; `peek`, `available`, `level` | a `TIME`, a `GET` |
/// | `reset` | a `TIME`, a `GET`, a `DEL` |
/// | `reserve`, `acquire`; a place that is given up | as `check` |
///
/// A call whose future is dropped may have been sent, and is then charged.
///
/// **Keys** are any bytes. A key of over 256 bytes goes to Redis as its digest (BLAKE3), which
/// takes its caller 0.5 ms for a megabyte and delays no other caller. So no user can make others
/// wait by long keys, nor choose a key with another's digest.
///
/// **While Redis is away**, the [`Fallback`](crate::Fallback) decides, by default a local limiter
/// with this node's share of the limit. [`Grant::source`] and
/// [`Denied::source`](crate::Denied::source) tell which of the two decided. After some failures in
/// a row Redis is no longer asked, so that calls cost nothing, until a probe finds that it answers
/// again.
///
/// **Calls for one key** that come while another is in flight share one script, first come, first
/// served.
#[derive(Clone)]
pub struct RedisLimiter {
    pub(super) requests: Arc<Requests>,
}

impl RedisLimiter {
    /// The id of a key: see `request/key.rs`.
    async fn id<'a>(&self, key: &'a [u8]) -> Cow<'a, [u8]> {
        self.requests.digest_key.id(key).await
    }

    /// Takes one token of the key's bucket, or tells how long until there is one.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    pub async fn check(&self, key: impl AsRef<[u8]>) -> Result<Grant, RedisError> {
        self.check_n(key, 1).await
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`RedisError::Denied`] with the time until `n` tokens are there, or without a time if `n`
    /// exceeds the limit; any other if there is no answer.
    pub async fn check_n(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.requests.decide(&self.id(key.as_ref()).await, Ask::Take(n), n).await
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`RedisError::Denied`] with the time until the next token, if there is none; any other if
    /// there is no answer.
    pub async fn check_up_to(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.requests.decide(&self.id(key.as_ref()).await, Ask::UpTo(n), n.min(1)).await
    }

    /// Tells what [`check_n`](Self::check_n) would answer now. Takes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    pub async fn peek(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.requests.decide(&self.id(key.as_ref()).await, Ask::Look(n), n).await
    }

    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards.
    /// Returns the time until the debt is paid: zero if there is none. Debt ends at
    /// [`max_debt`](crate::RedisBuilder::max_debt) if that is set, otherwise at 142 years of flow.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn charge(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Duration, RedisError> {
        self.requests.charge(&self.id(key.as_ref()).await, n).await
    }

    /// Gives `n` tokens back, never above the burst. They may be taken again.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn refund(&self, key: impl AsRef<[u8]>, n: u64) -> Result<(), RedisError> {
        self.requests.refund(&self.id(key.as_ref()).await, n).await
    }

    /// Whole tokens there now, rounded down; negative in debt.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn available(&self, key: impl AsRef<[u8]>) -> Result<i64, RedisError> {
        self.requests.available(&self.id(key.as_ref()).await).await
    }

    /// The level of the leaky bucket: whole tokens poured in and not yet leaked, rounded up. For a
    /// token bucket this is the number of tokens missing from the burst.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn level(&self, key: impl AsRef<[u8]>) -> Result<u64, RedisError> {
        self.requests.level(&self.id(key.as_ref()).await).await
    }

    /// Makes the key's bucket full again, as if nothing had ever been taken. A caller that holds a
    /// place in its waiting line keeps its moment, but nothing comes back of that place any more.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn reset(&self, key: impl AsRef<[u8]>) -> Result<(), RedisError> {
        self.requests.reset(&self.id(key.as_ref()).await).await
    }

    /// The quota of each key; the first of [several](crate::RedisBuilder::and).
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.terms().quota
    }

    /// All quotas of each key, in the order in which they were given.
    #[must_use]
    pub fn quotas(&self) -> Vec<Quota> {
        self.requests.limits.iter().map(|limit| limit.terms.quota).collect()
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.terms().algorithm
    }

    /// The name of a key's bucket in Redis: `prefix:fingerprint{:key}`, or, for a key of over 256
    /// bytes, `prefix:fingerprint{#digest}`.
    ///
    /// The fingerprint is that of the quota: another quota begins with other buckets, since it
    /// counts in other units. In a cluster all that is kept of a key is in one slot, which the text
    /// in the braces chooses. With [several](crate::RedisBuilder::and) limits this is the name of
    /// the first.
    #[must_use]
    pub fn key(&self, key: impl AsRef<[u8]>) -> Vec<u8> {
        let id = self.requests.digest_key.id_now(key.as_ref());
        key::name(&self.requests.first().head, &id)
    }

    /// The quota, and how answers about it are read.
    pub(super) fn terms(&self) -> Terms {
        self.requests.first().terms
    }

    /// The longest time that a call takes.
    pub(super) fn deadline(&self) -> Duration {
        self.requests.guard.distance().deadline()
    }

    /// Says whether Redis is away: it has failed so often that it is not asked, and is probed
    /// instead.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.requests.guard.is_away()
    }

    /// Returns the counts of its events since the limiter was connected.
    #[must_use]
    pub fn metrics(&self) -> RedisMetrics {
        self.requests.guard.metrics()
    }
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter")
            .field("quota", &self.quota())
            .field("algorithm", &self.algorithm())
            .field("prefix", &self.requests.prefix)
            .field("server", &self.requests.guard.server())
            .field("deadline", &self.deadline())
            .field("away", &self.is_away())
            .finish()
    }
}
