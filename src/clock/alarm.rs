//! Moments of the runtime that tasks wait on, and an alarm at one of them.

#[cfg(feature = "tokio")]
pub(crate) use tokio::time::Instant;

/// Tasks may wait on a clock that a test has paused; threads never do.
#[cfg(not(feature = "tokio"))]
pub(crate) use std::time::Instant;

/// Returns the moment now, by the clock that the caller waits on.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

#[cfg(feature = "tokio")]
pub(crate) use alarms::{Alarm, Rang, Runtime};

#[cfg(feature = "tokio")]
mod alarms {
    use super::{Instant, instant};
    use alloc::boxed::Box;
    use core::fmt;
    use core::future::Future;
    use core::pin::Pin;
    use core::task::{Context, Waker};
    use core::time::Duration;
    use tokio::runtime::{Handle, Id};
    use tokio::task::unconstrained;
    use tokio::time::{Sleep, sleep};

    /// A runtime that tasks wait on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Runtime(Id);

    impl Runtime {
        /// Returns the caller's runtime.
        ///
        /// # Panics
        ///
        /// Outside of a runtime.
        pub(crate) fn current() -> Self {
            Self(Handle::current().id())
        }

        /// Returns the caller's runtime, if it is in one.
        pub(crate) fn try_current() -> Option<Self> {
            Handle::try_current().ok().map(|handle| Self(handle.id()))
        }
    }

    /// The time of an alarm that is not meant to ring: longer than any test or service runs.
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

    /// A timer of one runtime that calls a waker, not the task that set it.
    pub(crate) struct Alarm {
        runtime: Runtime,
        timer: Pin<Box<Sleep>>,
        waker: Waker,
        /// The moment at which it will ring; `None` before it is set, and once it has rung.
        set: Option<Instant>,
        /// Set if the timer knows the waker.
        armed: bool,
    }

    /// The reason for which an alarm called its waker.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Rang {
        /// Its moment has come, if it was set.
        Due(Instant),
        /// It has been set anew meanwhile.
        NotYet,
        /// Its runtime has ended, which rings all of the runtime's alarms. It must not be set
        /// again.
        Ended,
    }

    impl Alarm {
        /// Makes an alarm in the caller's runtime, not set.
        ///
        /// # Panics
        ///
        /// Outside of a runtime with its time enabled.
        pub(crate) fn new(waker: impl FnOnce(Runtime) -> Waker) -> Self {
            let runtime = Runtime::current();
            let timer = Box::pin(sleep(NEVER));
            Self { runtime, timer, waker: waker(runtime), set: None, armed: false }
        }

        /// Moves the alarm into the caller's runtime. An earlier runtime may have had the same
        /// number.
        pub(crate) fn renew(&mut self) {
            self.timer.set(sleep(NEVER));
            (self.set, self.armed) = (None, false);
        }

        pub(crate) fn runtime(&self) -> Runtime {
            self.runtime
        }

        pub(crate) fn waker(&self) -> &Waker {
            &self.waker
        }

        /// Sets the alarm to ring at that moment. Returns `true` if the moment is past already;
        /// then it does not ring.
        pub(crate) fn set(&mut self, at: Instant) -> bool {
            if self.set == Some(at) {
                return false;
            }
            if self.armed {
                // A timer whose moment is past calls its waker while it is set, and the caller
                // holds the lock that the waker wants.
                let _ = self.poll(Waker::noop());
            }
            self.timer.as_mut().reset(at);
            let past = self.poll(&self.waker.clone());
            (self.set, self.armed) = if past { (None, false) } else { (Some(at), true) };
            past
        }

        /// Silences the alarm. It may be called when its runtime has ended.
        pub(crate) fn hush(&mut self) {
            if self.set.take().is_some() {
                self.timer.as_mut().reset(instant() + NEVER);
            }
        }

        /// Returns why the alarm called its waker. The waker calls this.
        pub(crate) fn rang(&mut self) -> Rang {
            let now = instant();
            match self.set {
                Some(at) if now < at && self.timer.is_elapsed() => Rang::Ended,
                Some(at) if now < at => Rang::NotYet,
                _ => {
                    (self.set, self.armed) = (None, false);
                    Rang::Due(now)
                }
            }
        }

        /// Returns whether the moment is past; if not, the timer will call the waker. It does not
        /// count against the budget of the task that happens to run.
        fn poll(&mut self, waker: &Waker) -> bool {
            let mut timer = unconstrained(self.timer.as_mut());
            let mut timer = Pin::new(&mut timer);
            timer.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
        }
    }

    impl fmt::Debug for Alarm {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Alarm").field("runtime", &self.runtime).field("set", &self.set).finish()
        }
    }
}
