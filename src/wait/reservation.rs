//! A place in line that its holder waits for.

use super::Of;
use crate::answer::{Denied, Grant};
use crate::bucket::{Place, Whose, queue};
use core::fmt;
use core::time::Duration;

/// A place in a limiter's line: tokens that are there already, or will be at a known moment.
///
/// Wait for [`ready_in`](Self::ready_in), then act. Once the place is due its tokens are spent,
/// even if the reservation is dropped then. A reservation that is dropped before gives its tokens
/// back, as [`cancel`](Self::cancel) does.
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
    /// Whether the place is used, given up or settled, so that dropping it gives nothing back.
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

    /// The time from now until the place is due; zero if it is due. Reads the clock once.
    ///
    /// The time follows the quota: when that changes, the time changes with it.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        if self.place.wait == 0 { Duration::ZERO } else { self.bucket.until(&self.place) }
    }

    /// The time from when the place was taken until it was due, as it was then.
    #[must_use]
    pub fn waits(&self) -> Duration {
        self.place.waits()
    }

    /// The number of tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.place.n
    }

    /// The limiter's answer when the place is due, under the quota in force when the place was
    /// taken.
    pub fn grant(&self) -> Grant {
        self.place.grant()
    }

    /// Waits until the place is due, and spends its tokens. Dropping the future before gives the
    /// place up.
    ///
    /// The wait follows a lower rate of the quota, and not a higher one. Timers count milliseconds:
    /// a wait ends up to one millisecond after its moment, never before.
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

    /// Gives the place up. Returns how many of its tokens come back for other callers.
    ///
    /// - Before the place is due, its tokens come back: all of them, or, for a cost paid in
    ///   instalments, those that have not flowed yet. Once it is due, none do.
    /// - The tokens go to the next caller in line: the callers that wait behind the place in
    ///   `acquire` come earlier by these tokens.
    /// - Other reservations keep the moment that they were promised, to the nanosecond. If only
    ///   reservations stand behind the place, it is kept for the next call of `reserve` or
    ///   `acquire` that fits into it. A limiter that [warms up](crate::WarmUpLimiter) does not keep
    ///   it. What no call has used goes back to the bucket once no place is behind it.
    /// - All tokens of a window come back, unless places in a later window have been taken since
    ///   (of a sliding window, places in the window after the next).
    #[must_use = "some tokens may not come back; to ignore that, drop the reservation"]
    pub fn cancel(mut self) -> u64 {
        self.give_up()
    }

    /// Corrects the cost of the place to `actual` tokens: gives the rest of the reserved tokens
    /// back, or takes the missing ones, into debt if they are not there. Returns the time until the
    /// debt is paid: zero if there is none.
    ///
    /// Before the place is due, the rest is given up as by [`cancel`](Self::cancel). Once it is
    /// due, the tokens come back only as far as the bucket would now hold more if they had never
    /// been taken. Tokens that would have overflowed since, or that belong to an earlier window, do
    /// not come back.
    pub fn settle(mut self, actual: u64) -> Duration {
        self.closed = true;
        let reserved = self.place.n;
        if actual > reserved {
            // Before the charge: else it stands behind places that were given up in front.
            queue::ended(&*self.bucket, self.place.whose);
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

    /// Spends the tokens, even if the limiter's clock is a little behind the one that the caller
    /// waited by.
    pub(crate) fn spend(&mut self) {
        if !self.closed {
            self.closed = true;
            queue::ended(&*self.bucket, self.place.whose);
        }
    }

    /// Gives the tokens back, whether the place is due or not.
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
