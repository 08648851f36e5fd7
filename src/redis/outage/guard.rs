//! The way to a server that may be away: calls go over the link while the breaker is closed.

use super::breaker::Breaker;
use super::fallback::Fallback;
use crate::redis::client::distance::Distance;
use crate::redis::client::link::Link;
use crate::redis::client::lua::Call;
use crate::redis::error::RedisError;
use crate::redis::metrics::{Counters, RedisMetrics};
use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::Relaxed;
use ::redis::FromRedisValue;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::Mutex;
use tokio::runtime::Handle;

/// The bytes of names in flight, for each request that may be: more than the name of the longest
/// key has, unless the prefix has over 200.
const BYTES: u64 = 512;

/// A link, and the breaker that says whether to use it.
pub(crate) struct Guard {
    pub(super) link: Link,
    pub(super) breaker: Breaker,
    pub(crate) fallback: Fallback,
    /// The requests in flight, the bytes of their names, and the most requests that may be.
    in_flight: AtomicU64,
    in_flight_bytes: AtomicU64,
    most_in_flight: u64,
    pub(crate) counters: Counters,
    /// The name of the key whose call failed last: a probe asks for a key in its slot.
    pub(super) failed: Mutex<Vec<u8>>,
    /// The runtime of the connection.
    pub(crate) runtime: Handle,
}

/// A request in flight.
pub(crate) struct InFlight<'a> {
    guard: &'a Guard,
    bytes: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.guard.in_flight.fetch_sub(1, Relaxed);
        self.guard.in_flight_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

impl Guard {
    /// A guard in the present runtime, whose breaker opens after this number of failures in a row.
    pub(crate) fn new(link: Link, failures: u32, fallback: Fallback, most_in_flight: u64) -> Self {
        Self {
            link,
            breaker: Breaker::new(failures),
            fallback,
            in_flight: AtomicU64::new(0),
            in_flight_bytes: AtomicU64::new(0),
            most_in_flight,
            counters: Counters::default(),
            failed: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Lets a request in flight, whose names have `bytes` bytes. Fails while Redis is away, and if
    /// too many requests are in flight.
    pub(crate) fn enter(&self, bytes: u64) -> Result<InFlight<'_>, RedisError> {
        if self.breaker.is_open() {
            let distance = self.link.distance();
            return Err(if distance.is_too_far() { distance.too_far() } else { RedisError::Away });
        }
        let before = self.in_flight.fetch_add(1, Relaxed);
        let bytes_before = self.in_flight_bytes.fetch_add(bytes, Relaxed);
        let in_flight = InFlight { guard: self, bytes };
        let most_bytes = self.most_in_flight.saturating_mul(BYTES);
        if before >= self.most_in_flight || bytes_before >= most_bytes {
            self.counters.overloaded.add(1);
            return Err(RedisError::Overloaded(self.most_in_flight));
        }
        Ok(in_flight)
    }

    /// Runs a script, in one round trip.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        call: &Call,
        keys: &[&[u8]],
    ) -> Result<T, RedisError> {
        self.counters.calls.add(1);
        self.link.run(call, keys).await
    }

    /// Runs a script that others follow without waiting for its answer.
    pub(crate) async fn run_before<T: FromRedisValue>(
        &self,
        call: &Call,
        keys: &[&[u8]],
    ) -> Result<T, RedisError> {
        self.counters.calls.add(1);
        self.link.run_before(call, keys).await
    }

    /// Counts the end of a call, and tells the breaker. The failure that opens it starts the
    /// probes.
    pub(crate) fn note<T>(
        self: &Arc<Self>,
        name: &[u8],
        answer: Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        match &answer {
            Err(error) if error.is_degraded() => {
                let counter = match error {
                    RedisError::Timeout(_) => &self.counters.timeouts,
                    _ => &self.counters.failures,
                };
                counter.add(1);
                if self.breaker.bad(self.in_flight.load(Relaxed)) {
                    self.begin_outage(name, error);
                }
            }
            // A mistake in the set-up is an answer too.
            _ => self.breaker.good(),
        }
        answer
    }

    /// Begins an outage at once, for a limiter that starts without its server.
    pub(crate) fn start_away(self: &Arc<Self>, name: &[u8], error: &RedisError) {
        self.breaker.open();
        self.begin_outage(name, error);
    }

    /// Says whether Redis is away, and so not asked.
    pub(crate) fn is_away(&self) -> bool {
        self.breaker.is_open()
    }

    /// Says whether answers have outweighed all failures.
    pub(crate) fn is_calm(&self) -> bool {
        self.breaker.is_calm()
    }

    /// The longest time until the next probe.
    pub(crate) fn pause(&self) -> Duration {
        self.breaker.pause()
    }

    pub(crate) fn server(&self) -> &str {
        self.link.server()
    }

    pub(crate) fn distance(&self) -> &Distance {
        self.link.distance()
    }

    pub(crate) fn metrics(&self) -> RedisMetrics {
        let (away, distance) = (self.is_away(), self.link.distance());
        RedisMetrics {
            away,
            slow: away && distance.is_too_far(),
            round_trip: distance.round_trip(),
            ..self.counters.read()
        }
    }
}
