//! The clock of tokio's timers.

use super::{Clock, saturating_nanos, time_of_day};
use tokio::time::Instant;

/// The clock of tokio's timers, which tests can pause.
///
/// In tests on a [paused clock], a limiter must see the same time as tokio's timers, so that no
/// test really sleeps. In production this clock is as good as
/// [`MonotonicClock`](crate::MonotonicClock) within one process. Construct it inside the runtime
/// whose clock is paused: it counts from its construction.
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
