//! One of several combined limits.

use crate::answer::{Denied, Grant};
#[cfg(feature = "std")]
use crate::bucket::queue::Notify;
use crate::bucket::{Bucket, Place, Whose, queue};
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
#[cfg(feature = "std")]
use crate::timeline::Moment;
use crate::wait::Reservation;
#[cfg(feature = "std")]
use crate::wait::held::Held;
use core::fmt;
use core::hash::Hash;
use core::time::Duration;

/// One limit to be [combined](crate::Combined) with others: a limiter, or a key of one.
///
/// Made by [`RateLimiter::as_limit`] and [`KeyedLimiter::as_limit`]; it borrows the limiter, not
/// the key.
#[derive(Clone, Copy)]
pub struct Limit<'a> {
    bucket: &'a dyn Bucket,
    hash: u64,
    cost: u64,
    draws_ahead: bool,
    /// The index of the limit among those that are combined.
    which: u8,
}

impl RateLimiter {
    /// Returns the limiter as one of several limits: see [`Combined`](crate::Combined).
    #[must_use]
    pub fn as_limit(&self) -> Limit<'_> {
        Limit::new(self, Whose::default())
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Returns the key's limit as one of several: see [`Combined`](crate::Combined).
    #[must_use]
    pub fn as_limit(&self, key: &K) -> Limit<'_> {
        Limit::new(self, self.whose(key))
    }
}

impl<'a> From<&'a RateLimiter> for Limit<'a> {
    fn from(limiter: &'a RateLimiter) -> Self {
        limiter.as_limit()
    }
}

impl<'a> Limit<'a> {
    fn new(bucket: &'a dyn Bucket, whose: Whose) -> Self {
        let draws_ahead = bucket.draws_ahead();
        Self { bucket, hash: whose.hash, cost: 1, draws_ahead, which: 0 }
    }

    /// Takes `tokens` of this limit for each token that is asked for. That combines limits that
    /// count different things, such as requests and bytes. Figures of an answer are in the tokens
    /// of the limit that they come from.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{Combined, Quota, RateLimiter};
    ///
    /// let requests = RateLimiter::new(Quota::per_second(100));
    /// let bytes = RateLimiter::new(Quota::per_second(1_000_000));
    /// let upload = Combined::new([requests.as_limit(), bytes.as_limit().costing(300_000)]);
    /// let grant = upload.check()?;
    /// assert_eq!((grant.which(), grant.remaining()), (1, 700_000));
    /// # }
    /// # Ok::<(), sluicegate::Denied>(())
    /// ```
    #[must_use]
    pub fn costing(self, tokens: u64) -> Self {
        Self { cost: tokens, ..self }
    }

    pub(super) fn numbered(&self, which: u8) -> Self {
        Self { which, ..*self }
    }

    /// Returns the position in the order of debits, which is the same in all calls; equal for the
    /// same limit.
    pub(super) fn order(&self) -> (bool, usize, u64) {
        (self.draws_ahead, core::ptr::from_ref(self.bucket).cast::<()>().addr(), self.hash)
    }

    /// Adds the cost of the same limit, given once more.
    pub(super) fn join(&mut self, other: &Self) {
        self.cost = self.cost.saturating_add(other.cost);
    }

    fn whose(&self) -> Whose {
        Whose { hash: self.hash, shared: false }
    }

    fn tokens(&self, n: u64) -> u64 {
        n.saturating_mul(self.cost)
    }

    pub(super) fn look(&self, n: u64) -> Result<Grant, Denied> {
        let answer = self.bucket.look(self.whose(), self.tokens(n));
        answer.map_err(|denied| denied.of(self.which))
    }

    pub(super) fn take(&self, n: u64) -> Result<Grant, Denied> {
        let answer = self.bucket.take(self.whose(), self.tokens(n));
        answer.map_err(|denied| denied.of(self.which))
    }

    pub(super) fn foresee(&self, n: u64, within: Option<Duration>) -> Result<(), Denied> {
        match self.bucket.foresee(self.whose(), self.tokens(n), within) {
            // Another caller may have given up a place that fits; only an attempt to take it can
            // tell.
            Err(_) if self.bucket.queues().is_busy(self.whose()) && self.has_places(n) => Ok(()),
            answer => answer.map_err(|denied| denied.of(self.which)),
        }
    }

    /// Returns whether there can be a place for `n`.
    fn has_places(&self, n: u64) -> bool {
        self.tokens(n) <= self.bucket.waiting().largest_place(&self.bucket.moment())
    }

    pub(super) fn debit(&self, n: u64) -> Result<Place, Denied> {
        let place = self.bucket.debit(self.whose(), self.tokens(n));
        place.map_err(|denied| denied.of(self.which))
    }

    pub(super) fn undo(&self, place: &Place) {
        queue::undo(self.bucket, place, place.n);
    }

    pub(super) fn place(
        &self,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Reservation<'a>, Denied> {
        let place = Reservation::take(self.bucket, self.whose(), self.tokens(n), within);
        place.map_err(|denied| denied.of(self.which))
    }

    #[cfg(feature = "std")]
    pub(super) fn hold(
        &self,
        n: u64,
        within: Option<Duration>,
        notify: impl FnOnce() -> Notify,
    ) -> Result<Held<'a>, Denied> {
        let held = Held::take(self.bucket, self.whose(), self.tokens(n), within, notify);
        held.map_err(|denied| denied.of(self.which))
    }

    pub(super) fn charge(&self, n: u64) -> Duration {
        self.bucket.charge(self.whose(), self.tokens(n))
    }

    pub(super) fn refund(&self, n: u64) {
        self.bucket.put_back(self.whose(), self.tokens(n));
    }

    /// Settles the cost in this limit for `n` tokens used in the end. Returns the time until its
    /// debt is paid.
    pub(super) fn settle(&self, place: Reservation<'a>, n: u64) -> Duration {
        place.settle(self.tokens(n))
    }

    pub(super) fn available(&self) -> i64 {
        match i64::try_from(self.cost) {
            Ok(0) => i64::MAX,
            Ok(1) => self.bucket.available(self.whose()),
            cost => self.bucket.available(self.whose()).div_euclid(cost.unwrap_or(i64::MAX)),
        }
    }

    pub(super) fn denies(&self, denied: &Denied) -> bool {
        denied.which() == usize::from(self.which)
    }

    /// Returns the rank of a grant: the least left is the tightest; of two, the limit that was
    /// given first.
    pub(super) fn rank(&self, grant: &Grant) -> (u64, u8) {
        match self.cost {
            0 => (u64::MAX, self.which),
            1 => (grant.remaining(), self.which),
            cost => (grant.remaining() / cost, self.which),
        }
    }

    #[cfg(feature = "std")]
    pub(super) fn moment(&self) -> Moment {
        self.bucket.moment()
    }

    #[cfg(feature = "std")]
    pub(super) fn named(&self, denied: Denied) -> Denied {
        denied.of(self.which)
    }

    pub(super) fn answer(&self, grant: Grant, n: u64) -> Grant {
        grant.of(self.which, n)
    }
}

impl fmt::Debug for Limit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("available", &self.available()).finish_non_exhaustive()
    }
}
