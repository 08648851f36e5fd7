//! Checks of many keys: hashed first, their lines fetched together, then decided one by one.
//!
//! A check of a random key among millions waits for memory, and reading the clock keeps the
//! processor from fetching the next key's line meanwhile. Here the lines of a block of keys are on
//! their way at the same time, and the clock is read once for all of them.

use super::KeyedLimiter;
use super::table::Change;
use crate::algorithm::TokenBucket;
use crate::answer::{Denied, Grant};
use crate::timeline::{Reading, Slope};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::hash::Hash;

/// The number of keys whose lines are fetched together. Each key took the same time with blocks of
/// 16 to 64, to within the spread; a tenth more with 128, and a quarter more with 256.
const BLOCK: usize = 32;

/// The decisions of a bucket, and a reading of the clock.
struct Read {
    rule: TokenBucket,
    now: Reading,
    changed: Option<Slope>,
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Takes one token of each key's bucket, in order. The answers are those of one
    /// [`check`](Self::check) after the other, at less than half the cost for each key where the
    /// table is larger than the caches.
    ///
    /// `out` is emptied and gets an answer for each key; nothing is allocated if it has the room. A
    /// key that comes twice is charged twice. The clock is read once for 32 keys, so answers may be
    /// as old as 32 checks take, some microseconds.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{KeyedLimiter, Quota};
    ///
    /// let users = KeyedLimiter::<str>::new(Quota::per_second(1), 1_000);
    /// let mut answers = Vec::new();
    /// users.check_many(&["alice", "bob", "alice"], &mut answers);
    /// let admitted: Vec<bool> = answers.iter().map(|answer| answer.is_ok()).collect();
    /// assert_eq!(admitted, [true, true, false]);
    /// # }
    /// ```
    pub fn check_many<Q: Borrow<K>>(&self, keys: &[Q], out: &mut Vec<Result<Grant, Denied>>) {
        out.clear();
        out.reserve(keys.len());
        let mut hashes = [0; BLOCK];
        for keys in keys.chunks(BLOCK) {
            let hashes = &mut hashes[..keys.len()];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self.seed.fingerprint(key.borrow());
                self.table.lines.prefetch(*hash);
            }
            let read = self.read_once();
            out.extend(hashes.iter().map(|hash| {
                // Windows, and any algorithm while the quota changes.
                let Some(Read { rule, now, changed }) = &read else { return self.take(*hash, 1) };
                let taken = self.table.update_live(
                    || Some(*now),
                    *hash,
                    |state, now| match rule.take(state, now.units, 1) {
                        Some(taken) => Change::Grow(taken, Ok(taken)),
                        None => Change::Keep(Err(state)),
                    },
                );
                let figures = |state| match changed {
                    None => self.timeline.figures(*now, state),
                    Some(slope) => self.timeline.moment(*slope, *now).figures(state),
                };
                match taken {
                    Some(Ok(taken)) => Ok(Grant::new(1, figures(taken))),
                    Some(Err(state)) => Err(Denied::new(1, figures(state))),
                    None => self.take(*hash, 1),
                }
            }));
        }
    }

    /// Reads the clock once, under the first quota or the one that has replaced it.
    fn read_once(&self) -> Option<Read> {
        let announced = &self.table.lines.common().announced;
        if let Some(rule) = self.timeline.smooth()
            && let Some(now) = self.timeline.read_smoothly(announced)
        {
            return Some(Read { rule: *rule, now, changed: None });
        }
        let quota = self.in_force()?;
        let rule = self.timeline.bucket(&quota)?;
        let now = self.timeline.read(announced, &quota)?;
        Some(Read { rule, now, changed: Some(quota.slope) })
    }
}
