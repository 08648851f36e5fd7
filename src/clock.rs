//! Clocks: the only file that reads time.
//!
//! A limiter never trusts its clock to be monotonic. A time stamp counter may read a little earlier
//! on another core, and then the word is newer than `now`, which every algorithm takes for what it
//! is. A user's clock may be set back by any amount, and is held at the latest time that was seen.

use crate::error::QuotaError;
use crate::sync::plain::{AtomicU64, Ordering::Relaxed};
use crate::time::Ratio;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

#[cfg(feature = "std")]
pub use os::{CoarseClock, MonotonicClock};
#[cfg(feature = "tokio")]
pub use timer::TokioClock;
#[cfg(feature = "quanta")]
pub use tsc::QuantaClock;

/// A source of time: how long it has been since some fixed moment.
///
/// Implement it to drive limiters from a simulator, an embedded timer or a clock of your own. It
/// should not go backwards, but may: limiters hold it at the latest time that they have seen, so that
/// a step back neither grants extra nor forgets what was taken, and time goes on when the clock has
/// caught up.
pub trait Clock: Send + Sync {
    /// Nanoseconds since a moment that stays the same for the clock's life.
    fn nanos(&self) -> u64;

    /// How limiters read this clock. Not for implementors.
    #[doc(hidden)]
    fn into_source(self) -> Source
    where
        Self: Sized + 'static,
    {
        Source(Reading::Other(Held { clock: Box::new(self), latest: AtomicU64::new(0) }))
    }
}

/// A clock that moves only when told to: for tests without sleeps.
///
/// Clones share the same time. It may be set back: limiters then hold still until it has caught up,
/// as they do with any clock.
///
/// ```
/// use sluicegate::{ManualClock, Quota, RateLimiter};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let limiter = RateLimiter::builder(Quota::per_second(1)).clock(clock.clone()).build()?;
/// assert!(limiter.check().is_ok());
/// assert!(limiter.check().is_err());
/// clock.advance(Duration::from_secs(1));
/// assert!(limiter.check().is_ok());
/// # Ok::<(), sluicegate::QuotaError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time since zero. Durations over 584 years saturate.
    pub fn set(&self, time: Duration) {
        self.0.store(saturating_nanos(time), Relaxed);
    }

    /// Moves the time forward. Saturates at 584 years.
    pub fn advance(&self, by: Duration) {
        let by = saturating_nanos(by);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |now| Some(now.saturating_add(by)));
    }

    /// The time since zero.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }
}

