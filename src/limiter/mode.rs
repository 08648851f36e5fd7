//! The ways in which a direct limiter decides a check.

use super::RateLimiter;
use crate::algorithm::{Batch, Rule, Terms, TokenBucket};
use crate::limiter::striped::{Centre, Striped, Timed};
use crate::timeline::Moment;

/// The way of a check, the most common first.
#[derive(Debug)]
pub(super) enum Mode {
    /// A token or leaky bucket that flows smoothly and reads the clock in each check. It holds the
    /// decisions under the first quota.
    Exact(TokenBucket),
    /// A bucket that draws tokens ahead.
    Batched(Batch),
    /// A bucket that leases tokens to stripes.
    Striped(Striped),
    /// Any other limiter: a window, or a bucket that is refilled at intervals. Its rule decides.
    ByRule,
}

impl Mode {
    pub(super) fn of(terms: &Terms) -> Self {
        match terms.rule() {
            Rule::Bucket(bucket) if terms.wraps() && !terms.is_stepped() => Self::Exact(bucket),
            _ => Self::ByRule,
        }
    }

    /// Lowers the burst of the terms by the tokens that the limiter withholds from it.
    #[inline]
    pub(super) fn lowered(&self, terms: Terms) -> Terms {
        let limit = match (self, terms.rule()) {
            (Self::Batched(batch), Rule::Bucket(bucket)) => batch.lowered(&bucket).limit(),
            (Self::Striped(striped), Rule::Bucket(bucket)) => striped.split(bucket).bucket.limit(),
            _ => return terms,
        };
        terms.with(terms.quota.with_burst(limit))
    }
}

/// The clock of the stripes, and their shares under the quota in force.
pub(super) struct Stripes<'a>(pub(super) &'a RateLimiter, pub(super) &'a Striped);

impl Timed for Stripes<'_> {
    type Now = Moment;

    /// Reads the clock. The terms of the moment have the whole burst.
    fn read(&self) -> Moment {
        self.0.timeline.now(&self.0.announced)
    }

    fn is_current(&self, now: Moment) -> bool {
        self.0.timeline.is_current(&self.0.announced, &now)
    }

    fn centre(&self, now: Moment) -> Centre {
        Centre { split: self.1.split(now.terms().as_bucket()), units: now.units }
    }
}
