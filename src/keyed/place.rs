//! Places in the line of a key.
//!
//! What is promised beyond the word is remembered for 64 groups of keys: who shares a group with a long line is
//! given back less of a place with somebody behind, never more. A reset makes all places of the key's group void.

use super::table::{Buckets, Change};
use super::{KeyedLimiter, WhenFull};
use crate::algorithm::Returned;
use crate::error::Denied;
use crate::figures::Grant;
use crate::line::{Line, Place, Promised, Seen, Since, Whose};
use crate::live::{Moment, Reading};
use core::hash::Hash;
use core::time::Duration;

impl<K: Hash + ?Sized> Line for KeyedLimiter<K> {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        let place = |state, now: Moment| match self.stand(whose, n, within, state, now) {
            Ok((state, place)) if n > 0 => {
                self.owing(state, now);
                Change::Grow(state, Ok(place))
            }
            Ok((_, place)) => Change::Keep(Ok(place)),
            Err(denied) => Change::Keep(Err(denied)),
        };
        if let Ok(Some(answer)) = self.table.update(self, whose.hash, None, place) {
            return answer;
        }
        // What an untouched bucket has no place for makes none, and so nobody else's gives way.
        let now = self.now();
        let (_, untouched) = self.stand(whose, n, within, now.rule().fresh(now.units), now)?;
        if n == 0 {
            return Ok(untouched);
        }
        match self.table.update(self, whose.hash, self.room(), place) {
            Ok(Some(answer)) => answer,
            // Room was given, so there is a bucket.
            Ok(None) => Ok(untouched),
            Err(full) => {
                let whose = Whose { shared: true, ..whose };
                let Since { resets, returned } = self.promised(whose).since();
                let place = self.without_slot(full, n, place).unwrap_or_else(Err)?;
                Ok(Place { whose, resets, returned, ..place })
            }
        }
    }

    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied> {
        let since = self.promised(whose).since();
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

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        self.give_back(place, |promised, state, now| {
            now.rule().give_up(state, now.units, place.given(place.place, n, promised))
        })
    }

    fn undo(&self, place: &Place) {
        self.give_back(place, |promised, state, now| {
            let by_now = place.place_by(&now.figures(state));
            now.rule().undo(state, now.units, place.given(by_now, place.n, promised))
        });
    }

    fn refund(&self, place: &Place, n: u64) {
        self.stand_by(place.whose, |state, now| self.refunded(place.whose, state, now, n));
    }

    fn put_back(&self, whose: Whose, n: u64) {
        self.put_back_to(whose, n);
    }

    fn charge(&self, whose: Whose, n: u64) -> Duration {
        if n == 0 { self.debt(whose.hash) } else { self.charge_to(whose, n) }
    }

    #[cfg(feature = "std")]
    fn generation(&self) -> u64 {
        self.live.generation(&self.table.lines.common().announced)
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// The key's line.
    pub(crate) fn whose(&self, key: &K) -> Whose {
        Whose { hash: self.seed.fingerprint(key), shared: false }
    }

    /// What a request of `n` would be answered, as `answer` says of the key's bucket. Changes
    /// nothing.
    pub(super) fn look_at<R>(
        &self,
        hash: u64,
        n: u64,
        answer: impl Fn(u64, Moment) -> Result<R, Denied>,
    ) -> Result<R, Denied> {
        let look = |state, now| Change::Keep(answer(state, now));
        if let Ok(Some(answer)) = self.table.update(self, hash, None, look) {
            return answer;
        }
        let now = self.now();
        let untouched = || answer(now.rule().fresh(now.units), now);
        if self.when_full == WhenFull::Evict || n == 0 || n > now.rule().limit() {
            return untouched();
        }
        match self.table.room(self, hash) {
            Ok(()) => untouched(),
            Err(full) => self.without_slot(full, n, look).unwrap_or_else(Err),
        }
    }
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// The state with a place in line, and the place.
    fn stand(
        &self,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
        state: u64,
        now: Moment,
    ) -> Result<(u64, Place), Denied> {
        let (rule, at) = (now.rule(), now.figures(state));
        let Since { resets, returned } = self.promised(whose).since();
        let stand = |placed, wait| {
            let place = rule.place(state, placed, now.units, wait);
            let at = now.figures(placed);
            let (made, held, nanos) = (placed, 0, at.nanos_of(wait));
            let place = Place { whose, n, place, made, resets, held, returned, wait, nanos, at };
            Ok((placed, place))
        };
        if n == 0 {
            return stand(state, 0);
        }
        let instalments = self.waiting.instalments && !at.terms.is_window();
        let (longest, patience) = at.longest(self.waiting.most, within);
        let over = if instalments { self.waiting.most } else { 0 };
        if n > rule.limit().saturating_add(over) {
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

    /// Gives some of a place back: how many tokens, and the state then, says `back` of what is promised and the state.
    fn give_back(
        &self,
        place: &Place,
        back: impl Fn(Seen, u64, Moment) -> Option<(u64, Returned)>,
    ) -> u64 {
        let promised = self.promised(place.whose);
        let give_back = |before: u64, now: Moment| {
            let seen = promised.seen(place.since());
            let Some((state, back)) = seen.and_then(|seen| back(seen, before, now)) else {
                return Change::Keep(0);
            };
            if !place.is_last(before) {
                promised.returns(before.wrapping_sub(state));
            }
            if let Some(end) = back.promised {
                promised.raise(end);
            }
            Change::Shrink(state, back.tokens)
        };
        self.stand_by(place.whose, give_back).unwrap_or(0)
    }

    /// Applies `op` to the bucket that a place is in, if that is still there.
    fn stand_by<R>(&self, whose: Whose, op: impl Fn(u64, Moment) -> Change<R>) -> Option<R> {
        if whose.shared {
            return Some(self.on_overflow(op));
        }
        self.table.update(self, whose.hash, None, op).ok().flatten()
    }

    /// Of keys without a slot, the first group's.
    pub(super) fn promised(&self, whose: Whose) -> &Promised {
        let groups = &self.table.lines.common().promised;
        // By bits that choose neither lines nor anything else.
        let group = if whose.shared { 0 } else { (whose.hash >> 20) as usize % groups.len() };
        &groups[group]
    }
}
