//! The queue of one process for one key: the callers that wait, and the flow that Redis has granted
//! for them. Pure.
//!
//! Each caller that comes asks Redis for a place, but the queue *holds* what Redis grants: a
//! stretch of flow that Redis counts as taken. The queue serves its callers from what it holds,
//! first come, first served. So nothing has to be corrected when a caller leaves, wherever it
//! stands: the callers behind it are served from the same stretches, and the excess is at the end.
//!
//! ```text
//!   waiting:  A  B  C  D       held:  |--1--|--2--|--3--|--4--|    each acts when its own is due
//!   B leaves: A  C  D                 |--1--|--2--|--3--| excess   C and D have moved up
//!   E comes:  A  C  D  E              |--1--|--2--|--3--|--4--|    without asking Redis
//! ```
//!
//! A caller is *settled* while the queue holds enough for it and for all before it. A caller that
//! is not settled has a call to Redis in flight. Between the stretches of different calls there may
//! be places of other processes. A request is never served from both sides of such a gap, since a
//! window might then admit more than a burst. It waits for a stretch that is long enough, at the
//! latest its own, and the flow before that is lost.
//!
//! A caller that is handed flow after it was due acts late. The callers behind then wait as if the
//! flow's first owner had acted as late, and flow for that delay stays taken in Redis. The *lag* is
//! how much later the bucket is full than Redis knows.

use super::held::{Held, STALE, Stretches};
use crate::redis::error::RedisError;
use crate::redis::script::units::Units;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;
use core::task::Waker;

/// The place of a caller whose moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    held: Held,
    /// The moment, in nanoseconds of the queue's clock.
    due: u64,
    /// The lag after it, in parts.
    lag: u128,
}

impl Turn {
    /// The flow missing from the bucket when its caller acts, in parts.
    pub(crate) fn missing(&self, units: &Units) -> u128 {
        self.held.missing.unwrap_or(units.burst())
    }
}

#[derive(Debug)]
struct Waiter {
    cost: u128,
    /// The latest moment at which its place may be due.
    limit: u64,
    waker: Option<Waker>,
    /// Whether it must ask again, since it is not settled, and no call is in flight.
    asks: bool,
}

/// The reception of a new caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Entry {
    /// The queue holds enough for it.
    Settled,
    /// The caller must ask Redis, and first hand back this excess, which is too little for it.
    Asks(Option<Held>),
    /// The queue holds enough for it, but this much later than its limit, in nanoseconds.
    TooLate(u64),
}

/// The state of a caller in the queue.
#[derive(Debug)]
#[must_use]
pub(crate) enum Status {
    Waits,
    Asks,
    Turn(Turn),
    Failed(RedisError),
}

#[derive(Debug)]
pub(crate) struct WaitQueue {
    units: Units,
    waiters: BTreeMap<u64, Waiter>,
    /// The places whose moment has come, until their callers notice.
    turns: BTreeMap<u64, Turn>,
    failed: BTreeMap<u64, RedisError>,
    /// Wakers that are to be woken when the queue's lock is free.
    woken: Vec<Waker>,
    held: Stretches,
    /// The number of the next caller, and that of the first one that is not settled.
    next: u64,
    unsettled: u64,
    /// The cost of all settled callers.
    settled: u128,
    /// The number of callers that wait for more than one token.
    large: usize,
    /// The number of calls in flight.
    asked: u64,
    /// The moment before which the first caller could not be served, whatever flow was due.
    since: u64,
    /// The lag after the place that was served last, and the end of that place.
    lag: u128,
    served: u128,
}

