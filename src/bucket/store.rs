//! The stores of a limiter's states, and the way in which a state is changed.
//!
//! A verb is a pure function of a state and a moment. The store finds the bucket, calls the
//! function, and commits the result by one compare-and-swap, or calls the function again on the
//! newer state. `verbs.rs` has the verbs, each once for all stores.

use super::{Queues, Returns, Since, Waiting, Whose};
use crate::answer::{Denied, Figures, Grant};
use crate::cell::Change;
use crate::timeline::Moment;
use alloc::sync::Arc;

/// The bucket that an operation is for, and the tokens that it asks for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) whose: Whose,
    /// The tokens that the operation means to take. A store that keeps tokens beside the state
    /// moves those into the state that it lacks.
    pub(crate) n: u64,
    /// The moment to decide at, if the caller has just read the clock. A store whose buckets may be
    /// forgotten reads it again.
    pub(crate) now: Option<&'a Moment>,
}

impl<'a> Ask<'a> {
    /// Asks for `n` tokens of a bucket.
    pub(crate) fn of(whose: Whose, n: u64) -> Self {
        Self { whose, n, now: None }
    }

    /// Asks the same at a moment that has just been read.
    pub(crate) fn at(self, now: &'a Moment) -> Self {
        Self { now: Some(now), ..self }
    }
}

/// The buckets of a limiter: one, or one for each key.
pub(crate) trait Store: Send + Sync {
    /// The record of give-backs to a bucket.
    type Account<'a>: Account
    where
        Self: 'a;

    /// Reads the clock once.
    fn read_clock(&self) -> Moment;

    /// Returns the bounds of the waiting queue.
    fn waiting(&self) -> &Waiting;

    /// Returns the queues of the callers that wait.
    fn queues(&self) -> &Arc<Queues>;

    /// Returns the account of a bucket's give-backs.
    fn account(&self, whose: Whose) -> Self::Account<'_>;

    /// Returns the debt in tokens at which a charge stops.
    fn max_debt(&self) -> u64;

    /// Records how far the most indebted bucket goes, before a debt is committed.
    fn before_debt(&self, _state: u64, _now: &Moment) {}

    /// Computes something from the state of a bucket, and changes nothing. A key without a bucket
    /// shows the state that its first touch would begin with.
    ///
    /// # Errors
    ///
    /// A request for `n > 0` tokens is denied if the table has no room for the key.
    fn look<R>(&self, whose: Whose, n: u64, look: impl Fn(u64, Moment) -> R) -> Result<R, Denied>;

    /// Changes the key's bucket. `None`: the key has none.
    fn update<R>(
        &self,
        ask: Ask<'_>,
        change: impl Fn(Whose, u64, Moment) -> Change<R>,
    ) -> Option<R>;

    /// Changes a bucket, and makes one for a key that has none.
    ///
    /// # Errors
    ///
    /// The request is denied if the table has no room for the key.
    fn touch<R>(
        &self,
        ask: Ask<'_>,
        change: impl Fn(Whose, u64, Moment) -> Change<R>,
    ) -> Result<R, Denied>;

    /// Takes `n` tokens or none, by the limiter's fastest way.
    fn check_n(&self, whose: Whose, n: u64) -> Result<Grant, Denied>;

    /// Takes `n` tokens or none, by the fastest way that leaves a state to undo the debit by.
    /// `None`: the general way has to decide.
    fn debit(&self, whose: Whose, n: u64) -> Option<Result<(u64, Figures), Denied>>;

    /// Predicts [`check_n`](Self::check_n) at the least cost. `None`: the general way has to.
    fn foresee(&self, whose: Whose, n: u64) -> Option<Result<Grant, Denied>>;

    /// Returns whether tokens are drawn ahead, so that a check costs less than a place in the
    /// queue.
    fn draws_ahead(&self) -> bool {
        false
    }
}

/// The record of the tokens given back to a bucket since a place in its queue was taken.
pub(crate) trait Account: Copy {
    /// Returns the counts before a debit that the same call may undo.
    fn since(self) -> Since;

    /// Returns the counts before a place is taken that leaves the bucket in the state `made`.
    fn open(self, made: u64, now: &Moment) -> Since;

    /// Returns the units given back since, after the state was loaded. `None`: a reset has made the
    /// place void.
    fn since_then(self, since: Since) -> Option<u64>;

    /// Counts units that are given back, before the state is swapped.
    fn count(self, units: u64);

    /// Runs `swap`, which resets the bucket.
    fn reset<R>(self, swap: impl FnOnce() -> R) -> R;
}

impl Account for &Returns {
    fn since(self) -> Since {
        Returns::since(self)
    }

    fn open(self, _: u64, _: &Moment) -> Since {
        Returns::since(self)
    }

    fn since_then(self, since: Since) -> Option<u64> {
        Returns::since_then(self, since)
    }

    fn count(self, units: u64) {
        Returns::count(self, units);
    }

    fn reset<R>(self, swap: impl FnOnce() -> R) -> R {
        Returns::reset(self, swap)
    }
}
