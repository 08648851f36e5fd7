//! The builder of a limiter that warms up.

use super::WarmUpLimiter;
use crate::bucket::Waiting;
use crate::clock::{Clock, Source, Timer};
use crate::error::QuotaError;
use crate::quota::Quota;
use core::time::Duration;

/// A builder of a [`WarmUpLimiter`], from [`WarmUpLimiter::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct WarmUpBuilder {
    quota: Quota,
    period: Duration,
    max_waiting: u64,
    max_debt: u64,
    source: Option<Source>,
}

impl WarmUpBuilder {
    pub(super) fn new(quota: Quota, period: Duration) -> Self {
        Self { quota, period, max_waiting: u64::MAX, max_debt: u64::MAX, source: None }
    }

    /// Reads this clock instead of the default one.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.source = Some(clock.into_source());
        self
    }

    /// Bounds the time that a reservation waits, by the tokens that flow in it: one that would wait
    /// longer is denied.
    pub fn max_waiting(mut self, tokens: u64) -> Self {
        self.max_waiting = tokens;
        self
    }

    /// Bounds the debt that [`charge`](WarmUpLimiter::charge) makes: it adds no debt beyond
    /// `tokens`, and the excess is forgotten. Reservations are bounded by
    /// [`max_waiting`](Self::max_waiting).
    pub fn max_debt(mut self, tokens: u64) -> Self {
        self.max_debt = tokens;
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// - the period is over 3,660 days, or the word has no room for it: there is room for 2 hours
    ///   at 1,000/s, 100 s at 10,000/s, 8 ms at a million a second, and for none over 910 million;
    ///   the error names the longest period;
    /// - the quota has a burst of its own;
    /// - there is no clock, in a build that has no default one.
    pub fn build(self) -> Result<WarmUpLimiter, QuotaError> {
        let Self { quota, period, max_waiting, max_debt, source } = self;
        let limiter = WarmUpLimiter::assemble((quota, period), || Timer::with(source))?;
        let waiting = Waiting { most: max_waiting, ..limiter.waiting };
        Ok(WarmUpLimiter { waiting, max_debt, ..limiter })
    }
}