impl WaitQueue {
    pub(crate) fn new(units: Units) -> Self {
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

    /// Adds a caller at the end. Returns its number and its reception.
    pub(crate) fn enter(&mut self, now: u64, n: u64, limit: u64) -> (u64, Entry) {
        if self.waiters.is_empty() {
            self.held.forget_stale(now);
        }
        let cost = self.units.cost(n);
        // Excess that is too little for this caller is handed back first: in Redis it would be in
        // its way.
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

    /// Removes a caller, wherever it stands.
    pub(crate) fn leave(&mut self, id: u64, now: u64) {
        if self.waiters.first_key_value().is_some_and(|(&first, _)| first == id) {
            // The next caller may ask for less, which was due before.
            self.since = self.since.max(now);
        }
        if let Some(waiter) = self.remove(id) {
            if id < self.unsettled {
                self.settled -= waiter.cost;
            }
        } else if let Some(turn) = self.turns.remove(&id) {
            // The place goes to the next caller, as if its moment came now.
            self.served = self.served.saturating_sub(turn.held.cost());
            self.since = self.since.max(now);
            self.hold(turn.held, now);
        }
        self.failed.remove(&id);
        self.settle(now);
    }

    /// Ends a call that Redis has granted, and holds the flow.
    pub(crate) fn granted(&mut self, held: Held, now: u64) {
        self.asked -= 1;
        self.hold(held, now);
        self.let_ask();
    }

    /// Ends a call that Redis has not granted. Its caller fails, unless the queue holds enough for
    /// it.
    pub(crate) fn refused(&mut self, id: u64, now: u64, error: RedisError) {
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

    /// Holds flow that Redis did not take back, unless it is stale.
    pub(crate) fn keep(&mut self, held: Held, now: u64) {
        if held.due(&self.units).saturating_add(STALE) > now {
            self.hold(held, now);
        }
    }

    /// Holds flow for the callers.
    pub(crate) fn hold(&mut self, held: Held, now: u64) {
        self.held.insert(held);
        self.settle(now);
    }

    /// The moment at which the first caller is due, if it is settled.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let (&id, waiter) = self.waiters.first_key_value()?;
        if id >= self.unsettled {
            return None;
        }
        self.turn(waiter.cost).map(|(_, turn)| turn.due)
    }

    /// Serves all callers that are due. Returns the wakers to wake.
    pub(crate) fn serve(&mut self, now: u64) -> Vec<Waker> {
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

    /// Tells the state of a caller. The waker is woken when that changes.
    pub(crate) fn poll_turn(&mut self, id: u64, waker: &Waker) -> Status {
        if let Some(turn) = self.turns.remove(&id) {
            return Status::Turn(turn);
        }
        if let Some(error) = self.failed.remove(&id) {
            return Status::Failed(error);
        }
        let Some(waiter) = self.waiters.get_mut(&id) else { return Status::Waits };
        if mem::take(&mut waiter.asks) {
            self.asked += 1;
            return Status::Asks;
        }
        if !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiter.waker = Some(waker.clone());
        }
        Status::Waits
    }

    /// Takes flow that no caller waits for from the end: one stretch without gaps.
    pub(crate) fn take_excess(&mut self) -> Option<Held> {
        if !self.has_excess() {
            return None;
        }
        let excess = if self.is_whole() {
            self.held.flow() - self.settled
        } else {
            let (at, used) = self.reach_of(self.unsettled)?;
            self.held.behind(at, used)
        };
        // After a caller that acted late all others are later, and flow for the delay stays taken.
        let lag = self.lag_at(self.held.first()?.start);
        let excess = excess.saturating_sub(lag);
        self.held.take_last(excess - excess % self.units.cost(1))
    }

    /// Says whether the queue holds more than its callers wait for.
    pub(crate) fn has_excess(&self) -> bool {
        self.held.flow() > self.settled && self.waiters.range(self.unsettled..).next().is_none()
    }

    /// Ends a call that has not been sent, if its caller is settled by now or has left. Returns
    /// whether it has.
    pub(crate) fn withdraw_call(&mut self, id: u64) -> bool {
        let is_needless = id < self.unsettled || !self.waiters.contains_key(&id);
        if is_needless {
            self.asked -= 1;
            self.let_ask();
        }
        is_needless
    }

    /// Says whether a caller waits.
    pub(crate) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Takes the wakers of all callers that wait.
    pub(crate) fn wakers(&mut self) -> Vec<Waker> {
        self.waiters.values_mut().filter_map(|waiter| waiter.waker.take()).collect()
    }

    pub(crate) fn units(&self) -> &Units {
        &self.units
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.large -= usize::from(waiter.cost > self.units.cost(1));
        Some(waiter)
    }

    /// Says whether any stretch serves any caller: there are no gaps, or all wait for one token.
    fn is_whole(&self) -> bool {
        self.large == 0 || !self.held.has_gaps()
    }

    /// Settles the callers that the queue holds enough for.
    fn settle(&mut self, now: u64) {
        while let Some((&id, waiter)) = self.waiters.range(self.unsettled..).next()
            && self.settled + waiter.cost <= self.held.flow()
        {
            let cost = waiter.cost;
            if !self.is_whole() && self.reach_of(id + 1).is_none() {
                break;
            }
            if self.settled == 0 {
                // The queue held this flow for no caller before.
                self.since = self.since.max(now);
            }
            self.unsettled = id + 1;
            self.settled += cost;
        }
        if self.waiters.range(self.unsettled..).next().is_none() {
            self.unsettled = self.next;
        }
    }

    /// Lets the callers that are not settled ask again, if no call is in flight for them.
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

    /// The end of the place of the last caller before `id`, and the stretch that this is in.
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

    /// The first place of that cost, and the stretch that its end is in.
    fn turn(&self, cost: u128) -> Option<(usize, Turn)> {
        let units = &self.units;
        let (at, end) = self.held.fit(0, self.held.first()?.start, cost)?;
        let last = self.held.get(at)?;
        // A caller that came after the flow was due acts on it late.
        let since = if self.since > last.at { last.time(units, self.since) } else { 0 };
        let acts = last.acts(units, end).max(since);
        let full = end - cost + self.lag_at(end - cost);
        let acts = acts.max((full + cost).saturating_sub(units.burst()));
        let missing = last.missing.map(|missing| missing.saturating_sub(last.end - end));
        let held = Held { start: end - cost, end, missing, ..*last };
        let due = last.local(units, acts);
        Some((at, Turn { held, due, lag: full.max(acts) + cost - end }))
    }

    /// The lag that is left at a point. Flow since the last place has made up for the rest.
    fn lag_at(&self, start: u128) -> u128 {
        self.lag.saturating_sub(start.saturating_sub(self.served))
    }
}
