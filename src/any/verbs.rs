//! The verbs of `AnyLimiter`.

use super::error::AnyError;
use super::{AnyLimiter, Store};
use crate::answer::Grant;
#[cfg(feature = "tokio")]
use crate::bucket::Whose;
#[cfg(feature = "redis")]
use crate::redis::RedisLimiter;
#[cfg(feature = "tokio")]
use crate::wait::Acquire;
#[cfg(feature = "redis")]
use crate::wait::Later;
use core::time::Duration;

/// Applies one expression for each store. A verb that never fails in memory is `Ok`. Without an
/// expression of its own, a store of leases asks Redis, which counts leased tokens as taken.
macro_rules! each {
    (
        $any:expr, $one:ident => $all:expr, $keyed:ident => $here:expr,
        $redis:ident => $there:expr $(,)?
    ) => {
        each!($any, $one => $all, $keyed => $here, $redis => $there, leased => {
            let $redis = leased.redis();
            $there
        })
    };
    (
        $any:expr, $one:ident => $all:expr, $keyed:ident => $here:expr, $redis:ident => $there:expr,
        $leased:ident => $lent:expr $(,)?
    ) => {
        match &$any.store {
            Store::One($one) => Ok($all),
            Store::Keyed($keyed) => Ok($here),
            #[cfg(feature = "redis")]
            Store::Redis($redis) => Ok($there),
            #[cfg(feature = "redis")]
            Store::Leased($leased) => Ok($lent),
        }
    };
}

impl AnyLimiter {
    /// Takes one token of the key's bucket, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    pub async fn check(&self, key: impl AsRef<[u8]>) -> Result<Grant, AnyError> {
        self.check_n(key, 1).await
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`AnyError::Denied`] with the time until `n` tokens are there, or without one if `n` exceeds
    /// the limit. Any other error if there is no answer.
    pub async fn check_n(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, AnyError> {
        each!(
            self,
            one => one.check_n(n)?,
            local => local.check_n(key.as_ref(), n)?,
            redis => redis.check_n(key, n).await?,
            leased => if n > leased.max_lease() {
                // No lease is as large, so Redis decides exactly.
                leased.redis().check_n(key, n).await?
            } else {
                leased.check_n(key, n).await?
            },
        )
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`AnyError::Denied`] with the time until the next token, if there is none. Any other error
    /// if there is no answer.
    pub async fn check_up_to(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, AnyError> {
        each!(
            self,
            one => one.check_up_to(n)?,
            local => local.check_up_to(key.as_ref(), n)?,
            redis => redis.check_up_to(key, n).await?,
        )
    }

    /// Predicts the answer of [`check_n`](Self::check_n). Takes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    pub async fn peek(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, AnyError> {
        each!(
            self,
            one => one.peek(n)?,
            local => local.peek(key.as_ref(), n)?,
            redis => redis.peek(key, n).await?,
        )
    }

    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards.
    /// Returns the time until the debt is paid: zero if there is none.
    ///
    /// # Errors
    ///
    /// Any error but [`AnyError::Denied`], if there is no answer.
    pub async fn charge(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Duration, AnyError> {
        each!(
            self,
            one => one.charge(n),
            local => local.charge(key.as_ref(), n),
            redis => redis.charge(key, n).await?,
        )
    }

    /// Gives `n` tokens back, never above the burst. The tokens may be taken again.
    ///
    /// # Errors
    ///
    /// Any error but [`AnyError::Denied`], if there is no answer.
    pub async fn refund(&self, key: impl AsRef<[u8]>, n: u64) -> Result<(), AnyError> {
        each!(
            self,
            one => one.refund(n),
            local => local.refund(key.as_ref(), n),
            redis => redis.refund(key, n).await?,
        )
    }

    /// The number of whole tokens that are there now, rounded down; negative in debt.
    ///
    /// # Errors
    ///
    /// Any error but [`AnyError::Denied`], if there is no answer.
    pub async fn available(&self, key: impl AsRef<[u8]>) -> Result<i64, AnyError> {
        each!(
            self,
            one => one.available(),
            local => local.available(key.as_ref()),
            redis => redis.available(key).await?,
        )
    }

    /// The level of the leaky bucket: whole tokens poured in and not yet leaked, rounded up. For
    /// any other algorithm: the tokens missing from the limit.
    ///
    /// # Errors
    ///
    /// Any error but [`AnyError::Denied`], if there is no answer.
    pub async fn level(&self, key: impl AsRef<[u8]>) -> Result<u64, AnyError> {
        each!(
            self,
            one => one.level(),
            local => local.level(key.as_ref()),
            redis => redis.level(key).await?,
        )
    }

    /// Makes the key's bucket full again, as if no token had ever been taken.
    ///
    /// # Errors
    ///
    /// Any error but [`AnyError::Denied`], if there is no answer.
    pub async fn reset(&self, key: impl AsRef<[u8]>) -> Result<(), AnyError> {
        each!(
            self,
            one => one.reset(),
            local => local.reset(key.as_ref()),
            redis => redis.reset(key).await?,
        )
    }

    /// Takes `n` tokens, and waits until they are there: first come, first served, by a timer. A
    /// window in Redis has no places, so its caller asks again and again instead. Dropping the
    /// future gives the caller's place up.
    ///
    /// # Errors
    ///
    /// [`AnyError::Denied`] if `n` exceeds the limit. Any other error if there is no answer.
    #[cfg(feature = "tokio")]
    pub fn acquire(&self, key: impl AsRef<[u8]>, n: u64) -> Acquire<'_, AnyError> {
        match &self.store {
            Store::One(one) => Acquire::failing(&**one, Whose::default(), n, AnyError::Denied),
            Store::Keyed(keyed) => {
                Acquire::failing(&**keyed, keyed.whose(key.as_ref()), n, AnyError::Denied)
            }
            #[cfg(feature = "redis")]
            Store::Redis(redis) => Self::acquire_in(redis, key.as_ref(), n),
            #[cfg(feature = "redis")]
            Store::Leased(leased) => Self::acquire_in(leased.redis(), key.as_ref(), n),
        }
    }

    /// Waits in Redis, by a future that the first poll starts.
    #[cfg(feature = "redis")]
    fn acquire_in<'a>(redis: &RedisLimiter, key: &[u8], n: u64) -> Acquire<'a, AnyError> {
        let acquire = redis.acquire(key, n);
        Acquire::other(Later::new(move |within| async move {
            let acquire = match within {
                Some(within) => acquire.timeout(within),
                None => acquire,
            };
            acquire.await.map_err(AnyError::from)
        }))
    }
}
