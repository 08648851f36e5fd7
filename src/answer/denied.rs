//! The denial: a limiter's answer "no".

use super::{Figures, Source};
use core::fmt;
use core::time::Duration;

/// A limiter's answer "no": the tokens asked for are not there now, or never will be.
///
/// Its figures are computed when the caller asks for them, so `check().is_ok()` computes none.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use = "a denial says how long to wait"]
pub struct Denied {
    asked: u64,
    at: Figures,
}

impl Denied {
    #[inline(always)]
    pub(crate) fn new(asked: u64, at: Figures) -> Self {
        Self { asked, at }
    }

    /// Returns the same answer, given by `source`.
    #[cfg(feature = "redis")]
    pub(crate) fn by(mut self, source: Source) -> Self {
        self.at = self.at.by(source);
        self
    }

    /// Returns the same answer, given by one of several limits.
    pub(crate) fn of(mut self, which: u8) -> Self {
        self.at = self.at.of(which);
        self
    }

    /// Joins the answers of two limits that both deny: the one with the longer wait, with the
    /// tighter of the other figures.
    pub(crate) fn and(self, other: Self) -> Self {
        let wait = |denied: &Self| (denied.is_never(), denied.retry_after());
        let first = |denied: &Self| core::cmp::Reverse(denied.at.which());
        let other_is_worse = (wait(&other), first(&other)) > (wait(&self), first(&self));
        let (worse, other) = if other_is_worse { (other, self) } else { (self, other) };
        // A table without room has nothing left, so its figures are the tightest.
        if worse.is_table_full() {
            return worse;
        }
        let at = worse.at.told(worse.retry_after()).and(&other.at);
        Self { at, ..worse }
    }

    /// Returns the index of the [combined](crate::Combined) limit that denied, counted from 0 in
    /// the order in which the limits were given. If several denied, it is the one with the longest
    /// [`retry_after`](Self::retry_after). 0 for a limiter alone.
    #[must_use]
    pub fn which(&self) -> usize {
        self.at.which().into()
    }

    /// Returns the source of the decision.
    #[must_use]
    pub fn source(&self) -> Source {
        self.at.source()
    }

    /// Returns the time until the same request would be granted, if no other caller takes tokens.
    /// `None` if it can never be granted because it exceeds [`limit`](Self::limit). A reservation
    /// over the limit that may be paid in instalments has `None` only if its place would be due too
    /// late even behind a full bucket.
    ///
    /// The time is exact to the nanosecond of the limiter's clock, rounded up: waiting that long is
    /// enough, and a nanosecond less is not. For a reservation, it is the time until a place can be
    /// had that is due in time.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.at.retry_after(self.asked)
    }

    /// Returns whether the request exceeds the limit itself, so that waiting is of no use: there is
    /// no [`retry_after`](Self::retry_after).
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.at.is_never(self.asked)
    }

    /// Returns whether a keyed limiter had no room left for a new key ([`WhenFull::Deny`]). The
    /// request was not held against any bucket.
    ///
    /// [`WhenFull::Deny`]: crate::WhenFull::Deny
    #[must_use]
    pub fn is_table_full(&self) -> bool {
        self.at.table_full()
    }

    /// Returns the tokens that were asked for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Returns the most tokens that one request can be granted: the burst, a window's count, or the
    /// permits that a [warm-up](crate::WarmUpLimiter) stores.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.at.limit()
    }

    /// Returns the whole tokens left, which the request exceeded.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.at.remaining()
    }

    /// Returns the time until all tokens are back, if no caller takes any.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        self.at.reset_after()
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied")
            .field("asked", &self.asked)
            .field("retry_after", &self.retry_after())
            .field("limit", &self.limit())
            .field("remaining", &self.remaining())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.retry_after() {
            None => write!(f, "a request of {} exceeds the limit of {}", self.asked, self.limit()),
            Some(wait) if self.is_table_full() => {
                write!(f, "the table of keys is full, retry after {wait:?}")
            }
            Some(wait) => write!(f, "rate limit exceeded, retry after {wait:?}"),
        }
    }
}

impl core::error::Error for Denied {}
