//! The line of one process for one key: the callers that wait, and the flow that Redis has granted
//! for them. Pure.
//!
//! Each caller that comes asks Redis for a place, but the line *holds* what Redis grants: a stretch
//! of token time that Redis counts as taken. The line serves its callers from what it holds, first
//! come, first served. So a caller that leaves, from wherever, needs nothing to be mended: those
//! behind it are served from the same stretches, and the excess is at the end.
//!
//! ```text
//!   waiting:  A  B  C  D       held:  |--1--|--2--|--3--|--4--|    each is served when its is due
//!   B leaves: A  C  D                 |--1--|--2--|--3--| excess   C and D have moved up
//!   E comes:  A  C  D  E              |--1--|--2--|--3--|--4--|    without asking Redis
//! ```
//!
//! A caller is *settled* while the line holds enough for it and for all before it. A caller that is
//! not settled has a call to Redis on its way. Other processes' places may lie between the
//! stretches of different calls. A request is never served from both sides of such a gap, since a
//! window might then admit more than a burst. It waits for a stretch that is long enough, at the
//! latest its own, and the flow before that is lost.
//!
//! A caller that is handed flow after it was due acts late. Those behind then wait as if the flow's
//! first owner had acted as late, and as much flow stays taken in Redis: `lag` is how much later
//! the bucket is full than Redis knows.

use crate::redis::RedisError;
use crate::redis::queue::held::{Held, STALE, Stretches};
use crate::redis::script::units::Units;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;
use core::task::Waker;

/// A place whose moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) struct Turn {
    held: Held,
    /// The moment, in nanoseconds of the line's clock.
    due: u64,
    /// How much later the bucket is full after it than Redis knows, in parts.
    lag: u128,
}

impl Turn {
    /// What is missing from the bucket when it is acted on, in parts.
    pub(in crate::redis) fn missing(&self, units: &Units) -> u128 {
        self.held.missing.unwrap_or(units.burst())
    }
}

#[derive(Debug)]
struct Waiter {
    cost: u128,
    /// The latest moment at which its place may be due.
    limit: u64,
    waker: Option<Waker>,
    /// Whether it must ask again: it is not settled, and no call is on its way.
    asks: bool,
}

/// The reception of a caller that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::redis) enum Entry {
    /// The line holds enough for it.
    Settled,
    /// It must ask Redis, and first hand back this, which is too little for it.
    Asks(Option<Held>),
    /// The line holds enough for it, so much later than its limit.
    TooLate(u64),
}

/// The state of a caller in the line.
#[derive(Debug)]
#[must_use]
pub(in crate::redis) enum Stand {
    Waits,
    Asks,
    Turn(Turn),
    Failed(RedisError),
}

#[derive(Debug)]
pub(in crate::redis) struct Queue {
    units: Units,
    waiters: BTreeMap<u64, Waiter>,
    /// Places whose moment has come and whose callers have not noticed yet.
    turns: BTreeMap<u64, Turn>,
    failed: BTreeMap<u64, RedisError>,
    /// Wakers for the caller of this queue to wake when it has let go of its lock.
    woken: Vec<Waker>,
    held: Stretches,
    /// The number of the next caller, and of the first that is not settled.
    next: u64,
    unsettled: u64,
    /// The cost of all that are settled.
    settled: u128,
    /// The number of callers that wait for more than a token.
    large: usize,
    /// The number of calls on their way.
    asked: u64,
    /// The moment before which the first caller could not be served, whatever was due.
    since: u64,
    /// How much later the bucket is full than `served`, the end of what was last acted on.
    lag: u128,
    served: u128,
}

