//! The only bucket of a direct limiter, and the tokens that the limiter keeps beside its state.
//!
//! A batched limiter keeps drawn tokens in another field of the word; a striped limiter has leased
//! some to its stripes. An operation that wants `n` tokens first moves those into the state that it
//! lacks. So a place in line consists of tokens of the state alone, and can be undone exactly.

use super::{Mode, RateLimiter, Stripes, striped};
use crate::answer::{Denied, Figures, Grant};
use crate::bucket::{Ask, Queues, Returns, Store, Waiting, Whose};
use crate::cell::{Change, Step};
use crate::timeline::Moment;
use crate::word;
use alloc::sync::Arc;

impl Store for RateLimiter {
    type Account<'a> = &'a Returns;

    fn read_clock(&self) -> Moment {
        self.now()
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    fn account(&self, _: Whose) -> &Returns {
        &self.returns
    }

    fn max_debt(&self) -> u64 {
        self.max_debt
    }

    fn look<R>(&self, _: Whose, _: u64, look: impl Fn(u64, Moment) -> R) -> Result<R, Denied> {
        let now = self.now();
        Ok(look(self.undrawn(self.cell.load(), now), now))
    }

    #[inline]
    fn update<R>(
        &self,
        ask: Ask<'_>,
        change: impl Fn(Whose, u64, Moment) -> Change<R>,
    ) -> Option<R> {
        let now = ask.now.copied().unwrap_or_else(|| self.now());
        let change = |state| change(ask.whose, state, now);
        Some(match &self.mode {
            Mode::Striped(striped) if ask.n > 0 => {
                let before = self.cell.load();
                let lacks = self.lacks(before, &now, ask.n);
                let leased = striped.collect(striped::mine(), lacks);
                let (answer, is_used) = self.swap(&now, ask.n, leased, change);
                if leased > 0 && !is_used {
                    striped.give_back(&self.cell, before, &Stripes(self, striped), leased);
                }
                answer
            }
            _ => self.swap(&now, ask.n, 0, change).0,
        })
    }

    fn touch<R>(
        &self,
        ask: Ask<'_>,
        change: impl Fn(Whose, u64, Moment) -> Change<R>,
    ) -> Result<R, Denied> {
        // A direct limiter always has its bucket.
        self.update(ask, change).ok_or_else(|| self.now().denied(ask.n, self.cell.load()))
    }

    fn check_n(&self, _: Whose, n: u64) -> Result<Grant, Denied> {
        RateLimiter::check_n(self, n)
    }

    fn debit(&self, _: Whose, n: u64) -> Option<Result<(u64, Figures), Denied>> {
        let Mode::Exact(rule) = &self.mode else { return None };
        if n.wrapping_sub(1) >= rule.limit() {
            return None;
        }
        let now = self.timeline.read_wrapping(&self.announced)?;
        let taken = self.take_exactly(rule, now, n);
        let figures = |state| self.timeline.figures(now, state);
        Some(match taken {
            Ok(taken) => Ok((taken, figures(taken))),
            Err(state) => Err(Denied::new(n, figures(state))),
        })
    }

    fn foresee(&self, _: Whose, n: u64) -> Option<Result<Grant, Denied>> {
        let ahead = match &self.mode {
            Mode::Striped(striped) => striped.held_by(striped::mine()),
            Mode::Batched(_) => word::tokens(self.cell.load()),
            Mode::Exact(_) | Mode::ByRule => 0,
        };
        let left = ahead.checked_sub(n).filter(|_| n > 0)?;
        Some(Ok(self.clock_free(n, left)))
    }

    fn draws_ahead(&self) -> bool {
        matches!(self.mode, Mode::Batched(_) | Mode::Striped(_))
    }
}

impl RateLimiter {
    /// Commits `change`. It is shown the state, with as many of the drawn and `leased` tokens in it
    /// as the state lacks of `n`. Returns its answer, and whether anything was written.
    #[inline]
    fn swap<R>(
        &self,
        now: &Moment,
        n: u64,
        leased: u64,
        change: impl Fn(u64) -> Change<R>,
    ) -> (R, bool) {
        self.cell.update(|seen| {
            let (drawn, state, rest) = self.gathered_for(seen, now, n, leased);
            match change(state) {
                Change::Keep(answer) => Step::Keep((answer, false)),
                Change::Grow(state, answer) | Change::Shrink(state, answer) => {
                    let state = match rest {
                        0 => state,
                        rest => now.rule().refund(state, now.units, rest).unwrap_or(state),
                    };
                    Step::Put(self.join(drawn, state), (answer, true))
                }
            }
        })
    }

    /// Counts the tokens that the state of a word lacks of `n`.
    fn lacks(&self, seen: u64, now: &Moment, n: u64) -> u64 {
        let there = now.rule().balance(self.split(seen).1, now.units);
        n.saturating_sub(there.max(0) as u64)
    }

    /// Splits a word for a request of `n` into three: the tokens that remain drawn ahead; the
    /// state, with the tokens that it lacks of `n`; and the tokens that the state has no room for
    /// until some have been taken.
    #[inline]
    fn gathered_for(&self, seen: u64, now: &Moment, n: u64, leased: u64) -> (u64, u64, u64) {
        let (drawn, state) = self.split(seen);
        if drawn == 0 && leased == 0 || n == 0 {
            return (drawn, state, 0);
        }
        let rule = now.rule();
        let there = rule.balance(state, now.units);
        let back = drawn.min(self.lacks(seen, now, n));
        let room = (rule.limit() as i64).saturating_sub(there).max(0) as u64;
        let fits = room.min(back + leased);
        let gathered = rule.refund(state, now.units, fits);
        (drawn - back, gathered.unwrap_or(state), back + leased - fits)
    }
}
