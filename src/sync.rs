//! The only file that chooses the atomics.
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

// On a target with 64-bit atomics, portable-atomic uses those. Elsewhere they are locks of one
// process, and two processes that map a table would both swap the same word.
#[cfg(all(unix, feature = "shared", feature = "portable-atomic", not(target_has_atomic = "64")))]
compile_error!(
    "the features `shared` and `portable-atomic` exclude each other on a target without 64-bit \
     atomics: processes would not see each other's swaps; build without default features, and add \
     those that are needed"
);

/// Atomics that no model checker watches.
pub(crate) mod plain {
    #[cfg(not(feature = "portable-atomic"))]
    pub(crate) use core::sync::atomic::AtomicU64;
    pub(crate) use core::sync::atomic::Ordering;
    #[cfg(feature = "portable-atomic")]
    pub(crate) use portable_atomic::AtomicU64;
}

mod process;

pub(crate) use lock::{Guard, Mutex};
#[cfg(feature = "std")]
pub(crate) use process::process;
pub(crate) use process::{Locked, ProcessLock, Turn};

/// The lock of the waiting queues; no check takes it.
mod lock {
    #[cfg(sluicegate_loom)]
    use loom::sync as base;
    #[cfg(sluicegate_shuttle)]
    use shuttle::sync as base;
    #[cfg(all(feature = "std", not(any(sluicegate_loom, sluicegate_shuttle))))]
    use std::sync as base;

    #[cfg(any(feature = "std", sluicegate_loom, sluicegate_shuttle))]
    pub(crate) use base::MutexGuard as Guard;
    #[cfg(not(any(feature = "std", sluicegate_loom, sluicegate_shuttle)))]
    pub(crate) use spin::MutexGuard as Guard;

    /// A mutex that a panic does not poison: what it guards is changed by steps that cannot panic.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(
        #[cfg(any(feature = "std", sluicegate_loom, sluicegate_shuttle))] base::Mutex<T>,
        #[cfg(not(any(feature = "std", sluicegate_loom, sluicegate_shuttle)))] spin::Mutex<T>,
    );

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            #[cfg(any(feature = "std", sluicegate_loom, sluicegate_shuttle))]
            return Self(base::Mutex::new(value));
            #[cfg(not(any(feature = "std", sluicegate_loom, sluicegate_shuttle)))]
            return Self(spin::Mutex::new(value));
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            #[cfg(any(feature = "std", sluicegate_loom, sluicegate_shuttle))]
            return self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            #[cfg(not(any(feature = "std", sluicegate_loom, sluicegate_shuttle)))]
            return self.0.lock();
        }

        /// Locks the mutex; `None` if another thread holds it.
        #[cfg(all(unix, feature = "std", not(any(sluicegate_loom, sluicegate_shuttle))))]
        pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(base::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(base::TryLockError::WouldBlock) => None,
            }
        }
    }
}