impl Queue {
    pub(in crate::redis) fn new(units: Units) -> Self {
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
            lag: 0,
            served: 0,
        }
    }

    /// Adds a caller to the end of the line: its number, and its reception.
    pub(in crate::redis) fn enter(&mut self, now: u64, n: u64, limit: u64) -> (u64, Entry) {
        if self.waiters.is_empty() {
            self.held.forget_stale(now);
        }
        let cost = self.units.cost(n);
        // In Redis too little for it would stand in its way.
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

    /// Removes a caller, from wherever it stands.
    pub(in crate::redis) fn leave(&mut self, id: u64, now: u64) {
        if self.waiters.first_key_value().is_some_and(|(&first, _)| first == id) {
            // The next may ask for less, which was due before.
            self.since = self.since.max(now);
        }
        if let Some(waiter) = self.remove(id) {
            if id < self.unsettled {
                self.settled -= waiter.cost;
            }
        } else if let Some(turn) = self.turns.remove(&id) {
            // It goes to the next caller, as if its moment came now.
            self.served = self.served.saturating_sub(turn.held.cost());
            self.since = self.since.max(now);
            self.hold(turn.held, now);
        }
        self.failed.remove(&id);
        self.settle(now);
    }

    /// Holds what Redis has granted to a call.
    pub(in crate::redis) fn granted(&mut self, held: Held, now: u64) {
        self.asked -= 1;
        self.hold(held, now);
        self.let_ask();
    }

    /// Ends a call that Redis has not granted. Its caller fails, unless the line holds enough for
    /// it.
    pub(in crate::redis) fn refused(&mut self, id: u64, now: u64, error: RedisError) {
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

    /// Holds what Redis did not take back, unless it is stale.
    pub(in crate::redis) fn keep(&mut self, held: Held, now: u64) {
        if held.due(&self.units).saturating_add(STALE) > now {
            self.hold(held, now);
        }
    }

    /// Holds flow for those who wait.
    pub(in crate::redis) fn hold(&mut self, held: Held, now: u64) {
        self.held.insert(held);
        self.settle(now);
    }

    /// The moment at which the first caller is due, if it is settled.
    pub(in crate::redis) fn next_due(&self) -> Option<u64> {
        let (&id, waiter) = self.waiters.first_key_value()?;
        if id >= self.unsettled {
            return None;
        }
        self.turn(waiter.cost).map(|(_, turn)| turn.due)
    }

    /// Serves all callers that are due: the wakers to wake.
    pub(in crate::redis) fn serve(&mut self, now: u64) -> Vec<Waker> {
        let mut wakers = mem::take(&mut self.woken);
        while let Some((&id, waiter)) = self.waiters.first_key_value()
            && id < self.unsettled
            && let Some((last, turn)) = self.turn(waiter.cost)
            && turn.due <= now
        {
            self.settled -= waiter.cost;
            self.held.consume(last, turn.held.end);
            (self.lag, self.served) = (turn.lag, turn.held.end);
            self.turns.insert(id, turn);
            wakers.extend(self.remove(id).and_then(|waiter| waiter.waker));
        }
        wakers
    }

    /// Says how a caller is. The waker is for when that changes.
    pub(in crate::redis) fn stand(&mut self, id: u64, waker: &Waker) -> Stand {
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

    /// Takes the flow that nobody waits for out of the end of the line: one stretch without gaps.
    pub(in crate::redis) fn take_excess(&mut self) -> Option<Held> {
        if !self.has_excess() {
            return None;
        }
        let excess = if self.is_whole() {
            self.held.flow() - self.settled
        } else {
            let (at, used) = self.reach_of(self.unsettled)?;
            self.held.behind(at, used)
        };
        // All are later after one that acted late, and as much stays taken.
        let lag = self.lag_at(self.held.first()?.start);
        let excess = excess.saturating_sub(lag);
        self.held.take_last(excess - excess % self.units.cost(1))
    }

    /// Whether the line holds more than its callers wait for.
    pub(in crate::redis) fn has_excess(&self) -> bool {
        self.held.flow() > self.settled && self.waiters.range(self.unsettled..).next().is_none()
    }

    /// Ends a call that has not been sent, if its caller is settled by now or has left. True if so.
    pub(in crate::redis) fn spares(&mut self, id: u64) -> bool {
        let spared = id < self.unsettled || !self.waiters.contains_key(&id);
        if spared {
            self.asked -= 1;
            self.let_ask();
        }
        spared
    }

    /// Whether anybody waits.
    pub(in crate::redis) fn is_waited_in(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Takes the wakers of all that wait.
    pub(in crate::redis) fn wakers(&mut self) -> Vec<Waker> {
        self.waiters.values_mut().filter_map(|waiter| waiter.waker.take()).collect()
    }

    pub(in crate::redis) fn units(&self) -> &Units {
        &self.units
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.large -= usize::from(waiter.cost > self.units.cost(1));
        Some(waiter)
    }

    /// Whether any stretch serves any caller: there are no gaps, or all wait for one token.
    fn is_whole(&self) -> bool {
        self.large == 0 || !self.held.has_gaps()
    }

    /// Settles the callers that the line holds enough for.
    fn settle(&mut self, now: u64) {
        while let Some((&id, waiter)) = self.waiters.range(self.unsettled..).next()
            && self.settled + waiter.cost <= self.held.flow()
        {
            let cost = waiter.cost;
            if !self.is_whole() && self.reach_of(id + 1).is_none() {
                break;
            }
            if self.settled == 0 {
                // Nobody was there before for what the line holds.
                self.since = self.since.max(now);
            }
            self.unsettled = id + 1;
            self.settled += cost;
        }
        if self.waiters.range(self.unsettled..).next().is_none() {
            self.unsettled = self.next;
        }
    }

    /// Lets the callers that are not settled ask again, if no call is on its way for them.
    fn let_ask(&mut self) {
        if self.asked > 0 {
            return;
        }
        for (_, waiter) in self.waiters.range_mut(self.unsettled..) {
            waiter.asks = true;
            self.woken.extend(waiter.waker.take());
        }
    }

    /// The moment at which a caller that waits is due.
    fn due_of(&self, id: u64) -> Option<u64> {
        let (at, end) = self.reach_of(id + 1)?;
        let held = Held { end, ..*self.held.get(at)? };
        Some(held.due(&self.units).max(self.since))
    }

    /// The stretch in which the place of the last caller before `id` ends, and where it ends.
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

    /// The first place of that cost, and the stretch in which it ends.
    fn turn(&self, cost: u128) -> Option<(usize, Turn)> {
        let units = &self.units;
        let (at, end) = self.held.fit(0, self.held.first()?.start, cost)?;
        let last = self.held.get(at)?;
        // Flow that was due before anybody was there for it is acted on late.
        let since = if self.since > last.at { last.time(units, self.since) } else { 0 };
        let acts = last.acts(units, end).max(since);
        let full = end - cost + self.lag_at(end - cost);
        let acts = acts.max((full + cost).saturating_sub(units.burst()));
        let missing = last.missing.map(|missing| missing.saturating_sub(last.end - end));
        let held = Held { start: end - cost, end, missing, ..*last };
        let due = last.local(units, acts);
        Some((at, Turn { held, due, lag: full.max(acts) + cost - end }))
    }

    /// The lag that is left at a point. Flow since `served` has made up for the rest.
    fn lag_at(&self, start: u128) -> u128 {
        self.lag.saturating_sub(start.saturating_sub(self.served))
    }
}
