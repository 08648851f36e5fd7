//! The decision of a check, by the fastest way that its algorithm and its quota permit.

use super::KeyedLimiter;
use super::table::{Buckets, Change};
use crate::answer::{Denied, Grant};
use crate::bucket::{Ask, Store, Whose, verbs};
use crate::timeline::{InForce, Moment, Reading};

impl<K: ?Sized> KeyedLimiter<K> {
    #[inline(always)]
    pub(super) fn check_hash(&self, hash: u64, n: u64) -> Result<Grant, Denied> {
        match self.take_unchanged(hash, n) {
            // The answer is built here, where the compiler sees which of its fields go unused.
            Some((Ok(taken), read)) => Ok(Grant::new(n, self.timeline.figures(read, taken))),
            Some((Err(state), read)) => Err(Denied::new(n, self.timeline.figures(read, state))),
            None => self.take(hash, n),
        }
    }

    /// Decides the common case of a check: a quota that has never changed, a token bucket, and a
    /// key that has its bucket in the table. Returns the state after the grant, or the state that
    /// has too few tokens, and the reading of the clock.
    #[inline]
    pub(super) fn take_unchanged(&self, hash: u64, n: u64) -> Option<(Result<u64, u64>, Reading)> {
        let announced = &self.table.lines.common().announced;
        let rule = self.timeline.smooth()?;
        // One comparison for both ends: 0 wraps to the top.
        if n.wrapping_sub(1) >= rule.limit() {
            return None;
        }
        let read = || self.timeline.read_smoothly(announced);
        self.table.update_live(read, hash, |state, now| match rule.take(state, now.units, n) {
            Some(taken) => Change::Grow(taken, (Ok(taken), now)),
            None => Change::Keep((Err(state), now)),
        })
    }

    #[inline(always)]
    pub(super) fn in_force(&self) -> Option<InForce> {
        self.timeline.in_force(&self.table.lines.common().announced)
    }

    /// Decides the same case under a quota that has replaced the first one.
    #[inline(always)]
    fn take_live(&self, hash: u64, n: u64, quota: &InForce) -> Option<(Result<u64, u64>, Reading)> {
        // One comparison for both ends: 0 wraps to the top.
        if n.wrapping_sub(1) >= quota.limit() {
            return None;
        }
        let rule = self.timeline.bucket(quota)?;
        let announced = &self.table.lines.common().announced;
        let read = || self.timeline.read(announced, quota);
        self.table.update_live(read, hash, |state, now: Reading| {
            match rule.take(state, now.units, n) {
                Some(taken) => Change::Grow(taken, (Ok(taken), now)),
                None => Change::Keep((Err(state), now)),
            }
        })
    }

    /// Decides [`check_n`](Self::check_n) for any algorithm and any `n`, with and without a slot.
    #[inline(never)]
    pub(super) fn take(&self, hash: u64, n: u64) -> Result<Grant, Denied> {
        if n == 0 {
            return verbs::peek(self, Whose { hash, shared: false }, 0);
        }
        // After a change of the quota, the short way begins here. Before one, the caller has tried
        // it.
        let announced = &self.table.lines.common().announced;
        if !self.timeline.first().is_window()
            && self.timeline.has_changed(announced)
            && let Some(quota) = self.in_force()
            && let Some((taken, read)) = self.take_live(hash, n, &quota)
        {
            let now = self.timeline.moment(quota.slope, read);
            return match taken {
                Ok(taken) => Ok(now.grant(n, taken)),
                Err(state) => Err(now.denied(n, state)),
            };
        }
        let whose = Whose { hash, shared: false };
        // A request of more than the limit makes no bucket.
        if n > 1 && n > self.now().rule().limit() {
            return verbs::peek(self, whose, n);
        }
        self.touch(Ask::of(whose, n), |_, state, now: Moment| {
            let rule = now.rule();
            match if n <= rule.limit() { rule.take(state, now.units, n) } else { None } {
                Some(taken) => Change::Grow(taken, Ok(now.grant(n, taken))),
                None => Change::Keep(Err(now.denied(n, state))),
            }
        })?
    }
}
