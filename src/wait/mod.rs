//! Waiting for tokens: reservations, futures, blocking calls, and streams and sinks.

#[cfg(feature = "tokio")]
mod acquire;
#[cfg(feature = "std")]
mod blocking;
#[cfg(feature = "std")]
pub(crate) mod held;
#[cfg(feature = "tokio")]
mod jitter;
#[cfg(feature = "redis")]
mod later;
mod reservation;
#[cfg(feature = "tokio")]
mod throttle;

#[cfg(feature = "tokio")]
pub use acquire::Acquire;
#[cfg(feature = "tokio")]
pub(crate) use acquire::Wait;
#[cfg(feature = "std")]
pub(crate) use blocking::{acquire_in_thread, sleep_for};
#[cfg(feature = "redis")]
pub(crate) use later::Later;
pub use reservation::Reservation;
#[cfg(feature = "tokio")]
pub use throttle::{Throttle, ThrottleSink};

use crate::answer::Denied;
use crate::bucket::{Bucket, Whose};
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
use alloc::sync::Arc;
use core::hash::Hash;
use core::ops::Deref;
use core::time::Duration;

impl RateLimiter {
    /// Takes a place in line for `n` tokens: now if they are there, otherwise for the moment when
    /// they will have flowed, behind all earlier reservations.
    ///
    /// The word moves into the future, so the wait is known at once and to the nanosecond
    /// ([`Reservation::ready_in`]). The limiter keeps no queue of reservations and wakes no caller:
    /// each waits by a timer of its own. While a place is not due yet, `check` denies. A
    /// reservation that is dropped before it is due gives its tokens back: see
    /// [`Reservation::cancel`]. `n = 0` is ready at once and takes nothing.
    ///
    /// Reads the clock once; 4 loads, 1 compare-and-swap; a denial writes nothing.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{Quota, RateLimiter};
    /// use std::time::Duration;
    ///
    /// let limiter = RateLimiter::new(Quota::per_second(10).burst(1));
    /// assert!(limiter.reserve(1)?.ready_in().is_zero());
    /// let place = limiter.reserve(1)?;
    /// assert!(place.ready_in() <= Duration::from_millis(100));
    /// # }
    /// # Ok::<(), sluicegate::Denied>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `n` exceeds the limit and may not be paid in
    ///   [instalments](crate::RateLimiterBuilder::instalments);
    /// - the debt of all callers that wait would exceed
    ///   [`max_waiting`](crate::RateLimiterBuilder::max_waiting).
    pub fn reserve(&self, n: u64) -> Result<Reservation<'_>, Denied> {
        Reservation::take(self, Whose::default(), n, None)
    }

    /// Takes a place as [`reserve`](Self::reserve) does, if it is due within `max_wait`. Otherwise
    /// nothing changes, so no caller waits for tokens that cannot come in time.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve). Also if the wait would be longer than `max_wait`:
    /// [`Denied::retry_after`] is then the time until a place within `max_wait` can be had. It is
    /// `None` if the tokens of a request over the burst would take longer than `max_wait` to flow
    /// by themselves.
    pub fn reserve_within(&self, n: u64, max_wait: Duration) -> Result<Reservation<'_>, Denied> {
        Reservation::take(self, Whose::default(), n, Some(max_wait))
    }

    /// Takes a place that holds an [`Arc`] of its limiter, so that a task or an object can keep it.
    /// See [`reserve`](Self::reserve).
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{Quota, RateLimiter, Reservation};
    /// use std::sync::Arc;
    ///
    /// let limiter = Arc::new(RateLimiter::new(Quota::per_second(10)));
    /// let place: Reservation<'static> = limiter.clone().reserve_owned(3)?;
    /// assert_eq!((place.cancel(), limiter.available()), (0, 7));
    /// # }
    /// # Ok::<(), sluicegate::Denied>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve).
    pub fn reserve_owned(self: Arc<Self>, n: u64) -> Result<Reservation<'static>, Denied> {
        Reservation::take(self, Whose::default(), n, None)
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Takes a place in the key's line for `n` tokens. See [`RateLimiter::reserve`].
    ///
    /// With [`WhenFull::Evict`](crate::WhenFull::Evict), a full table may forget a key's bucket,
    /// and with it the key's line. The places in it keep their times, and later reservations of the
    /// key still come behind them.
    ///
    /// In addition to the cost of [`RateLimiter::reserve`], it takes a lock of some keys' places
    /// for a few steps, and allocates if many keys have places.
    ///
    /// # Errors
    ///
    /// Those of [`RateLimiter::reserve`]. Also if the table has no room for the key.
    pub fn reserve(&self, key: &K, n: u64) -> Result<Reservation<'_>, Denied> {
        Reservation::take(self, self.whose(key), n, None)
    }

    /// Takes a place in the key's line, if it is due within `max_wait`. See
    /// [`RateLimiter::reserve_within`].
    ///
    /// # Errors
    ///
    /// Those of [`RateLimiter::reserve_within`]. Also if the table has no room for the key.
    pub fn reserve_within(
        &self,
        key: &K,
        n: u64,
        max_wait: Duration,
    ) -> Result<Reservation<'_>, Denied> {
        Reservation::take(self, self.whose(key), n, Some(max_wait))
    }

    /// Takes a place that holds an [`Arc`] of its limiter. See [`RateLimiter::reserve_owned`].
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve).
    pub fn reserve_owned(self: Arc<Self>, key: &K, n: u64) -> Result<Reservation<'static>, Denied>
    where
        K: 'static,
    {
        let whose = self.whose(key);
        Reservation::take(self, whose, n, None)
    }
}

/// The limiter of a place, a future or a stream, borrowed or shared. It hides the limiter's type,
/// so that they need no type parameter.
#[derive(Clone)]
pub(crate) enum Of<'a> {
    Borrowed(&'a dyn Bucket),
    Shared(Arc<dyn Bucket + 'a>),
}

impl<'a> Deref for Of<'a> {
    type Target = dyn Bucket + 'a;

    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Borrowed(bucket) => *bucket,
            Self::Shared(bucket) => &**bucket,
        }
    }
}

impl<'a, B: Bucket> From<&'a B> for Of<'a> {
    fn from(bucket: &'a B) -> Self {
        Self::Borrowed(bucket)
    }
}

impl<'a, B: Bucket + 'a> From<Arc<B>> for Of<'a> {
    fn from(bucket: Arc<B>) -> Self {
        Self::Shared(bucket)
    }
}

impl<'a> From<&'a dyn Bucket> for Of<'a> {
    fn from(bucket: &'a dyn Bucket) -> Self {
        Self::Borrowed(bucket)
    }
}
