//! Places in the line of a key.
//!
//! What is promised beyond the word is remembered for 64 groups of keys: who shares a group with a long line is
//! given back less of a place with somebody behind, never more.

use super::KeyedLimiter;
use super::table::{Buckets, Change};
use crate::algorithm::GivenUp;
use crate::error::Denied;
use crate::line::{Line, Place, Promised, Whose};
use crate::live::Moment;
use core::hash::Hash;
use core::time::Duration;

impl<K: ?Sized> Line for KeyedLimiter<K> {
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied> {
        let stand = |before, state, now: Moment, wait| {
            let place = now.rule().place(before, state, now.units, wait);
            let at = now.figures(state);
            Place { whose, n, place, wait, waits: at.wait(wait), at }
        };
        let reserve = |state, now: Moment| {
            if n == 0 {
                return Change::Keep(Ok(stand(state, state, now, 0)));
            }
            let (rule, at) = (now.rule(), now.figures(state));
            let instalments = self.waiting.instalments && !at.terms.is_window();
            let (longest, patience) = at.longest(self.waiting.most, within);
            let over = if instalments { self.waiting.most } else { 0 };
            if n > rule.limit().saturating_add(over) {
                return Change::Keep(Err(Denied::new(n, at)));
            }
            if let Some((placed, wait)) = rule.reserve(state, now.units, n, longest) {
                self.owing(placed, now);
                return Change::Grow(placed, Ok(stand(state, placed, now, wait)));
            }
            Change::Keep(Err(Denied::new(n, at.without_place(n, patience))))
        };
        let room = if n > 0 { self.room() } else { None };
        match self.table.update(self, whose.hash, room, reserve) {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                let now = self.now();
                let fresh = now.rule().fresh(now.units);
                Ok(stand(fresh, fresh, now, 0))
            }
            Err(full) => {
                let place = self.without_slot(full, n, reserve).unwrap_or_else(Err)?;
                Ok(Place { whose: Whose { shared: true, ..whose }, ..place })
            }
        }
    }

    fn until(&self, place: &Place) -> Duration {
        let now = self.now();
        now.figures(0).wait(now.rule().until_place(place.place, now.units))
    }

    fn give_up(&self, place: &Place, n: u64) -> u64 {
        let promised = self.promised(place.whose.hash);
        let give_up = |state, now: Moment| {
            let Place { place, n: of, .. } = *place;
            let given = GivenUp { place, n, of, promised: promised.seen() };
            let Some((state, back)) = now.rule().give_up(state, now.units, given) else {
                return Change::Keep(0);
            };
            if let Some(end) = back.promised {
                promised.raise(end);
            }
            Change::Shrink(state, back.tokens)
        };
        self.stand_by(place.whose, give_up).unwrap_or(0)
    }

    fn refund(&self, place: &Place, n: u64) {
        self.stand_by(place.whose, |state, now: Moment| {
            match now.rule().refund(state, now.units, n) {
                Some(refunded) => Change::Shrink(refunded, ()),
                None => Change::Keep(()),
            }
        });
    }

    fn charge(&self, place: &Place, n: u64) -> Duration {
        self.charge_to(place.whose, n)
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
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// Applies `op` to the bucket that a place is in, if that is still there.
    fn stand_by<R>(&self, whose: Whose, op: impl Fn(u64, Moment) -> Change<R>) -> Option<R> {
        if whose.shared {
            return Some(self.on_overflow(op));
        }
        self.table.update(self, whose.hash, None, op).ok().flatten()
    }

    fn promised(&self, hash: u64) -> &Promised {
        let groups = &self.table.lines.common().promised;
        // By bits that choose neither lines nor anything else.
        &groups[(hash >> 20) as usize % groups.len()]
    }
}
