//! Places in a direct limiter's line.

use super::{Mode, RateLimiter, Stripes};
use crate::algorithm::{GivenUp, Rule};
use crate::answer::{Denied, Grant};
use crate::bucket::{Bucket, Place, Queues, Since, Span, Waiting, Whose};
use crate::cell::Step;
use crate::limiter::striped::{self, Striped, Timed};
use crate::timeline::Moment;
use crate::word;
use alloc::sync::Arc;
use core::time::Duration;

impl Bucket for RateLimiter {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        self.stand(&self.now(), whose, n, within, true)
    }

    #[cfg(feature = "std")]
    fn place_by(
        &self,
        now: &Moment,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Place, Denied> {
        self.stand(now, whose, n, within, true)
    }

    fn place_at(&self, whose: Whose, n: u64, end: u64, now: &Moment) -> Place {
        Place::ending(whose, n, end, self.returns.since(), now)
    }

    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied> {
        let at_once = || self.place(whose, n, Some(Duration::ZERO));
        let Mode::Exact(rule) = &self.mode else { return at_once() };
        if n.wrapping_sub(1) >= rule.limit() {
            return at_once();
        }
        let Some(now) = self.live.read_wrapping(&self.announced) else { return at_once() };
        let since = self.returns.since();
        match self.take_exactly(rule, now, n) {
            Ok(taken) => Ok(Place::at_once(whose, n, taken, since, self.live.figures(now, taken))),
            Err(state) => Err(Denied::new(n, self.live.figures(now, state))),
        }
    }

    fn foresee(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<(), Denied> {
        self.stand(&self.now(), whose, n, within, false).map(|_| ())
    }

    fn take(&self, _: Whose, n: u64) -> Result<Grant, Denied> {
        self.check_n(n)
    }

    fn look(&self, _: Whose, n: u64) -> Result<Grant, Denied> {
        let ahead = match &self.mode {
            Mode::Striped(striped) => striped.held_by(striped::mine()),
            Mode::Batched(_) => word::tokens(self.cell.load()),
            Mode::Exact(_) | Mode::ByRule => 0,
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
        matches!(self.mode, Mode::Batched(_) | Mode::Striped(_))
    }

    fn until(&self, place: &Place) -> Duration {
        let now = self.now();
        now.figures(0).wait(now.rule().until_place(place.place, now.units))
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    fn moment(&self) -> Moment {
        self.now()
    }

    fn take_back(&self, _: Whose, span: Span, since: Option<Since>, now: &Moment) -> bool {
        let rule = now.rule();
        let back = |state| rule.take_back(state, now.units, span.end, span.units());
        self.give_back(since, back, |state| state == span.end)
    }

    #[cfg(feature = "std")]
    fn rework(&self, _: Whose, since: Since, rework: &dyn Fn(u64) -> Option<u64>) -> bool {
        self.give_back(Some(since), rework, |_| true)
    }

    fn add_if_idle(&self, _: Whose, units: u64, now: &Moment) -> bool {
        self.give_back(None, |state| now.rule().add_if_idle(state, now.units, units), |_| false)
    }

    fn returned_since(&self, place: &Place) -> Option<u64> {
        self.returns.since_then(place.since)
    }

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        self.undo_by((place, place.place), n, &self.now(), Rule::give_up).unwrap_or(0)
    }

    fn undo(&self, place: &Place, n: u64, now: &Moment) -> bool {
        let undone = self.undo_by((place, place.place_by(now)), n, now, Rule::undo);
        // A whole place leaves no trace: the stripes have again what they had.
        let held = if n == place.n && undone == Some(n) { place.held.into() } else { 0 };
        if let (Mode::Striped(striped), 1..) = (&self.mode, held) {
            self.return_to(striped, held);
        }
        undone.is_some()
    }

    fn put_back(&self, _: Whose, n: u64) {
        RateLimiter::refund(self, n);
    }

    fn charge(&self, _: Whose, n: u64) -> Duration {
        RateLimiter::charge(self, n)
    }
}

/// What the state is when some of a place comes back, and how many tokens those are.
type Back = fn(&Rule, u64, u64, GivenUp) -> Option<(u64, u64)>;

impl RateLimiter {
    /// A place; unless it is to be kept, only what it would be.
    fn stand(
        &self,
        now: &Moment,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
        keep: bool,
    ) -> Result<Place, Denied> {
        let rule = now.rule();
        let since = self.returns.since();
        let stood = |before, state, wait, held: u64| {
            let place = rule.place(before, state, now.units, wait);
            let held = u32::try_from(held).unwrap_or(u32::MAX);
            let at = now.figures(state);
            Place { whose, n, place, made: state, since, held, wait, told: 0, at }
        };
        if n == 0 {
            let state = self.undrawn(self.cell.load(), *now);
            return Ok(stood(state, state, 0, 0));
        }
        if n > self.waiting.largest_place(now) {
            return Err(self.denied(n, self.cell.load(), *now));
        }
        let (longest, patience) = now.figures(0).longest_of_place(self.waiting.most, within);
        let take = |leased| {
            self.cell.update(|seen| {
                let (drawn, state, rest) = self.gathered_for(seen, now, n, leased);
                let Some((placed, wait)) = rule.reserve(state, now.units, n, longest) else {
                    return Step::Keep(Err(seen));
                };
                let held = self.split(seen).0 - drawn + leased - rest.min(leased);
                let place = Ok((state, placed, wait, held));
                if !keep {
                    return Step::Keep(place);
                }
                let with_rest = match rest {
                    0 => placed,
                    rest => rule.refund(placed, now.units, rest).unwrap_or(placed),
                };
                Step::Put(self.join(drawn, with_rest), place)
            })
        };
        let before = self.cell.load();
        let leased = match &self.mode {
            Mode::Striped(striped) => {
                let lacks = n.saturating_sub(rule.balance(before, now.units).max(0) as u64);
                if keep {
                    striped.collect(striped::mine(), lacks)
                } else {
                    striped.held().min(lacks)
                }
            }
            _ => 0,
        };
        match take(leased) {
            Ok((before, state, wait, held)) => Ok(stood(before, state, wait, held)),
            Err(seen) => {
                if let (Mode::Striped(striped), 1.., true) = (&self.mode, leased, keep) {
                    striped.give_back(&self.cell, before, &Stripes(self, striped), leased);
                }
                let at = now.figures(self.undrawn(seen, *now));
                Err(Denied::new(n, at.without_place(n, patience)))
            }
        }
    }

    /// The tokens that stay drawn ahead, and the bucket with those of them that it lacks of `n`, and with what was
    /// taken from stripes, as far as it holds that. So a place is of the bucket alone, and can be undone exactly.
    fn gathered_for(&self, seen: u64, now: &Moment, n: u64, leased: u64) -> (u64, u64, u64) {
        let (drawn, state) = self.split(seen);
        if drawn == 0 && leased == 0 {
            return (0, state, 0);
        }
        let rule = now.rule();
        let there = rule.balance(state, now.units);
        let back = drawn.min(n.saturating_sub(there.max(0) as u64));
        let room = (rule.limit() as i64).saturating_sub(there).max(0) as u64;
        let fits = room.min(back + leased);
        let gathered = rule.refund(state, now.units, fits);
        (drawn - back, gathered.unwrap_or(state), back + leased - fits)
    }

    /// Gives something back to the bucket, as `back` says of its state; whether it did. It is counted for those who undo
    /// what they took, unless it `is_last`: then they took theirs before.
    fn give_back(
        &self,
        since: Option<Since>,
        back: impl Fn(u64) -> Option<u64>,
        is_last: impl Fn(u64) -> bool,
    ) -> bool {
        self.cell.update(|seen| {
            if since.is_some_and(|since| self.returns.since_then(since).is_none()) {
                return Step::Keep(true);
            }
            let (drawn, before) = self.split(seen);
            let Some(state) = back(before) else { return Step::Keep(false) };
            if !is_last(before) {
                self.returns.count(before.wrapping_sub(state));
            }
            Step::Put(self.join(drawn, state), true)
        })
    }

    /// Gives back `n` tokens of a place that no reset has made void: how many. `None` if `back` says so. Tokens that had been
    /// drawn ahead are drawn again, as far as there is room, if all come back.
    fn undo_by(&self, (of, place): (&Place, u64), n: u64, now: &Moment, back: Back) -> Option<u64> {
        let rule = now.rule();
        self.cell.update(|seen| {
            let Some(returned) = self.returns.since_then(of.since) else {
                return Step::Keep(Some(0));
            };
            let given = of.given(place, n, returned);
            let (drawn, before) = self.split(seen);
            match back(&rule, before, now.units, given) {
                None => Step::Keep(None),
                Some((same, tokens)) if same == before => Step::Keep(Some(tokens)),
                Some((state, tokens)) => {
                    // A give-back may have made the word what it was after this place, and others took since.
                    if of.made != before || returned != 0 {
                        self.returns.count(before.wrapping_sub(state));
                    }
                    let held = match &self.mode {
                        Mode::Batched(batch) if n == of.n && tokens == n => {
                            batch.room(drawn).min(of.held.into())
                        }
                        _ => 0,
                    };
                    let state = rule.charge(state, now.units, held);
                    Step::Put(self.join(drawn + held, state), Some(tokens))
                }
            }
        })
    }

    /// Takes `n` tokens of the centre, where they have just been given back, to the caller's stripe, as far as that has room.
    fn return_to(&self, striped: &Striped, n: u64) {
        let time = Stripes(self, striped);
        let split = time.centre(time.read()).split;
        let now = self.now();
        let rule = now.rule();
        let taken = self.cell.update(|state| match rule.take(state, now.units, n) {
            Some(taken) => Step::Put(taken, n),
            None => Step::Keep(0),
        });
        let rest = taken - striped.put(striped::mine(), taken, split);
        if rest > 0 {
            self.cell.update(|state| match rule.refund(state, now.units, rest) {
                Some(refunded) => Step::Put(refunded, ()),
                None => Step::Keep(()),
            });
        }
    }
}
