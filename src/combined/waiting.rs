//! Waiting for several limits at once.

use super::limit::Limit;
use super::{Combined, MAX, Tightest};
use crate::answer::{Denied, Grant};
use crate::bucket::queue::Progress;
#[cfg(feature = "tokio")]
use crate::bucket::queue::{Notify, Together};
use crate::wait::held::{Ask, Asker, Held, Holds};
use crate::wait::sleep_for;
#[cfg(feature = "tokio")]
use crate::wait::{Acquire, Wait};
#[cfg(feature = "tokio")]
use alloc::sync::Arc;
use core::time::Duration;

/// The limits, and the tokens asked for.
#[derive(Debug)]
struct Request<'a> {
    limits: Combined<'a>,
    n: u64,
}

/// Tokens of each limit, or a number in its queue. A limit that grants earlier than the others
/// keeps its tokens until then. Dropped, all are handed on, the last first: of keys that share a
/// bucket, its place is behind the others'.
struct Parts<'a>([Option<(Limit<'a>, Held<'a>)>; MAX]);

struct AllHeld<'a> {
    parts: Parts<'a>,
    request: (Combined<'a>, u64),
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        self.0.iter_mut().rev().for_each(|part| *part = None);
    }
}

impl<'a> Ask for Request<'a> {
    type Holds = AllHeld<'a>;

    fn ask(&self, within: Option<Duration>, asker: Asker<'_>) -> Result<AllHeld<'a>, Denied> {
        let Self { limits, n } = self;
        limits.try_often(|limit| limit.foresee(*n, within), || self.ask_all(within, asker))
    }
}

impl<'a> Request<'a> {
    /// Asks all limits, one after the other; if one denies, none is held.
    fn ask_all(&self, within: Option<Duration>, asker: Asker<'_>) -> Result<AllHeld<'a>, Denied> {
        #[cfg(feature = "tokio")]
        let together = match asker {
            Asker::Task(waker) => Some(Together::new(waker)),
            Asker::Thread => None,
        };
        let mut parts = Parts([const { None }; MAX]);
        for (part, limit) in parts.0.iter_mut().zip(self.limits.limits()) {
            #[cfg(feature = "tokio")]
            let held = match &together {
                Some(together) => {
                    // Counted before the place is taken, so that it is not granted before it is
                    // counted.
                    together.add();
                    let held = limit.hold(self.n, within, || Notify::Part(Arc::clone(together)));
                    if !matches!(&held, Ok(held) if held.is_waiting()) {
                        together.remove();
                    }
                    held?
                }
                None => limit.hold(self.n, within, || asker.notify())?,
            };
            #[cfg(not(feature = "tokio"))]
            let held = limit.hold(self.n, within, || asker.notify())?;
            *part = Some((*limit, held));
        }
        // From now on the task is woken; it finds earlier grants by itself.
        #[cfg(feature = "tokio")]
        together.iter().for_each(|together| {
            together.remove();
        });
        Ok(AllHeld { parts, request: (self.limits, self.n) })
    }
}

impl Holds for AllHeld<'_> {
    fn progress(&mut self, asker: Asker<'_>) -> Progress {
        let parts = self.parts.0.iter_mut().flatten();
        // Each limit is asked, so that each knows which task to wake.
        parts.map(|(_, held)| held.progress(asker)).fold(Progress::Granted, Progress::and)
    }

    /// Returns `false`: its places may have been granted while it took the last of them.
    #[cfg(feature = "tokio")]
    fn will_be_told(&self) -> bool {
        false
    }

    fn spend(&mut self) -> Grant {
        let mut tightest = Tightest::default();
        let mut grants = [const { None }; MAX];
        for (grant, part) in grants.iter_mut().zip(&mut self.parts.0) {
            *grant = part.take().map(|(limit, mut held)| (limit, held.spend()));
        }
        for (limit, grant) in grants.iter().flatten() {
            tightest.add(limit, *grant);
        }
        let (limits, n) = self.request;
        tightest.answer(n).unwrap_or_else(|| limits.limits()[0].moment().grant(n, 0))
    }

    fn late(&mut self, by: Duration) -> Denied {
        let mut denied = None;
        for part in &mut self.parts.0 {
            let Some((limit, mut held)) = part.take() else { continue };
            if held.is_waiting() {
                denied.get_or_insert(limit.named(held.late(by)));
            }
        }
        let (limits, n) = self.request;
        denied.unwrap_or_else(|| limits.limits()[0].moment().denied(n, 0))
    }
}

impl Combined<'_> {
    /// Takes `n` tokens of each limit, and sleeps until they are there: a
    /// [`reserve`](Self::reserve) with a sleep. The wait is known before it begins.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve), at once.
    pub fn acquire_blocking(&self, n: u64) -> Result<Grant, Denied> {
        sleep_for(Request { limits: *self, n }.ask(None, Asker::Thread)?)
    }

    /// Takes tokens as [`acquire_blocking`](Self::acquire_blocking) does, if the wait is at most
    /// `timeout`. Otherwise it fails at once, and takes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`reserve_within`](Self::reserve_within), at once.
    pub fn acquire_blocking_timeout(&self, n: u64, timeout: Duration) -> Result<Grant, Denied> {
        sleep_for(Request { limits: *self, n }.ask(Some(timeout), Asker::Thread)?)
    }
}

#[cfg(feature = "tokio")]
impl<'a> Combined<'a> {
    /// Takes `n` tokens of each limit, and waits until they are there. A limit whose tokens come
    /// earlier than the others' holds them until then, as with [`reserve`](Self::reserve). See
    /// [`RateLimiter::acquire`](crate::RateLimiter::acquire).
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
    ///     Combined::new([fast.as_limit(), slow.as_limit()]).acquire(1).await?;
    /// }
    /// assert_eq!(start.elapsed().as_millis(), 1_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve), at once.
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    pub fn acquire(&self, n: u64) -> Acquire<'a> {
        Acquire::other(Wait::new(Request { limits: *self, n }))
    }
}
