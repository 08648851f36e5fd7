//! Batches: tokens drawn ahead into the word's tokens field, and spent without reading the clock.
//!
//! ```text
//!   spend n:       tokens, full time  ->  tokens - n, full time             if n <= tokens
//!   draw and take: tokens, full time  ->  ahead, max(full time, now) + drawn   if they are there
//!                  drawn = n - tokens + ahead, in whole units; ahead <= batch - 1
//! ```
//!
//! Why the burst law holds: tokens in the field were debited from the bucket when they were drawn,
//! and spending them takes nothing more from it. At the start of any window at most `batch - 1` of
//! them are there, or those that one rounded draw leaves. So the bucket that they are drawn from is
//! lowered by the same number, and both together never exceed the burst. That is the price: up to
//! `batch - 1` tokens of a burst are withheld.

use super::Rule;
use super::token_bucket::TokenBucket;
use crate::error::QuotaError;
use crate::word;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// The tokens that a draw leaves in the field, if the bucket has them.
    ahead: u64,
    /// Tokens in a unit; draws are whole units.
    unit: u64,
    /// The most tokens that the field holds after a draw.
    outstanding: u64,
}

impl Batch {
    /// Makes batches of `size` tokens on a 56-bit token bucket.
    pub(crate) fn new(rule: &Rule, size: u64) -> Result<Self, QuotaError> {
        let Rule::Bucket(bucket) = rule else { return Err(QuotaError::BATCH_WINDOW) };
        let fraction = i32::from(bucket.scale().fraction);
        let unit = 1_u64 << (-fraction).clamp(0, 32);
        // A draw leaves at most `size - 1` tokens, and what rounding it to whole units adds.
        let outstanding = size.saturating_sub(1).saturating_add(unit - 1);
        // They must fit the field, and half of the burst must stay usable at once.
        let room = (word::TOKENS_MAX - 1).min(bucket.limit() / 2);
        match (room + 1).checked_sub(unit - 1) {
            None | Some(0) => return Err(QuotaError::BATCH_RATE),
            Some(most) if size == 0 || size > most => return Err(QuotaError::batch(most)),
            Some(_) => {}
        }
        let batch = Self { ahead: size - 1, unit, outstanding };
        if batch.lowered(bucket).limit() == 0 {
            return Err(QuotaError::BATCH_RATE);
        }
        Ok(batch)
    }

    /// Checks that batches of the same size fit another bucket of the same scale.
    pub(crate) fn again(&self, rule: &Rule) -> Result<(), QuotaError> {
        Self::new(rule, self.ahead + 1).map(|_| ())
    }

    /// Returns the bucket that tokens are drawn from: its burst is less by what may be outstanding.
    #[inline(always)]
    pub(crate) fn lowered(&self, bucket: &TokenBucket) -> TokenBucket {
        bucket.lowered_by(self.outstanding)
    }

    /// Returns the word after spending `n` tokens of the field, if they are there. Does not read
    /// the clock.
    #[inline(always)]
    pub(crate) fn spend(&self, seen: u64, n: u64) -> Option<u64> {
        (word::tokens(seen) >= n).then(|| seen - word::pack(n, 0))
    }

    /// Returns the word after spending the field and drawing the rest of `n` from the lowered
    /// bucket, with up to `ahead` further tokens if they are there.
    #[inline]
    pub(crate) fn draw(&self, bucket: &TokenBucket, seen: u64, now: u64, n: u64) -> Option<u64> {
        let (held, full) = (word::tokens(seen), word::value(seen));
        let need = n - held;
        let there = bucket.balance(full, now).max(0) as u64;
        if need > there {
            return None;
        }
        let wanted = (need + self.ahead).min(there).max(need).next_multiple_of(self.unit);
        // Rounding to whole units may exceed the tokens that are there: then only the need is
        // drawn.
        let drawn = if wanted <= there { wanted } else { need.next_multiple_of(self.unit) };
        let full = bucket.take(full, now, drawn.min(bucket.limit()))?;
        Some(word::pack(drawn - need, full))
    }
}
