//! The verbs of a limiter, each written once for all stores.
//!
//! `check` has faster ways of its own in each limiter; all else is here. Public methods add the
//! key, and their documentation.

use super::store::{Account, Ask, Store};
use super::{Bucket, Place, Queues, Since, Span, Waiting, Whose, queue};
use crate::algorithm::{self, GivenUp};
use crate::answer::{Denied, Grant};
use crate::cell::Change;
use crate::timeline::Moment;
use alloc::sync::Arc;
use core::time::Duration;

/// Takes as many of `n` tokens as are there, down to one.
pub(crate) fn check_up_to<S: Store>(store: &S, whose: Whose, n: u64) -> Result<Grant, Denied> {
    if n == 0 {
        return peek(store, whose, 0);
    }
    let take = |_, state, now: Moment| {
        let rule = now.rule();
        let n = n.min(rule.balance(state, now.units).max(0) as u64);
        match if n > 0 { rule.take(state, now.units, n) } else { None } {
            Some(taken) => Change::Grow(taken, Ok(now.grant(n, taken))),
            None => Change::Keep(Err(now.denied(1, state))),
        }
    };
    store.touch(Ask::of(whose, n), take)?
}

/// Predicts what `check_n` would answer now.
pub(crate) fn peek<S: Store>(store: &S, whose: Whose, n: u64) -> Result<Grant, Denied> {
    store.look(whose, n, |state, now| {
        if n == 0 {
            return Ok(now.grant(0, state));
        }
        let rule = now.rule();
        match if n <= rule.limit() { rule.take(state, now.units, n) } else { None } {
            Some(taken) => Ok(now.grant(n, taken)),
            None => Err(now.denied(n, state)),
        }
    })?
}

/// Takes `n` tokens even if they are not there. Returns the time until the debt is paid.
pub(crate) fn charge<S: Store>(store: &S, whose: Whose, n: u64) -> Duration {
    if n == 0 {
        let owed = store.look(whose, 0, |state, now| now.figures(state).owes());
        return owed.unwrap_or_default();
    }
    let charge = |_, state, now: Moment| {
        let charged = now.rule().charge_within(state, now.units, n, store.max_debt());
        if charged == state {
            return Change::Keep(now.figures(state));
        }
        store.before_debt(charged, &now);
        Change::Grow(charged, now.figures(charged))
    };
    match store.touch(Ask::of(whose, n), charge) {
        Ok(figures) => figures.owes(),
        Err(denied) => denied.reset_after(),
    }
}

/// Gives `n` tokens back: to the first waiting caller, or else to the bucket, up to its burst.
pub(crate) fn refund<S: Store>(store: &S, whose: Whose, n: u64) {
    if queue::refund(store, whose, n) {
        return;
    }
    store.update(Ask::of(whose, 0), |whose, state, now| {
        let Some(refunded) = now.rule().refund(state, now.units, n) else {
            return Change::Keep(());
        };
        store.account(whose).count(state.wrapping_sub(refunded));
        Change::Shrink(refunded, ())
    });
    // A gap may be the last place of the queue now.
    queue::ended(store, whose);
}

/// Returns the whole tokens there now, rounded down; negative in debt.
pub(crate) fn available<S: Store>(store: &S, whose: Whose) -> i64 {
    let balance = |state, now: Moment| now.rule().balance(state, now.units);
    // A request for no tokens is never denied.
    store.look(whose, 0, balance).unwrap_or_default()
}

/// Returns the whole tokens missing from the limit, rounded up.
pub(crate) fn level<S: Store>(store: &S, whose: Whose) -> u64 {
    let level = |state, now: Moment| algorithm::level(&now.rule(), state, now.units);
    store.look(whose, 0, level).unwrap_or_default()
}

/// Makes the bucket full, and lets the waiting callers take tokens from it.
pub(crate) fn reset<S: Store>(store: &S, whose: Whose) {
    store.queues().reset(store, whose, || fill(store, whose));
}

/// Makes the bucket full, and all places in its queue void.
pub(crate) fn fill<S: Store>(store: &S, whose: Whose) {
    let fill = |_, state, now: Moment| {
        let rule = now.rule();
        if rule.is_full(state, now.units) {
            return Change::Keep(());
        }
        Change::Shrink(rule.fresh(now.units), ())
    };
    store.account(whose).reset(|| store.update(Ask::of(whose, 0), fill));
}

