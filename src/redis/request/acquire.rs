//! Callers of `acquire`, which wait in the line of their process.
//!
//! A call to Redis for a place is a task of its own. It goes on if its caller leaves, so that its
//! place is not lost, and while its caller is not polled, so that nobody behind is held up.

use crate::answer::{Denied, Grant, Source};
use crate::redis::error::RedisError;
use crate::redis::queue::held::Held;
use crate::redis::queue::queues::{Line, State};
use crate::redis::queue::wait_queue::{Entry, Stand};
use crate::redis::request::Path;
use crate::redis::script::place::{self, HandedBack, Line as Seen};
use crate::redis::script::units::{Flow, Units};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

/// Guards a call for a place. If its runtime ends, the line is told that no answer will come.
struct Asking {
    path: Arc<Path>,
    line: Arc<Line>,
    id: u64,
    answered: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.answered {
            let now = self.line.now();
            self.line.state().queue.refused(self.id, now, RedisError::no_runtime());
            self.line.go_on(&self.path);
        }
    }
}

/// A caller in the line. Dropped, it leaves.
struct Standing<'a> {
    path: &'a Arc<Path>,
    line: Arc<Line>,
    id: u64,
    n: u64,
    limit: u64,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let now = self.line.now();
        self.line.state().queue.leave(self.id, now);
        self.line.go_on(self.path);
    }
}

impl Standing<'_> {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<Grant, RedisError>> {
        loop {
            // The task that wakes callers may have ended with its runtime.
            self.line.go_on(self.path);
            let (stand, units) = {
                let State { queue, .. } = &mut *self.line.state();
                (queue.stand(self.id, context.waker()), *queue.units())
            };
            match stand {
                Stand::Waits => return Poll::Pending,
                Stand::Failed(error) => return Poll::Ready(Err(error)),
                Stand::Turn(turn) => {
                    let missing = turn.missing(&units);
                    let (balance, until_full) = (units.balance(missing), units.until_full(missing));
                    let figures = self.path.figures(Source::Redis, balance, until_full, 0);
                    return Poll::Ready(Ok(Grant::new(self.n, figures)));
                }
                Stand::Asks => {}
            }
            self.ask(None);
        }
    }

    fn ask(&self, excess: Option<Held>) {
        let (path, line) = (Arc::clone(self.path), Arc::clone(&self.line));
        let asking = Asking { path, line, id: self.id, answered: false };
        self.path.runtime.spawn(ask(asking, self.n, self.limit, excess));
    }
}

async fn ask(mut asking: Asking, n: u64, limit: u64, excess: Option<Held>) {
    let (path, line, id) = (Arc::clone(&asking.path), Arc::clone(&asking.line), asking.id);
    let _calls = line.calls.read().await;
    if let Some(excess) = excess
        && let Some(kept) = path.hand_back(&line, excess).await
    {
        line.state().queue.keep(kept, line.now());
    }
    if line.state().queue.spares(id) {
        asking.answered = true;
        return line.go_on(&path);
    }
    let units = *line.state().queue.units();
    let within = limit.saturating_sub(line.now());
    let within = (limit < u64::MAX).then(|| Duration::from_nanos(within));
    let answer = path.place(&line.key, &units, n, within).await;
    let now = line.now();
    match answer {
        Ok((missing, at)) => {
            let end = units.in_parts(units.end(missing, at));
            let seen = units.in_parts(Flow { us: at, part: 0 });
            let missing = (units.until_due(missing) == 0).then_some(missing);
            let held = Held { start: end - units.cost(n), end, seen, at: now, missing };
            line.state().queue.granted(held, now);
        }
        Err(error) => line.state().queue.refused(id, now, error),
    }
    asking.answered = true;
    line.go_on(&path);
}

impl Path {
    /// Waits in the line of this process.
    pub(in crate::redis) async fn wait_in_line(
        self: &Arc<Self>,
        key: &[u8],
        units: &Units,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, RedisError> {
        let line = self.lines.line(key, units);
        let now = line.now();
        let limit = within.map_or(u64::MAX, |within| {
            now.saturating_add(u64::try_from(within.as_nanos()).unwrap_or(u64::MAX))
        });
        let (id, entry) = line.state().queue.enter(now, n, limit);
        let standing = Standing { path: self, line, id, n, limit };
        match entry {
            Entry::Settled => {}
            Entry::Asks(excess) => standing.ask(excess),
            Entry::TooLate(late) => {
                let burst = units.burst();
                let (balance, until_full) = (units.balance(burst), units.until_full(burst));
                let figures = self.figures(Source::Redis, balance, until_full, late);
                return Err(Denied::new(n, figures).into());
            }
        }
        poll_fn(|context| standing.poll(context)).await
    }

    /// Gives a reservation's place to the callers in the line. False if there are none.
    pub(in crate::redis) fn hand_on(
        self: &Arc<Self>,
        key: &[u8],
        end: place::End,
        n: u64,
        wait: Duration,
    ) -> bool {
        let Some(line) = self.lines.find(key) else { return false };
        {
            let now = line.now();
            let at = now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
            let State { queue, .. } = &mut *line.state();
            if !queue.is_waited_in() {
                return false;
            }
            let units = *queue.units();
            let end = units.in_parts(end);
            let (start, seen) = (end - units.cost(n), end.saturating_sub(units.burst()));
            let held = Held { start, end, seen, at, missing: None };
            queue.hold(held, now);
        }
        line.go_on(self);
        true
    }

    /// Hands flow back to Redis. Returns it if Redis did not take it.
    pub(in crate::redis) async fn hand_back(
        self: &Arc<Self>,
        line: &Line,
        held: Held,
    ) -> Option<Held> {
        let units = *line.state().queue.units();
        let (end, n) = (units.flow(held.end), units.whole(held.cost()));
        let asking = async {
            let _pending = self.enter(&line.key)?;
            let name: Vec<u8> = self.name(&line.key);
            let call = async {
                let call = place::call_hand_back(&units, end, n);
                let answer = self.exchange(&name, call).await?;
                Seen::of(&units, &answer).ok_or_else(RedisError::odd_answer)
            };
            self.with_debts(&line.key, &name, call).await
        };
        match asking.await {
            Ok(seen) => match units.hand_back(seen, end, n) {
                HandedBack::Kept => Some(held),
                HandedBack::Lost => None,
                HandedBack::Returned(back) => {
                    self.learn(&line.key, crate::redis::script::State::Bucket(seen.debt - back));
                    None
                }
            },
            // Redis may have taken it, so it is not used here.
            Err(error) => (!error.may_be_applied()).then_some(held),
        }
    }
}
