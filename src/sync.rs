//! The one place that says where atomics come from.
//!
//! Model checkers replace the atomics of the protocols (`cell`, `keyed`). Clocks and counters that
//! take no part in a protocol use [`plain`] ones in every build, so that a model's schedule is not
//! spent on them.

#[cfg(sluicegate_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(sluicegate_shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(not(any(sluicegate_loom, sluicegate_shuttle)))]
pub(crate) use core::sync::atomic::{Ordering, fence};
#[cfg(not(any(sluicegate_loom, sluicegate_shuttle)))]
pub(crate) use plain::AtomicU64;

/// Atomics that no model checker watches.
pub(crate) mod plain {
    #[cfg(not(feature = "portable-atomic"))]
    pub(crate) use core::sync::atomic::AtomicU64;
    pub(crate) use core::sync::atomic::Ordering;
    #[cfg(feature = "portable-atomic")]
    pub(crate) use portable_atomic::AtomicU64;
}
