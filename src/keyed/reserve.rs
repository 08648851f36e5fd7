//! Places in the line of a key.

use super::KeyedLimiter;
use super::ledger::Entries;
use super::table::{Buckets, Change};
use crate::answer::{Denied, Grant};
use crate::bucket::{Bucket, Place, Queues, Since, Span, Waiting, Whose};
use crate::timeline::{Moment, Reading};
use alloc::sync::Arc;
use core::hash::Hash;
use core::time::Duration;

impl<K: Hash + ?Sized> Bucket for KeyedLimiter<K> {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        let place_of = |whose, state, now: Moment| match self.stand(whose, n, within, state, now) {
            Ok((state, place)) if n > 0 => {
                self.owing(state, now);
                let since = self.entries(whose).open(state, &now);
                Change::Grow(state, Ok(Place { since, ..place }))
            }
            Ok((_, place)) => Change::Keep(Ok(place)),
            Err(denied) => Change::Keep(Err(denied)),
        };
        let place = |state, now| place_of(whose, state, now);
        if let Ok(Some(answer)) = self.table.update(self, whose.hash, None, place) {
            return answer;
        }
        // What an untouched bucket has no place for makes none, and so nobody else's gives way.
        let (start, now) = match self.table.outlook(self, whose.hash, self.when_full.room()) {
            Ok(outlook) => outlook,
            Err(_) => {
                let now = self.now();
                (now.rule().fresh(now.units), now)
            }
        };
        let (_, untouched) = self.stand(whose, n, within, start, now)?;
        if n == 0 {
            return Ok(untouched);
        }
        match self.table.update(self, whose.hash, self.room(), place) {
            Ok(Some(answer)) => answer,
            // Room was given, so there is a bucket.
            Ok(None) => Ok(untouched),
            Err(full) => {
                let whose = Whose { shared: true, ..whose };
                let place = |state, now| place_of(whose, state, now);
                self.without_slot(full, n, place).unwrap_or_else(Err)
            }
        }
    }

    fn place_at(&self, whose: Whose, n: u64, end: u64, now: &Moment) -> Place {
        Place::ending(whose, n, end, self.entries(whose).open(end, now), now)
    }

    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied> {
        let since = self.entries(whose).since();
        let Some((taken, read)) = self.take_unchanged(whose.hash, n) else {
            return self.place(whose, n, Some(Duration::ZERO));
        };
        match taken {
            Ok(taken) => Ok(Place::at_once(whose, n, taken, since, self.live.figures(read, taken))),
            Err(state) => Err(Denied::new(n, self.live.figures(read, state))),
        }
    }

    fn foresee(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<(), Denied> {
        self.look_at(whose.hash, n, |state, now| {
            self.stand(whose, n, within, state, now).map(|_| ())
        })
    }

    fn take(&self, whose: Whose, n: u64) -> Result<Grant, Denied> {
        self.check_hash(whose.hash, n)
    }

    fn look(&self, whose: Whose, n: u64) -> Result<Grant, Denied> {
        match self.look_unchanged(whose.hash, n) {
            Some((Ok(taken), read)) => Ok(Grant::new(n, self.live.figures(read, taken))),
            Some((Err(state), read)) => Err(Denied::new(n, self.live.figures(read, state))),
            None => KeyedLimiter::look(self, whose.hash, n),
        }
    }

    fn available(&self, whose: Whose) -> i64 {
        self.available_to(whose.hash)
    }

    fn draws_ahead(&self) -> bool {
        false
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

    fn take_back(&self, whose: Whose, span: Span, since: Option<Since>, now: &Moment) -> bool {
        let rule = now.rule();
        self.give_back(whose, since, |state| {
            let back = rule.take_back(state, now.units, span.end, span.units())?;
            Some((back, state == span.end))
        })
    }

    #[cfg(feature = "std")]
    fn rework(&self, whose: Whose, since: Since, rework: &dyn Fn(u64) -> Option<u64>) -> bool {
        self.give_back(whose, Some(since), |state| Some((rework(state)?, true)))
    }

    fn add_if_idle(&self, whose: Whose, units: u64, now: &Moment) -> bool {
        let rule = now.rule();
        self.give_back(whose, None, |state| {
            Some((rule.add_if_idle(state, now.units, units)?, false))
        })
    }

    fn returned_since(&self, place: &Place) -> Option<u64> {
        self.entries(place.whose).since_then(place.since)
    }

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        let back = self.undo_by(place, |returned, state, now| {
            let given = place.given(place.place, n, returned);
            match place.whose.shared {
                true if now.is_due_later(place.place) => {
                    let rule = now.rule();
                    match rule.take_back(state, now.units, place.place, given.units) {
                        Some(state) => Some((state, n)),
                        None => rule.give_up(state, now.units, given),
                    }
                }
                _ => now.rule().give_up(state, now.units, given),
            }
        });
        back.unwrap_or(0)
    }

    fn undo(&self, place: &Place, n: u64, _: &Moment) -> bool {
        let undone = self.undo_by(place, |returned, state, now| {
            let given = place.given(place.place_by(&now), n, returned);
            now.rule().undo(state, now.units, given)
        });
        undone.is_some()
    }

    fn put_back(&self, whose: Whose, n: u64) {
        self.put_back_to(whose, n);
    }

    fn charge(&self, whose: Whose, n: u64) -> Duration {
        if n == 0 { self.debt(whose.hash) } else { self.charge_to(whose, n) }
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// The key's line.
    pub(crate) fn whose(&self, key: &K) -> Whose {
        Whose { hash: self.seed.fingerprint(key), shared: false }
    }
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// The state with a place in line, and the place, which has no account yet.
    fn stand(
        &self,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
        state: u64,
        now: Moment,
    ) -> Result<(u64, Place), Denied> {
        let (rule, at) = (now.rule(), now.figures(state));
        let since = Since::default();
        let stand = |placed, wait| {
            let place = rule.place(state, placed, now.units, wait);
            let at = now.figures(placed);
            Ok((placed, Place { whose, n, place, made: placed, since, held: 0, wait, told: 0, at }))
        };
        if n == 0 {
            return stand(state, 0);
        }
        let (longest, patience) = at.longest_of_place(self.waiting.most, within);
        if n > self.waiting.largest_place(&now) {
            return Err(Denied::new(n, at));
        }
        match rule.reserve(state, now.units, n, longest) {
            Some((placed, wait)) => stand(placed, wait),
            None => Err(Denied::new(n, at.without_place(n, patience))),
        }
    }

    /// What [`take_unchanged`](Self::take_unchanged) would make of the bucket.
    fn look_unchanged(&self, hash: u64, n: u64) -> Option<(Result<u64, u64>, Reading)> {
        let announced = &self.table.lines.common().announced;
        let rule = self.live.smooth()?;
        if n.wrapping_sub(1) >= rule.limit() {
            return None;
        }
        let read = || self.live.read_smoothly(announced);
        self.table.update_live(read, hash, |state, now| {
            Change::Keep((rule.take(state, now.units, n).ok_or(state), now))
        })
    }

    /// Gives something back to the bucket, as `back` says of its state, and whether that takes the last debit back; whether it
    /// did, or there is no such bucket any more. It is counted for those who undo what they took, unless it is the last.
    fn give_back(
        &self,
        whose: Whose,
        since: Option<Since>,
        back: impl Fn(u64) -> Option<(u64, bool)>,
    ) -> bool {
        let entries = self.entries(whose);
        let give_back = |before: u64, _: Moment| {
            if since.is_some_and(|since| entries.since_then(since).is_none()) {
                return Change::Keep(true);
            }
            let Some((state, is_last)) = back(before) else { return Change::Keep(false) };
            if !is_last {
                entries.count(before.wrapping_sub(state));
            }
            Change::Shrink(state, true)
        };
        self.stand_by(whose, give_back).unwrap_or(true)
    }

    /// Gives back tokens of a place that no reset has made void: how many. `None` if `back` says so.
    fn undo_by(
        &self,
        place: &Place,
        back: impl Fn(u64, u64, Moment) -> Option<(u64, u64)>,
    ) -> Option<u64> {
        let entries = self.entries(place.whose);
        let give_back = |before: u64, now: Moment| {
            let Some(returned) = entries.since_then(place.since) else {
                return Change::Keep(Some(0));
            };
            match back(returned, before, now) {
                None => Change::Keep(None),
                Some((same, tokens)) if same == before => Change::Keep(Some(tokens)),
                Some((state, tokens)) => {
                    // A give-back may have made the word what it was after this place, and others took since.
                    if place.made != before || returned != 0 {
                        entries.count(before.wrapping_sub(state));
                    }
                    Change::Shrink(state, Some(tokens))
                }
            }
        };
        self.stand_by(place.whose, give_back).unwrap_or(Some(0))
    }

    /// Applies `op` to the bucket that a place is in, if that is still there.
    pub(super) fn stand_by<R>(
        &self,
        whose: Whose,
        op: impl Fn(u64, Moment) -> Change<R>,
    ) -> Option<R> {
        if whose.shared {
            return Some(self.on_overflow(op));
        }
        self.table.update(self, whose.hash, None, op).ok().flatten()
    }

    /// What is entered for the key of what is given back to it.
    pub(super) fn entries(&self, whose: Whose) -> Entries<'_> {
        self.ledger.of(whose, &self.table.lines.common().returns)
    }
}
