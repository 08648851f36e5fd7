//! The clock of tokio's timers.

use super::{Clock, saturating_nanos, time_of_day};
use tokio::time::Instant;

/// The clock of tokio's timers, which tests can pause.
///
/// A limiter that tasks wait for on a [paused clock] must see the same time as the timers do: then
/// no test sleeps. In production it is as good as [`MonotonicClock`](crate::MonotonicClock), within
/// its own process. Make it where the time is paused: it counts from its construction.
///
/// [paused clock]: https://docs.rs/tokio/latest/tokio/time/fn.pause.html
#[derive(Clone, Copy, Debug)]
pub struct TokioClock(Instant);

impl TokioClock {
    /// Makes a clock at zero.
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

    fn unix_nanos(&self) -> u64 {
        time_of_day()
    }
}
