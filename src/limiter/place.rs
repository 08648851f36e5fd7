//! Places in a direct limiter's line.

use super::{Path, RateLimiter, Stripes};
use crate::algorithm::{GivenUp, Returned, Rule};
use crate::cell::Step;
use crate::error::Denied;
use crate::figures::Grant;
use crate::line::{Line, Place, Since, Whose};
use crate::live::Moment;
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
        let Some(now) = self.live.read_wrapping(&self.announced) else {
            return self.stand(whose, n, Some(Duration::ZERO), true);
        };
        let since = self.promised.since();
        match self.take_exactly(rule, now, n) {
            Ok(taken) => Ok(Place::at_once(whose, n, taken, since, self.live.figures(now, taken))),
            Err(state) => Err(Denied::new(n, self.live.figures(now, state))),
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
            Path::Exact(_) | Path::ByRule => 0,
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
        let now = self.now();
        now.figures(0).wait(now.rule().until_place(place.place, now.units))
    }

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        self.give_back(place, place.place, n, self.now(), Rule::give_up)
    }

    fn undo(&self, place: &Place) {
        let now = self.now();
        self.give_back(place, place.place_by(&now.figures(0)), place.n, now, Rule::undo);
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
        self.live.generation(&self.announced)
    }
}

/// A place to be: of what state, the tokens that stay drawn ahead, the state with it, the tokens that the bucket gave,
/// and the wait.
#[derive(Clone, Copy)]
struct Stand {
    before: u64,
    drawn: u64,
    state: u64,
    taken: u64,
    wait: u64,
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
        let now = self.now();
        let (rule, terms) = (now.rule(), now.terms());
        let Since { resets, returned } = self.promised.since();
        let stand = |Stand { before, state, taken, wait, .. }| {
            let at = now.figures(state);
            let place = rule.place(before, state, now.units, wait);
            let (made, nanos) = (state, at.nanos_of(wait));
            let held = u32::try_from(n - taken).unwrap_or(u32::MAX);
            Ok(Place { whose, n, place, made, resets, held, returned, wait, nanos, at })
        };
        let instalments = self.waiting.instalments && !terms.is_window();
        if n == 0 {
            let state = self.undrawn(self.cell.load(), now);
            return stand(Stand { before: state, drawn: 0, state, taken: 0, wait: 0 });
        }
        if n > rule.limit().saturating_add(if instalments { self.waiting.most } else { 0 }) {
            return Err(self.denied(n, self.cell.load(), now));
        }
        let (longest, patience) = now.figures(0).longest(self.waiting.most, within);
        let reserve = |before, drawn, n, longest| match n {
            0 => Some(Stand { before, drawn, state: before, taken: 0, wait: 0 }),
            taken => {
                let placed = rule.reserve(before, now.units, taken, longest);
                placed.map(|(state, wait)| Stand { before, drawn, state, taken, wait })
            }
        };
        let of_the_bucket = |seen| {
            let (drawn, state) = self.split(seen);
            reserve(state, drawn, n, 0)
        };
        let of_all = |seen, leased| {
            let (drawn, state) = self.split(seen);
            let left = drawn.saturating_sub(n - leased);
            reserve(state, left, n - leased - (drawn - left), longest)
        };
        let take = |place: &dyn Fn(u64) -> Option<Stand>| {
            self.cell.update(|seen| match place(seen) {
                Some(placed) if keep => {
                    Step::Put(self.join(placed.drawn, placed.state), Ok(placed))
                }
                Some(placed) => Step::Keep(Ok(placed)),
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
                    striped.give_back(&self.cell, before, &Stripes(self, striped), leased);
                }
                let at = now.figures(self.undrawn(seen, now));
                Err(Denied::new(n, at.without_place(n, patience)))
            }
        }
    }

    fn give_back(&self, of: &Place, place: u64, n: u64, now: Moment, back: Back) -> u64 {
        let rule = now.rule();
        self.cell.update(|seen| {
            let Some(known) = self.promised.seen(of.since()) else { return Step::Keep(0) };
            let given = of.given(place, n, known);
            let (drawn, before) = self.split(seen);
            let Some((state, back)) = back(&rule, before, now.units, given) else {
                return Step::Keep(0);
            };
            if !of.is_last(before) {
                self.promised.returns(before.wrapping_sub(state));
            }
            if let Some(promised) = back.promised {
                self.promised.raise(promised);
            }
            Step::Put(self.join(drawn, state), back.tokens)
        })
    }
}
