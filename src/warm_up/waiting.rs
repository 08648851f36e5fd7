//! Waiting for a limiter that warms up.

use super::WarmUpLimiter;
use crate::answer::Denied;
#[cfg(feature = "std")]
use crate::answer::Grant;
use crate::bucket::Whose;
#[cfg(feature = "tokio")]
use crate::wait::Acquire;
use crate::wait::Reservation;
#[cfg(feature = "std")]
use crate::wait::acquire_in_thread;
use core::time::Duration;

impl WarmUpLimiter {
    /// Takes a place in the queue for `n` tokens, behind all earlier reservations: see
    /// [`RateLimiter::reserve`](crate::RateLimiter::reserve). It is due when the debt has been
    /// paid.
    ///
    /// # Errors
    ///
    /// - `n` exceeds the limit, which is the number of tokens that flow in the period;
    /// - the wait would be longer than [`max_waiting`](super::WarmUpBuilder::max_waiting) permits.
    pub fn reserve(&self, n: u64) -> Result<Reservation<'_>, Denied> {
        Reservation::take(self, Whose::default(), n, None)
    }

    /// Takes a place as [`reserve`](Self::reserve) does, if it is due within `max_wait`; otherwise
    /// changes nothing.
    ///
    /// With a `max_wait` shorter than the longest wait for a place, callers that are denied and
    /// come again keep the limiter cold.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve). Also if the wait would be longer than `max_wait`:
    /// [`Denied::retry_after`] is then the time until a place within `max_wait` can be had.
    pub fn reserve_within(&self, n: u64, max_wait: Duration) -> Result<Reservation<'_>, Denied> {
        Reservation::take(self, Whose::default(), n, Some(max_wait))
    }

    /// Takes `n` tokens, and waits until it is their turn, in the order of the first polls: see
    /// [`RateLimiter::acquire`](crate::RateLimiter::acquire).
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve), at once.
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    #[cfg(feature = "tokio")]
    pub fn acquire(&self, n: u64) -> Acquire<'_> {
        Acquire::new(self, Whose::default(), n)
    }

    /// Takes `n` tokens, and sleeps until it is their turn, in the order of the calls.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve), at once.
    #[cfg(feature = "std")]
    pub fn acquire_blocking(&self, n: u64) -> Result<Grant, Denied> {
        acquire_in_thread(self, Whose::default(), n, None)
    }

    /// Takes tokens as [`acquire_blocking`](Self::acquire_blocking) does, if the wait is at most
    /// `timeout`. Otherwise it fails at once, and takes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`reserve_within`](Self::reserve_within), at once.
    #[cfg(feature = "std")]
    pub fn acquire_blocking_timeout(&self, n: u64, timeout: Duration) -> Result<Grant, Denied> {
        acquire_in_thread(self, Whose::default(), n, Some(timeout))
    }
}
