//! The lines of a limiter in this process, and their tasks: one sleeps until the first caller of a
//! line is due, and wakes it; another hands back the flow that nobody waits for.

use crate::clock::{Clock, TokioClock};
use crate::redis::queue::wait_queue::Queue;
use crate::redis::request::Path;
use crate::redis::script::units::Units;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::mem;
use core::task::Waker;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, RwLock};
use tokio::time::{sleep, timeout};

/// The time for which a line keeps flow that nobody waits for. Callers that give up often ask again
/// at once.
const LINGER: Duration = Duration::from_millis(2);

/// The longest pause before flow that Redis did not take back is offered again.
const RETRY: Duration = Duration::from_millis(100);

/// The lines of one limiter, by key.
#[derive(Default)]
pub(in crate::redis) struct Lines {
    lines: Mutex<HashMap<Box<[u8]>, Weak<Line>>>,
    clock: TokioClock,
}

impl Lines {
    /// The line of a key, made if there is none.
    pub(in crate::redis) fn line(self: &Arc<Self>, key: &[u8], units: &Units) -> Arc<Line> {
        let mut lines = self.lines();
        if let Some(line) = lines.get(key).and_then(Weak::upgrade) {
            return line;
        }
        let state = State { queue: Queue::new(*units), driven: false, set_for: 0, tidied: false };
        let line = Arc::new(Line {
            key: key.into(),
            lines: Arc::clone(self),
            state: Mutex::new(state),
            changed: Notify::new(),
            calls: RwLock::new(()),
        });
        lines.insert(key.into(), Arc::downgrade(&line));
        line
    }

    /// The line of a key, if there is one.
    pub(in crate::redis) fn find(&self, key: &[u8]) -> Option<Arc<Line>> {
        self.lines().get(key).and_then(Weak::upgrade)
    }

    #[cfg(test)]
    pub(in crate::redis) fn count(&self) -> usize {
        self.lines().len()
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Weak<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line of a key. It lives while a caller or a task holds it, and takes no memory afterwards.
pub(in crate::redis) struct Line {
    pub(in crate::redis) key: Box<[u8]>,
    lines: Arc<Lines>,
    /// Never locked across an await.
    state: Mutex<State>,
    /// Told when the first caller is due at another moment.
    changed: Notify,
    /// Read by calls for places. Written while flow is handed back: a place that is granted
    /// meanwhile would be behind it, and Redis would not take it.
    pub(in crate::redis) calls: RwLock<()>,
}

pub(in crate::redis) struct State {
    pub(in crate::redis) queue: Queue,
    /// Whether a task wakes those that are due.
    driven: bool,
    /// The moment for which it is set.
    set_for: u64,
    /// Whether a task hands back what nobody waits for.
    tidied: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.lines.lines();
        // A new line of this key may have replaced it.
        if lines.get(&self.key).is_some_and(|line| line.strong_count() == 0) {
            lines.remove(&self.key);
        }
    }
}

impl Line {
    pub(in crate::redis) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::redis) fn now(&self) -> u64 {
        self.lines.clock.nanos()
    }

    /// Serves the callers that are due after a change, and starts the tasks that the others need.
    pub(in crate::redis) fn go_on(self: &Arc<Self>, path: &Arc<Path>) {
        let (wakers, drives, tidies, changed) = {
            let now = self.now();
            let State { queue, driven, set_for, tidied } = &mut *self.state();
            let wakers = queue.serve(now);
            let due = queue.next_due();
            let drives = due.is_some() && !*driven;
            *driven |= drives;
            let changed = !drives && *driven && due != Some(*set_for);
            let tidies = queue.has_excess() && !mem::replace(tidied, true);
            (wakers, drives, tidies, changed)
        };
        wakers.into_iter().for_each(Waker::wake);
        if changed {
            self.changed.notify_one();
        }
        // That of the caller that is polled, if one is: it lives as long as its callers.
        let runtime = || Handle::try_current().unwrap_or_else(|_| path.runtime.clone());
        if drives {
            runtime().spawn(drive(Driving { line: Arc::clone(self), ended: false }));
        }
        if tidies {
            path.runtime
                .spawn(tidy(Arc::clone(path), Tidying { line: Arc::clone(self), ended: false }));
        }
    }
}

/// Guards the task that wakes those that are due. If its runtime ends, the callers of other
/// runtimes are woken, and start another.
struct Driving {
    line: Arc<Line>,
    ended: bool,
}

impl Drop for Driving {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let wakers = {
            let mut state = self.line.state();
            state.driven = false;
            state.queue.wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

async fn drive(mut driving: Driving) {
    loop {
        let line = &driving.line;
        let now = line.now();
        let (wakers, due) = {
            let State { queue, driven, set_for, .. } = &mut *line.state();
            let (wakers, due) = (queue.serve(now), queue.next_due());
            // A change after this starts another task.
            *driven = due.is_some();
            *set_for = due.unwrap_or(0);
            (wakers, due)
        };
        wakers.into_iter().for_each(Waker::wake);
        let Some(due) = due else { break };
        let wait = Duration::from_nanos(due.saturating_sub(now));
        // Woken by either.
        let _ = timeout(wait, line.changed.notified()).await;
    }
    driving.ended = true;
}

/// Guards the task that hands back what nobody waits for.
struct Tidying {
    line: Arc<Line>,
    ended: bool,
}

impl Drop for Tidying {
    fn drop(&mut self) {
        if !self.ended {
            self.line.state().tidied = false;
        }
    }
}

async fn tidy(path: Arc<Path>, mut tidying: Tidying) {
    // Once tried, flow is kept only for callers that come, and so no longer than the limiter.
    let weak = Arc::downgrade(&path);
    let (mut pause, mut limiter) = (LINGER, Some(path));
    loop {
        sleep(pause).await;
        let Some(path) = limiter.take().or_else(|| weak.upgrade()) else { return };
        let line = &tidying.line;
        let _alone = line.calls.write().await;
        let now = line.now();
        let excess = {
            let State { queue, tidied, .. } = &mut *line.state();
            let excess = queue.take_excess();
            // A change after this starts another task.
            *tidied = excess.is_some();
            excess
        };
        let Some(excess) = excess else { break };
        pause = Duration::ZERO;
        if let Some(kept) = path.hand_back(line, excess).await {
            let State { queue, .. } = &mut *line.state();
            let due = Duration::from_nanos(kept.due(queue.units()).saturating_sub(now));
            pause = RETRY.min(due).max(LINGER);
            queue.keep(kept, line.now());
        }
        if pause > Duration::ZERO {
            line.go_on(&path);
        }
    }
    tidying.ended = true;
}
