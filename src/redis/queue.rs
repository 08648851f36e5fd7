//! The line of one process for one key: who waits in it, and the flow that it holds in Redis for them. Pure.
//!
//! Each caller that comes asks Redis for a place, and what Redis grants is *held* by the line, not by the caller: a stretch of
//! token time of which Redis knows that it is taken. Callers are served from what is held, first come, first served. So
//! whoever leaves, from wherever, leaves nothing to be mended: those behind are served from what is held all the
//! same, which is earlier, and what is then too much is at the end.
//!
//! ```text
//!   waiting:  A  B  C  D          held:  |--1--|--2--|--3--|--4--|        each is served when its stretch is due
//!   B leaves: A  C  D                    |--1--|--2--|--3--| excess       C and D have moved up
//!   E comes:  A  C  D  E                 |--1--|--2--|--3--|--4--|        without asking Redis
//! ```
//!
//! A caller is *settled* while what is held is enough for it and for all before it. One that comes and is not
//! settled has a call on its way. Stretches of different calls may have others' places between them. Then a request is
//! not served from both sides of such a gap, since a window might admit more than a burst: it waits for a stretch
//! that is long enough, which its own is at the latest, and the rest before that is lost.
//!
//! What is handed on after it was due is acted on late. Those behind then wait as if its first owner had come as late, and
//! as much flow is not handed back: `acted` is when the bucket is full after what was acted on, if that is later than
//! Redis knows.

use super::held::{Held, STALE, Stretches};
use super::units::Units;
use crate::redis::RedisError;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;
use core::task::Waker;

/// A place that came to its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    held: Held,
    /// When it may be acted on, in nanoseconds of the line's clock.
    due: u64,
    /// When the bucket is full after it, if that is later than Redis knows; or else 0.
    acted: u128,
}

#[derive(Debug)]
struct Waiter {
    cost: u128,
    /// When it must be due at the latest.
    limit: u64,
    waker: Option<Waker>,
    /// Without a call on its way although it is not settled: it must ask again.
    asks: bool,
}

/// How one who comes is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Entry {
    /// What is held suffices.
    Settled,
    /// Redis must be asked, after what is held in vain has been handed back.
    Asks(Option<Held>),
    /// What is held suffices, so much later than its limit.
    TooLate(u64),
}

/// How one who waits is.
#[derive(Debug)]
#[must_use]
pub(super) enum Stand {
    Waits,
    Asks,
    Turn(Turn),
    Failed(RedisError),
}

#[derive(Debug)]
pub(super) struct Queue {
    units: Units,
    waiters: BTreeMap<u64, Waiter>,
    /// Those whose turn has come, and who have not noticed yet.
    turns: BTreeMap<u64, Turn>,
    failed: BTreeMap<u64, RedisError>,
    /// Those to be woken, when nothing is locked any more.
    woken: Vec<Waker>,
    held: Stretches,
    /// Who comes next, and the first who is not settled.
    next: u64,
    unsettled: u64,
    /// The cost of those who are.
    settled: u128,
    /// How many ask for more than a token.
    large: usize,
    /// Calls on their way.
    asked: u64,
    /// Since when what is due may be handed on: nobody was there for it before.
    since: u64,
    acted: u128,
}

impl Queue {
    pub(super) fn new(units: Units) -> Self {
        Self {
            units,
            waiters: BTreeMap::new(),
            turns: BTreeMap::new(),
            failed: BTreeMap::new(),
            woken: Vec::new(),
            held: Stretches::new(units),
            next: 0,
            unsettled: 0,
            settled: 0,
            large: 0,
            asked: 0,
            since: 0,
            acted: 0,
        }
    }

    /// One comes, to the end of the line.
    pub(super) fn enter(&mut self, now: u64, n: u64, limit: u64) -> (u64, Entry) {
        if self.waiters.is_empty() {
            self.held.forget_stale(now);
        }
        let cost = self.units.cost(n);
        // Too little for it would stand in its way in Redis.
        let too_little = self.has_excess() && self.held.flow() - self.settled < cost;
        let excess = if too_little { self.take_excess() } else { None };
        let id = self.next;
        self.next += 1;
        self.waiters.insert(id, Waiter { cost, limit, waker: None, asks: false });
        self.large += usize::from(cost > self.units.cost(1));
        self.settle(now);
        if id >= self.unsettled {
            self.asked += 1;
            return (id, Entry::Asks(excess));
        }
        if limit < u64::MAX {
            let late = self.due_of(id).unwrap_or(0).saturating_sub(limit);
            if late > 0 {
                self.leave(id, now);
                return (id, Entry::TooLate(late));
            }
        }
        (id, Entry::Settled)
    }

