//! What a key would be answered, and what it has. Nothing is taken, and no bucket made.

use super::table::{Buckets, Change};
use super::{KeyedLimiter, WhenFull};
use crate::answer::{Denied, Grant};
use crate::timeline::Moment;
use core::hash::Hash;

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// What [`check_n`](Self::check_n) would answer now. Takes nothing, and makes no bucket.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    pub fn peek(&self, key: &K, n: u64) -> Result<Grant, Denied> {
        self.look(self.seed.fingerprint(key), n)
    }

    pub(super) fn look(&self, hash: u64, n: u64) -> Result<Grant, Denied> {
        self.look_at(hash, n, |state, now: Moment| {
            if n == 0 {
                return Ok(now.grant(0, state));
            }
            let rule = now.rule();
            match if n <= rule.limit() { rule.take(state, now.units, n) } else { None } {
                Some(taken) => Ok(now.grant(n, taken)),
                None => Err(now.denied(n, state)),
            }
        })
    }

    /// Applies `op` to the key's bucket, if it has one.
    pub(super) fn update_existing<R>(
        &self,
        hash: u64,
        op: impl Fn(u64, Moment) -> Change<R>,
    ) -> Option<R> {
        self.table.update(self, hash, None, &op).ok().flatten()
    }

    /// What `look` says of the key's bucket; of a key without one, of what it would begin with.
    pub(super) fn look_into<R>(&self, hash: u64, look: impl Fn(u64, Moment) -> R) -> R {
        if let Some(answer) =
            self.update_existing(hash, |state, now| Change::Keep(look(state, now)))
        {
            return answer;
        }
        match self.table.outlook(self, hash, self.when_full.room()) {
            Ok((start, now)) => look(start, now),
            Err(_) if self.when_full == WhenFull::Share => {
                self.on_overflow(|state, now| Change::Keep(look(state, now)))
            }
            Err(_) => {
                let now = self.now();
                look(now.rule().fresh(now.units), now)
            }
        }
    }

    /// What a request of `n` would be answered, as `answer` says of the key's bucket. Changes
    /// nothing.
    pub(super) fn look_at<R>(
        &self,
        hash: u64,
        n: u64,
        answer: impl Fn(u64, Moment) -> Result<R, Denied>,
    ) -> Result<R, Denied> {
        let look = |state, now| Change::Keep(answer(state, now));
        if let Ok(Some(answer)) = self.table.update(self, hash, None, look) {
            return answer;
        }
        match self.table.outlook(self, hash, self.when_full.room()) {
            Ok((start, now)) => answer(start, now),
            Err(full) => {
                let now = self.now();
                if n == 0 || n > now.rule().limit() {
                    return answer(now.rule().fresh(now.units), now);
                }
                self.without_slot(full, n, look).unwrap_or_else(Err)
            }
        }
    }
}
