//! A place in a waiting line that all machines share, held by its caller.

use super::Requests;
use crate::answer::Grant;
use crate::bucket;
use crate::clock::{Clock, TokioClock};
use crate::redis::error::RedisError;
use crate::redis::script::place::End;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::time::Duration;
use tokio::time::sleep;

/// A place in the waiting line of a key in Redis: tokens that are there already, or will be at a
/// known moment.
///
/// Wait for [`ready`](Self::ready) or [`ready_in`](Self::ready_in), then act. Once the place is
/// due, its tokens are spent, whatever becomes of the reservation. A reservation that is dropped
/// before is given up as by [`cancel`](Self::cancel): its place goes to callers of
/// [`acquire`](crate::RedisLimiter::acquire) that wait in this process, or else back to Redis in
/// the background. If Redis does not hear of it within the limiter's deadline, the tokens stay
/// taken.
#[must_use = "a reservation that is dropped before it is due is given up"]
pub struct RedisReservation {
    requests: Arc<Requests>,
    id: Vec<u8>,
    place: Place,
    grant: Grant,
    wait: Duration,
    /// Began when the answer came.
    clock: TokioClock,
}

/// The place that can be given up.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Nothing was taken, or it can no longer be given up.
    None,
    /// A place in the server's line.
    InRedis(End),
    /// A place in the line of this node's share.
    InShare(bucket::Place),
}

impl RedisReservation {
    pub(super) fn new(
        requests: &Arc<Requests>,
        id: &[u8],
        grant: Grant,
        wait: Duration,
        place: Place,
    ) -> Self {
        let (requests, id) = (Arc::clone(requests), id.to_vec());
        Self { requests, id, place, grant, wait, clock: TokioClock::new() }
    }

    /// The time from now until the place is due; zero if it is. It counts from when the answer
    /// came.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        self.wait.saturating_sub(Duration::from_nanos(self.clock.nanos()))
    }

    /// The time until the place was due when the answer came.
    #[must_use]
    pub fn waits(&self) -> Duration {
        self.wait
    }

    /// The tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.grant.granted()
    }

    /// The limiter's answer as it will be when the place is due, if no other caller takes tokens.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Waits until the place is due; then the tokens are spent. If the future is dropped before, it
    /// gives the place up. Timers count milliseconds: it ends up to one later than its moment, and
    /// never before.
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    pub async fn ready(mut self) -> Grant {
        let wait = self.ready_in();
        if !wait.is_zero() {
            sleep(wait).await;
        }
        self.place = Place::None;
        self.grant
    }

    /// Gives the place up. Returns how many tokens come back.
    ///
    /// If a caller in this process waits for the key, it gets all of them. If no caller has
    /// reserved behind the place, all go back to Redis. Otherwise the callers behind keep their
    /// promised moments, and only the tokens by which this place exceeds all places behind it come
    /// back. None come back if the place is due already, or if its line has been reset, refunded,
    /// or lost with the server's data.
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

    /// Settles the actual cost: gives back the reserved tokens that are left, or takes the rest,
    /// into debt if they are not there. Returns the time until the debt is paid: zero if there is
    /// none.
    ///
    /// Tokens given back may be taken again, as with [`refund`](crate::RedisLimiter::refund).
    /// Before the place is due, it is given up like a [cancelled](Self::cancel) place. One round
    /// trip; two if it becomes due meanwhile.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn settle(mut self, actual: u64) -> Result<Duration, RedisError> {
        let reserved = self.tokens();
        if actual > reserved {
            self.place = Place::None;
            return self.requests.charge(&self.id, actual - reserved).await;
        }
        let n = reserved - actual;
        let taken = !matches!(self.place, Place::None);
        if taken && n == 0 {
            self.place = Place::None;
        } else if taken && self.give_up(n).await?.is_none() {
            self.requests.refund(&self.id, n).await?;
        }
        Ok(Duration::ZERO)
    }

    /// Gives the place to a caller that waits in this process. Returns false if there is none.
    fn hand_on(&self, end: End) -> bool {
        self.requests.hand_on(&self.id, end, self.tokens(), self.ready_in())
    }

    /// Gives `n` tokens back to this node's share.
    fn give_up_share(&self, place: &bucket::Place, n: u64) -> Option<u64> {
        let share = self.requests.first().share.as_ref()?;
        Some(share.give_up(&self.id, place, n))
    }

    /// Gives up `n` tokens. Returns how many come back; `None` if the place is due.
    async fn give_up(&mut self, n: u64) -> Result<Option<u64>, RedisError> {
        let place = mem::replace(&mut self.place, Place::None);
        if self.ready_in().is_zero() {
            return Ok(None);
        }
        match place {
            Place::InRedis(end) if n == self.tokens() && self.hand_on(end) => Ok(Some(n)),
            Place::InRedis(end) => self.requests.give_up_place(&self.id, end, n).await,
            Place::InShare(place) => Ok(self.give_up_share(&place, n)),
            Place::None => Ok(None),
        }
    }
}

impl Drop for RedisReservation {
    fn drop(&mut self) {
        if self.ready_in().is_zero() {
            return;
        }
        let n = self.tokens();
        match self.place {
            Place::InRedis(end) if self.hand_on(end) => {}
            Place::InRedis(end) => {
                let (requests, id) = (Arc::clone(&self.requests), mem::take(&mut self.id));
                let runtime = &self.requests.guard.runtime;
                // No caller is left that could be told the outcome.
                runtime.spawn(async move { requests.give_up_place(&id, end, n).await });
            }
            Place::InShare(place) => {
                self.give_up_share(&place, n);
            }
            Place::None => {}
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
