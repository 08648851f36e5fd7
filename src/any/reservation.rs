//! A place in the line of any store.

use super::error::AnyError;
use super::{AnyLimiter, Store};
use crate::answer::Grant;
#[cfg(feature = "redis")]
use crate::redis::RedisReservation;
use crate::wait::Reservation;
use core::time::Duration;

/// A place in a line, from [`AnyLimiter::reserve`]: a [`Reservation`], or a `RedisReservation`.
///
/// Once the place is due its tokens are spent. A place that is dropped before is given up.
#[derive(Debug)]
#[must_use = "a reservation that is dropped before it is due is given up"]
pub struct AnyReservation<'a>(Place<'a>);

#[derive(Debug)]
enum Place<'a> {
    Local(Reservation<'a>),
    #[cfg(feature = "redis")]
    Redis(RedisReservation),
}

/// Applies one expression to a local place, or another to a place in Redis.
macro_rules! each {
    ($place:expr, $local:ident => $here:expr, $redis:ident => $there:expr $(,)?) => {
        match $place {
            Place::Local($local) => $here,
            #[cfg(feature = "redis")]
            Place::Redis($redis) => $there,
        }
    };
}

impl AnyLimiter {
    /// Takes a place in the key's line for `n` tokens: now if they are there, otherwise for the
    /// moment when they will have flowed, behind all earlier reservations.
    ///
    /// # Errors
    ///
    /// [`AnyError::Denied`] if `n` exceeds the limit. Any other error if there is no answer, or for
    /// a window in Redis, which has no places.
    pub async fn reserve(
        &self,
        key: impl AsRef<[u8]>,
        n: u64,
    ) -> Result<AnyReservation<'_>, AnyError> {
        Ok(AnyReservation(match &self.store {
            Store::One(limiter) => Place::Local(limiter.reserve(n)?),
            Store::Keyed(limiter) => Place::Local(limiter.reserve(key.as_ref(), n)?),
            #[cfg(feature = "redis")]
            Store::Redis(limiter) => Place::Redis(limiter.reserve(key, n).await?),
            #[cfg(feature = "redis")]
            Store::Leased(limiter) => Place::Redis(limiter.redis().reserve(key, n).await?),
        }))
    }

    /// Takes a place as [`reserve`](Self::reserve) does, if it is due within `max_wait`. Otherwise
    /// nothing changes.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve). Also [`AnyError::Denied`] if the wait would be longer
    /// than `max_wait`.
    pub async fn reserve_within(
        &self,
        key: impl AsRef<[u8]>,
        n: u64,
        max_wait: Duration,
    ) -> Result<AnyReservation<'_>, AnyError> {
        Ok(AnyReservation(match &self.store {
            Store::One(local) => Place::Local(local.reserve_within(n, max_wait)?),
            Store::Keyed(local) => Place::Local(local.reserve_within(key.as_ref(), n, max_wait)?),
            #[cfg(feature = "redis")]
            Store::Redis(redis) => Place::Redis(redis.reserve_within(key, n, max_wait).await?),
            #[cfg(feature = "redis")]
            Store::Leased(leased) => {
                Place::Redis(leased.redis().reserve_within(key, n, max_wait).await?)
            }
        }))
    }
}

impl AnyReservation<'_> {
    /// The time from now until the place is due; zero if it is due.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        each!(&self.0, local => local.ready_in(), redis => redis.ready_in())
    }

    /// The number of tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        each!(&self.0, local => local.tokens(), redis => redis.tokens())
    }

    /// The limiter's answer when the place is due.
    pub fn grant(&self) -> Grant {
        each!(&self.0, local => local.grant(), redis => redis.grant())
    }

    /// Waits until the place is due, and spends its tokens. Dropping the future before gives the
    /// place up.
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    #[cfg(feature = "tokio")]
    pub async fn ready(self) -> Grant {
        each!(self.0, local => local.ready().await, redis => redis.ready().await)
    }

    /// Gives the place up. Returns how many of its tokens come back, as [`Reservation::cancel`]
    /// does.
    ///
    /// # Errors
    ///
    /// Redis does not answer: the tokens may or may not have come back.
    pub async fn cancel(self) -> Result<u64, AnyError> {
        Ok(each!(self.0, local => local.cancel(), redis => redis.cancel().await?))
    }

    /// Corrects the cost of the place to `actual` tokens, as [`Reservation::settle`] does. Returns
    /// the time until the debt is paid.
    ///
    /// # Errors
    ///
    /// Redis does not answer.
    pub async fn settle(self, actual: u64) -> Result<Duration, AnyError> {
        Ok(each!(self.0, local => local.settle(actual), redis => redis.settle(actual).await?))
    }
}