impl Clock for ManualClock {
    fn nanos(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

fn saturating_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How a limiter reads a clock. Opaque.
#[doc(hidden)]
#[derive(Debug)]
pub struct Source(Reading);

#[derive(Debug)]
enum Reading {
    #[cfg(feature = "quanta")]
    Quanta(QuantaClock),
    #[cfg(feature = "std")]
    Coarse(CoarseClock),
    #[cfg(feature = "std")]
    Monotonic(MonotonicClock),
    Other(Held),
    /// Not held: what holds it is no part of a model.
    #[cfg(any(sluicegate_loom, sluicegate_shuttle))]
    Bare(Box<dyn Clock>),
}

#[cfg(any(sluicegate_loom, sluicegate_shuttle))]
impl Source {
    pub(crate) fn bare(clock: impl Clock + 'static) -> Self {
        Self(Reading::Bare(Box::new(clock)))
    }
}

#[cfg(any(sluicegate_loom, sluicegate_shuttle))]
impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Somebody's clock, held at the latest time seen.
struct Held {
    clock: Box<dyn Clock>,
    latest: AtomicU64,
}

impl Held {
    fn nanos(&self) -> u64 {
        let now = self.clock.nanos();
        let latest = self.latest.load(Relaxed);
        if now <= latest {
            return latest;
        }
        self.latest.fetch_max(now, Relaxed).max(now)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("nanos", &self.clock.nanos()).finish()
    }
}

/// The clock of a limiter, with its epoch: ticks since the limiter was built.
#[derive(Debug)]
pub(crate) struct Timer {
    source: Source,
    epoch: u64,
    tick: Ratio,
}

impl Timer {
    pub(crate) fn new(source: Source) -> Self {
        let tick = match &source.0 {
            #[cfg(feature = "quanta")]
            Reading::Quanta(clock) => clock.tick(),
            _ => Ratio::ONE,
        };
        let mut timer = Self { source, epoch: 0, tick };
        timer.epoch = timer.ticks();
        timer
    }

    /// With an epoch that others have as well, on a clock of nanoseconds.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn since(source: Source, epoch: u64) -> Self {
        Self { epoch, ..Self::new(source) }
    }

    /// On the given clock, or the default one where this build has one.
    pub(crate) fn with(source: Option<Source>) -> Result<Self, QuotaError> {
        #[cfg(feature = "std")]
        return Ok(Self::new(source.unwrap_or_else(Self::system)));
        #[cfg(not(feature = "std"))]
        source.map(Self::new).ok_or(QuotaError::CLOCK)
    }

    /// The default clock.
    #[cfg(feature = "std")]
    pub(crate) fn system() -> Source {
        #[cfg(feature = "quanta")]
        return QuantaClock::new().into_source();
        #[cfg(not(feature = "quanta"))]
        MonotonicClock::new().into_source()
    }

    /// Ticks since the epoch.
    #[inline(always)]
    pub(crate) fn ticks(&self) -> u64 {
        let now = match &self.source.0 {
            #[cfg(feature = "quanta")]
            Reading::Quanta(clock) => clock.raw(),
            #[cfg(feature = "std")]
            Reading::Coarse(clock) => clock.nanos(),
            other => Self::read(other),
        };
        match now.checked_sub(self.epoch) {
            Some(ticks) => ticks,
            None => Self::before_the_epoch(),
        }
    }

    /// A counter that is behind the one of the core that built the limiter. Out of the way, so that
    /// a check has a branch to guess instead of a figure to wait for.
    #[cold]
    #[inline(never)]
    fn before_the_epoch() -> u64 {
        0
    }

    /// The slower clocks, out of the way of the quick ones.
    #[inline(never)]
    fn read(reading: &Reading) -> u64 {
        match reading {
            #[cfg(feature = "quanta")]
            Reading::Quanta(clock) => clock.raw(),
            #[cfg(feature = "std")]
            Reading::Coarse(clock) => clock.nanos(),
            #[cfg(feature = "std")]
            Reading::Monotonic(clock) => clock.nanos(),
            Reading::Other(held) => held.nanos(),
            #[cfg(any(sluicegate_loom, sluicegate_shuttle))]
            Reading::Bare(clock) => clock.nanos(),
        }
    }

    /// Nanoseconds a tick.
    pub(crate) fn tick(&self) -> Ratio {
        self.tick
    }
}

#[cfg(feature = "quanta")]
mod tsc {
    use super::{Clock, Ratio, Reading, Source};

    /// The default: the processor's time stamp counter, through [`quanta`].
    ///
    /// A reading is one instruction and costs about four compare-and-swaps. The first use in a process
    /// calibrates the counter against the system's clock for some milliseconds. Where the counter
    /// does not run at a constant rate, quanta falls back to the system's monotonic clock.
    #[derive(Clone, Debug)]
    pub struct QuantaClock(quanta::Clock);

    impl QuantaClock {
        /// The process's calibrated counter.
        #[must_use]
        pub fn new() -> Self {
            Self(quanta::Clock::new())
        }

        #[inline(always)]
        pub(super) fn raw(&self) -> u64 {
            self.0.raw()
        }

        /// Nanoseconds a raw tick, read off the calibration over a span of 2^60 ticks.
        pub(super) fn tick(&self) -> Ratio {
            let span = 1_u64 << 60;
            Ratio::new(u128::from(self.0.delta_as_nanos(0, span).max(1)), u128::from(span))
        }
    }

    impl Default for QuantaClock {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Clock for QuantaClock {
        fn nanos(&self) -> u64 {
            self.0.delta_as_nanos(0, self.0.raw())
        }

