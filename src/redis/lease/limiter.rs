//! `LeasedLimiter`: tokens are taken in Redis ahead, a lease of them at a time, and spent here in
//! nanoseconds.

use super::message::{Ask, Message};
use super::metrics::LeaseMetrics;
use super::refill::Refiller;
use super::shared::{Shared, nanos};
use crate::algorithm::Algorithm;
use crate::algorithm::lease::Taken;
use crate::answer::{Denied, Grant};
use crate::quota::Quota;
use crate::redis::error::RedisError;
use crate::redis::limiter::RedisLimiter;
use alloc::string::ToString;
use core::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Requests for leases that may wait for the task at once.
const QUEUE: usize = 4_096;

/// A limit for each key that all machines share, kept in Redis. This process holds small leases of
/// it, so that most decisions are made here, in nanoseconds.
///
/// A background task asks Redis for a key's tokens ahead: those that the key will spend in the next
/// 100 ms at its present rate. It gives back the tokens that are not spent within a second. A check
/// takes tokens from a table in memory: it hashes the key, reads the clock and swaps a word. No
/// caller waits for another.
///
/// ```no_run
/// use sluicegate::{LeasedLimiter, Quota, RedisError};
///
/// # async fn example() -> Result<(), RedisError> {
/// let builder = LeasedLimiter::builder(Quota::per_second(10_000)).nodes(3);
/// let limiter = builder.connect("redis://localhost").await?;
/// // A new user's first request waits for a lease; others need not.
/// match limiter.check("alice").await {
///     Ok(grant) => println!("welcome, {} here", grant.remaining()),
///     Err(RedisError::Denied(denied)) => println!("retry after {:?}", denied.retry_after()),
///     Err(failure) => println!("no answer: {failure}"),
/// }
/// limiter.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// **What it promises.** A token is taken in Redis before any caller is granted it. So in any
/// window of length W all machines together admit at most burst + rate * W, plus the tokens leased
/// when the window began: for each key at most [`max_overshoot`](Self::max_overshoot). A process
/// that is killed takes its leases with it: less is admitted, not more. A process that stands still
/// for longer than a lease holds spends nothing of it afterwards. Tokens that were being given back
/// when an answer was lost count as leased until Redis has them.
///
/// **While Redis is away**, the [`Fallback`](crate::Fallback) grants leases, by default from this
/// node's share of the limit; [`Grant::source`] says `Lease` or `Fallback`.
///
/// **What it costs.** While one machine holds a lease, others cannot have its tokens, for a second
/// at most. The figures of answers are bounds: [`remaining`](Grant::remaining) counts the tokens
/// left of this machine's lease, and `reset_after` the time in which a whole burst flows. A long
/// key goes to Redis as a digest, as a [`RedisLimiter`]'s does.
///
/// **`check` or `try_check`.** [`check`](Self::check) waits for a lease where the key has none.
/// [`try_check`](Self::try_check) never waits. So it denies a key that has no lease yet, or whose
/// lease ran out before the next came, with a [`retry_after`](Denied::retry_after) of 5 ms.
///
/// Cloning it is cheap. The task needs the runtime: in a runtime of one thread, a loop of checks
/// that never awaits gets no lease. The task ends, and gives all leases back, when the last clone
/// is dropped or [`shutdown`](Self::shutdown) is called.
#[derive(Clone)]
pub struct LeasedLimiter {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Message>,
}

impl LeasedLimiter {
    pub(super) fn start(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let (asks, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Refiller::new(shared.clone(), queue).run());
        Self { shared, asks }
    }

    /// Takes one token of the key's lease, or tells how long until there may be one.
    ///
    /// # Errors
    ///
    /// Those of [`try_check_n`](Self::try_check_n).
    #[inline]
    pub fn try_check(&self, key: impl AsRef<[u8]>) -> Result<Grant, Denied> {
        self.try_check_n(key, 1)
    }

