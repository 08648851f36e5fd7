//! A place in line, held by whoever waits.

use super::Of;
use crate::answer::{Denied, Grant};
use crate::bucket::{Place, Whose, queue};
use core::fmt;
use core::time::Duration;

/// A place in a limiter's line: tokens that are there already, or will be at a known moment.
///
/// Wait for [`ready_in`](Self::ready_in), then act. Once it is due the tokens are spent, whatever becomes of
/// the reservation; dropped before, it gives them back as [`cancel`](Self::cancel) does.
///
/// For a cost that is known only afterwards, reserve an estimate and [`settle`](Self::settle):
///
/// ```
/// # #[cfg(feature = "std")] {
/// use sluicegate::{Quota, RateLimiter};
///
/// let tokens = RateLimiter::new(Quota::per_day(10_000));
/// let call = tokens.reserve(2_000)?;
/// // ... wait for it, ask the model, count what it used:
/// call.settle(350);
/// assert_eq!(tokens.available(), 9_650);
/// # }
/// # Ok::<(), sluicegate::Denied>(())
/// ```
#[must_use = "a reservation that is dropped before it is due is given up"]
pub struct Reservation<'a> {
    bucket: Of<'a>,
    place: Place,
    /// Used, given up or settled: nothing is to be given back.
    closed: bool,
}

impl<'a> Reservation<'a> {
    pub(crate) fn take(
        bucket: impl Into<Of<'a>>,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Self, Denied> {
        let bucket = bucket.into();
        let place = match queue::from_gap(&*bucket, whose, n, within) {
            Some(place) => place,
            None => bucket.place(whose, n, within)?,
        };
        Ok(Self { bucket, place, closed: false })
    }

    /// How long from now until the place is due; zero if it is. Reads the clock once.
    ///
    /// It follows the quota: when that changes, so does the time.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        if self.place.wait == 0 { Duration::ZERO } else { self.bucket.until(&self.place) }
    }

    /// How long it was when the place was taken.
    #[must_use]
    pub fn waits(&self) -> Duration {
        self.place.waits()
    }

    /// The tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.place.n
    }

    /// The limiter's answer as it will be when the place is due, by the quota as it was when it was taken.
    pub fn grant(&self) -> Grant {
        self.place.grant()
    }

    /// Waits until the place is due; then the tokens are spent. Dropped before, it gives the place up.
    ///
    /// The wait follows a lower rate of the quota, and not a higher one. Timers have milliseconds: it
    /// ends up to one later than its moment, never before.
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    #[cfg(feature = "tokio")]
    pub async fn ready(mut self) -> Grant {
        loop {
            let wait = self.ready_in();
            if wait.is_zero() {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        self.spend();
        self.grant()
    }

    /// Gives the place up: how many of its tokens somebody else may have.
    ///
    /// All that have not flowed by, which is all of them unless it was to be paid in instalments; none if it is due
    /// already. They go to whoever is next in line: those who wait behind it in `acquire` come earlier by as much. Other
    /// reservations keep the moment they were promised, to the nanosecond; with only such behind it, the place is
    /// kept for the next one that reserves or acquires and fits it (but for those of a limiter that
    /// [warms up](crate::WarmUpLimiter)), and what is left of it comes back to the bucket when
    /// nobody stands behind it any more. Of a window, all of them, unless places in a later window
    /// have been taken since (of a sliding one, in the one after the next).
    #[must_use = "some tokens may not come back; to ignore that, drop the reservation"]
    pub fn cancel(mut self) -> u64 {
        self.give_up()
    }

    /// Sets the cost right: gives back what is left of the reserved tokens, or takes the rest, into debt if they are
    /// not there. Says how long until the debt is paid: zero if there is none.
    ///
    /// Before the place is due, its tokens are given up as by [`cancel`](Self::cancel). Afterwards as many come back as the
    /// bucket would have more if they had not been taken: those that have flowed over since, or were of an
    /// earlier window, do not.
    pub fn settle(mut self, actual: u64) -> Duration {
        self.closed = true;
        let reserved = self.place.n;
        if actual > reserved {
            return self.bucket.charge(self.place.whose, actual - reserved);
        }
        queue::undo(&*self.bucket, &self.place, reserved - actual);
        queue::ended(&*self.bucket, self.place.whose);
        Duration::ZERO
    }

    fn give_up(&mut self) -> u64 {
        if self.closed || self.place.wait == 0 {
            return 0;
        }
        self.closed = true;
        let tokens = queue::cancel(&*self.bucket, &self.place, self.place.n);
        if tokens == 0 {
            queue::ended(&*self.bucket, self.place.whose);
        }
        tokens
    }

    /// The tokens are spent, also if the limiter's clock is a little behind the one that was waited by.
    pub(crate) fn spend(&mut self) {
        if !self.closed {
            self.closed = true;
            queue::ended(&*self.bucket, self.place.whose);
        }
    }

    /// Nobody acts on it, whether it is due or not.
    pub(crate) fn undo(&mut self) {
        if !self.closed {
            self.closed = true;
            queue::undo(&*self.bucket, &self.place, self.place.n);
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("tokens", &self.tokens())
            .field("ready_in", &self.ready_in())
            .finish_non_exhaustive()
    }
}
