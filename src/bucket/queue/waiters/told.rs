//! The ways in which waiting callers are woken.

#[cfg(feature = "tokio")]
use super::Together;
#[cfg(feature = "tokio")]
use alloc::sync::Arc;
use std::thread::Thread;

/// The waiter to wake.
#[derive(Clone, Debug)]
pub(crate) enum Notify {
    /// No waiter: the caller has been told all there is.
    Nobody,
    /// A thread, which sleeps until the end of the place that it knows of.
    Thread(Thread),
    #[cfg(feature = "tokio")]
    Task(core::task::Waker),
    /// A task that waits for places in other queues as well.
    #[cfg(feature = "tokio")]
    Part(Arc<Together>),
}

/// The reason for which a waiter is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Granted,
    /// The waiter has to look at the queue.
    Look,
}

/// A call that is made when the lock has been released.
#[derive(Debug)]
pub(in super::super) struct Call {
    pub(super) notify: Notify,
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "a thread always looks"))]
    pub(super) why: Why,
}

impl Call {
    pub(in super::super) fn call(self) {
        match self.notify {
            Notify::Nobody => {}
            Notify::Thread(thread) => thread.unpark(),
            #[cfg(feature = "tokio")]
            Notify::Task(waker) => waker.wake(),
            #[cfg(feature = "tokio")]
            Notify::Part(together) => {
                if self.why == Why::Look || together.remove() {
                    together.call();
                }
            }
        }
    }
}