    /// One leaves, from wherever it stands.
    pub(super) fn leave(&mut self, id: u64, now: u64) {
        if self.waiters.first_key_value().is_some_and(|(&first, _)| first == id) {
            // The next may ask for less, and have been due already but for the first.
            self.since = self.since.max(now);
        }
        if let Some(waiter) = self.remove(id) {
            if id < self.unsettled {
                self.settled -= waiter.cost;
            }
        } else if let Some(turn) = self.turns.remove(&id) {
            // As if its turn had not come: it is the next one's, from now on.
            self.acted = self.acted.saturating_sub(turn.held.cost());
            self.since = self.since.max(now);
            self.hold(turn.held, now);
        }
        self.failed.remove(&id);
        self.settle(now);
    }

    /// Redis has granted what one asked for.
    pub(super) fn granted(&mut self, held: Held, now: u64) {
        self.asked -= 1;
        self.hold(held, now);
        self.let_ask();
    }

    /// What one asked for was not granted. It leaves, unless others have left it what it wanted.
    pub(super) fn refused(&mut self, id: u64, now: u64, error: RedisError) {
        self.asked -= 1;
        if let Some(waiter) = self.waiters.get(&id) {
            let in_time = self.due_of(id).is_some_and(|due| due <= waiter.limit);
            if (id >= self.unsettled || !in_time)
                && let Some(waiter) = self.waiters.get_mut(&id)
            {
                self.woken.extend(waiter.waker.take());
                self.leave(id, now);
                self.failed.insert(id, error);
            }
        }
        self.let_ask();
    }

    /// Holds what could not be handed back, unless nobody was there for it in time.
    pub(super) fn keep(&mut self, held: Held, now: u64) {
        if held.due(&self.units).saturating_add(STALE) > now {
            self.hold(held, now);
        }
    }

    /// Holds flow for those who wait.
    pub(super) fn hold(&mut self, held: Held, now: u64) {
        self.held.insert(held);
        self.settle(now);
    }

    /// When the first is due, if that is known.
    pub(super) fn next_due(&self) -> Option<u64> {
        let (&id, waiter) = self.waiters.first_key_value()?;
        if id >= self.unsettled {
            return None;
        }
        self.turn(waiter.cost).map(|(_, turn)| turn.due)
    }

    /// Serves all whose turn has come: whom to wake.
    pub(super) fn serve(&mut self, now: u64) -> Vec<Waker> {
        let mut wakers = mem::take(&mut self.woken);
        while let Some((&id, waiter)) = self.waiters.first_key_value()
            && id < self.unsettled
            && let Some((last, turn)) = self.turn(waiter.cost)
            && turn.due <= now
        {
            self.settled -= waiter.cost;
            self.held.consume(last, turn.held.end);
            self.acted = turn.acted;
            self.turns.insert(id, turn);
            wakers.extend(self.remove(id).and_then(|waiter| waiter.waker));
        }
        wakers
    }

