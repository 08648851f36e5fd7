//! One limit of a group, and what may be a group.

use crate::algorithm::Terms;
use crate::answer::{AnswerKind, Figures, Source};
use crate::redis::error::RedisError;
use crate::redis::outage::share::Share;
use crate::redis::script::{Scripts, State};
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

/// The most limits of one limiter.
const MOST: usize = 8;

pub(crate) struct Limit {
    /// Its number in the group, from 0.
    pub(crate) which: u8,
    pub(crate) terms: Terms,
    pub(crate) scripts: Box<dyn Scripts>,
    /// The beginning of the names of its keys.
    pub(crate) head: Vec<u8>,
    /// This node's share of it, with [`Fallback::Local`](crate::Fallback::Local).
    pub(crate) share: Option<Share>,
}

impl Limit {
    /// The figures of a state that Redis has answered.
    pub(super) fn figures_of(&self, state: State, retry_after: u64) -> Figures {
        let (balance, until_full) = (self.scripts.balance(state), self.scripts.until_full(state));
        self.figures(Source::Redis, balance, until_full, retry_after)
    }

    /// The figures of an answer. `until_full` is in microseconds, `retry_after` in nanoseconds.
    pub(super) fn figures(
        &self,
        source: Source,
        balance: i64,
        until_full: u64,
        retry_after: u64,
    ) -> Figures {
        Figures::new(self.terms, balance.max(0) as u64, nanos(until_full), retry_after)
            .as_kind(AnswerKind::Told)
            .by(source)
    }
}

/// Fails unless these limits can be a group. Any single limit can.
pub(crate) fn check_group(limits: &[Limit], is_queue: bool) -> Result<(), RedisError> {
    let is_twice =
        |(i, limit): (usize, &Limit)| limits[..i].iter().any(|one| one.head == limit.head);
    let text = match limits {
        [] | [_] => return Ok(()),
        _ if limits.len() > MOST => "a limiter has at most 8 limits",
        _ if is_queue => "a queue cannot be one of several limits",
        _ if limits.iter().enumerate().any(is_twice) => "two of several limits are the same",
        _ => return Ok(()),
    };
    Err(RedisError::Configuration(text.to_string()))
}

/// Nanoseconds of microseconds under 2^53, which is the sum of a debt and a burst at most.
pub(super) fn nanos(us: u64) -> u64 {
    us.saturating_mul(1_000)
}
