//! The processor's time stamp counter.

use super::{Clock, Ratio, Reading, Source, time_of_day};

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

    fn unix_nanos(&self) -> u64 {
        time_of_day()
    }

    fn into_source(self) -> Source {
        Source(Reading::Quanta(self))
    }
}
