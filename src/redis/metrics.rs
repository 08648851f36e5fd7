//! Counts what happens to a limiter in Redis.

use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::Relaxed;
use core::time::Duration;

/// What has happened to a limiter in Redis since it was connected, from
/// [`RedisLimiter::metrics`](crate::RedisLimiter::metrics). Counters only grow; their differences
/// are rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisMetrics {
    /// Scripts that were sent.
    pub calls: u64,
    /// Requests that shared the script of other requests.
    pub combined: u64,
    /// Calls without an answer within the deadline.
    pub timeouts: u64,
    /// Calls that failed in another way.
    pub failures: u64,
    /// Requests that were not sent because too many were in flight.
    pub overloaded: u64,
    /// Decisions of the [`Fallback`](crate::Fallback).
    pub fallbacks: u64,
    /// Outages: how often Redis was taken for away.
    pub opened: u64,
    /// Probes during outages.
    pub probes: u64,
    /// Whether Redis is away now.
    pub away: bool,
    /// Whether Redis is away because it is slow: it answered the last probe, but not within the
    /// deadline.
    pub slow: bool,
    /// The last round trip that was measured, at connect or by a probe; zero before the first.
    pub round_trip: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) calls: Counter,
    pub(super) combined: Counter,
    pub(super) timeouts: Counter,
    pub(super) failures: Counter,
    pub(super) overloaded: Counter,
    pub(super) fallbacks: Counter,
    pub(super) opened: Counter,
    pub(super) probes: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    /// Reads all counters. The metrics that are not counted are left at their defaults.
    pub(super) fn read(&self) -> RedisMetrics {
        RedisMetrics {
            calls: self.calls.read(),
            combined: self.combined.read(),
            timeouts: self.timeouts.read(),
            failures: self.failures.read(),
            overloaded: self.overloaded.read(),
            fallbacks: self.fallbacks.read(),
            opened: self.opened.read(),
            probes: self.probes.read(),
            ..RedisMetrics::default()
        }
    }
}
