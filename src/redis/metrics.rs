//! What has happened, counted.

use super::client::distance::Distance;
use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::Relaxed;
use core::time::Duration;

/// What has happened to a limiter in Redis since it was connected: [`RedisLimiter::metrics`](crate::RedisLimiter::metrics).
/// Counters only grow; their differences are rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisMetrics {
    /// Scripts and commands that were sent.
    pub calls: u64,
    /// Requests that went with others', as one script.
    pub combined: u64,
    /// Calls without an answer within the deadline.
    pub timeouts: u64,
    /// Calls that failed otherwise.
    pub failures: u64,
    /// Requests that were not sent, because too many were on their way.
    pub overloaded: u64,
    /// Decisions by the policy for when Redis is away.
    pub fallbacks: u64,
    /// How often Redis was given up for away.
    pub opened: u64,
    /// How often it was probed since.
    pub probes: u64,
    /// Whether it is away now.
    pub away: bool,
    /// Whether it is away because it is slow: the last probe was answered, but later than within
    /// the deadline.
    pub slow: bool,
    /// The round trip that was measured last, at connect or by a probe; zero before the first.
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
    pub(super) fn read(&self, away: bool, distance: &Distance) -> RedisMetrics {
        let read = Counter::read;
        RedisMetrics {
            calls: read(&self.calls),
            combined: read(&self.combined),
            timeouts: read(&self.timeouts),
            failures: read(&self.failures),
            overloaded: read(&self.overloaded),
            fallbacks: read(&self.fallbacks),
            opened: read(&self.opened),
            probes: read(&self.probes),
            away,
            slow: away && distance.is_too_far(),
            round_trip: distance.round_trip(),
        }
    }
}
