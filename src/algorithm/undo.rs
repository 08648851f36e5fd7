//! Undoing a debit exactly, as if it had never been made.
//!
//! A refund of the tokens taken would be too much. Take 5 of a bucket of 5, let it flow full again,
//! let another caller take 5, refund 5: the bucket has 5. Had it never been debited, it would have
//! none. So what may come back is the number of tokens that such a bucket would have more *now*:
//!
//! ```text
//!   took n:   full time    ->  made
//!   undo:     full time    ->  full time - min(n, made - now)
//! ```
//!
//! Why that is never too much: compare the debited bucket A with B, the same bucket had it never
//! been debited. Let D be how much more A lacks than B. At first D is n, and `min(n, made - now)`
//! is at most n. A request that takes from both changes nothing. Flow reduces D only while B is
//! full; then D is all that A lacks, which is at least `made - now`, since A's full time has not
//! gone back. If no caller took meanwhile, or no time passed, D is exactly `min(n, made - now)`.
//!
//! More cannot be told, since the word does not tell when other callers took. A caller that gives
//! back tokens takes the full time back, and `made` with it. So the tokens given back since are
//! counted beside the word, and subtracted.
//!
//! If a caller *waits* behind the place, the place goes to that caller (`bucket::queue`). Windows
//! count, so tokens counted in a window that still counts are subtracted.

use super::{GivenUp, Rule};

impl Rule {
    /// Returns the state without a debit that no caller has acted on, and the tokens that come
    /// back. `None` for a bucket if a caller waits behind it, for other algorithms if nothing comes
    /// back.
    pub(crate) fn undo(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        match self {
            Self::Bucket(rule) => rule.undo(state, now, given),
            _ => self.uncount(state, now, given),
        }
    }
}

#[cfg(test)]
mod tests;
