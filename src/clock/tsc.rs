//! The processor's time stamp counter.

use super::{
    AtomicU64, Clock, MonotonicClock, Ratio, Reading, Relaxed, Source, Timer, time_of_day,
};

#[cfg(test)]
pub(crate) use quanta::Mock;

/// The default clock: the processor's time stamp counter, through [`quanta`].
///
/// A reading is one instruction and costs about four compare-and-swaps. The first use in a process
/// calibrates the counter against the system's clock for some milliseconds. If the counter does not
/// run at a constant rate, quanta falls back to the system's monotonic clock.
///
/// Some machines' counters restart at zero in a suspend. At its next call, a limiter then continues
/// with the system's monotonic clock (about 25 ns a reading) from where the counter stood, for the
/// rest of its life. Nothing is granted twice, and no wait is longer for it by more than a second.
/// Tokens flow for the time of the suspend only if that clock counts it; Linux's does not. A
/// reading of this clock by itself shows the restart.
#[derive(Clone, Debug)]
pub struct QuantaClock {
    counter: quanta::Clock,
    /// A test's own time in the system's place.
    #[cfg(test)]
    system: Option<super::ManualClock>,
}

impl QuantaClock {
    /// Returns the process's calibrated counter.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counter: quanta::Clock::new(),
            #[cfg(test)]
            system: None,
        }
    }

    /// Makes a counter of nanoseconds and a system's clock that a test moves separately.
    #[cfg(test)]
    pub(crate) fn patched(system: super::ManualClock) -> (Self, super::Arc<Mock>) {
        let (counter, mock) = quanta::Clock::mock();
        (Self { counter, system: Some(system) }, mock)
    }

    #[inline(always)]
    pub(super) fn raw(&self) -> u64 {
        self.counter.raw()
    }

    /// Returns the nanoseconds of the system's monotonic clock, which runs on when the counter
    /// restarts.
    fn system(&self) -> u64 {
        #[cfg(test)]
        if let Some(clock) = &self.system {
            return clock.nanos();
        }
        MonotonicClock::new().nanos()
    }

    /// Returns the nanoseconds in a raw tick, computed from the calibration over a span of 2^60
    /// ticks.
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

/// The nanoseconds of readings that are taken as they are, from a floor on. The floor follows: a
/// reading beyond them puts the floor a quarter of them below itself.
pub(super) const SPAN: u64 = 500_000_000;

/// The floor of a counter that has restarted: no reading is a span above it, or ever below.
const RESTARTED: u64 = 1 << 63;

/// The state by which a timer detects a restart and continues with the system's clock.
#[derive(Debug)]
pub(super) struct Restarts {
    /// Nanoseconds of the system's clock at the timer's epoch.
    start: u64,
    /// The system's time since then less the counter's, in ticks, at the last move of the floor. It
    /// changes only by the error of the counter's calibration, so an old value serves.
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
    /// Returns the ticks since the epoch, for a reading that was not taken as it is.
    ///
    /// ```text
    ///   epoch          floor            floor + span
    ///   ----------------+------------------+----------->  counter
    ///    restarted   |lag|  as it is        | time has passed: the floor follows
    /// ```
    ///
    /// A counter that has restarted lower is never read again, since it will reach its former
    /// readings once more. The floor is one atomic, separate from all others. Whichever floor a
    /// reader sees, it accepts only a reading that the counter showed before it restarted, or it
    /// looks here.
    pub(super) fn since_epoch(&self, clock: &QuantaClock) -> u64 {
        let floor = self.floor.load(Relaxed);
        if floor == RESTARTED {
            return self.since_epoch_by_system(clock);
        }
        // Read once more: this thread may have been stopped between its reading and the floor.
        let now = clock.raw();
        // Two cores' counters may differ.
        if now.saturating_add(self.span / 8) < floor {
            self.floor.store(RESTARTED, Relaxed);
            return self.since_epoch_by_system(clock);
        }
        let since_epoch = now.saturating_sub(self.epoch);
        if now.saturating_sub(floor) >= self.span {
            let system = self.system_ticks(clock);
            // Only if this thread has not been stopped in between.
            let took = clock.raw().checked_sub(now);
            if took.is_some_and(|took| took < self.span / 64) {
                self.restarts.ahead.store(system.wrapping_sub(since_epoch), Relaxed);
            }
            let next = now.saturating_sub(self.span / 4).max(self.epoch);
            // If it fails, another thread has moved it, or has seen the restart.
            let _ = self.floor.compare_exchange(floor, next, Relaxed, Relaxed);
        }
        since_epoch
    }

    fn since_epoch_by_system(&self, clock: &QuantaClock) -> u64 {
        self.system_ticks(clock).wrapping_sub(self.restarts.ahead.load(Relaxed))
    }

    /// Returns the system's time since the epoch, in ticks.
    fn system_ticks(&self, clock: &QuantaClock) -> u64 {
        self.tick.ticks_of(clock.system().saturating_sub(self.restarts.start))
    }
}
