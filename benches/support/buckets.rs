//! Token buckets under a lock, as users write them by hand.

use std::time::Instant;

/// Tokens in floating point, refilled by the time since the last call.
pub(crate) struct FloatBucket {
    tokens: f64,
    last: Instant,
}

/// The quota of a [`FloatBucket`].
#[derive(Clone, Copy)]
pub(crate) struct FloatRate {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

impl FloatBucket {
    pub(crate) fn full(rate: FloatRate) -> Self {
        Self { tokens: rate.burst, last: Instant::now() }
    }

    /// Takes one token. If another thread has come by with a later `now`, no time has passed.
    #[inline]
    pub(crate) fn take(&mut self, rate: FloatRate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.last);
        self.last = self.last.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate.per_second).min(rate.burst);
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}

/// The theoretical arrival time in nanoseconds: governor's arithmetic, for a lock.
#[derive(Default)]
pub(crate) struct WholeBucket {
    arrival: u64,
}

/// The quota of a [`WholeBucket`].
#[derive(Clone, Copy)]
pub(crate) struct WholeRate {
    /// Nanoseconds of one token.
    pub(crate) interval: u64,
    /// Nanoseconds of all tokens of the burst but the first.
    pub(crate) tolerance: u64,
}

impl WholeBucket {
    #[inline]
    pub(crate) fn take(&mut self, rate: WholeRate, now: u64) -> bool {
        let arrival = self.arrival.max(now);
        let admitted = arrival - now <= rate.tolerance;
        if admitted {
            self.arrival = arrival + rate.interval;
        }
        admitted
    }
}
