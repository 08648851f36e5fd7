//! The leaky bucket as a meter: the token bucket's word, read from the other side.
//!
//! The tokens missing from one are those poured into the other: `level = missing`, and
//! `level + n <= capacity` is `missing + n <= burst`. So there is one decision, in
//! `token_bucket.rs`, and this reading of it.

use super::Rule;

/// Returns the level of the leaky bucket: the whole tokens poured in and not yet leaked, rounded
/// up.
pub(crate) fn level(rule: &Rule, state: u64, now: u64) -> u64 {
    let level = (rule.limit() as i64).saturating_sub(rule.balance(state, now));
    level.max(0) as u64
}
