//! A task that waits in several queues: it is woken once, when the last of its places is granted.

use crate::sync::Mutex;
use crate::sync::plain::{AtomicU64, Ordering::AcqRel};
use alloc::sync::Arc;
use core::task::Waker;

/// The state that the places of one task share.
#[derive(Debug)]
pub(crate) struct Together {
    /// The number of places that are not granted yet, plus one until the task has entered all
    /// queues.
    left: AtomicU64,
    task: Mutex<Waker>,
}

impl Together {
    /// Makes the state for a task that enters its first queue.
    pub(crate) fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(1), task: Mutex::new(task.clone()) })
    }

    /// Counts a place that is waited for, before it is taken.
    pub(crate) fn add(&self) {
        // ORDERING: AcqRel, so that the caller that takes the last one away sees what was done
        // under the others.
        self.left.fetch_add(1, AcqRel);
    }

    /// Takes away a place that was counted: it is granted, was there at once, or is given up.
    /// Returns whether it was the last.
    pub(crate) fn remove(&self) -> bool {
        self.left.fetch_sub(1, AcqRel) == 1
    }

    /// Replaces the waker, which may have changed.
    pub(crate) fn follow(&self, task: &Waker) {
        let mut known = self.task.lock();
        if !known.will_wake(task) {
            known.clone_from(task);
        }
    }
}

impl Together {
    /// Wakes the task.
    pub(crate) fn call(&self) {
        let task = self.task.lock().clone();
        task.wake();
    }
}
