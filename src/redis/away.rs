//! Decisions of the policy for when Redis is away.

use super::fallback::Fallback;
use super::path::{Path, nanos};
use super::units::Ask;
use crate::algorithm::Source;
use crate::error::Denied;
use crate::figures::Grant;

impl Path {
    pub(super) fn stand_in(&self, key: &[u8], ask: Ask, asked: u64) -> Result<Grant, Denied> {
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
    pub(super) fn by_policy(&self, granted: u64, asked: u64, most: u64) -> Result<Grant, Denied> {
        let open = self.fallback == Fallback::Open;
        let source = if open { Source::FailOpen } else { Source::FailClosed };
        let told =
            |remaining: u64, retry_after| self.figures(source, remaining as i64, 0, retry_after);
        if granted > most {
            return Err(Denied::new(asked, told(0, u64::MAX)));
        }
        if open || granted == 0 {
            return Ok(Grant::new(granted, told(self.limit().saturating_sub(granted), 0)));
        }
        Err(Denied::new(asked, told(0, self.pause())))
    }

    /// A denial by the share: what exceeds that alone, and not `most`, may have it when Redis is back.
    pub(super) fn of_the_share(&self, denied: Denied, most: u64) -> Denied {
        if !denied.is_never() || denied.asked() > most {
            return denied;
        }
        let left = denied.remaining() as i64;
        Denied::new(denied.asked(), self.figures(Source::Fallback, left, 0, self.pause()))
    }

    /// The next probe may find it back.
    fn pause(&self) -> u64 {
        nanos(self.breaker.pause().as_micros() as u64).max(1)
    }
}
