//! Places in a direct limiter's line.

use super::{Path, RateLimiter, Stripes};
use crate::algorithm::GivenUp;
use crate::cell::Step;
use crate::error::Denied;
use crate::figures::Patience;
use crate::line::{Line, Place, Whose};
use crate::live::Moment;
use crate::striped;
use core::time::Duration;

impl Line for RateLimiter {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        let now = self.now();
        let (rule, terms) = (now.rule(), now.terms());
        let stand = |before, state, wait| {
            let at = now.figures(state);
            let place = rule.place(before, state, now.units, wait);
            Ok(Place { whose, n, place, wait, waits: at.wait(wait), at })
        };
        let instalments = self.waiting.instalments && !terms.is_window();
        if n == 0 {
            let state = self.undrawn(self.cell.load(), now);
            return stand(state, state, 0);
        }
        if n > rule.limit().saturating_add(if instalments { self.waiting.most } else { 0 }) {
            return Err(self.denied(n, self.cell.load(), now));
        }
        let (longest, patience) = now.figures(0).longest(self.waiting.most, within);
        // Drawn and leased tokens are spent first: they have been debited already.
        let before = self.cell.load();
        let leased = match &self.path {
            Path::Striped(striped) => striped.collect(striped::mine(), n),
            _ => 0,
        };
        let placed = self.cell.update(|seen| {
            let (drawn, state) = self.split(seen);
            let left = drawn.saturating_sub(n - leased);
            let rest = n - leased - (drawn - left);
            let placed = if rest == 0 {
                Some((state, 0))
            } else {
                rule.reserve(state, now.units, rest, longest)
            };
            match placed {
                Some((placed, wait)) => {
                    Step::Put(self.join(left, placed), Ok((state, placed, wait)))
                }
                None => Step::Keep(Err(seen)),
            }
        });
        match placed {
            Ok((before, state, wait)) => stand(before, state, wait),
            Err(seen) => {
                if let (Path::Striped(striped), 1..) = (&self.path, leased) {
                    striped.give_back(&self.cell, before, &Stripes(self, striped), leased);
                }
                Err(self.no_place(n, seen, now, patience))
            }
        }
    }

    fn until(&self, place: &Place) -> Duration {
        let now = self.now();
        now.figures(0).wait(now.rule().until_place(place.place, now.units))
    }

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        let now = self.now();
        self.cell.update(|seen| {
            let Place { place, n: of, .. } = *place;
            let given = GivenUp { place, n, of, promised: self.promised.seen() };
            let (drawn, state) = self.split(seen);
            let Some((state, back)) = now.rule().give_up(state, now.units, given) else {
                return Step::Keep(0);
            };
            if let Some(promised) = back.promised {
                self.promised.raise(promised);
            }
            Step::Put(self.join(drawn, state), back.tokens)
        })
    }

    fn refund(&self, _: &Place, n: u64) {
        RateLimiter::refund(self, n);
    }

    fn charge(&self, _: &Place, n: u64) -> Duration {
        RateLimiter::charge(self, n)
    }

    #[cfg(feature = "std")]
    fn generation(&self) -> u64 {
        self.live.generation(&self.announced)
    }
}

impl RateLimiter {
    fn no_place(&self, n: u64, seen: u64, now: Moment, patience: Patience) -> Denied {
        let at = now.figures(self.undrawn(seen, now));
        Denied::new(n, at.without_place(n, patience))
    }
}
