//! Clocks: the only file that reads time.
//!
//! A limiter never trusts its clock to be monotonic. A time stamp counter may read a little earlier
//! on another core; the word is then newer than `now`, and every algorithm accepts that. A user's
//! clock may be set back by any amount, and is held at the latest time that was seen. A time stamp
//! counter that restarts is detected by [`tsc::Restarts`].

#[cfg(feature = "std")]
mod alarm;
#[cfg(feature = "std")]
mod os;
#[cfg(feature = "tokio")]
mod timer;
#[cfg(feature = "quanta")]
mod tsc;

use crate::error::QuotaError;
use crate::sync::plain::{AtomicU64, Ordering::Relaxed};
use crate::time::Ratio;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

#[cfg(feature = "tokio")]
pub(crate) use alarm::{Alarm, Rang, Runtime};
#[cfg(feature = "std")]
pub(crate) use alarm::{Instant, instant};
#[cfg(feature = "std")]
pub use os::{CoarseClock, MonotonicClock};
#[cfg(feature = "tokio")]
pub use timer::TokioClock;
#[cfg(all(test, feature = "quanta"))]
pub(crate) use tsc::Mock;
#[cfg(feature = "quanta")]
pub use tsc::QuantaClock;

/// A source of time: the time since some fixed moment.
///
/// Implement it to drive limiters from a simulator, an embedded timer or a clock of your own. It
/// should not go backwards, but may: limiters hold it at the latest time that they have seen. So a
/// step back neither grants extra tokens nor forgets taken ones, and time goes on when the clock
/// has caught up.
pub trait Clock: Send + Sync {
    /// Returns the nanoseconds since a moment that stays the same for the clock's life.
    fn nanos(&self) -> u64;

    /// Returns the nanoseconds since 1970-01-01 00:00 UTC, for limiters that are [aligned to the
    /// calendar](crate::RateLimiterBuilder::aligned): they ask once, when they are built. By
    /// default it is the clock's own reading.
    fn unix_nanos(&self) -> u64 {
        self.nanos()
    }

    /// Converts the clock into the form that limiters read. Not for implementors.
    #[doc(hidden)]
    fn into_source(self) -> Source
    where
        Self: Sized + 'static,
    {
        Source(Reading::Other(Held { clock: Box::new(self), latest: AtomicU64::new(0) }))
    }
}

/// A clock that moves only when a caller moves it: for tests without sleeps.
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
    /// Makes a clock at zero.
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

    /// Returns the time since zero.
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

/// The form in which a limiter reads a clock. Opaque.
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
    /// A clock that is not held: what holds it is no part of a model.
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

/// A user's clock, held at the latest time seen.
struct Held {
    clock: Box<dyn Clock>,
    latest: AtomicU64,
}

/// Returns the system's time of day; 1970 on a system that has none.
#[cfg(feature = "std")]
fn time_of_day() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, saturating_nanos)
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
    /// A reading from here to `span` ticks further on is taken as it is. Any other is examined more
    /// closely.
    floor: AtomicU64,
    span: u64,
    #[cfg(feature = "quanta")]
    restarts: tsc::Restarts,
    /// The clock's reading at no ticks: the epoch, unless aligned.
    origin: u64,
    tick: Ratio,
    /// The nanoseconds of an aligned limiter's calendar at no ticks.
    calendar: Option<u64>,
}

impl Timer {
    pub(crate) fn new(source: Source) -> Self {
        let tick = match &source.0 {
            #[cfg(feature = "quanta")]
            Reading::Quanta(clock) => clock.tick(),
            _ => Ratio::ONE,
        };
        let epoch = match &source.0 {
            #[cfg(feature = "quanta")]
            Reading::Quanta(clock) => clock.raw(),
            other => Self::read(other),
        };
        #[cfg(feature = "quanta")]
        let restarts = tsc::Restarts::since_now(&source.0);
        let span = match &source.0 {
            #[cfg(feature = "quanta")]
            Reading::Quanta(_) => tick.ticks_of(tsc::SPAN),
            // Other clocks do not restart.
            _ => 1 << 63,
        };
        Self {
            source,
            epoch,
            floor: AtomicU64::new(epoch),
            span,
            #[cfg(feature = "quanta")]
            restarts,
            origin: epoch,
            tick,
            calendar: None,
        }
    }

