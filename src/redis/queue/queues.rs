//! The queues of a limiter in this process, by key.

use super::wait_queue::WaitQueue;
use crate::clock::{Clock, TokioClock};
use crate::redis::script::units::Units;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, RwLock};

#[derive(Default)]
pub(crate) struct WaitQueues {
    queues: Mutex<HashMap<Box<[u8]>, Weak<KeyQueue>>>,
    clock: TokioClock,
}

impl WaitQueues {
    /// The queue of a key, made if there is none.
    pub(crate) fn of_key(self: &Arc<Self>, key: &[u8], units: &Units) -> Arc<KeyQueue> {
        let mut queues = self.queues();
        if let Some(queue) = queues.get(key).and_then(Weak::upgrade) {
            return queue;
        }
        let waiters = WaitQueue::new(*units);
        let queue = Arc::new(KeyQueue {
            key: key.into(),
            queues: Arc::clone(self),
            state: Mutex::new(State { waiters, driven: false, set_for: 0, tidied: false }),
            changed: Notify::new(),
            calls: RwLock::new(()),
        });
        queues.insert(key.into(), Arc::downgrade(&queue));
        queue
    }

    /// The queue of a key, if there is one.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Arc<KeyQueue>> {
        self.queues().get(key).and_then(Weak::upgrade)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.queues().len()
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Weak<KeyQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of one key. It lives while a caller or a task holds it, and takes no memory
/// afterwards.
pub(crate) struct KeyQueue {
    pub(crate) key: Box<[u8]>,
    queues: Arc<WaitQueues>,
    /// Never locked across an await.
    state: Mutex<State>,
    /// Notified when the first caller is due at another moment.
    pub(crate) changed: Notify,
    /// Read by calls for places. Written while flow is handed back: a place that is granted
    /// meanwhile would be behind that flow, and Redis would not take it.
    pub(crate) calls: RwLock<()>,
}

pub(crate) struct State {
    pub(crate) waiters: WaitQueue,
    /// Whether a task wakes the callers that are due.
    pub(crate) driven: bool,
    /// The moment for which that task is set.
    pub(crate) set_for: u64,
    /// Whether a task hands back the flow that no caller waits for.
    pub(crate) tidied: bool,
}

impl Drop for KeyQueue {
    fn drop(&mut self) {
        let mut queues = self.queues.queues();
        // A new queue of this key may have replaced it.
        if queues.get(&self.key).is_some_and(|queue| queue.strong_count() == 0) {
            queues.remove(&self.key);
        }
    }
}

impl KeyQueue {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> u64 {
        self.queues.clock.nanos()
    }
}