impl<S: Store> Bucket for S {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        take_place(self, Ask::of(whose, n), within)
    }

    #[cfg(feature = "std")]
    fn place_by(
        &self,
        now: &Moment,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Place, Denied> {
        take_place(self, Ask::of(whose, n).at(now), within)
    }

    fn place_at(&self, whose: Whose, n: u64, end: u64, now: &Moment) -> Place {
        Place::ending(whose, n, end, self.account(whose).open(end, now), now)
    }

    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied> {
        let since = self.account(whose).since();
        match Store::debit(self, whose, n) {
            Some(Ok((state, at))) => Ok(Place::at_once(whose, n, state, since, at)),
            Some(Err(denied)) => Err(denied),
            None => self.place(whose, n, Some(Duration::ZERO)),
        }
    }

    fn foresee(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<(), Denied> {
        let place = |state, now| place_in(self, whose, n, within, (state, now)).map(|_| ());
        Store::look(self, whose, n, place)?
    }

    fn take(&self, whose: Whose, n: u64) -> Result<Grant, Denied> {
        self.check_n(whose, n)
    }

    fn look(&self, whose: Whose, n: u64) -> Result<Grant, Denied> {
        Store::foresee(self, whose, n).unwrap_or_else(|| peek(self, whose, n))
    }

    fn available(&self, whose: Whose) -> i64 {
        available(self, whose)
    }

    fn draws_ahead(&self) -> bool {
        Store::draws_ahead(self)
    }

    fn until(&self, place: &Place) -> Duration {
        let now = self.read_clock();
        now.figures(0).wait(now.rule().until_place(place.place, now.units))
    }

    fn waiting(&self) -> &Waiting {
        Store::waiting(self)
    }

    fn queues(&self) -> &Arc<Queues> {
        Store::queues(self)
    }

    fn moment(&self) -> Moment {
        self.read_clock()
    }

    fn take_back(&self, whose: Whose, span: Span, since: Option<Since>, now: &Moment) -> bool {
        let rule = now.rule();
        give_back(self, Ask::of(whose, 0).at(now), since, |state| {
            let back = rule.take_back(state, now.units, span.end, span.units())?;
            Some((back, state == span.end))
        })
    }

    #[cfg(feature = "std")]
    fn rework(
        &self,
        whose: Whose,
        since: Since,
        now: &Moment,
        rework: &dyn Fn(u64) -> Option<u64>,
    ) -> bool {
        let rework = |state| Some((rework(state)?, true));
        give_back(self, Ask::of(whose, 0).at(now), Some(since), rework)
    }

    fn add_if_idle(&self, whose: Whose, units: u64, now: &Moment) -> bool {
        let rule = now.rule();
        give_back(self, Ask::of(whose, 0).at(now), None, |state| {
            Some((rule.add_if_idle(state, now.units, units)?, false))
        })
    }

    fn returned_since(&self, place: &Place) -> Option<u64> {
        self.account(place.whose).since_then(place.since)
    }

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        let back = undo_by(self, Ask::of(place.whose, 0), place, |returned, state, now| {
            let (rule, given) = (now.rule(), place.given(place.place, n, returned));
            // A key without a slot has no queue of its own: its place is given up by the state.
            if place.whose.shared
                && now.is_due_later(place.place)
                && let Some(back) = rule.take_back(state, now.units, place.place, given.units)
            {
                return Some((back, n));
            }
            rule.give_up(state, now.units, given)
        });
        back.unwrap_or(0)
    }

    fn undo(&self, place: &Place, n: u64, now: &Moment) -> bool {
        let undone =
            undo_by(self, Ask::of(place.whose, 0).at(now), place, |returned, state, now| {
                let given: GivenUp = place.given(place.place_by(&now), n, returned);
                now.rule().undo(state, now.units, given)
            });
        undone.is_some()
    }

    fn put_back(&self, whose: Whose, n: u64) {
        refund(self, whose, n);
    }

    fn charge(&self, whose: Whose, n: u64) -> Duration {
        charge(self, whose, n)
    }
}

