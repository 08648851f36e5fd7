//! Answers that Redis has decided.

use super::Requests;
use super::limit::{Limit, nanos};
use crate::answer::{Denied, Grant, Source};
use crate::redis::script::State;

impl Requests {
    /// The grant of the limit with the least left.
    pub(super) fn grant(&self, granted: u64, after: &[State]) -> Grant {
        let grants = self.limits.iter().zip(after).map(|(limit, &state)| {
            Grant::new(granted, limit.figures_of(state, 0)).of(limit.which, granted)
        });
        let tightest = grants.min_by_key(|grant| (grant.remaining(), grant.which()));
        tightest.unwrap_or_else(|| Grant::new(granted, self.first().figures_of(after[0], 0)))
    }

    /// The denial of all limits that deny.
    pub(super) fn denial(&self, asked: u64, states: &[State]) -> Denied {
        let denials = self.limits.iter().zip(states).filter_map(|(limit, &state)| {
            let wait = limit.scripts.until(state, asked);
            let figures = limit.figures_of(state, wait.map_or(u64::MAX, nanos));
            (wait != Some(0)).then(|| Denied::new(asked, figures).of(limit.which))
        });
        denials
            .reduce(Denied::and)
            .unwrap_or_else(|| self.denied_by_tightest(Source::Redis, asked, 0))
    }

    /// A denial with the figures of the limit that admits the least at once.
    pub(super) fn denied_by_tightest(
        &self,
        source: Source,
        asked: u64,
        retry_after: u64,
    ) -> Denied {
        let limit = self.tightest();
        Denied::new(asked, limit.figures(source, 0, 0, retry_after)).of(limit.which)
    }

    /// The limit that admits the least at once.
    pub(super) fn tightest(&self) -> &Limit {
        let least = self.limits.iter().min_by_key(|limit| limit.scripts.limit());
        least.unwrap_or(self.first())
    }
}
