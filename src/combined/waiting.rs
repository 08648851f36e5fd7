//! Waiting for several limits at once.

use super::Combined;
#[cfg(feature = "tokio")]
use super::CombinedReservation;
use crate::error::Denied;
use crate::figures::Grant;
use crate::wait::sleep_for;
#[cfg(feature = "tokio")]
use crate::wait::{Ask, Wait};
use core::time::Duration;

impl Combined<'_> {
    /// Takes `n` tokens of each limit, and sleeps until they are there: a [`reserve`](Self::reserve), slept
    /// for. The wait is known before it begins.
    ///
    /// # Errors
    ///
    /// At once, as [`reserve`](Self::reserve).
    pub fn acquire_blocking(&self, n: u64) -> Result<Grant, Denied> {
        sleep_for(self.place(n, None)?, None)
    }

    /// [`acquire_blocking`](Self::acquire_blocking), if the wait is at most `timeout`. Otherwise it fails at once,
    /// and takes nothing.
    ///
    /// # Errors
    ///
    /// At once, as [`reserve_within`](Self::reserve_within).
    pub fn acquire_blocking_timeout(&self, n: u64, timeout: Duration) -> Result<Grant, Denied> {
        sleep_for(self.place(n, Some(timeout))?, Some(timeout))
    }
}

#[cfg(feature = "tokio")]
pub use future::CombinedAcquire;

#[cfg(feature = "tokio")]
mod future {
    use super::{Ask, Combined, CombinedReservation, Denied, Duration, Grant, Wait};
    use core::fmt;
    use core::future::Future;
    use core::pin::Pin;
    use core::task::{Context, Poll};
    use pin_project_lite::pin_project;

    pin_project! {
        /// The future of [`Combined::acquire`] and its kin.
        ///
        /// Nothing is taken before it is polled first. From then on it holds a place in each line, and one
        /// timer for the latest of them. Dropped before, it gives everything back as
        /// [`CombinedReservation::cancel`] does. Polled again when it is done, it answers the same.
        #[must_use = "futures do nothing unless they are awaited"]
        pub struct CombinedAcquire<'a> {
            #[pin]
            wait: Wait<Request<'a>>,
        }
    }

    /// Of which limits, and how many tokens.
    #[derive(Debug)]
    struct Request<'a> {
        limits: Combined<'a>,
        n: u64,
    }

    impl<'a> Ask for Request<'a> {
        type Place = CombinedReservation<'a>;

        fn place(&self, within: Option<Duration>) -> Result<CombinedReservation<'a>, Denied> {
            self.limits.place(self.n, within)
        }
    }

    impl CombinedAcquire<'_> {
        /// Waits a random time longer, at most `up_to`, and no longer than the timeout: see
        /// [`Acquire::jitter`](crate::Acquire::jitter).
        pub fn jitter(mut self, up_to: Duration) -> Self {
            self.wait.jitter(up_to);
            self
        }
    }

    impl Future for CombinedAcquire<'_> {
        type Output = Result<Grant, Denied>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            self.project().wait.poll(cx)
        }
    }

    impl fmt::Debug for CombinedAcquire<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("CombinedAcquire").field(&self.wait).finish()
        }
    }

    impl<'a> Combined<'a> {
        /// Takes `n` tokens of each limit, and waits until they are there: a [`reserve`](Self::reserve) with one of
        /// tokio's timers. See [`RateLimiter::acquire`](crate::RateLimiter::acquire).
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use sluicegate::{Combined, Quota, RateLimiter, TokioClock};
        ///
        /// let limiter = |quota| RateLimiter::builder(quota).clock(TokioClock::new()).build();
        /// let fast = limiter(Quota::per_second(10).burst(1))?;
        /// let slow = limiter(Quota::per_second(2).burst(3))?;
        /// let start = tokio::time::Instant::now();
        /// for _ in 0..5 {
        ///     Combined::new([fast.limit(), slow.limit()]).acquire(1).await?;
        /// }
        /// assert_eq!(start.elapsed().as_millis(), 1_000);
        /// # Ok(())
        /// # }
        /// ```
        ///
        /// # Errors
        ///
        /// At once, as [`reserve`](Self::reserve).
        ///
        /// # Panics
        ///
        /// A wait panics outside of a tokio runtime with its time enabled.
        pub fn acquire(&self, n: u64) -> CombinedAcquire<'a> {
            CombinedAcquire { wait: Wait::new(Request { limits: *self, n }, None) }
        }

        /// [`acquire`](Self::acquire), if the wait is at most `timeout`. Otherwise it fails at once, and takes nothing.
        ///
        /// # Errors
        ///
        /// At once, as [`reserve_within`](Self::reserve_within).
        ///
        /// # Panics
        ///
        /// As [`acquire`](Self::acquire).
        pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> CombinedAcquire<'a> {
            CombinedAcquire { wait: Wait::new(Request { limits: *self, n }, Some(timeout)) }
        }
    }
}
