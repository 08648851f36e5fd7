//! One task in several lines: it is told once, when the last of its places is granted.

use crate::sync::Mutex;
use crate::sync::plain::{AtomicU64, Ordering::AcqRel};
use alloc::sync::Arc;
use core::task::Waker;

/// What the places of a task have in common.
#[derive(Debug)]
pub(crate) struct Together {
    /// Places that are not granted yet, and one more while the task still comes.
    left: AtomicU64,
    task: Mutex<Waker>,
}

impl Together {
    /// For a task that comes.
    pub(crate) fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(1), task: Mutex::new(task.clone()) })
    }

    /// Counts a place that is waited for, before it is taken.
    pub(crate) fn add(&self) {
        // ORDERING: AcqRel, so that whoever takes the last one away sees what was done under the others.
        self.left.fetch_add(1, AcqRel);
    }

    /// A place that was counted is granted, was there at once, or is counted no more: whether it was the last.
    pub(crate) fn remove(&self) -> bool {
        self.left.fetch_sub(1, AcqRel) == 1
    }

    /// The task may be another one now.
    pub(crate) fn follow(&self, task: &Waker) {
        let mut known = self.task.lock();
        if !known.will_wake(task) {
            known.clone_from(task);
        }
    }
}

impl Together {
    /// Tells the task.
    pub(crate) fn call(&self) {
        let task = self.task.lock().clone();
        task.wake();
    }
}
