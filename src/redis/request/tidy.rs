//! The tasks of a queue: one sleeps until the first caller is due, and wakes it; another hands back
//! the flow that no caller waits for.

use super::Requests;
use crate::redis::queue::queues::{KeyQueue, State};
use alloc::sync::Arc;
use core::mem;
use core::task::Waker;
use core::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// The time for which a queue keeps flow that no caller waits for. Callers that give up often ask
/// again at once.
const LINGER: Duration = Duration::from_millis(2);

/// The longest pause before flow that Redis did not take back is offered again.
const RETRY: Duration = Duration::from_millis(100);

impl Requests {
    /// Serves the callers that are due after a change, and starts the tasks that the others need.
    pub(super) fn serve(self: &Arc<Self>, queue: &Arc<KeyQueue>) {
        let (wakers, drives, tidies, changed) = {
            let now = queue.now();
            let State { waiters, driven, set_for, tidied } = &mut *queue.state();
            let wakers = waiters.serve(now);
            let due = waiters.next_due();
            let drives = due.is_some() && !*driven;
            *driven |= drives;
            let changed = !drives && *driven && due != Some(*set_for);
            let tidies = waiters.has_excess() && !mem::replace(tidied, true);
            (wakers, drives, tidies, changed)
        };
        wakers.into_iter().for_each(Waker::wake);
        if changed {
            queue.changed.notify_one();
        }
        if drives {
            // The runtime of the caller that is polled, if there is one: it lives as long as the
            // caller.
            let runtime = Handle::try_current().unwrap_or_else(|_| self.guard.runtime.clone());
            runtime.spawn(drive(Driving { queue: Arc::clone(queue), ended: false }));
        }
        if tidies {
            let tidying = Tidying { queue: Arc::clone(queue), ended: false };
            self.guard.runtime.spawn(tidy(Arc::clone(self), tidying));
        }
    }
}

/// Guards the task that wakes callers. If its runtime ends, the callers of other runtimes are
/// woken, and start another.
struct Driving {
    queue: Arc<KeyQueue>,
    ended: bool,
}

impl Drop for Driving {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let wakers = {
            let mut state = self.queue.state();
            state.driven = false;
            state.waiters.wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

async fn drive(mut driving: Driving) {
    loop {
        let queue = &driving.queue;
        let now = queue.now();
        let (wakers, due) = {
            let State { waiters, driven, set_for, .. } = &mut *queue.state();
            let (wakers, due) = (waiters.serve(now), waiters.next_due());
            // A change after this starts another task.
            *driven = due.is_some();
            *set_for = due.unwrap_or(0);
            (wakers, due)
        };
        wakers.into_iter().for_each(Waker::wake);
        let Some(due) = due else { break };
        let wait = Duration::from_nanos(due.saturating_sub(now));
        // Both the time and a change wake it.
        let _ = timeout(wait, queue.changed.notified()).await;
    }
    driving.ended = true;
}

/// Guards the task that hands flow back. If its runtime ends, another may start.
struct Tidying {
    queue: Arc<KeyQueue>,
    ended: bool,
}

impl Drop for Tidying {
    fn drop(&mut self) {
        if !self.ended {
            self.queue.state().tidied = false;
        }
    }
}

async fn tidy(requests: Arc<Requests>, mut tidying: Tidying) {
    // After the first attempt the flow is kept only for callers that may come, so no longer than
    // the limiter lives.
    let weak = Arc::downgrade(&requests);
    let (mut pause, mut limiter) = (LINGER, Some(requests));
    loop {
        sleep(pause).await;
        let Some(requests) = limiter.take().or_else(|| weak.upgrade()) else { return };
        let queue = &tidying.queue;
        let _alone = queue.calls.write().await;
        let now = queue.now();
        let excess = {
            let State { waiters, tidied, .. } = &mut *queue.state();
            let excess = waiters.take_excess();
            // A change after this starts another task.
            *tidied = excess.is_some();
            excess
        };
        let Some(excess) = excess else { break };
        pause = Duration::ZERO;
        if let Some(kept) = requests.hand_back(queue, excess).await {
            let State { waiters, .. } = &mut *queue.state();
            let due = Duration::from_nanos(kept.due(waiters.units()).saturating_sub(now));
            pause = RETRY.min(due).max(LINGER);
            waiters.keep(kept, queue.now());
        }
        if pause > Duration::ZERO {
            requests.serve(queue);
        }
    }
    tidying.ended = true;
}
