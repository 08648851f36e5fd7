//! A place in the queue of each of several limits.

use super::limit::Limit;
use super::{Combined, MAX, Tightest};
use crate::answer::{Denied, Grant};
use crate::wait::Reservation;
use core::fmt;
use core::time::Duration;

/// Places in some limits. Unless they are spent, they are undone when dropped.
struct Parts<'a>([Option<(Limit<'a>, Reservation<'a>)>; MAX]);

impl<'a> Parts<'a> {
    fn places(&self) -> impl Iterator<Item = &Reservation<'a>> {
        self.0.iter().flatten().map(|(_, place)| place)
    }

    fn places_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Reservation<'a>> {
        self.0.iter_mut().flatten().map(|(_, place)| place)
    }

    fn spend(&mut self) {
        self.places_mut().for_each(Reservation::spend);
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        // The last first: of keys that share a bucket, its place is behind the others'.
        self.places_mut().rev().for_each(Reservation::undo);
    }
}

/// A place in each of [combined](Combined) limits: see [`Combined::reserve`].
///
/// Wait for [`ready_in`](Self::ready_in), then act. Once all its places are due the tokens are
/// spent, whether or not the caller acts. A reservation that is dropped before gives everything
/// back in every limit, as [`cancel`](Self::cancel) does.
#[must_use = "a reservation that is dropped before it is due is given up"]
pub struct CombinedReservation<'a> {
    parts: Parts<'a>,
    grant: Grant,
}

impl<'a> Combined<'a> {
    /// Takes a place in each limit's queue for `n` tokens, in all or in none. It is due when all
    /// are.
    ///
    /// Costs two looks at each limit, and 1 compare-and-swap each. A denial writes nothing, unless
    /// another call was faster: then the places taken so far are undone.
    ///
    /// A limit whose place is due earlier than the others' holds those tokens until the last is
    /// due. They may then be used in a later window than they were granted for. So in any window of
    /// length W a limit may admit burst + rate * W, plus the tokens that combined waiters held when
    /// the window began.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{Combined, Quota, RateLimiter};
    /// use std::time::Duration;
    ///
    /// let requests = RateLimiter::new(Quota::per_second(10).burst(5));
    /// let jobs = RateLimiter::new(Quota::per_minute(1));
    /// let both = Combined::new([requests.as_limit(), jobs.as_limit()]);
    /// assert!(both.check().is_ok());
    /// let place = both.reserve(1)?;
    /// assert!(place.ready_in() > Duration::from_secs(50));
    /// assert!(both.reserve_within(1, Duration::from_secs(90)).is_err());
    /// # }
    /// # Ok::<(), sluicegate::Denied>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Denied`] by the limits that have no place: see
    /// [`RateLimiter::reserve`](crate::RateLimiter::reserve).
    pub fn reserve(&self, n: u64) -> Result<CombinedReservation<'a>, Denied> {
        self.place(n, None)
    }

    /// Takes places as [`reserve`](Self::reserve) does, if all are due within `max_wait`; otherwise
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve). Also if a limit's wait would be longer than `max_wait`:
    /// [`Denied::retry_after`] is then the time until a place within `max_wait` can be had.
    pub fn reserve_within(
        &self,
        n: u64,
        max_wait: Duration,
    ) -> Result<CombinedReservation<'a>, Denied> {
        self.place(n, Some(max_wait))
    }

    pub(super) fn place(
        &self,
        n: u64,
        within: Option<Duration>,
    ) -> Result<CombinedReservation<'a>, Denied> {
        self.try_often(|limit| limit.foresee(n, within), || self.place_in_all(n, within))
    }

    /// Takes a place in all limits, one after the other, or in none.
    fn place_in_all(
        &self,
        n: u64,
        within: Option<Duration>,
    ) -> Result<CombinedReservation<'a>, Denied> {
        let mut parts = Parts([const { None }; MAX]);
        let mut tightest = Tightest::default();
        for (part, limit) in parts.0.iter_mut().zip(self.limits()) {
            let (_, place) = part.insert((*limit, limit.place(n, within)?));
            tightest.add(limit, place.grant());
        }
        let grant = tightest.answer(n).map_or_else(|| self.peek(n), Ok)?;
        Ok(CombinedReservation { parts, grant })
    }
}

impl CombinedReservation<'_> {
    /// Returns the time from now until all places are due; zero if they are. Reads the clock of
    /// each limit whose place was not due at once.
    ///
    /// The time follows the quotas: when one changes, so does the time.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        self.parts.places().map(Reservation::ready_in).max().unwrap_or_default()
    }

    /// Returns the wait at the time when the places were taken.
    #[must_use]
    pub fn waits(&self) -> Duration {
        self.parts.places().map(Reservation::waits).max().unwrap_or_default()
    }

    /// Returns the tokens reserved of each limit.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.grant.granted()
    }

    /// Returns the answer of the limit that has the least left when its place is due, by the quotas
    /// at the time when the places were taken.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Waits until all places are due; then the tokens are spent. A future that is dropped before
    /// gives them up.
    ///
    /// The wait follows a lower rate of the quota, and not a higher one. Timers tick in
    /// milliseconds: the wait ends up to one later than its moment, never before.
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
        self.parts.spend();
        self.grant()
    }

    /// Gives all places up, and returns the number of tokens reserved: 0 if all are due already.
    ///
    /// Each limit then has the tokens that it would have had without the reservation, as far as
    /// that can be told. A place with others behind it is given up as by
    /// [`Reservation::cancel`](crate::Reservation::cancel). Tokens that have flowed again since
    /// they were taken do not come back; all others do.
    pub fn cancel(self) -> u64 {
        if self.ready_in().is_zero() { 0 } else { self.tokens() }
    }

    /// Settles the cost in each limit, as [`Reservation::settle`](crate::Reservation::settle) does.
    /// Returns the time until all debts are paid.
    pub fn settle(mut self, actual: u64) -> Duration {
        let parts = self.parts.0.iter_mut().filter_map(Option::take);
        parts.map(|(limit, place)| limit.settle(place, actual)).max().unwrap_or_default()
    }
}

impl Drop for CombinedReservation<'_> {
    fn drop(&mut self) {
        if self.ready_in().is_zero() {
            self.parts.spend();
        }
    }
}

impl fmt::Debug for CombinedReservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CombinedReservation")
            .field("tokens", &self.tokens())
            .field("ready_in", &self.ready_in())
            .finish_non_exhaustive()
    }
}
