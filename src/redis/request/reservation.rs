//! A place in a line that all machines share, held by whoever waits.

use crate::answer::Grant;
use crate::bucket::Place;
use crate::clock::{Clock, TokioClock};
use crate::redis::error::RedisError;
use crate::redis::request::Path;
use crate::redis::script::place::End;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use tokio::time::sleep;

/// A place in the line of a key in Redis: tokens that are there already, or will be at a known moment.
///
/// Wait for [`ready`](Self::ready) or [`ready_in`](Self::ready_in), then act. Once it is due the tokens are spent,
/// whatever becomes of the reservation. Dropped before, it is given up as by
/// [`cancel`](Self::cancel): callers of [`acquire`](crate::RedisLimiter::acquire) that wait in this
/// process have it, or else it goes back in the background and if it can. What cannot be told to
/// Redis within the limiter's deadline stays taken.
#[must_use = "a reservation that is dropped before it is due is given up"]
pub struct RedisReservation {
    path: Arc<Path>,
    key: Vec<u8>,
    held: Held,
    grant: Grant,
    wait: Duration,
    /// Since the answer came.
    clock: TokioClock,
}

/// What of it can be given up.
#[derive(Clone, Copy)]
pub(in crate::redis) enum Held {
    /// Nothing was taken, or it is no longer to be given up.
    Nothing,
    /// A place in the server's line.
    There(End),
    /// One in the line of this node's share.
    Here(Place),
}

impl RedisReservation {
    pub(in crate::redis) fn new(
        path: &Arc<Path>,
        key: &[u8],
        grant: Grant,
        wait: Duration,
        held: Held,
    ) -> Self {
        let (path, key) = (Arc::clone(path), key.to_vec());
        Self { path, key, held, grant, wait, clock: TokioClock::new() }
    }

    /// How long from now until the place is due; zero if it is. It counts from when the answer came.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        self.wait.saturating_sub(Duration::from_nanos(self.clock.nanos()))
    }

    /// How long it was when the answer came.
    #[must_use]
    pub fn waits(&self) -> Duration {
        self.wait
    }

    /// The tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.grant.granted()
    }

    /// The limiter's answer as it will be when the place is due, if nobody else takes.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Waits until the place is due; then the tokens are spent. Dropped before, it gives the place up. Timers have
    /// milliseconds: it ends up to one later than its moment, never before.
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    pub async fn ready(mut self) -> Grant {
        let wait = self.ready_in();
        if !wait.is_zero() {
            sleep(wait).await;
        }
        self.held = Held::Nothing;
        self.grant
    }

    /// Gives the place up: how many tokens come back.
    ///
    /// All of them, if somebody waits for this key in this process, who then has them, or if nobody
    /// has reserved behind it. Otherwise as many as it had more than those behind it together: they
    /// keep their moments, which they have been told. None if it is due already, or if its line has
    /// been reset or refunded since, or was lost with the server's data.
    ///
    /// One `EVALSHA`: a `TIME`, a `GET`, a `SET`.
    ///
    /// # Errors
    ///
    /// If there is no answer. Then the tokens may or may not have come back.
    pub async fn cancel(mut self) -> Result<u64, RedisError> {
        let n = self.tokens();
        Ok(self.give_up(n).await?.unwrap_or(0))
    }

    /// Sets the cost right: gives back what is left of the reserved tokens, or takes the rest, into debt if they
    /// are not there. Says how long until the debt is paid: zero if there is none.
    ///
    /// What is given back may be taken again, as with [`refund`](crate::RedisLimiter::refund). Before the place is due,
    /// it is given up like a [cancelled](Self::cancel) place. One round trip; two if it becomes due meanwhile.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn settle(mut self, actual: u64) -> Result<Duration, RedisError> {
        let reserved = self.tokens();
        if actual > reserved {
            self.held = Held::Nothing;
            return self.path.charge(&self.key, actual - reserved).await;
        }
        let n = reserved - actual;
        let taken = !matches!(self.held, Held::Nothing);
        if taken && n == 0 {
            self.held = Held::Nothing;
        } else if taken && self.give_up(n).await?.is_none() {
            self.path.refund(&self.key, n).await?;
        }
        Ok(Duration::ZERO)
    }

    /// Lets those have the place who wait in the line of this process, if there are any.
    fn hand_on(&self, end: End) -> bool {
        self.path.hand_on(&self.key, end, self.tokens(), self.ready_in())
    }

    /// Gives up `n` of its tokens: how many come back; `None` if it is due.
    async fn give_up(&mut self, n: u64) -> Result<Option<u64>, RedisError> {
        let held = core::mem::replace(&mut self.held, Held::Nothing);
        if self.ready_in().is_zero() {
            return Ok(None);
        }
        match (held, &self.path.local) {
            (Held::There(end), _) if n == self.tokens() && self.hand_on(end) => Ok(Some(n)),
            (Held::There(end), _) => self.path.give_up(&self.key, end, n).await,
            (Held::Here(place), Some(local)) => Ok(Some(local.give_up(&self.key, &place, n))),
            _ => Ok(None),
        }
    }
}

impl Drop for RedisReservation {
    fn drop(&mut self) {
        if self.ready_in().is_zero() {
            return;
        }
        let n = self.tokens();
        match (self.held, &self.path.local) {
            (Held::There(end), _) if self.hand_on(end) => {}
            (Held::There(end), _) => {
                let (path, key) = (Arc::clone(&self.path), core::mem::take(&mut self.key));
                // Nobody is left who could be told how it went.
                self.path.runtime.spawn(async move { path.give_up(&key, end, n).await });
            }
            (Held::Here(place), Some(local)) => {
                local.give_up(&self.key, &place, n);
            }
            _ => {}
        }
    }
}

impl fmt::Debug for RedisReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReservation")
            .field("tokens", &self.tokens())
            .field("ready_in", &self.ready_in())
            .finish_non_exhaustive()
    }
}
