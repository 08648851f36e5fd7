//! What a limiter has, and what is put on its account and given back.

#[cfg(doc)]
use super::Builder;
use super::{Mode, RateLimiter};
use crate::algorithm;
use crate::bucket::{Whose, queue};
use crate::cell::Step;
use crate::limiter::striped;
use core::time::Duration;

impl RateLimiter {
    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards, and
    /// says how long until the debt is paid: zero if there is none.
    ///
    /// While in debt the limiter denies. Debt ends at [`max_debt`](Builder::max_debt), if that is
    /// chosen; else at 10 years of flow (at most rates), or at what a window's field holds. What is
    /// over is forgotten. A fixed window forgets its debt at the boundary.
    pub fn charge(&self, n: u64) -> Duration {
        // Drawn and leased tokens are spent first: they have been debited already.
        let n = match &self.mode {
            Mode::Striped(striped) => n - striped.collect(striped::mine(), n),
            _ => n,
        };
        let now = self.now();
        let charged = self.cell.update(|seen| {
            let (drawn, state) = self.split(seen);
            let left = drawn.saturating_sub(n);
            let rest = n - (drawn - left);
            let charged = now.rule().charge_within(state, now.units, rest, self.max_debt);
            Step::Put(self.join(left, charged), charged)
        });
        // Paid when a request of nothing would fit.
        now.figures(charged).owes()
    }

    /// Gives `n` tokens back, never above the burst.
    ///
    /// What is given back may be taken again, so the limiter then admits that much more in a window.
    /// A fixed window takes back what it admitted since its boundary; a sliding window, that and what
    /// the previous one did.
    ///
    /// While somebody waits they go to the first in line, and with it everybody else comes earlier.
    pub fn refund(&self, n: u64) {
        if queue::refund(self, Whose::default(), n) {
            return;
        }
        let now = self.now();
        self.cell.update(|seen| {
            let (drawn, state) = self.split(seen);
            match now.rule().refund(state, now.units, n) {
                Some(refunded) => {
                    self.returns.count(state.wrapping_sub(refunded));
                    Step::Put(self.join(drawn, refunded), ())
                }
                None => Step::Keep(()),
            }
        });
        // The line may end now where a place was given up.
        queue::ended(self, Whose::default());
    }

    /// Whole tokens there now, rounded down; negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        let now = self.now();
        self.balance(self.cell.load(), now)
    }

    /// How full the leaky bucket is: whole tokens poured in and not yet leaked, rounded up. Over the
    /// capacity after a [`charge`](Self::charge) into debt.
    ///
    /// Of the other algorithms: what is missing from the limit.
    #[must_use]
    pub fn level(&self) -> u64 {
        let now = self.now();
        let (drawn, state) = self.split(self.cell.load());
        let drawn = drawn + self.held();
        algorithm::level(&now.rule(), state, now.units).saturating_sub(drawn)
    }

    /// Makes the bucket full again, as if nothing had ever been taken. Those who wait are served of it in their order.
    pub fn reset(&self) {
        if let Mode::Striped(striped) = &self.mode {
            striped.collect(striped::mine(), u64::MAX);
        }
        self.queues.reset(self, Whose::default(), || self.fill());
    }

    /// Swaps the word, and makes all places void.
    pub(crate) fn fill(&self) {
        let now = self.now();
        let full = now.rule().fresh(now.units);
        self.returns.reset(|| self.cell.update(|_| Step::Put(full, ())));
    }
}
