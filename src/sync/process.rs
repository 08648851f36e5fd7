//! Locks that a forked child does not find held for ever.
//!
//! A fork copies the memory, and one thread. A lock that another thread held at that moment is held
//! by no thread of the child, and what it guarded may be half changed. So a lock knows the process
//! whose threads take it:
//!
//! - a [`Turn`] guards a state that consists of atomics. Its word holds the number of the process,
//!   and a child takes it from a thread of its parent.
//! - a [`ProcessLock`] guards memory. A child begins with empty memory of its own, and never looks
//!   at its copy of the parent's: the parent's callers wait in the parent.
//!
//! The number costs a system call (237 ns on a virtual machine, where a free lock costs 6). Only
//! paths that no check takes ask for it. A task that goes on waiting does not, since that made a
//! wait a third dearer. Handlers of `pthread_atfork` would cost nothing there, but cannot be
//! registered without a call that the compiler does not check. A process with the number of an
//! ancestor that has ended is taken for that ancestor: then both kinds behave as without these
//! measures. That happens only once all process numbers have been used.

pub(crate) use lock::{Locked, ProcessLock};

use super::AtomicU64;
use super::Ordering::{Acquire, Relaxed, Release};

/// Returns the number of this process; 1 on a system where none forks.
pub(crate) fn process() -> u64 {
    #[cfg(all(unix, feature = "std", not(any(sluicegate_loom, sluicegate_shuttle))))]
    return std::process::id().into();
    #[cfg(not(all(unix, feature = "std", not(any(sluicegate_loom, sluicegate_shuttle)))))]
    1
}

/// The turn of one thread of a process, which holds the word while the turn lives.
///
/// ```text
///   0          no thread has the turn
///   process    a thread of that process has it; to any other process the same as 0
/// ```
///
/// ORDERING: taken with Acquire and released with Release. For a child, the fork has ordered what
/// its parent did.
#[must_use]
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a AtomicU64);

impl<'a> Turn<'a> {
    /// Takes the turn; `None` if another thread of this process has it.
    pub(crate) fn take(word: &'a AtomicU64) -> Option<Self> {
        let process = process();
        let taken = match word.compare_exchange(0, process, Acquire, Relaxed) {
            Err(holder) if holder != process => {
                word.compare_exchange(holder, process, Acquire, Relaxed)
            }
            taken => taken,
        };
        // Made only then, since dropping one releases the word.
        taken.is_ok().then(|| Self(word))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}

/// The locks on a system where processes fork.
#[cfg(all(unix, feature = "std", not(any(sluicegate_loom, sluicegate_shuttle))))]
mod lock {
    use super::super::{Guard, Mutex};
    use super::process;
    use alloc::boxed::Box;
    use core::fmt;
    use core::mem::{ManuallyDrop, take};
    use crossbeam_utils::atomic::AtomicCell;

    /// The value that a lock guards, while it is held.
    pub(crate) type Locked<'a, T> = Guard<'a, ManuallyDrop<T>>;

    /// A mutex of which each process has its own.
    pub(crate) struct ProcessLock<T: Default + 'static> {
        process: u64,
        /// This process's value. No other process drops it, since for them it may be half changed.
        own: Mutex<ManuallyDrop<T>>,
        /// The lock of a child of that process.
        heir: AtomicCell<Option<Heir<T>>>,
    }

    struct Heir<T: Default + 'static>(&'static ProcessLock<T>);

    impl<T: Default> Clone for Heir<T> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<T: Default> Copy for Heir<T> {}

    impl<T: Default> PartialEq for Heir<T> {
        fn eq(&self, other: &Self) -> bool {
            core::ptr::eq(self.0, other.0)
        }
    }

    impl<T: Default> Eq for Heir<T> {}

    impl<T: Default> ProcessLock<T> {
        /// Makes a lock of this process.
        pub(crate) fn new() -> Self {
            Self::of(process())
        }

        fn of(process: u64) -> Self {
            const { assert!(AtomicCell::<Option<Heir<T>>>::is_lock_free()) };
            let own = Mutex::new(ManuallyDrop::new(T::default()));
            Self { process, own, heir: AtomicCell::new(None) }
        }

        /// Locks this process's value.
        pub(crate) fn lock(&self) -> Locked<'_, T> {
            self.of_process(process()).own.lock()
        }

        /// Locks for a caller that has locked it in this process before, without a system call
        /// unless it has to wait. For any other caller it locks the value of the last process that
        /// used it, or of this one.
        pub(crate) fn lock_again(&self) -> Locked<'_, T> {
            let mut last = self;
            while let Some(Heir(heir)) = last.heir.load() {
                last = heir;
            }
            last.own.try_lock().unwrap_or_else(|| self.lock())
        }

        /// Locks for a caller that knows by the content whether it is of this process.
        pub(crate) fn lock_known(&self, is_of_ours: impl FnOnce(&T) -> bool) -> Locked<'_, T> {
            let known = self.lock_again();
            if is_of_ours(&known) {
                return known;
            }
            drop(known);
            self.lock()
        }

        fn of_process(&self, process: u64) -> &Self {
            let mut lock = self;
            while lock.process != process {
                lock = lock.heir.load().unwrap_or_else(|| lock.make_heir(process)).0;
            }
            lock
        }

        /// Makes the lock of a child. Its memory is never freed: each process leaks it once for
        /// each lock that it has inherited and uses.
        #[cold]
        fn make_heir(&self, process: u64) -> Heir<T> {
            let heir = Heir(Box::leak(Box::new(Self::of(process))));
            match self.heir.compare_exchange(None, Some(heir)) {
                Ok(_) => heir,
                // Another thread was faster.
                Err(other) => other.unwrap_or(heir),
            }
        }
    }

    impl<T: Default> Drop for ProcessLock<T> {
        fn drop(&mut self) {
            if self.process == process()
                && let Some(mut own) = self.own.try_lock()
            {
                drop(take(&mut **own));
            }
        }
    }

    impl<T: Default> fmt::Debug for ProcessLock<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("ProcessLock").field("process", &self.process).finish_non_exhaustive()
        }
    }
}

/// The locks on a system with one process.
#[cfg(not(all(unix, feature = "std", not(any(sluicegate_loom, sluicegate_shuttle)))))]
mod lock {
    pub(crate) use super::super::Guard as Locked;
    use super::super::Mutex;

    #[derive(Debug)]
    pub(crate) struct ProcessLock<T>(Mutex<T>);

    impl<T: Default> ProcessLock<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(T::default()))
        }

        pub(crate) fn lock(&self) -> Locked<'_, T> {
            self.0.lock()
        }

        pub(crate) fn lock_again(&self) -> Locked<'_, T> {
            self.0.lock()
        }

        #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "no caller waits there"))]
        pub(crate) fn lock_known(&self, _: impl FnOnce(&T) -> bool) -> Locked<'_, T> {
            self.0.lock()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_threads_until_it_is_dropped() {
        let word = AtomicU64::new(0);
        let turn = Turn::take(&word);
        assert!(turn.is_some());
        assert!(Turn::take(&word).is_none() && Turn::take(&word).is_none());
        drop(turn);
        assert!(Turn::take(&word).is_some());
    }

    #[cfg(all(unix, feature = "std"))]
    #[test]
    fn a_turn_of_another_process_is_nobodys() {
        let word = AtomicU64::new(process() + 1);
        let turn = Turn::take(&word);
        assert!(turn.is_some() && Turn::take(&word).is_none());
    }
}