/// Takes a place for `ask.n` tokens behind all others, if it is due `within` that time.
fn take_place<S: Store>(
    store: &S,
    ask: Ask<'_>,
    within: Option<Duration>,
) -> Result<Place, Denied> {
    let place =
        |whose, state, now: Moment| match place_in(store, whose, ask.n, within, (state, now)) {
            Ok((state, place)) if ask.n > 0 => {
                store.before_debt(state, &now);
                let since = store.account(whose).open(state, &now);
                Change::Grow(state, Ok(Place { since, ..place }))
            }
            Ok((_, place)) => Change::Keep(Ok(place)),
            Err(denied) => Change::Keep(Err(denied)),
        };
    if let Some(answer) = store.update(ask, place) {
        return answer;
    }
    // An untouched bucket is made only if it grants the request, so no other key gives way for a
    // denial.
    let untouched = |state, now| place_in(store, ask.whose, ask.n, within, (state, now));
    let (_, untouched) = store.look(ask.whose, 0, untouched)??;
    if ask.n == 0 {
        return Ok(untouched);
    }
    store.touch(ask, place)?
}

/// Returns the state with a place in the queue, and the place, which no account knows yet. Changes
/// nothing.
#[inline]
fn place_in<S: Store>(
    store: &S,
    whose: Whose,
    n: u64,
    within: Option<Duration>,
    (state, now): (u64, Moment),
) -> Result<(u64, Place), Denied> {
    let (rule, at, waiting) = (now.rule(), now.figures(state), store.waiting());
    let placed = |placed, wait| {
        let (place, at) = (rule.place(state, placed, now.units, wait), now.figures(placed));
        let since = Since::default();
        Ok((placed, Place { whose, n, place, made: placed, since, wait, told: 0, at }))
    };
    if n == 0 {
        return placed(state, 0);
    }
    let (longest, patience) = at.longest_of_place(waiting.most, within);
    if n > waiting.largest_place(&now) {
        return Err(Denied::new(n, at));
    }
    match rule.reserve(state, now.units, n, longest) {
        Some((state, wait)) => placed(state, wait),
        None => Err(Denied::new(n, at.without_place(n, patience))),
    }
}

/// Gives units back to a bucket. `back` returns the state with them, and whether they were the last
/// debit. Returns whether they were given back, or the bucket is gone. They are counted for callers
/// that undo an earlier debit. The last debit need not be counted: all other callers took theirs
/// before it.
fn give_back<S: Store>(
    store: &S,
    ask: Ask<'_>,
    since: Option<Since>,
    back: impl Fn(u64) -> Option<(u64, bool)>,
) -> bool {
    let account = store.account(ask.whose);
    let give_back = |_, before: u64, _| {
        if since.is_some_and(|since| account.since_then(since).is_none()) {
            return Change::Keep(true);
        }
        let Some((state, is_last)) = back(before) else { return Change::Keep(false) };
        if !is_last {
            account.count(before.wrapping_sub(state));
        }
        Change::Shrink(state, true)
    };
    store.update(ask, give_back).unwrap_or(true)
}

/// Gives back tokens of a place that no reset has made void, and returns their number. `back`
/// returns the state with them and their number, or `None` if they cannot come back.
fn undo_by<S: Store>(
    store: &S,
    ask: Ask<'_>,
    place: &Place,
    back: impl Fn(u64, u64, Moment) -> Option<(u64, u64)>,
) -> Option<u64> {
    let account = store.account(ask.whose);
    let give_back = |_, before: u64, now: Moment| {
        let Some(returned) = account.since_then(place.since) else {
            return Change::Keep(Some(0));
        };
        match back(returned, before, now) {
            None => Change::Keep(None),
            Some((same, tokens)) if same == before => Change::Keep(Some(tokens)),
            Some((state, tokens)) => {
                // A give-back may have made the word what it was after this place, and other
                // callers may have taken since.
                if place.made != before || returned != 0 {
                    account.count(before.wrapping_sub(state));
                }
                Change::Shrink(state, Some(tokens))
            }
        }
    };
    store.update(ask, give_back).unwrap_or(Some(0))
}
