//! The verbs of a direct limiter that look at its balance or correct it.

#[cfg(doc)]
use super::RateLimiterBuilder;
use super::{Mode, RateLimiter, striped};
use crate::bucket::{Whose, verbs};
use crate::cell::Step;
use core::time::Duration;

impl RateLimiter {
    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards.
    /// Returns the time until the debt is paid: zero if there is none.
    ///
    /// While in debt the limiter denies. A charge stops at the bound of the debt, and forgets the
    /// excess. The bound is [`max_debt`](RateLimiterBuilder::max_debt), if that is set; otherwise
    /// 10 years of flow (at most rates), or the largest count that a window's field holds. A fixed
    /// window forgets its debt at the boundary.
    pub fn charge(&self, n: u64) -> Duration {
        verbs::charge(self, Whose::default(), n)
    }

    /// Gives `n` tokens back, never above the burst.
    ///
    /// The tokens may be taken again, so the limiter then admits these tokens on top in a window of
    /// time. A fixed window takes back only tokens that it has admitted since its boundary. A
    /// sliding window takes back only those that it has admitted in the current and the previous
    /// window.
    ///
    /// While callers wait, the tokens go to the first in line, and all behind it come earlier.
    pub fn refund(&self, n: u64) {
        verbs::refund(self, Whose::default(), n);
    }

    /// The number of whole tokens that are there now, rounded down; negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        verbs::available(self, Whose::default())
    }

    /// The level of the leaky bucket: whole tokens poured in and not yet leaked, rounded up. A
    /// [`charge`](Self::charge) into debt raises the level over the capacity.
    ///
    /// For any other algorithm: the tokens missing from the limit.
    #[must_use]
    pub fn level(&self) -> u64 {
        verbs::level(self, Whose::default())
    }

    /// Makes the bucket full again, as if no token had ever been taken. Callers that wait are
    /// served from it in their order.
    pub fn reset(&self) {
        self.forget_ahead();
        verbs::reset(self, Whose::default());
    }

    /// Empties the stripes and the field of drawn tokens. A reset calls it before it fills the
    /// bucket.
    pub(crate) fn forget_ahead(&self) {
        match &self.mode {
            Mode::Striped(striped) => {
                striped.collect(striped::mine(), u64::MAX);
            }
            Mode::Batched(_) => self.cell.update(|seen| match self.split(seen) {
                (0, _) => Step::Keep(()),
                (_, state) => Step::Put(self.join(0, state), ()),
            }),
            Mode::Exact(_) | Mode::ByRule => {}
        }
    }
}
