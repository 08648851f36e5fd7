//! The grant: a limiter's answer "yes".

use super::{Figures, Source};
use core::fmt;
use core::time::Duration;

/// A limiter's answer "yes".
///
/// Its figures are computed when the caller asks for them, so `check().is_ok()` computes none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    granted: u64,
    at: Figures,
}

impl Grant {
    pub(crate) fn new(granted: u64, at: Figures) -> Self {
        Self { granted, at }
    }

    /// Returns the same answer, given by `source`.
    #[cfg(feature = "redis")]
    pub(crate) fn by(mut self, source: Source) -> Self {
        self.at = self.at.by(source);
        self
    }

    /// Returns the same answer, given by one of several limits.
    pub(crate) fn of(mut self, which: u8, granted: u64) -> Self {
        (self.at, self.granted) = (self.at.of(which), granted);
        self
    }

    /// Returns the index of the [combined](crate::Combined) limit that the figures are from,
    /// counted from 0 in the order in which the limits were given: the limit with the least left. 0
    /// for a limiter alone.
    #[must_use]
    pub fn which(&self) -> usize {
        self.at.which().into()
    }

    /// Returns the source of the decision.
    #[must_use]
    pub fn source(&self) -> Source {
        self.at.source()
    }

    /// Returns the tokens granted: those asked for, or fewer from `check_up_to`.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Returns the most tokens that one request can be granted: the burst, a window's count, or the
    /// permits that a [warm-up](crate::WarmUpLimiter) stores.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.at.limit()
    }

    /// Returns the whole tokens left after this grant.
    ///
    /// A batched limiter's grants that read no clock count only the tokens drawn ahead: a lower
    /// bound.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.at.remaining()
    }

    /// Returns the time until all tokens are back, if no caller takes any.
    ///
    /// For a batched limiter's grants that read no clock it is the time that a whole burst takes:
    /// an upper bound, debt aside.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        self.at.reset_after()
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("granted", &self.granted)
            .field("limit", &self.limit())
            .field("remaining", &self.remaining())
            .field("reset_after", &self.reset_after())
            .finish()
    }
}