    /// What has become of one, which is woken with this when it changes.
    pub(super) fn stand(&mut self, id: u64, waker: &Waker) -> Stand {
        if let Some(turn) = self.turns.remove(&id) {
            return Stand::Turn(turn);
        }
        if let Some(error) = self.failed.remove(&id) {
            return Stand::Failed(error);
        }
        let Some(waiter) = self.waiters.get_mut(&id) else { return Stand::Waits };
        if mem::take(&mut waiter.asks) {
            self.asked += 1;
            return Stand::Asks;
        }
        if !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiter.waker = Some(waker.clone());
        }
        Stand::Waits
    }

    /// One is awake, and need not be woken.
    pub(super) fn hush(&mut self, id: u64) {
        if let Some(waiter) = self.waiters.get_mut(&id) {
            waiter.waker = None;
        }
    }

    /// Takes what nobody waits for out of the end of the line: in one stretch, without gaps.
    pub(super) fn take_excess(&mut self) -> Option<Held> {
        if !self.has_excess() {
            return None;
        }
        let excess = if self.is_whole() {
            self.held.flow() - self.settled
        } else {
            let (at, used) = self.reach_of(self.unsettled)?;
            self.held.behind(at, used)
        };
        // After what was acted on late all are later, and as much of it stays taken.
        let (token, used) = (self.units.cost(1), self.acted + self.settled);
        let excess = excess.min(self.held.last()?.end.saturating_sub(used)) / token * token;
        self.held.take_last(excess)
    }

    pub(super) fn has_excess(&self) -> bool {
        self.held.flow() > self.settled && self.waiters.range(self.unsettled..).next().is_none()
    }

    /// Whether Redis need not be asked for one any more: others have left it what it wanted, or it has left itself.
    pub(super) fn spares(&mut self, id: u64) -> bool {
        let spared = id < self.unsettled || !self.waiters.contains_key(&id);
        if spared {
            self.asked -= 1;
            self.let_ask();
        }
        spared
    }

    pub(super) fn is_waited_in(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// All who wait: nobody is left who would wake them.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        self.waiters.values_mut().filter_map(|waiter| waiter.waker.take()).collect()
    }

    /// What is told when a place has come to its turn: what is missing from the bucket.
    pub(super) fn missing(&self, turn: &Turn) -> u128 {
        turn.held.missing.unwrap_or(self.units.burst())
    }

    pub(super) fn units(&self) -> &Units {
        &self.units
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.large -= usize::from(waiter.cost > self.units.cost(1));
        Some(waiter)
    }

    /// Whether all that is held can be used, whatever is between: it has no gaps, or nobody asks for more than a token.
    fn is_whole(&self) -> bool {
        self.large == 0 || !self.held.has_gaps()
    }

    /// Settles those for whom what is held is enough.
    fn settle(&mut self, now: u64) {
        while let Some((&id, waiter)) = self.waiters.range(self.unsettled..).next()
            && self.settled + waiter.cost <= self.held.flow()
        {
            let cost = waiter.cost;
            if !self.is_whole() && self.reach_of(id + 1).is_none() {
                break;
            }
            if self.settled == 0 {
                // The first: nobody was there before for what is held.
                self.since = self.since.max(now);
            }
            self.unsettled = id + 1;
            self.settled += cost;
        }
        if self.waiters.range(self.unsettled..).next().is_none() {
            self.unsettled = self.next;
        }
    }

    /// Who is not settled, and for whom no call is on its way, asks again.
    fn let_ask(&mut self) {
        if self.asked > 0 {
            return;
        }
        for (_, waiter) in self.waiters.range_mut(self.unsettled..) {
            waiter.asks = true;
            self.woken.extend(waiter.waker.take());
        }
    }

    /// When one of those who wait is due.
    fn due_of(&self, id: u64) -> Option<u64> {
        let (at, end) = self.reach_of(id + 1)?;
        let held = Held { end, ..*self.held.get(at)? };
        Some(held.due(&self.units).max(self.since))
    }

    /// Where the last of those before `id` ends, and in which stretch.
    fn reach_of(&self, id: u64) -> Option<(usize, u128)> {
        if !self.held.has_gaps() {
            let sum = |range: Range<u64>| -> u128 {
                self.waiters.range(range).map(|(_, waiter)| waiter.cost).sum()
            };
            let (more, behind) = if id < self.unsettled {
                (0, sum(id..self.unsettled))
            } else {
                (sum(self.unsettled..id), 0)
            };
            return self.held.after(self.settled + more - behind);
        }
        let mut reach = (0, self.held.first()?.start);
        for (_, waiter) in self.waiters.range(..id) {
            reach = self.held.fit(reach.0, reach.1, waiter.cost)?;
        }
        Some(reach)
    }

    /// The first stretch of that length: in which it ends, and as a turn.
    fn turn(&self, cost: u128) -> Option<(usize, Turn)> {
        let units = &self.units;
        let (at, end) = self.held.fit(0, self.held.first()?.start, cost)?;
        let last = self.held.get(at)?;
        // What was due before anybody was there for it is acted on later than it is due.
        let since = if self.since > last.at { last.time(units, self.since) } else { 0 };
        let acts = last.acts(units, end).max(since);
        let acts = acts.max((self.acted + cost).saturating_sub(units.burst()));
        let missing = last.missing.map(|missing| missing.saturating_sub(last.end - end));
        let held = Held { start: end - cost, end, missing, ..*last };
        let due = last.local(units, acts);
        // Acted on in time, it is as Redis has it.
        let acted = self.acted.max(acts).max(held.start) + cost;
        Some((at, Turn { held, due, acted: if acted > end { acted } else { 0 } }))
    }
}
