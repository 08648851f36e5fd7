//! Callers of `acquire`, which wait in the queue of this process.
//!
//! A call to Redis for a place is a task of its own. It goes on if its caller leaves, so that its
//! place is not lost, and while its caller is not polled, so that it holds up no caller behind.

use super::Requests;
use crate::answer::{Denied, Grant};
use crate::redis::error::RedisError;
use crate::redis::queue::held::Held;
use crate::redis::queue::queues::{KeyQueue, State};
use crate::redis::queue::wait_queue::{Entry, Status};
use crate::redis::script::place::End;
use crate::redis::script::units::{Flow, Units};
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

/// Guards a call for a place. If its runtime ends, the queue is told that no answer will come.
struct Asking {
    requests: Arc<Requests>,
    queue: Arc<KeyQueue>,
    id: u64,
    answered: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.answered {
            let now = self.queue.now();
            self.queue.state().waiters.refused(self.id, now, RedisError::no_runtime());
            self.requests.serve(&self.queue);
        }
    }
}

/// A caller in the queue. It leaves when this is dropped.
struct Caller<'a> {
    requests: &'a Arc<Requests>,
    queue: Arc<KeyQueue>,
    id: u64,
    n: u64,
    limit: u64,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let now = self.queue.now();
        self.queue.state().waiters.leave(self.id, now);
        self.requests.serve(&self.queue);
    }
}

impl Caller<'_> {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<Grant, RedisError>> {
        loop {
            // The task that wakes callers may have ended with its runtime.
            self.requests.serve(&self.queue);
            let (status, units) = {
                let State { waiters, .. } = &mut *self.queue.state();
                (waiters.poll_turn(self.id, context.waker()), *waiters.units())
            };
            match status {
                Status::Waits => return Poll::Pending,
                Status::Failed(error) => return Poll::Ready(Err(error)),
                Status::Turn(turn) => {
                    let state = units.state_of(turn.missing(&units));
                    let figures = self.requests.first().figures_of(state, 0);
                    return Poll::Ready(Ok(Grant::new(self.n, figures)));
                }
                Status::Asks => self.ask(None),
            }
        }
    }

    fn ask(&self, excess: Option<Held>) {
        let (requests, queue) = (Arc::clone(self.requests), Arc::clone(&self.queue));
        let asking = Asking { requests, queue, id: self.id, answered: false };
        self.requests.guard.runtime.spawn(ask(asking, self.n, self.limit, excess));
    }
}

/// Asks Redis for a place, after it has handed back the excess that would be in its way.
async fn ask(mut asking: Asking, n: u64, limit: u64, excess: Option<Held>) {
    let (requests, queue) = (Arc::clone(&asking.requests), Arc::clone(&asking.queue));
    let _calls = queue.calls.read().await;
    if let Some(excess) = excess
        && let Some(kept) = requests.hand_back(&queue, excess).await
    {
        queue.state().waiters.keep(kept, queue.now());
    }
    if queue.state().waiters.withdraw_call(asking.id) {
        asking.answered = true;
        return requests.serve(&queue);
    }
    let units = *queue.state().waiters.units();
    let within = limit.saturating_sub(queue.now());
    let within = (limit < u64::MAX).then(|| Duration::from_nanos(within));
    let answer = requests.reserve_place(&queue.key, &units, n, within).await;
    let now = queue.now();
    match answer {
        Ok((missing, at)) => {
            let end = units.in_parts(units.end(missing, at));
            let seen = units.in_parts(Flow { us: at, part: 0 });
            let missing = (units.until_due(missing) == 0).then_some(missing);
            let held = Held { start: end - units.cost(n), end, seen, at: now, missing };
            queue.state().waiters.granted(held, now);
        }
        Err(error) => queue.state().waiters.refused(asking.id, now, error),
    }
    asking.answered = true;
    requests.serve(&queue);
}

impl Requests {
    /// Waits in the queue of this process.
    pub(super) async fn wait_in_queue(
        self: &Arc<Self>,
        id: &[u8],
        units: &Units,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, RedisError> {
        let queue = self.queues.of_key(id, units);
        let now = queue.now();
        let limit = within.map_or(u64::MAX, |within| {
            now.saturating_add(u64::try_from(within.as_nanos()).unwrap_or(u64::MAX))
        });
        let (id, entry) = queue.state().waiters.enter(now, n, limit);
        let caller = Caller { requests: self, queue, id, n, limit };
        match entry {
            Entry::Settled => {}
            Entry::Asks(excess) => caller.ask(excess),
            Entry::TooLate(late) => {
                let figures = self.first().figures_of(units.state_of(units.burst()), late);
                return Err(Denied::new(n, figures).into());
            }
        }
        poll_fn(|context| caller.poll(context)).await
    }

    /// Gives a reservation's place to the callers in the queue. Returns false if there are none.
    pub(super) fn hand_on(self: &Arc<Self>, id: &[u8], end: End, n: u64, wait: Duration) -> bool {
        let Some(queue) = self.queues.find(id) else { return false };
        {
            let now = queue.now();
            let at = now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
            let State { waiters, .. } = &mut *queue.state();
            if !waiters.has_waiters() {
                return false;
            }
            let units = *waiters.units();
            let end = units.in_parts(end);
            let (start, seen) = (end - units.cost(n), end.saturating_sub(units.burst()));
            waiters.hold(Held { start, end, seen, at, missing: None }, now);
        }
        self.serve(&queue);
        true
    }
}
