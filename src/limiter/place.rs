//! Places in a direct limiter's line.

use super::{Path, RateLimiter};
use crate::algorithm::{GivenUp, Returned, Rule};
use crate::basis::Now;
use crate::cell::Step;
use crate::error::Denied;
use crate::figures::Grant;
use crate::line::{Line, Place, Whose};
use crate::striped;
use crate::word;
use core::time::Duration;

impl Line for RateLimiter {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        self.stand(whose, n, within, true)
    }

    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied> {
        let Path::Exact(rule) = &self.path else {
            return self.stand(whose, n, Some(Duration::ZERO), true);
        };
        if n.wrapping_sub(1) >= rule.limit() {
            return self.stand(whose, n, Some(Duration::ZERO), true);
        }
        let now = self.basis.now();
        let taken = self.cell.update(|state| match rule.take(state, now.units, n) {
            Some(taken) => Step::Put(taken, Ok(taken)),
            None => Step::Keep(Err(state)),
        });
        match taken {
            Ok(taken) => Ok(Place::at_once(whose, n, taken, self.basis.figures(taken, now))),
            Err(state) => Err(self.basis.denied(n, state, now)),
        }
    }

    fn foresee(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<(), Denied> {
        self.stand(whose, n, within, false).map(|_| ())
    }

    fn take(&self, _: Whose, n: u64) -> Result<Grant, Denied> {
        self.check_n(n)
    }

    fn look(&self, _: Whose, n: u64) -> Result<Grant, Denied> {
        let ahead = match &self.path {
            Path::Striped(striped) => striped.held_by(striped::mine()),
            Path::Batched(_) => word::tokens(self.cell.load()),
            Path::Exact(_) | Path::Window => 0,
        };
        match ahead.checked_sub(n) {
            Some(left) if n > 0 => Ok(self.clock_free(n, left)),
            _ => self.peek(n),
        }
    }

    fn available(&self, _: Whose) -> i64 {
        RateLimiter::available(self)
    }

    fn draws_ahead(&self) -> bool {
        matches!(self.path, Path::Batched(_) | Path::Striped(_))
    }

    fn until(&self, place: &Place) -> Duration {
        let now = self.basis.now();
        let units = self.basis.rule.until_place(place.place, now.units);
        self.basis.figures(0, now).wait(units)
    }

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        self.give_back(place.place, n, self.basis.now(), Rule::give_up)
    }

    fn undo(&self, place: &Place) {
        let now = self.basis.now();
        let made = place.made(&self.basis.figures(0, now));
        self.give_back(made, place.n, now, Rule::undo);
    }

    fn refund(&self, _: &Place, n: u64) {
        RateLimiter::refund(self, n);
    }

    fn put_back(&self, _: Whose, n: u64) {
        RateLimiter::refund(self, n);
    }

    fn charge(&self, _: Whose, n: u64) -> Duration {
        RateLimiter::charge(self, n)
    }

    #[cfg(feature = "std")]
    fn generation(&self) -> u64 {
        0
    }
}

/// What the state is when some of a place comes back, and how much that is.
type Back = fn(&Rule, u64, u64, GivenUp) -> Option<(u64, Returned)>;

impl RateLimiter {
    /// A place; unless it is to be kept, only what it would be.
    fn stand(
        &self,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
        keep: bool,
    ) -> Result<Place, Denied> {
        let now = self.basis.now();
        let (rule, terms) = (&self.basis.rule, &self.basis.terms);
        let stand = |(state, wait)| {
            let at = self.basis.figures(state, now);
            let place = rule.place(state, now.units, wait);
            Ok(Place { whose, n, place, wait, waits: at.wait(wait), at })
        };
        let instalments = self.waiting.instalments && !terms.is_window();
        if n == 0 {
            return stand((self.undrawn(self.cell.load(), now), 0));
        }
        if n > rule.limit().saturating_add(if instalments { self.waiting.most } else { 0 }) {
            return Err(self.denied(n, self.cell.load(), now));
        }
        let (longest, patience) = self.basis.figures(0, now).longest(self.waiting.most, within);
        // Of what was seen: the tokens that stay drawn ahead, the state, and the wait.
        let of_the_bucket = |seen| {
            let (drawn, state) = self.split(seen);
            rule.reserve(state, now.units, n, 0).map(|(state, wait)| (drawn, state, wait))
        };
        let of_all = |seen, leased| {
            let (drawn, state) = self.split(seen);
            let left = drawn.saturating_sub(n - leased);
            match n - leased - (drawn - left) {
                0 => Some((left, state, 0)),
                rest => rule
                    .reserve(state, now.units, rest, longest)
                    .map(|(state, wait)| (left, state, wait)),
            }
        };
        let take = |place: &dyn Fn(u64) -> Option<(u64, u64, u64)>| {
            self.cell.update(|seen| match place(seen) {
                Some((drawn, state, wait)) if keep => {
                    Step::Put(self.join(drawn, state), Ok((state, wait)))
                }
                Some((_, state, wait)) => Step::Keep(Ok((state, wait))),
                None => Step::Keep(Err(seen)),
            })
        };
        // What the bucket has alone can be undone exactly. Otherwise drawn and leased tokens are spent first:
        // they have been debited already.
        if self.draws_ahead()
            && let Ok(placed) = take(&of_the_bucket)
        {
            return stand(placed);
        }
        let before = self.cell.load();
        let leased = match &self.path {
            Path::Striped(striped) if keep => striped.collect(striped::mine(), n),
            Path::Striped(striped) => striped.held().min(n),
            _ => 0,
        };
        match take(&|seen| of_all(seen, leased)) {
            Ok(placed) => stand(placed),
            Err(seen) => {
                if let (Path::Striped(striped), 1.., true) = (&self.path, leased, keep) {
                    striped.give_back(&self.cell, before, &self.basis, leased);
                }
                let at = self.basis.figures(self.undrawn(seen, now), now);
                Err(Denied::new(n, at.without_place(n, patience)))
            }
        }
    }

    fn give_back(&self, place: u64, n: u64, now: Now, back: Back) -> u64 {
        self.cell.update(|seen| {
            let given = GivenUp { place, n, promised: self.promised.seen() };
            let (drawn, state) = self.split(seen);
            let Some((state, back)) = back(&self.basis.rule, state, now.units, given) else {
                return Step::Keep(0);
            };
            if let Some(promised) = back.promised {
                self.promised.raise(promised);
            }
            Step::Put(self.join(drawn, state), back.tokens)
        })
    }
}
