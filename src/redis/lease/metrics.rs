//! Counts what becomes of a limiter's leases.

use crate::redis::metrics::Counter;

/// What a [`LeasedLimiter`](crate::LeasedLimiter) has done since it was built, from
/// [`metrics`](crate::LeasedLimiter::metrics). All counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseMetrics {
    /// Calls for a lease.
    pub fetches: u64,
    /// Calls for a lease that Redis did not answer, whether the [`Fallback`](crate::Fallback) did
    /// or not.
    pub failed_fetches: u64,
    /// Tokens leased from Redis or the fallback.
    pub leased: u64,
    /// Tokens given back unspent: to Redis, or to the fallback while Redis is away.
    pub returned: u64,
    /// Tokens that were, or may have been, taken in Redis and are neither admitted nor given back:
    /// those of calls without an answer.
    pub lost: u64,
    /// Requests for a lease that found no room, since there were too many keys at once.
    pub dropped: u64,
    /// Keys that lost their slot in the table before their lease, or the wait for one, had ended.
    /// The tokens left of such a lease are lost.
    pub evicted: u64,
}

/// The counts while they grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fetches: Counter,
    pub(super) failed_fetches: Counter,
    pub(super) leased: Counter,
    pub(super) returned: Counter,
    pub(super) lost: Counter,
    pub(super) dropped: Counter,
}

impl Counters {
    pub(super) fn read(&self, evicted: u64) -> LeaseMetrics {
        let read = Counter::read;
        LeaseMetrics {
            fetches: read(&self.fetches),
            failed_fetches: read(&self.failed_fetches),
            leased: read(&self.leased),
            returned: read(&self.returned),
            lost: read(&self.lost),
            dropped: read(&self.dropped),
            evicted,
        }
    }
}
