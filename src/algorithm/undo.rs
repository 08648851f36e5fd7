//! Undoing a debit, exactly: as if it had never been.
//!
//! A refund of what was taken would be too much. Take 5 of a bucket of 5, let it flow full again, let somebody else
//! take 5, refund 5: it has 5, and had it never been debited, it would have none. What may come back is what such
//! a bucket would have more *now*:
//!
//! ```text
//!   took n:   full time    ->  made
//!   undo:     full time    ->  full time - min(n, made - now)
//! ```
//!
//! Why that is never too much: let D be what the debited bucket lacks more than the one that never was. At first D is n, and
//! `min(n, made - now)` is at most that. Who takes from both changes nothing. Flow lessens D only
//! while the other one is full; then that one lacks nothing, and D is all that this one lacks, which
//! is at least `made - now`, since its full time has not gone back. And if nobody took meanwhile, or no time passed, D is
//! exactly that. More cannot be told: of those who took, the word does not say when. Who gives back what he took takes the full
//! time back, and `made` with it: so what has been given back since is counted beside the word, and subtracted.
//!
//! Where somebody *waits* behind it goes to whoever that is (`line::queue`). Windows count, so what was counted in a
//! window that still counts is subtracted.

use super::{GivenUp, Rule};

impl Rule {
    /// The state without a debit that nobody has acted on, and the tokens that come back; `None` of a bucket if somebody
    /// waits behind it, of others if nothing comes back.
    pub(crate) fn undo(&self, state: u64, now: u64, given: GivenUp) -> Option<(u64, u64)> {
        match self {
            Self::Bucket(rule) => rule.undo(state, now, given),
            Self::Fixed(rule) => rule.give_up(state, now, given),
            Self::Sliding(rule) => rule.give_up(state, now, given),
        }
    }
}

#[cfg(test)]
mod tests;
