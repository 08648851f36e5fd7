//! Threads that sleep until their tokens are there.

use super::Of;
use super::held::{Asker, Held, Holds};
use crate::answer::{Denied, Grant};
use crate::bucket::Whose;
use crate::bucket::queue::Progress;
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
use core::hash::Hash;
use core::time::Duration;
use std::thread;

/// Takes `n` tokens, and sleeps until they are there.
pub(crate) fn acquire_in_thread<'a>(
    bucket: impl Into<Of<'a>>,
    whose: Whose,
    n: u64,
    within: Option<Duration>,
) -> Result<Grant, Denied> {
    let held = Held::take(bucket, whose, n, within, || Asker::Thread.notify())?;
    sleep_for(held)
}

/// Sleeps until the hold is due, or is known to come too late.
pub(crate) fn sleep_for(mut held: impl Holds) -> Result<Grant, Denied> {
    loop {
        match held.progress(Asker::Thread) {
            Progress::Granted => return Ok(held.spend()),
            Progress::Late(by) => return Err(held.late(by)),
            Progress::Waits(time) => thread::park_timeout(time),
        }
    }
}

impl RateLimiter {
    /// Takes `n` tokens, and sleeps until they are there, in the order of the calls. The wait is
    /// known before it begins, as that of a [`reserve`](Self::reserve).
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve), at once.
    pub fn acquire_blocking(&self, n: u64) -> Result<Grant, Denied> {
        acquire_in_thread(self, Whose::default(), n, None)
    }

    /// Takes `n` tokens as [`acquire_blocking`](Self::acquire_blocking) does, if the wait is at
    /// most `timeout`. Otherwise it fails at once, and takes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`reserve_within`](Self::reserve_within), at once.
    pub fn acquire_blocking_timeout(&self, n: u64, timeout: Duration) -> Result<Grant, Denied> {
        acquire_in_thread(self, Whose::default(), n, Some(timeout))
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Takes `n` tokens of the key's bucket, and sleeps in the key's line until they are there. See
    /// [`RateLimiter::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve), at once.
    pub fn acquire_blocking(&self, key: &K, n: u64) -> Result<Grant, Denied> {
        acquire_in_thread(self, self.whose(key), n, None)
    }

    /// Takes `n` tokens of the key's bucket, if the wait is at most `timeout`. See
    /// [`RateLimiter::acquire_blocking_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`reserve_within`](Self::reserve_within), at once.
    pub fn acquire_blocking_timeout(
        &self,
        key: &K,
        n: u64,
        timeout: Duration,
    ) -> Result<Grant, Denied> {
        acquire_in_thread(self, self.whose(key), n, Some(timeout))
    }
}
