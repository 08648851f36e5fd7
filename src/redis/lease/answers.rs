//! Acts on the answers of Redis: by a deposit, a denial, or a pause.

use super::message::{Done, Key, tell};
use super::refill::Refiller;
use super::shared::nanos;
use crate::answer::{Denied, Grant};
use crate::redis::error::RedisError;

/// The least time between two calls for a key whose bucket is empty: at most 200 calls a second.
const PACE: u64 = 5_000_000;

/// The least time until a call without an answer is repeated, and the most that is added to it at
/// random, so that not all nodes come back at once.
const PAUSE: u64 = 10_000_000;
const JITTER: u64 = 90_000_000;

impl Refiller {
    /// Acts on the end of a call.
    pub(super) fn done(&mut self, done: Option<Done>) {
        let now = self.shared.leases.nanos();
        let key = match done {
            Some(Done::Fetched { key, want, began, asked, answer }) => {
                self.count_failure(want, asked, &answer);
                let Some(record) = self.records.get(&key) else { return };
                record.calls = false;
                match answer {
                    Ok(grant) => self.leased(&key, want, grant.granted(), began),
                    Err(RedisError::Denied(denied)) => self.denied(&key, &denied, now),
                    Err(failure) => self.failed(&key, failure, now),
                }
                key
            }
            Some(Done::Returned { key, tokens, answer }) => {
                self.returning -= tokens;
                match answer {
                    Ok(()) => self.shared.counters.returned.add(tokens),
                    Err(_) => self.shared.counters.lost.add(tokens),
                }
                if let Some(record) = self.records.get(&key) {
                    record.calls = false;
                }
                key
            }
            // Only the end of the runtime ends a call without an outcome.
            None => return,
        };
        self.go_on(&key, now);
    }

    /// Counts a fetch that Redis did not answer, even if the fallback granted it. The fallback
    /// hides the error, so `asked` says whether Redis may have applied the call.
    fn count_failure(&self, want: u64, asked: bool, answer: &Result<Grant, RedisError>) {
        let (failed, may_be_applied) = match answer {
            Ok(grant) => (grant.source().is_degraded(), asked),
            Err(RedisError::Denied(denied)) => (denied.source().is_degraded(), asked),
            Err(failure) => (true, failure.may_be_applied()),
        };
        if failed {
            self.shared.counters.failed_fetches.add(1);
        }
        if failed && may_be_applied {
            self.shared.counters.lost.add(want);
        }
    }

    /// Makes the next call after one has ended, if any caller wants a lease.
    fn go_on(&mut self, key: &Key, now: u64) {
        if let Some(record) = self.records.get(key)
            && record.wanted
            && !record.calls
            && !self.stops
            && now >= record.held
        {
            self.fetch(key, now);
        }
        self.records.plan(key);
    }

    /// Deposits the tokens that Redis has granted, and tells the callers.
    fn leased(&mut self, key: &Key, want: u64, granted: u64, began: u64) {
        let shared = self.shared.clone();
        shared.counters.leased.add(granted);
        let Some(record) = self.records.get(key) else { return };
        let now = shared.leases.nanos();
        let ends = began.saturating_add(shared.lease_for);
        let in_time = now < ends && !self.stops;
        let left = in_time
            .then(|| shared.leases.deposit(record.hash, granted, record.size, ends))
            .flatten();
        let waiting = core::mem::take(&mut record.waiting);
        match left {
            Some(left) => {
                (record.left, record.at, record.ends) = (left, now, ends);
                // If the bucket is empty now, there is no verdict yet to tell the next callers.
                record.held = if granted < want { now + PACE } else { 0 };
                record.verdict = None;
                // A caller that waits and finds too few asks again. One that did not wait asks
                // nothing.
                record.wanted = !record.next.is_empty();
                record.need = if record.wanted { record.need } else { 0 };
            }
            None => {
                shared.leases.unask(record.hash);
                self.give_back(key, granted);
            }
        }
        waiting.into_iter().for_each(|waiter| tell(waiter, Ok(())));
    }

    /// Denies the key until the time that Redis named.
    fn denied(&mut self, key: &Key, denied: &Denied, now: u64) {
        let longest = self.shared.lease_for;
        let retry_after = denied.retry_after().map_or(longest, nanos);
        // When a lease would end, other nodes may have given theirs back: the key is asked for
        // again then.
        let hold = retry_after.min(longest).max(PACE);
        let seconds = retry_after.saturating_sub(hold).div_ceil(1_000_000_000);
        self.hold(key, now + hold, Some(seconds), RedisError::Denied(*denied));
    }

    /// Pauses after a call without an answer.
    fn failed(&mut self, key: &Key, failure: RedisError, now: u64) {
        let chance = self.shared.leases.hash(&now.to_ne_bytes());
        let pause = PAUSE + chance % JITTER;
        self.hold(key, now + pause, None, failure);
    }

    /// Asks for a key no more before `until`, and tells all waiting callers why.
    fn hold(&mut self, key: &Key, until: u64, seconds: Option<u64>, why: RedisError) {
        let Some(record) = self.records.get(key) else { return };
        self.shared.leases.deny(record.hash, until, seconds);
        record.held = until;
        (record.wanted, record.need) = (false, 0);
        for waiter in record.waiting.drain(..).chain(record.next.drain(..)) {
            tell(waiter, Err(why.clone()));
        }
        record.verdict = Some(why);
    }
}
