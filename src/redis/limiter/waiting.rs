//! The verbs of `RedisLimiter` that wait.

use super::RedisLimiter;
use crate::redis::error::RedisError;
use crate::redis::request::reservation::RedisReservation;
use crate::wait::{Acquire, Later};
use core::time::Duration;

impl RedisLimiter {
    /// Takes a place in the key's waiting line for `n` tokens: for now if they are there, otherwise
    /// for when they will have flowed, behind all that have reserved before on any machine.
    ///
    /// The wait is known at once, and to the microsecond. It counts from when the answer came. So
    /// it ends later than the server's by the time that the answer was under way, and never
    /// earlier. Each caller is woken by a timer of its own. While a caller waits, checks are
    /// denied. A reservation that is dropped before it is due gives its tokens back: see
    /// [`RedisReservation`]. `n = 0` is ready at once and takes nothing.
    ///
    /// One `EVALSHA`: a `TIME`, a `GET`, a `SET`.
    ///
    /// ```no_run
    /// use sluicegate::{Quota, RedisError, RedisLimiter};
    ///
    /// # async fn example() -> Result<(), RedisError> {
    /// let builder = RedisLimiter::builder(Quota::per_second(10));
    /// let calls = builder.connect("redis://localhost").await?;
    /// let place = calls.reserve("partner", 1).await?;
    /// println!("in {:?}", place.ready_in());
    /// let grant = place.ready().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// While Redis is away, the [`Fallback`](crate::Fallback) decides: the place is one in the line
    /// of this node's share, or due at once, or denied.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Denied`]: `n` exceeds the limit; or the debt of all callers that wait would
    ///   exceed [`max_waiting`](crate::RedisBuilder::max_waiting);
    /// - [`RedisError::Configuration`]: the limiter has windows, or several limits, which have no
    ///   waiting line;
    /// - any other if there is no answer.
    pub async fn reserve(
        &self,
        key: impl AsRef<[u8]>,
        n: u64,
    ) -> Result<RedisReservation, RedisError> {
        self.requests.reserve(&self.id(key.as_ref()).await, n, None).await
    }

    /// [Reserves](Self::reserve) if the place is due within `max_wait`; otherwise nothing changes.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve). Also if the wait would be longer than `max_wait`:
    /// [`Denied::retry_after`](crate::Denied::retry_after) is then the time until a place within
    /// `max_wait` can be had.
    pub async fn reserve_within(
        &self,
        key: impl AsRef<[u8]>,
        n: u64,
        max_wait: Duration,
    ) -> Result<RedisReservation, RedisError> {
        self.requests.reserve(&self.id(key.as_ref()).await, n, Some(max_wait)).await
    }

    /// Takes `n` tokens, and waits until they are there, first come, first served on all machines.
    /// One round trip however many callers wait, and none if another caller has left a place
    /// behind.
    ///
    /// A future that is dropped while it waits leaves the queue of this process, and costs no other
    /// caller a token, wherever it stood: the callers behind it move up, and the tokens that they
    /// do not need go to the next caller, or back to Redis. The same holds before the answer has
    /// come. Dropping takes a short lock, and does not wait.
    ///
    /// Windows have no waiting line, nor have several limits. There this is a
    /// [`check_n`](Self::check_n), and another after each
    /// [`retry_after`](crate::Denied::retry_after): a round trip each, and the first to ask then is
    /// served first.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve). Without a waiting line: those of
    /// [`check_n`](Self::check_n), if `n` exceeds the limit or there is no answer.
    ///
    /// With [`timeout`](Acquire::timeout), a request that is known to come too late is denied at
    /// once and takes nothing, even if others might leave. The round trip comes on top, with its
    /// own [deadline](crate::RedisBuilder::deadline). Without a waiting line all round trips but
    /// the last count as well.
    pub fn acquire(&self, key: impl AsRef<[u8]>, n: u64) -> Acquire<'static, RedisError> {
        let (limiter, key) = (self.clone(), key.as_ref().to_vec());
        Acquire::other(Later::new(move |within| async move {
            limiter.requests.acquire(&limiter.id(&key).await, n, within).await
        }))
    }
}
