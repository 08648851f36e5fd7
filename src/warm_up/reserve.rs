//! Places in the queue of a limiter that warms up.
//!
//! ```text
//!     ... | a's cost | b's cost | c's cost |      the word's full time is the end
//!         ^ a is due ^ b is due ^ c is due
//! ```
//!
//! A place is due when all in front of it has been paid for, and its span of token time is its own
//! cost. So the queue is *paid afterwards* ([`queue`](crate::bucket::queue)): when b leaves, c is
//! due when b was. A place is remembered as the end that it would have in a bucket with a burst of
//! a token, which is the burst of the timeline. Tokens that are not spent have not warmed the
//! limiter either.

use super::{Now, WarmUpLimiter};
use crate::algorithm::Turn;
use crate::answer::{Denied, Grant};
use crate::bucket::{Bucket, Place, Queues, Since, Span, Waiting, Whose};
use crate::cell::Step;
use crate::timeline::Moment;
use alloc::sync::Arc;
use core::time::Duration;

impl Bucket for WarmUpLimiter {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        self.take_place(whose, n, within, true)
    }

    fn place_at(&self, whose: Whose, n: u64, end: u64, now: &Moment) -> Place {
        Place::ending(whose, n, end, self.returns.since(), now)
    }

    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied> {
        self.take_place(whose, n, Some(Duration::ZERO), true)
    }

    fn foresee(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<(), Denied> {
        self.take_place(whose, n, within, false).map(|_| ())
    }

    fn take(&self, whose: Whose, n: u64) -> Result<Grant, Denied> {
        Ok(self.take_place(whose, n, Some(Duration::ZERO), true)?.grant())
    }

    fn look(&self, whose: Whose, n: u64) -> Result<Grant, Denied> {
        Ok(self.take_place(whose, n, Some(Duration::ZERO), false)?.grant())
    }

    fn available(&self, _: Whose) -> i64 {
        WarmUpLimiter::available(self)
    }

    fn draws_ahead(&self) -> bool {
        false
    }

    fn until(&self, place: &Place) -> Duration {
        let now = self.now();
        now.wait(self.due(place).saturating_sub(now.units))
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    fn moment(&self) -> Moment {
        self.now().moment
    }

    fn span_of(&self, place: &Place, n: u64) -> Option<Span> {
        let kept = place.n.saturating_sub(n);
        // A place that costs nothing has no span.
        if place.n == 0 {
            return None;
        }
        let (start, end) = (self.due(place), self.units(self.first.rule.full_time(place.made)));
        if kept == 0 {
            return Some(Span { start, end });
        }
        let rule = self.ramp(self.quota()).rule;
        let turn = Turn { from: 0, warmth: rule.warmth_before(place.made, place.n) };
        let kept = start.saturating_add(self.units(rule.cost(turn, kept)));
        Some(Span { start: kept.min(end), end })
    }

    fn unspent(&self, place: &Place, n: u64) {
        let rule = self.first.rule;
        self.cell.update(|seen| match self.returns.since_then(place.since) {
            Some(_) => Step::Put(rule.unspent(seen, n), ()),
            None => Step::Keep(()),
        });
    }

    fn take_back(&self, _: Whose, span: Span, since: Option<Since>, now: &Moment) -> bool {
        let now = self.at(*now);
        self.cell.update(|seen| {
            if since.is_some_and(|since| self.returns.since_then(since).is_none()) {
                return Step::Keep(true);
            }
            // If a part of a unit has flowed, the word ends behind it by less than one.
            let end = self.units(now.rule().full_time(seen));
            if end > span.end.saturating_add(self.units(1) - 1) {
                return Step::Keep(false);
            }
            match now.rule().give_back(seen, now.time, span.units() >> self.shift) {
                Some(back) => {
                    // Tokens were refunded behind it: the places taken before move down with them.
                    if end < span.end {
                        self.returns.count(self.freed(seen, back));
                    }
                    Step::Put(back, true)
                }
                None => Step::Keep(true),
            }
        })
    }

    /// Never reworks: its places are spans of token time, and nothing is counted anew.
    #[cfg(feature = "std")]
    fn rework(&self, _: Whose, _: Since, _: &Moment, _: &dyn Fn(u64) -> Option<u64>) -> bool {
        false
    }

    fn add_if_idle(&self, _: Whose, units: u64, now: &Moment) -> bool {
        let now = self.at(*now);
        if self.last_due.seen() > now.units {
            return false;
        }
        self.give_back(units, &now);
        true
    }

    fn returned_since(&self, place: &Place) -> Option<u64> {
        self.returns.since_then(place.since)
    }

    /// Gives up nothing: a place without a span has nothing to give up.
    fn give_up(&self, _: &Place, _: u64) -> u64 {
        0
    }

    fn undo(&self, place: &Place, n: u64, now: &Moment) -> bool {
        let now = self.at(*now);
        if self.last_due.seen() > now.units.max(self.due(place)) {
            return false;
        }
        let Some(returned) = self.returns.since_then(place.since) else { return true };
        // What has flowed since would have been lost without it.
        let lacks = self.span_of(place, n).and_then(|span| {
            let down = |time: u64| time.saturating_sub(returned);
            Span { start: down(span.start), end: down(span.end) }.rest(now.units)
        });
        if let Some(span) = lacks {
            self.unspent(place, n);
            self.give_back(span.units(), &now);
        }
        true
    }

    fn put_back(&self, _: Whose, n: u64) {
        WarmUpLimiter::refund(self, n);
    }

    fn charge(&self, _: Whose, n: u64) -> Duration {
        WarmUpLimiter::charge(self, n)
    }
}

impl WarmUpLimiter {
    /// Returns the moment at which a place is due.
    fn due(&self, place: &Place) -> u64 {
        place.place.wrapping_sub(self.token)
    }

    /// Takes a place. Unless `keep` is set, it only computes the place, and changes nothing.
    fn take_place(
        &self,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
        keep: bool,
    ) -> Result<Place, Denied> {
        let now = self.now();
        let (rule, since) = (now.rule(), self.returns.since());
        if n > rule.limit() {
            return Err(Denied::new(n, now.figures(self.cell.load(), None)));
        }
        let (longest, patience) = now.longest(self.waiting.most, within);
        let taken = self.cell.update(|seen| {
            let turn = rule.turn(seen, now.time);
            let due = self.units(turn.from);
            let wait = if n == 0 { 0 } else { due.saturating_sub(now.units) };
            if n == 0 {
                return Step::Keep(Ok((due, seen, wait)));
            }
            // Beyond the longest wait the word has no room for the cost.
            if wait > longest {
                return Step::Keep(Err((seen, wait)));
            }
            let state = rule.reserve(turn, n);
            if !keep {
                return Step::Keep(Ok((due, state, wait)));
            }
            self.last_due.raise(due);
            Step::Put(state, Ok((due, state, wait)))
        });
        match taken {
            Ok((due, made, wait)) => {
                let (at, place) = (now.figures(made, None), due.wrapping_add(self.token));
                let told = u64::try_from(now.wait(wait).as_nanos()).unwrap_or(u64::MAX);
                Ok(Place { whose, n, place, made, since, wait, told, at })
            }
            Err((seen, wait)) => {
                let retry_after = now.moment.figures(0).impatient(wait, patience);
                Err(Denied::new(n, now.figures(seen, Some(retry_after))))
            }
        }
    }

    /// Returns the units by which a state is less than it was.
    fn freed(&self, before: u64, after: u64) -> u64 {
        let full_time = |state| self.first.rule.full_time(state);
        self.units(full_time(before) - full_time(after))
    }

    /// Gives units of the timeline back, as far as they are owed, and counts them.
    pub(super) fn give_back(&self, units: u64, now: &Now) {
        self.cell.update(|seen| match now.rule().give_back(seen, now.time, units >> self.shift) {
            Some(back) => {
                self.returns.count(self.freed(seen, back));
                Step::Put(back, ())
            }
            None => Step::Keep(()),
        });
    }
}
