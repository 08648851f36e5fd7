//! What a limiter has, and what is put on its account and given back.

#[cfg(doc)]
use super::Builder;
use super::{Mode, RateLimiter, striped};
use crate::bucket::{Whose, verbs};
use crate::cell::Step;
use core::time::Duration;

impl RateLimiter {
    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards, and
    /// says how long until the debt is paid: zero if there is none.
    ///
    /// While in debt the limiter denies. Debt ends at [`max_debt`](Builder::max_debt), if that is
    /// chosen; else at 10 years of flow (at most rates), or at what a window's field holds. What is
    /// over is forgotten. A fixed window forgets its debt at the boundary.
    pub fn charge(&self, n: u64) -> Duration {
        verbs::charge(self, Whose::default(), n)
    }

    /// Gives `n` tokens back, never above the burst.
    ///
    /// What is given back may be taken again, so the limiter then admits that much more in a window.
    /// A fixed window takes back what it admitted since its boundary; a sliding window, that and what
    /// the previous one did.
    ///
    /// While somebody waits they go to the first in line, and with it everybody else comes earlier.
    pub fn refund(&self, n: u64) {
        verbs::refund(self, Whose::default(), n);
    }

    /// Whole tokens there now, rounded down; negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        verbs::available(self, Whose::default())
    }

    /// How full the leaky bucket is: whole tokens poured in and not yet leaked, rounded up. Over the
    /// capacity after a [`charge`](Self::charge) into debt.
    ///
    /// Of the other algorithms: what is missing from the limit.
    #[must_use]
    pub fn level(&self) -> u64 {
        verbs::level(self, Whose::default())
    }

    /// Makes the bucket full again, as if nothing had ever been taken. Those who wait are served of it in their order.
    pub fn reset(&self) {
        self.forget_ahead();
        verbs::reset(self, Whose::default());
    }

    /// Empties the stripes and the field of drawn tokens, before all tokens are there again.
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
