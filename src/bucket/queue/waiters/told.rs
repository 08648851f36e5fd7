//! How those who wait are told.

#[cfg(feature = "tokio")]
use super::Together;
#[cfg(feature = "tokio")]
use alloc::sync::Arc;
use std::thread::Thread;

/// Whom to tell.
#[derive(Clone, Debug)]
pub(crate) enum Notify {
    /// The caller has been told all there is.
    Nobody,
    /// A thread sleeps until the place ends that it knows of.
    Thread(Thread),
    #[cfg(feature = "tokio")]
    Task(core::task::Waker),
    /// A task that waits for places in other lines as well.
    #[cfg(feature = "tokio")]
    Part(Arc<Together>),
}

/// Why a waiter is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Granted,
    /// To look at the line by itself.
    Look,
}

/// A call that is made when the lock has been given back.
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