        fn into_source(self) -> Source {
            Source(Reading::Quanta(self))
        }
    }
}

#[cfg(feature = "std")]
mod os {
    use super::{Arc, AtomicU64, Clock, Duration, Reading, Relaxed, Source};
    use std::io;
    use std::sync::Weak;
    use std::thread;

    /// The operating system's monotonic clock.
    ///
    /// On Unix it reads `CLOCK_MONOTONIC`, the same in every process of the machine; elsewhere it is
    /// [`std::time::Instant`], the same within the process. About 25 ns a reading.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct MonotonicClock(());

    impl MonotonicClock {
        /// The machine's clock.
        #[must_use]
        pub fn new() -> Self {
            Self(())
        }
    }

    impl Clock for MonotonicClock {
        #[cfg(unix)]
        fn nanos(&self) -> u64 {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            // Never negative: it counts from a moment at or before the start of the machine.
            (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
        }

        #[cfg(not(unix))]
        fn nanos(&self) -> u64 {
            static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
            super::saturating_nanos(ORIGIN.get_or_init(std::time::Instant::now).elapsed())
        }

        fn into_source(self) -> Source {
            Source(Reading::Monotonic(self))
        }
    }

    /// A clock that is one atomic load to read, because a thread of its own keeps it up to date.
    ///
    /// The thread reads the system's monotonic clock every `resolution` and ends when the last clone
    /// of the clock is dropped. A reading is behind the true time by at most the resolution and
    /// however late the system wakes the thread (under a millisecond on an idle machine, unbounded on
    /// one without a free core), and never ahead of it: a limiter on it may deny that much too long,
    /// and never admits more than the limit. Clones share the time and the thread.
    #[derive(Clone, Debug)]
    pub struct CoarseClock(Arc<Ticker>);

    #[derive(Debug)]
    struct Ticker {
        now: AtomicU64,
        thread: thread::Thread,
    }

    impl Drop for Ticker {
        fn drop(&mut self) {
            self.thread.unpark();
        }
    }

    impl CoarseClock {
        /// Starts the thread.
        ///
        /// # Errors
        ///
        /// A resolution of zero, or the system's reason for not starting a thread.
        pub fn start(resolution: Duration) -> io::Result<Self> {
            if resolution.is_zero() {
                let why = "a coarse clock's resolution must be over zero";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            let (send, receive) = std::sync::mpsc::sync_channel::<Weak<Ticker>>(1);
            let thread =
                thread::Builder::new().name("sluicegate-clock".into()).spawn(move || {
                    let Ok(ticker) = receive.recv() else { return };
                    while let Some(ticker) = ticker.upgrade() {
                        ticker.now.store(MonotonicClock::new().nanos(), Relaxed);
                        drop(ticker);
                        thread::park_timeout(resolution);
                    }
                })?;
            let now = AtomicU64::new(MonotonicClock::new().nanos());
            let ticker = Arc::new(Ticker { now, thread: thread.thread().clone() });
            // The thread waits for this one message, so the channel is open and empty.
            let _ = send.send(Arc::downgrade(&ticker));
            Ok(Self(ticker))
        }
    }

    impl Clock for CoarseClock {
        #[inline(always)]
        fn nanos(&self) -> u64 {
            self.0.now.load(Relaxed)
        }

        fn into_source(self) -> Source {
            Source(Reading::Coarse(self))
        }
    }
}

#[cfg(feature = "tokio")]
mod timer {
    use super::{Clock, saturating_nanos};
    use tokio::time::Instant;

    /// The clock of tokio's timers, which tests can pause.
    ///
    /// A limiter that is waited for on a paused clock ([`tokio::time::pause`]) must see the same time as the
    /// timers do: then no test sleeps. In production it is as good as
    /// [`MonotonicClock`](crate::MonotonicClock), of its own process. Make it where the time is paused: it counts from
    /// its construction.
    #[derive(Clone, Copy, Debug)]
    pub struct TokioClock(Instant);

    impl TokioClock {
        /// A clock at zero.
        #[must_use]
        pub fn new() -> Self {
            Self(Instant::now())
        }
    }

    impl Default for TokioClock {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Clock for TokioClock {
        fn nanos(&self) -> u64 {
            saturating_nanos(self.0.elapsed())
        }
    }
}
