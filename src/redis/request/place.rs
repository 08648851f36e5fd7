//! Places in the server's waiting line, over the wire.

use super::Requests;
use super::limit::nanos;
use crate::answer::Denied;
use crate::redis::client::lua::Call;
use crate::redis::error::RedisError;
use crate::redis::queue::held::Held;
use crate::redis::queue::queues::KeyQueue;
use crate::redis::script::place::{End, HandedBack, ServerQueue};
use crate::redis::script::units::{Flow, Units};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

impl Requests {
    /// The bucket, if the limiter has waiting lines: a bucket alone has.
    pub(super) fn bucket(&self) -> Option<&Units> {
        if let [limit] = &*self.limits { limit.scripts.places() } else { None }
    }

    /// The most tokens that one place can have. Only a queue has places over the limit, which are
    /// paid in instalments.
    pub(super) fn most_of_a_place(&self) -> u64 {
        let more = if self.waiting.instalments { self.waiting.most } else { 0 };
        self.first().scripts.limit().saturating_add(more)
    }

    /// Reserves a place. Returns the debt that includes it, and the server's time.
    pub(super) async fn reserve_place(
        self: &Arc<Self>,
        id: &[u8],
        units: &Units,
        n: u64,
        within: Option<Duration>,
    ) -> Result<(u128, u64), RedisError> {
        let reach = units.reach(self.waiting.most, within);
        let read = |answer: &[u64]| match *answer {
            [us, part, now] => Some((units.in_parts(Flow { us, part }), now)),
            _ => None,
        };
        let (debt, now) = self.run_place(id, units.call_reserve(n, reach), read).await?;
        let after = units.reserve(debt, n, reach);
        self.learn(id, &[units.state_of(after.unwrap_or(debt))]);
        let Some(after) = after else {
            let retry_after = units.until_place(debt, n, reach).map_or(u64::MAX, nanos);
            let figures = self.first().figures_of(units.state_of(debt), retry_after);
            return Err(Denied::new(n, figures).into());
        };
        Ok((after, now))
    }

    /// Gives up `n` tokens of a place. Returns how many come back; `None` if the place is due.
    pub(super) async fn give_up_place(
        self: &Arc<Self>,
        id: &[u8],
        end: End,
        n: u64,
    ) -> Result<Option<u64>, RedisError> {
        let Some(units) = self.bucket() else { return Ok(None) };
        let read = |answer: &[u64]| ServerQueue::read(units, answer);
        let queue = self.run_place(id, units.call_give_up(end, n), read).await?;
        let back = units.give_up(queue, end, n);
        self.learn(id, &[units.state_of(queue.debt - back)]);
        Ok((!units.is_due(end, queue.now)).then(|| units.whole(back).min(n)))
    }

    /// Hands flow back to Redis. Returns the flow if Redis did not take it.
    pub(super) async fn hand_back(self: &Arc<Self>, queue: &KeyQueue, held: Held) -> Option<Held> {
        let units = *queue.state().waiters.units();
        let (end, n) = (units.flow(held.end), units.whole(held.cost()));
        let read = |answer: &[u64]| ServerQueue::read(&units, answer);
        match self.run_place(&queue.key, units.call_hand_back(end, n), read).await {
            Ok(seen) => match units.hand_back(seen, end, n) {
                HandedBack::Kept => Some(held),
                HandedBack::Lost => None,
                HandedBack::Returned(back) => {
                    self.learn(&queue.key, &[units.state_of(seen.debt - back)]);
                    None
                }
            },
            // Redis may have taken it, and then it must not be used here.
            Err(error) => (!error.may_be_applied()).then_some(held),
        }
    }

    async fn run_place<T>(
        self: &Arc<Self>,
        id: &[u8],
        call: Call,
        read: impl Fn(&[u64]) -> Option<T>,
    ) -> Result<T, RedisError> {
        let _in_flight = self.enter(id)?;
        let names = self.names(id);
        let asking = async {
            let answer: Vec<u64> = self.guard.run(&call, &[&names[0]]).await?;
            read(&answer).ok_or_else(RedisError::odd_answer)
        };
        self.with_debts(id, &names, asking).await
    }
}
