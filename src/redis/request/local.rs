//! Decisions in this process while Redis is away.

use super::Requests;
use super::limit::nanos;
use crate::answer::{Denied, Grant, Source};
use crate::combined::Combined;
use crate::redis::error::RedisError;
use crate::redis::outage::fallback::Fallback;
use crate::redis::script::Ask;
use tokio::task::coop::consume_budget;

impl Requests {
    /// Counts a decision without Redis. Fails if the error is to be returned instead.
    pub(super) async fn fall_back(&self, error: RedisError) -> Result<(), RedisError> {
        if !error.is_degraded() || self.guard.fallback == Fallback::Error {
            return Err(error);
        }
        self.guard.counters.fallbacks.add(1);
        // Nothing waits here: a task that asks in a loop must let others have their turn.
        consume_budget().await;
        Ok(())
    }

    pub(super) fn decide_locally(&self, id: &[u8], ask: Ask, asked: u64) -> Result<Grant, Denied> {
        let least = self.tightest().scripts.limit();
        let Ok(shares) = Combined::from_limits(self.shares().map(|share| share.of_key(id))) else {
            let granted = if let Ask::UpTo(n) = ask { n.min(least) } else { asked };
            return self.decide_without_share(granted, asked, least);
        };
        let answer = match ask {
            Ask::Take(n) => shares.check_n(n),
            Ask::UpTo(n) => shares.check_up_to(n),
            _ => shares.peek(asked),
        };
        let takes = matches!(ask, Ask::Take(_) | Ask::UpTo(_));
        match answer {
            Ok(grant) => {
                if takes {
                    self.shares().for_each(|share| share.owe(id, grant.granted()));
                }
                Ok(grant.by(Source::Fallback))
            }
            Err(denied) => Err(self.denied_by_share(denied.by(Source::Fallback), least)),
        }
    }

    /// Grants everything of at most `most` tokens, or nothing.
    pub(super) fn decide_without_share(
        &self,
        granted: u64,
        asked: u64,
        most: u64,
    ) -> Result<Grant, Denied> {
        let open = self.guard.fallback == Fallback::Open;
        let source = if open { Source::FailOpen } else { Source::FailClosed };
        if granted > most {
            return Err(self.denied_by_tightest(source, asked, u64::MAX));
        }
        if !open && granted > 0 {
            return Err(self.denied_by_tightest(source, asked, self.until_probe()));
        }
        let limit = self.tightest();
        let left = limit.scripts.limit().saturating_sub(granted) as i64;
        let figures = limit.figures(source, left, 0, 0);
        Ok(Grant::new(granted, figures).of(limit.which, granted))
    }

    /// The denial of a share. A request for more than the share ever has, but not for more than
    /// `most` tokens, may be granted when Redis is back.
    pub(super) fn denied_by_share(&self, denied: Denied, most: u64) -> Denied {
        if !denied.is_never() || denied.asked() > most {
            return denied;
        }
        let limit = self.limits.get(denied.which()).unwrap_or(self.first());
        let left = denied.remaining() as i64;
        let figures = limit.figures(Source::Fallback, left, 0, self.until_probe());
        Denied::new(denied.asked(), figures).of(limit.which)
    }

    /// Nanoseconds until the next probe, which may find that Redis is back.
    fn until_probe(&self) -> u64 {
        nanos(self.guard.pause().as_micros() as u64).max(1)
    }
}
