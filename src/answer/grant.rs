//! The answer "yes".

use super::{Figures, Source};
use core::fmt;
use core::time::Duration;

/// A limiter's answer "yes".
///
/// Its figures are computed when asked for, so `check().is_ok()` pays for none of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    granted: u64,
    at: Figures,
}

impl Grant {
    pub(crate) fn new(granted: u64, at: Figures) -> Self {
        Self { granted, at }
    }

    /// The same answer, as somebody else's.
    #[cfg(feature = "redis")]
    pub(crate) fn by(mut self, source: Source) -> Self {
        self.at = self.at.by(source);
        self
    }

    /// The same answer, as that of one of several limits.
    pub(crate) fn of(mut self, which: u8, granted: u64) -> Self {
        (self.at, self.granted) = (self.at.of(which), granted);
        self
    }

    /// Which of [combined](crate::Combined) limits the figures are of, counted from 0 as they were given: the one
    /// with the least left. 0 of a limiter alone.
    #[must_use]
    pub fn which(&self) -> usize {
        self.at.which().into()
    }

    /// Who granted it.
    #[must_use]
    pub fn source(&self) -> Source {
        self.at.source()
    }

    /// The tokens granted: those asked for, or fewer from `check_up_to`.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// The most tokens that one request can be granted: the burst, a window's count, or what a
    /// [warm-up](crate::WarmUpLimiter) stores.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.at.limit()
    }

    /// Whole tokens left after this grant.
    ///
    /// A batched limiter's grants that read no clock know only of the tokens drawn ahead, and say
    /// those: a lower bound.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.at.remaining()
    }

    /// How long until all tokens are back, if nobody takes any.
    ///
    /// A batched limiter's grants that read no clock say how long a whole burst takes: an upper
    /// bound, debt aside.
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