    /// Returns the clock's calendar time.
    pub(crate) fn unix(&self) -> u64 {
        match &self.source.0 {
            Reading::Other(held) => held.clock.unix_nanos(),
            #[cfg(any(sluicegate_loom, sluicegate_shuttle))]
            Reading::Bare(clock) => clock.unix_nanos(),
            #[cfg(feature = "std")]
            _ => time_of_day(),
        }
    }

    /// Moves the epoch back to the last moment at which a whole number of `period`s had passed by
    /// the calendar. Its days begin `east` seconds before those of UTC, and its weeks begin on a
    /// Monday.
    pub(crate) fn aligned(mut self, period: u64, unix: u64, east: i32) -> Self {
        const DAY: i128 = 86_400_000_000_000;
        // 1970 began on a Thursday.
        let calendar = i128::from(unix) + 3 * DAY + i128::from(east) * 1_000_000_000;
        // Both fit: the remainder of a period, and the 584 years of `unix` with what exceeds them
        // cut off.
        let since = calendar.rem_euclid(i128::from(period)) as u64;
        self.calendar = Some((calendar - i128::from(since)) as u64);
        self.origin = self.epoch.wrapping_sub(self.tick.ticks_of(since));
        self
    }

    /// Returns the time between the last boundary, at which a whole number of `period`s had passed
    /// by the calendar, and `ticks`. `None` unless aligned.
    pub(crate) fn since_boundary(&self, ticks: u64, period: u64) -> Option<u64> {
        let calendar = u128::from(self.calendar?) + u128::from(self.tick.of(ticks));
        Some((calendar % u128::from(period)) as u64)
    }

    /// Makes a timer on a clock of nanoseconds, with an epoch that other processes share.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn since(source: Source, epoch: u64) -> Self {
        Self { epoch, floor: AtomicU64::new(epoch), origin: epoch, ..Self::new(source) }
    }

    /// Makes a timer on the given clock, or on the default one if this build has one.
    pub(crate) fn with(source: Option<Source>) -> Result<Self, QuotaError> {
        #[cfg(feature = "std")]
        return Ok(Self::new(source.unwrap_or_else(Self::system)));
        #[cfg(not(feature = "std"))]
        source.map(Self::new).ok_or(QuotaError::CLOCK)
    }

    /// Returns the default clock.
    #[cfg(feature = "std")]
    pub(crate) fn system() -> Source {
        #[cfg(feature = "quanta")]
        return QuantaClock::new().into_source();
        #[cfg(not(feature = "quanta"))]
        MonotonicClock::new().into_source()
    }

    /// Returns the ticks since the epoch.
    #[inline(always)]
    pub(crate) fn ticks(&self) -> u64 {
        let now = match &self.source.0 {
            #[cfg(feature = "quanta")]
            Reading::Quanta(clock) => clock.raw(),
            #[cfg(feature = "std")]
            Reading::Coarse(clock) => clock.nanos(),
            other => Self::read(other),
        };
        let above = now.wrapping_sub(self.floor.load(Relaxed));
        if above < self.span { now.wrapping_sub(self.origin) } else { self.look_closer(now) }
    }

    /// Examines the first reading in a while, or a reading of a counter that is behind: the core
    /// that built the limiter was a little ahead, or the counter has restarted. A call, so that a
    /// check has a branch to predict instead of a value to wait for.
    #[cold]
    #[inline(never)]
    fn look_closer(&self, now: u64) -> u64 {
        let since_epoch = match &self.source.0 {
            #[cfg(feature = "quanta")]
            Reading::Quanta(clock) => self.since_epoch(clock),
            _ => now.saturating_sub(self.epoch),
        };
        since_epoch.wrapping_add(self.epoch.wrapping_sub(self.origin))
    }

    /// Reads the slower clocks. A call, so that the quick ones stay short.
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

    /// Returns the nanoseconds in a tick.
    pub(crate) fn tick(&self) -> Ratio {
        self.tick
    }
}
