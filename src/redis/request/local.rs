//! Decisions of the policy for when Redis is away.

use crate::answer::{Denied, Grant, Source};
use crate::redis::outage::fallback::Fallback;
use crate::redis::request::{Path, figures, nanos};
use crate::redis::script::units::Ask;

impl Path {
    pub(in crate::redis) fn stand_in(
        &self,
        key: &[u8],
        ask: Ask,
        asked: u64,
    ) -> Result<Grant, Denied> {
        let limit = self.limit();
        if let Some(local) = &self.local {
            let answer = match ask {
                Ask::Take(n) => local.take(key, n),
                Ask::UpTo(n) => local.take_up_to(key, n),
                _ => local.look(key, asked),
            };
            return answer.map_err(|denied| self.of_the_share(denied, limit));
        }
        let granted = match ask {
            Ask::UpTo(n) => n.min(limit),
            _ => asked,
        };
        self.by_policy(granted, asked, limit)
    }

    /// Open or closed: everything or nothing of what is at most `most`.
    pub(in crate::redis) fn by_policy(
        &self,
        granted: u64,
        asked: u64,
        most: u64,
    ) -> Result<Grant, Denied> {
        let open = self.fallback == Fallback::Open;
        let source = if open { Source::FailOpen } else { Source::FailClosed };
        if granted > most {
            return Err(self.by_least(source, asked, u64::MAX));
        }
        if open || granted == 0 {
            let (which, terms, limit) = self.least();
            let left = limit.saturating_sub(granted) as i64;
            return Ok(Grant::new(granted, figures(terms, source, left, 0, 0)).of(which, granted));
        }
        Err(self.by_least(source, asked, self.pause()))
    }

    /// A denial that is told as of the lowest limit.
    pub(in crate::redis) fn by_least(
        &self,
        source: Source,
        asked: u64,
        retry_after: u64,
    ) -> Denied {
        let (which, terms, _) = self.least();
        Denied::new(asked, figures(terms, source, 0, 0, retry_after)).of(which)
    }

    /// A denial by the share: what exceeds that alone, and not `most`, may have it when Redis is back.
    pub(in crate::redis) fn of_the_share(&self, denied: Denied, most: u64) -> Denied {
        if !denied.is_never() || denied.asked() > most {
            return denied;
        }
        let terms = self.all_terms().nth(denied.which()).unwrap_or(&self.terms);
        let left = denied.remaining() as i64;
        let told = figures(terms, Source::Fallback, left, 0, self.pause());
        // There are at most 8.
        Denied::new(denied.asked(), told).of(denied.which() as u8)
    }

    /// The next probe may find it back.
    fn pause(&self) -> u64 {
        nanos(self.breaker.pause().as_micros() as u64).max(1)
    }
}
