//! The state that the handles of a limiter share with the task that leases.

use super::metrics::Counters;
use crate::algorithm::Terms;
use crate::algorithm::lease::{TICK_BITS, Taken};
use crate::answer::{AnswerKind, Denied, Figures, Grant, Source};
use crate::keyed::leases::Leases;
use crate::quota::Quota;
use crate::redis::error::RedisError;
use crate::redis::limiter::RedisLimiter;
use core::time::Duration;
use tokio::sync::Semaphore;

/// The time after which a caller comes back for a lease that is being fetched.
const FETCHING: Duration = Duration::from_millis(5);

/// The time for which a key is left alone if there was no room for its request.
const NO_ROOM: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) leases: Leases,
    pub(super) redis: RedisLimiter,
    pub(super) terms: Terms,
    pub(super) nodes: u64,
    pub(super) max_lease: u64,
    pub(super) capacity: usize,
    pub(super) horizon: u64,
    pub(super) lease_for: u64,
    /// The time in which a whole burst flows.
    pub(super) reset_after: u64,
    pub(super) counters: Counters,
    /// Has no permits, and is closed when the task has ended for whatever reason.
    pub(super) ended: Semaphore,
}

impl Shared {
    #[inline]
    pub(super) fn answer(&self, asked: u64, taken: Taken) -> Result<Grant, Denied> {
        match taken {
            Taken::Granted { granted, left, .. } => Ok(Grant::new(granted, self.figures(left, 0))),
            Taken::Short { left, .. } => {
                Err(Denied::new(asked, self.figures(left, nanos(FETCHING))))
            }
            Taken::Denied { ticks, seconds } => {
                Err(self.denied(asked, 0, (ticks << TICK_BITS) + seconds * 1_000_000_000))
            }
            Taken::Unanswered { ticks } => {
                Err(Denied::new(asked, self.figures(0, ticks << TICK_BITS)))
            }
        }
    }

    /// The denial of a key. Redis has said when the first missing token is there; the others flow
    /// after it.
    pub(super) fn denied(&self, asked: u64, left: u64, first: u64) -> Denied {
        let others = asked.saturating_sub(left + 1);
        let retry_after =
            if others > 0 { first.saturating_add(flow(&self.terms.quota, others)) } else { first };
        Denied::new(asked, self.figures(left, retry_after))
    }

    #[inline]
    pub(super) fn figures(&self, left: u64, retry_after: u64) -> Figures {
        let source = if self.redis.is_away() { Source::Fallback } else { Source::Lease };
        Figures::new(self.terms, left, self.reset_after, retry_after)
            .as_kind(AnswerKind::Told)
            .by(source)
    }

    /// Drops a request for a lease.
    pub(super) fn drop_ask(&self, hash: u64) {
        self.counters.dropped.add(1);
        self.pause(hash, self.leases.nanos() + nanos(NO_ROOM));
    }

    /// Keeps callers from asking before that time, unless something is left.
    fn pause(&self, hash: u64, until: u64) {
        if !self.leases.deny(hash, until, None) {
            self.leases.unask(hash);
        }
    }

    /// The same verdict again, which holds for another `left` nanoseconds.
    pub(super) fn still(&self, verdict: &RedisError, left: u64) -> RedisError {
        match verdict {
            RedisError::Denied(denied) => Denied::new(denied.asked(), self.figures(0, left)).into(),
            failure => failure.clone(),
        }
    }
}

/// The nanoseconds in which `tokens` flow. A burst flows in 71 years at most.
#[cold]
pub(super) fn flow(quota: &Quota, tokens: u64) -> u64 {
    let nanos = u128::from(tokens) * u128::from(quota.period_ns());
    nanos.div_ceil(quota.count().into()) as u64
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