    /// Takes `n` tokens of the key's lease, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`], without a time to retry after if `n` exceeds [`max_lease`](Self::max_lease);
    /// with one of 5 ms if the lease has too few tokens, and otherwise with the time that Redis
    /// said. Without an answer from Redis the key is denied, for 10 to 100 ms at a time.
    #[inline]
    pub fn try_check_n(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, Denied> {
        self.spend(key.as_ref(), n, n)
    }

    /// Takes as many of `n` tokens as are left of the key's lease, down to one. `n = 0` is granted
    /// and changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`try_check_n`](Self::try_check_n) of one token.
    #[inline]
    pub fn try_check_up_to(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, Denied> {
        self.spend(key.as_ref(), n.min(1), n)
    }

    #[inline]
    fn spend(&self, key: &[u8], least: u64, most: u64) -> Result<Grant, Denied> {
        let shared = &*self.shared;
        let hash = shared.leases.hash(key);
        // One comparison for both ends: 0 wraps to the top.
        if least.wrapping_sub(1) >= shared.max_lease {
            return self.odd(hash, least);
        }
        let taken = shared.leases.take(hash, least, most);
        if let Taken::Granted { ask: true, .. } | Taken::Short { ask: true, .. } = taken {
            self.ask(key, hash, least);
        }
        shared.answer(least, taken)
    }

    /// Answers a request for nothing, or for more than there ever is.
    #[cold]
    fn odd(&self, hash: u64, n: u64) -> Result<Grant, Denied> {
        let left = self.shared.leases.left(hash);
        let figures = self.shared.figures(left, u64::MAX);
        if n == 0 { Ok(Grant::new(0, figures)) } else { Err(Denied::new(n, figures)) }
    }

    /// Sends the task a request for more. Never waits: if there is no room for the request, the key
    /// is left alone for a moment.
    #[cold]
    fn ask(&self, key: &[u8], hash: u64, need: u64) {
        let key = self.shared.redis.requests.digest_key.id_now(key);
        let ask = Ask { hash, key: (*key).into(), need, waiter: None };
        if self.asks.try_send(Message::Ask(ask)).is_err() {
            self.shared.drop_ask(hash);
        }
    }

    /// Takes one token of the key's lease, and waits for a lease if it has none.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    ///
    /// # Panics
    ///
    /// Those of [`check_n`](Self::check_n).
    pub async fn check(&self, key: impl AsRef<[u8]>) -> Result<Grant, RedisError> {
        self.check_n(key, 1).await
    }

    /// Takes `n` tokens of the key's lease. If it has too few, waits for the next lease: for one
    /// call to Redis, which all callers that wait for the key share. `n = 0` is granted and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Denied`]: Redis has said that there are none, or `n` exceeds
    ///   [`max_lease`](Self::max_lease);
    /// - [`RedisError::Timeout`]: this caller got none within the deadline;
    /// - any other: Redis does not answer, or the limiter has been shut down.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its time enabled.
    pub async fn check_n(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        let key = key.as_ref();
        let hash = self.shared.leases.hash(key);
        if n.wrapping_sub(1) >= self.shared.max_lease {
            return Ok(self.odd(hash, n)?);
        }
        let deadline = self.shared.redis.deadline();
        let leasing = self.take_or_wait(key, hash, n);
        timeout(deadline, leasing).await.unwrap_or(Err(RedisError::Timeout(deadline)))
    }

    async fn take_or_wait(&self, key: &[u8], hash: u64, n: u64) -> Result<Grant, RedisError> {
        let over = || RedisError::Unavailable("the limiter has been shut down".to_string());
        loop {
            let taken = self.shared.leases.take(hash, n, n);
            if let Taken::Granted { ask: true, .. } = taken {
                self.ask(key, hash, 0);
            }
            // The task tells why there is no answer.
            if !matches!(taken, Taken::Short { .. } | Taken::Unanswered { .. }) {
                return Ok(self.shared.answer(n, taken)?);
            }
            let (waiter, told) = oneshot::channel();
            let key = self.shared.redis.requests.digest_key.id(key).await;
            let ask = Ask { hash, key: (*key).into(), need: n, waiter: Some(waiter) };
            self.asks.send(Message::Ask(ask)).await.map_err(|_| over())?;
            let Err(why) = told.await.unwrap_or_else(|_| Err(over())) else { continue };
            // The call before may have brought enough for callers that came too late for it.
            let left = self.shared.leases.left(hash);
            if left >= n {
                continue;
            }
            let RedisError::Denied(denied) = why else { return Err(why) };
            let first = denied.retry_after().map_or(0, nanos);
            return Err(self.shared.denied(n, left, first).into());
        }
    }

    /// Ends the background task, and gives back the tokens left of all leases. From then on every
    /// request is denied. Waits at most for the time that a lease
    /// [holds](crate::LeasedBuilder::lease_for): tokens that have not been given back by then are
    /// lost.
    pub async fn shutdown(&self) {
        // If this fails, another caller has stopped the task already.
        let _ = self.asks.send(Message::Stop).await;
        let _ = self.shared.ended.acquire().await;
    }

    /// The most tokens of a key that this process holds at a time, and the most that one request
    /// can be granted: half a burst divided by the nodes, and at most 1,048,575.
    #[must_use]
    pub fn max_lease(&self) -> u64 {
        self.shared.max_lease
    }

    /// The most tokens by which all nodes together may exceed burst + rate * W in a window of
    /// length W: [`max_lease`](Self::max_lease) for each of them.
    #[must_use]
    pub fn max_overshoot(&self) -> u64 {
        self.shared.nodes.saturating_mul(self.shared.max_lease)
    }

    /// The number of nodes that it was built for.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.shared.nodes
    }

    /// The limiter that leases are taken from. It can be asked for more than a lease, or exactly.
    #[must_use]
    pub fn redis(&self) -> &RedisLimiter {
        &self.shared.redis
    }

    /// The quota of each key.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.shared.redis.quota()
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.shared.redis.algorithm()
    }

    /// Returns the counts of what its leases did.
    #[must_use]
    pub fn metrics(&self) -> LeaseMetrics {
        self.shared.counters.read(self.shared.leases.evictions())
    }
}

impl fmt::Debug for LeasedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedLimiter")
            .field("redis", &self.shared.redis)
            .field("nodes", &self.shared.nodes)
            .field("max_lease", &self.shared.max_lease)
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}
