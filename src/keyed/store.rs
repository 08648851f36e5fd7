//! The buckets of a table, one for each key.

use super::KeyedLimiter;
use super::WhenFull;
use super::ledger::Entries;
use super::table::{Buckets, Change, Full, Room};
use crate::answer::{AnswerKind, Denied, Figures, Grant};
use crate::bucket::{Ask, Queues, Store, Waiting, Whose};
use crate::cell::Step;
use crate::timeline::Moment;
use alloc::sync::Arc;
use core::hash::Hash;

impl<K: ?Sized> Store for KeyedLimiter<K> {
    type Account<'a>
        = Entries<'a>
    where
        Self: 'a;

    fn read_clock(&self) -> Moment {
        self.now()
    }

    fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    fn account(&self, whose: Whose) -> Entries<'_> {
        self.ledger.of(whose, &self.table.lines.common().returns)
    }

    fn max_debt(&self) -> u64 {
        self.max_debt
    }

    fn before_debt(&self, state: u64, now: &Moment) {
        if now.rule().until_paid(state, now.units, 0) > 0 {
            self.table.lines.common().furthest.raise(state);
        }
    }

    fn look<R>(&self, whose: Whose, n: u64, look: impl Fn(u64, Moment) -> R) -> Result<R, Denied> {
        let keep = |_, state, now| Change::Keep(look(state, now));
        if let Some(answer) = self.update(Ask::of(whose, 0), keep) {
            return Ok(answer);
        }
        match self.table.outlook(self, whose.hash, self.when_full.room()) {
            Ok((start, now)) => Ok(look(start, now)),
            // The limiter answers a request of nothing, or of more than the limit, without the
            // table.
            Err(full) if self.when_full != WhenFull::Share => {
                let now = self.now();
                if n == 0 || n > now.rule().limit() {
                    return Ok(look(now.rule().fresh(now.units), now));
                }
                Err(self.no_room(full, n))
            }
            Err(_) => Ok(self.look_at_overflow(look)),
        }
    }

    fn update<R>(
        &self,
        ask: Ask<'_>,
        change: impl Fn(Whose, u64, Moment) -> Change<R>,
    ) -> Option<R> {
        let change = |state, now| change(ask.whose, state, now);
        if ask.whose.shared {
            return self.on_overflow(None, change);
        }
        self.table.update(self, ask.whose.hash, None, change).ok().flatten()
    }

    fn touch<R>(
        &self,
        ask: Ask<'_>,
        change: impl Fn(Whose, u64, Moment) -> Change<R>,
    ) -> Result<R, Denied> {
        let shared = Whose { shared: true, ..ask.whose };
        let shared = |state, now| change(shared, state, now);
        if ask.whose.shared
            && let Some(answer) = self.on_overflow(None, shared)
        {
            return Ok(answer);
        }
        let own = |state, now| change(ask.whose, state, now);
        loop {
            match self.table.update(self, ask.whose.hash, self.room(), own) {
                Ok(Some(answer)) => return Ok(answer),
                // The table makes a bucket where room is given, so this does not occur.
                Ok(None) => {}
                Err(full) if self.when_full != WhenFull::Share => {
                    return Err(self.no_room(full, ask.n));
                }
                Err(_) => {
                    if let Some(answer) = self.on_overflow(Some(ask.whose.hash), shared) {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    fn check_n(&self, whose: Whose, n: u64) -> Result<Grant, Denied> {
        self.check_hash(whose.hash, n)
    }

    fn debit(&self, whose: Whose, n: u64) -> Option<Result<(u64, Figures), Denied>> {
        let (taken, read) = self.take_unchanged(whose.hash, n)?;
        let figures = |state| self.timeline.figures(read, state);
        Some(match taken {
            Ok(taken) => Ok((taken, figures(taken))),
            Err(state) => Err(Denied::new(n, figures(state))),
        })
    }

    fn foresee(&self, whose: Whose, n: u64) -> Option<Result<Grant, Denied>> {
        let announced = &self.table.lines.common().announced;
        let rule = self.timeline.smooth()?;
        if n.wrapping_sub(1) >= rule.limit() {
            return None;
        }
        let read = || self.timeline.read_smoothly(announced);
        let (taken, read) = self.table.update_live(read, whose.hash, |state, now| {
            Change::Keep((rule.take(state, now.units, n).ok_or(state), now))
        })?;
        Some(match taken {
            Ok(taken) => Ok(Grant::new(n, self.timeline.figures(read, taken))),
            Err(state) => Err(Denied::new(n, self.timeline.figures(read, state))),
        })
    }
}

impl<K: ?Sized> KeyedLimiter<K> {
    pub(super) fn room(&self) -> Option<Room> {
        Some(self.when_full.room())
    }

    /// Makes the denial of a key for which the table has no slot.
    #[cold]
    fn no_room(&self, full: Full, n: u64) -> Denied {
        let now = self.now();
        let soonest = full.soonest.unwrap_or_else(|| now.rule().fresh(now.units));
        Denied::new(n, now.figures(soonest).as_kind(AnswerKind::TableFull))
    }

    /// Computes something from the state of the bucket that keys without a slot share.
    fn look_at_overflow<R>(&self, look: impl Fn(u64, Moment) -> R) -> R {
        look(self.table.lines.common().overflow.load(), self.now())
    }

    /// Changes the bucket that keys without a slot share. `None`: the key `taker`, which would take
    /// tokens of it, has a slot by now.
    ///
    /// A key that takes tokens of the shared bucket may get a slot a moment later. Its own bucket
    /// then begins no fuller than the shared one was left, or the key would have two bursts.
    fn on_overflow<R>(
        &self,
        taker: Option<u64>,
        change: impl Fn(u64, Moment) -> Change<R>,
    ) -> Option<R> {
        let now = self.now();
        self.table.lines.common().overflow.update(|state| match change(state, now) {
            Change::Grow(value, _)
                if taker.is_some_and(|hash| !self.table.keeps_out(self, hash, value, now)) =>
            {
                Step::Keep(None)
            }
            Change::Grow(value, answer) | Change::Shrink(value, answer) => {
                Step::Put(value, Some(answer))
            }
            Change::Keep(answer) => Step::Keep(Some(answer)),
        })
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Finds the bucket and the waiting line of a key.
    pub(crate) fn whose(&self, key: &K) -> Whose {
        Whose { hash: self.seed.fingerprint(key), shared: false }
    }
}
