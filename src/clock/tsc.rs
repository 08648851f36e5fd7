//! The processor's time stamp counter.

use super::{
    AtomicU64, Clock, MonotonicClock, Ratio, Reading, Relaxed, Source, Timer, time_of_day,
};

#[cfg(test)]
pub(crate) use quanta::Mock;

/// The default: the processor's time stamp counter, through [`quanta`].
///
/// A reading is one instruction and costs about four compare-and-swaps. The first use in a process
/// calibrates the counter against the system's clock for some milliseconds. Where the counter
/// does not run at a constant rate, quanta falls back to the system's monotonic clock.
///
/// Some machines' counters restart at zero in a suspend. A limiter that reads its clock then goes
/// on with the system's monotonic clock (about 25 ns a reading) from where the counter stood, and
/// stays with it: the time of the suspend does not count, nothing is granted twice, and no wait is
/// longer for it by more than a second. A reading of this clock by itself shows the restart.
#[derive(Clone, Debug)]
pub struct QuantaClock {
    counter: quanta::Clock,
    /// A test's own time in the system's place.
    #[cfg(test)]
    system: Option<super::ManualClock>,
}

impl QuantaClock {
    /// The process's calibrated counter.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counter: quanta::Clock::new(),
            #[cfg(test)]
            system: None,
        }
    }

    /// A counter of nanoseconds and a system's clock that a test moves, each by itself.
    #[cfg(test)]
    pub(crate) fn patched(system: super::ManualClock) -> (Self, super::Arc<Mock>) {
        let (counter, mock) = quanta::Clock::mock();
        (Self { counter, system: Some(system) }, mock)
    }

    #[inline(always)]
    pub(super) fn raw(&self) -> u64 {
        self.counter.raw()
    }

    /// Nanoseconds of the system's monotonic clock, which runs on where the counter restarts.
    fn system(&self) -> u64 {
        #[cfg(test)]
        if let Some(clock) = &self.system {
            return clock.nanos();
        }
        MonotonicClock::new().nanos()
    }

    /// Nanoseconds a raw tick, read off the calibration over a span of 2^60 ticks.
    pub(super) fn tick(&self) -> Ratio {
        let span = 1_u64 << 60;
        Ratio::new(u128::from(self.counter.delta_as_nanos(0, span).max(1)), u128::from(span))
    }
}

impl Default for QuantaClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for QuantaClock {
    fn nanos(&self) -> u64 {
        self.counter.delta_as_nanos(0, self.counter.raw())
    }

    fn unix_nanos(&self) -> u64 {
        time_of_day()
    }

    fn into_source(self) -> Source {
        Source(Reading::Quanta(self))
    }
}

/// How many nanoseconds of readings are taken as they are, from a floor on. The floor follows: a
/// reading beyond them puts it a quarter of them below itself.
pub(super) const SPAN: u64 = 500_000_000;

/// The floor of a counter that has restarted: no reading is a span above it, or ever below.
const RESTARTED: u64 = 1 << 63;

/// What a timer needs to know of the system's clock in order to go on by it.
#[derive(Debug)]
pub(super) struct Restarts {
    /// Nanoseconds of the system's clock at the timer's epoch.
    start: u64,
    /// The system's time since then less the counter's, in ticks, where the floor was last moved.
    /// It changes by what the counter was calibrated wrongly, so that an old one serves.
    ahead: AtomicU64,
}

impl Restarts {
    pub(super) fn since_now(reading: &Reading) -> Self {
        let start = match reading {
            Reading::Quanta(clock) => clock.system(),
            _ => 0,
        };
        Self { start, ahead: AtomicU64::new(0) }
    }
}

impl Timer {
    /// Ticks since the epoch, of a reading that was not taken as it is.
    ///
    /// ```text
    ///   epoch          floor            floor + span
    ///   ----------------+------------------+----------->  counter
    ///    restarted   |lag|  as it is        | time has passed: the floor follows
    /// ```
    ///
    /// A counter that has restarted lower is never read again, since it will be where it was
    /// before. The floor is one atomic apart from all others: whatever a reader sees, it takes for
    /// a reading what the counter showed before it restarted, or looks here.
    pub(super) fn since_epoch(&self, clock: &QuantaClock) -> u64 {
        let floor = self.floor.load(Relaxed);
        if floor == RESTARTED {
            return self.since_epoch_by_system(clock);
        }
        // Once more: this thread may have been stopped between its reading and the floor.
        let now = clock.raw();
        // Two cores' counters may differ.
        if now.saturating_add(self.span / 8) < floor {
            self.floor.store(RESTARTED, Relaxed);
            return self.since_epoch_by_system(clock);
        }
        let since_epoch = now.saturating_sub(self.epoch);
        if now.saturating_sub(floor) >= self.span {
            let system = self.system_ticks(clock);
            // Not if this thread has been stopped in between.
            let took = clock.raw().checked_sub(now);
            if took.is_some_and(|took| took < self.span / 64) {
                self.restarts.ahead.store(system.wrapping_sub(since_epoch), Relaxed);
            }
            let next = now.saturating_sub(self.span / 4).max(self.epoch);
            // Another thread has moved it, or has seen the restart.
            let _ = self.floor.compare_exchange(floor, next, Relaxed, Relaxed);
        }
        since_epoch
    }

    fn since_epoch_by_system(&self, clock: &QuantaClock) -> u64 {
        self.system_ticks(clock).wrapping_sub(self.restarts.ahead.load(Relaxed))
    }

    /// The system's time since the epoch, in ticks.
    fn system_ticks(&self, clock: &QuantaClock) -> u64 {
        self.tick.ticks_of(clock.system().saturating_sub(self.restarts.start))
    }
}
