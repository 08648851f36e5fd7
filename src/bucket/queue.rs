//! Those who wait: a line for each bucket that somebody waits for, beside its word.
//!
//! The tokens of everybody who waits are debited in the word when they come, so checks see them without looking
//! here, and cannot overtake. This file keeps the callers that wait and their order, under a
//! lock that is held for a few steps: [`Order`] says who gets what, and this file who is told.
//!
//! - A caller that comes debits the word under the lock, so that the line and the word have one order.
//! - A caller whose place is due is granted it and woken, by the first that looks at the line: a timer of a
//!   runtime that somebody waits on, or any caller. One timer rings for the first place of the line.
//! - A caller that leaves, at any moment, hands its place on, see [`Order`]; the last one's goes back to the word.
//!
//! A reservation has a promised moment and does not stand in the line. If it is given up with somebody
//! behind it, its place is kept as a gap for whoever comes next.
//!
//! Checks take no lock. Nor do reservations, refunds, and callers that find tokens there, as long as `busy` says that
//! nobody waits and nothing was given up. A place that is given up before it is due takes it, and so does a reset.

#[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "tasks need all of it"))]
mod order;
#[cfg(feature = "std")]
mod waiters;

pub(crate) use order::Span;
#[cfg(feature = "std")]
pub(crate) use waiters::{Entered, Notify, Progress, act, enter, leave, progress_as_thread};
#[cfg(feature = "tokio")]
pub(crate) use waiters::{Together, claim_as_task};

use crate::bucket::{Bucket, Place, Since, Whose};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU64, ProcessLock};
use crate::timeline::Moment;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use order::Order;

#[cfg(feature = "std")]
type Who = waiters::Waiter;
/// Without threads and tasks nobody waits, and there are gaps only.
#[cfg(not(feature = "std"))]
type Who = core::convert::Infallible;

/// Locks of a keyed limiter's lines. Keys that share one wait for each other's steps, never for tokens.
const SHARDS: usize = if cfg!(sluicegate_loom) { 1 } else { 16 };

/// The key's fingerprint, and whether it has no slot of its own.
type Key = (u64, bool);

fn key(whose: Whose) -> Key {
    (whose.hash, whose.shared)
}

/// The lines of a limiter.
#[derive(Debug)]
pub(crate) struct Queues {
    shards: Box<[Shard]>,
    /// The bucket's burst, if the lines are paid afterwards.
    paid_after: Option<u64>,
}

#[derive(Debug)]
struct Shard {
    /// Lines that are not empty. A hint: whoever changes a line holds its lock. A forked child counts on from what
    /// its parent had.
    busy: AtomicU64,
    queues: ProcessLock<BTreeMap<Key, Queue>>,
}

type Locked<'a> = crate::sync::Locked<'a, BTreeMap<Key, Queue>>;

/// One bucket's line.
#[derive(Debug)]
struct Queue {
    order: Order<Who>,
    #[cfg(feature = "std")]
    watch: waiters::Watch,
}

impl Queue {
    fn new(paid_after: Option<u64>) -> Self {
        Self {
            order: Order::paid(paid_after),
            #[cfg(feature = "std")]
            watch: waiters::Watch::default(),
        }
    }
}

/// Whom to tell when the lock is given back.
#[derive(Debug, Default)]
struct Told {
    #[cfg(feature = "std")]
    calls: Vec<waiters::Call>,
}

impl Told {
    fn tell(self) {
        #[cfg(feature = "std")]
        self.calls.into_iter().for_each(waiters::Call::call);
    }
}

impl Queues {
    /// For a limiter of one bucket.
    pub(crate) fn of_one() -> Arc<Self> {
        Self::with(1, None)
    }

    /// For a limiter of one bucket, of that burst, that is paid afterwards: a place is due when
    /// what is in front of it has been paid, and not what it costs itself.
    pub(crate) fn of_one_paid_after(burst: u64) -> Arc<Self> {
        Self::with(1, Some(burst))
    }

    /// For a bucket for each key.
    pub(crate) fn of_keys() -> Arc<Self> {
        Self::with(SHARDS, None)
    }

    fn with(shards: usize, paid_after: Option<u64>) -> Arc<Self> {
        let shard = |_| Shard { busy: AtomicU64::new(0), queues: ProcessLock::new() };
        Arc::new(Self { shards: (0..shards).map(shard).collect(), paid_after })
    }

    fn shard(&self, hash: u64) -> &Shard {
        // By bits that choose no slot of the table. Their number is a power of two, since a division takes a while.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    /// Whether anybody waits, or anything was given up, that the key may have to do with. One load.
    pub(crate) fn is_busy(&self, whose: Whose) -> bool {
        self.shard(whose.hash).busy.load(Relaxed) > 0
    }

    /// Runs `step` on the key's line, if there is one; then tells whom it has to.
    fn with_queue<R>(&self, key: Key, step: impl FnOnce(&mut Queue, &mut Told) -> R) -> Option<R> {
        self.with_queue_or(key, || Some(None), |queue, told| Some(step(queue, told)))
    }

    /// The same, and makes a line if there is none, unless `otherwise` has an answer, which it gives under the same lock.
    fn with_queue_or<R>(
        &self,
        key: Key,
        otherwise: impl FnOnce() -> Option<R>,
        step: impl FnOnce(&mut Queue, &mut Told) -> R,
    ) -> R {
        let shard = self.shard(key.0);
        self.with_locked((shard, shard.queues.lock()), key, otherwise, step)
    }

    /// [`line`](Self::line) of somebody who has come to it in this process.
    #[cfg(feature = "std")]
    fn with_queue_again<R>(
        &self,
        key: Key,
        step: impl FnOnce(&mut Queue, &mut Told) -> R,
    ) -> Option<R> {
        let shard = self.shard(key.0);
        let queues = shard.queues.lock_again();
        self.with_locked((shard, queues), key, || Some(None), |queue, told| Some(step(queue, told)))
    }

    /// [`line_or`](Self::line_or) of a caller for whom a line that `is_of_ours` is one of this process's, so that it need
    /// not ask the system. It makes a line if there is none.
    #[cfg(feature = "std")]
    fn with_known_queue<R>(
        &self,
        key: Key,
        is_of_ours: impl FnOnce(&Queue) -> bool,
        step: impl FnOnce(&mut Queue, &mut Told) -> R,
    ) -> R {
        let shard = self.shard(key.0);
        let is_of_ours = |queues: &BTreeMap<Key, Queue>| queues.get(&key).is_some_and(is_of_ours);
        let queues = shard.queues.lock_known(is_of_ours);
        self.with_locked((shard, queues), key, || None, step)
    }

    fn with_locked<R>(
        &self,
        (shard, mut queues): (&Shard, Locked<'_>),
        key: Key,
        otherwise: impl FnOnce() -> Option<R>,
        step: impl FnOnce(&mut Queue, &mut Told) -> R,
    ) -> R {
        let queue = match queues.entry(key) {
            Entry::Occupied(queue) => queue.into_mut(),
            Entry::Vacant(none) => {
                if let Some(answer) = otherwise() {
                    return answer;
                }
                none.insert(Queue::new(self.paid_after))
            }
        };
        let (mut told, was_empty) = (Told::default(), queue.order.is_empty());
        let result = step(queue, &mut told);
        let is_empty = queue.order.is_empty();
        // The only line of a limiter stays, and with it its memory.
        if is_empty && self.shards.len() > 1 {
            queues.remove(&key);
        }
        self.count(shard, was_empty, is_empty);
        drop(queues);
        told.tell();
        result
    }

    /// After another quota has been put in force: places are due at other moments. By `shifted_back` the line goes on
    /// before where it had ended.
    pub(crate) fn requote(&self, now: &Moment, shifted_back: u64) {
        for shard in &self.shards {
            if shard.busy.load(Relaxed) == 0 {
                continue;
            }
            let keys: Vec<Key> = shard.queues.lock().keys().copied().collect();
            for key in keys {
                self.with_queue(key, |queue, told| {
                    // What had flowed by when the line was shifted back, has.
                    queue.order.trim(now.units.wrapping_add(shifted_back));
                    queue.requote(now, told);
                });
            }
        }
    }

    /// Fills the bucket, which `reset` does, and lets those who wait stand in line for what is there then.
    ///
    /// Under the lock also where nobody waits: whoever gives up a place just then sees that it is void.
    pub(crate) fn reset(&self, bucket: &dyn Bucket, whose: Whose, reset: impl FnOnce()) {
        let reset = Cell::new(Some(reset));
        let reset = || {
            if let Some(reset) = reset.take() {
                reset();
            }
        };
        let alone = || {
            reset();
            Some(())
        };
        self.with_queue_or(key(whose), alone, |queue, told| {
            queue.start_again(bucket, whose, reset, told)
        });
    }

    fn count(&self, shard: &Shard, was_empty: bool, is_empty: bool) {
        match (was_empty, is_empty) {
            (true, false) => shard.busy.fetch_add(1, Relaxed),
            (false, true) => shard.busy.fetch_sub(1, Relaxed),
            _ => 0,
        };
    }
}

/// Takes back for the bucket what nobody in line wants, if that was taken at a time that no reset has made void.
fn taking_back<'a>(
    bucket: &'a dyn Bucket,
    whose: Whose,
    since: Option<Since>,
    now: &'a Moment,
) -> impl FnMut(Span) -> bool + 'a {
    move |span| bucket.take_back(whose, span, since, now)
}

impl Queue {
    /// Gives gaps back to the bucket, if nobody stands behind them any more.
    fn settle(&mut self, bucket: &dyn Bucket, whose: Whose, now: &Moment) {
        if !self.order.has_gaps() {
            return;
        }
        self.order.free_last_gaps(now.units, &mut taking_back(bucket, whose, None, now));
        if self.order.has_gaps() && !self.order.has_waiting() {
            let units = self.order.units_of_gaps(now.units);
            if bucket.add_if_idle(whose, units, now) {
                self.order.forget_gaps();
            }
        }
    }

    /// Hands a span on.
    fn free(
        &mut self,
        bucket: &dyn Bucket,
        (whose, since): (Whose, Option<Since>),
        span: Span,
        now: &Moment,
    ) {
        self.order.free(span, now.units, &mut taking_back(bucket, whose, since, now));
        self.settle(bucket, whose, now);
    }

    /// Grants what is due, and has the next one told in time.
    #[cfg(feature = "std")]
    fn look(&mut self, now: &Moment, told: &mut Told) {
        self.serve(now, told);
    }
}

/// Nobody waits; there are gaps only.
#[cfg(not(feature = "std"))]
impl Queue {
    fn look(&mut self, _: &Moment, _: &mut Told) {}

    fn requote(&mut self, _: &Moment, _: &mut Told) {}

    fn start_again(&mut self, _: &dyn Bucket, _: Whose, reset: impl FnOnce(), _: &mut Told) {
        self.order.forget_gaps();
        reset();
    }
}

/// Gives up `n` tokens of a place that is not due yet, to whoever is next. How many tokens those are.
pub(crate) fn cancel(bucket: &dyn Bucket, place: &Place, n: u64) -> u64 {
    let now = bucket.moment();
    let Some(span) = bucket.span_of(place, n) else { return bucket.give_up(place, n) };
    if bucket.returned_since(place).is_none() || !now.is_due_later(place.place) {
        return 0;
    }
    let Some(rest) = span.rest(now.units) else { return 0 };
    let tokens = now.rule().whole(rest.units()).min(n);
    bucket.unspent(place, n);
    hand_on(bucket, place, span, &now);
    tokens
}

/// Makes `n` tokens of a place, due or not, never to have been taken, as far as that can be told.
pub(crate) fn undo(bucket: &dyn Bucket, place: &Place, n: u64) {
    let now = bucket.moment();
    if now.is_due_later(place.place) {
        cancel(bucket, place, n);
        return;
    }
    let Some(span) = bucket.span_of(place, n) else {
        bucket.undo(place, n, &now);
        return;
    };
    // Gaps come back first: they move the word, and with it the worth of this place.
    ended(bucket, place.whose);
    if !bucket.undo(place, n, &now) {
        // Somebody waits behind it.
        let Some(returned) = bucket.returned_since(place) else { return };
        if let Some(rest) = place.by_now(span, returned, &now).rest(now.units) {
            bucket.unspent(place, n);
            hand_on(bucket, place, rest, &now);
        }
    }
}

fn hand_on(bucket: &dyn Bucket, place: &Place, span: Span, now: &Moment) {
    let (whose, since) = (place.whose, Some(place.since));
    // Under the lock, so that of two that leave at once one sees what the other has left.
    let take_back = || bucket.take_back(whose, span, since, now).then_some(());
    bucket.queues().with_queue_or(key(whose), take_back, |queue, told| {
        queue.free(bucket, (whose, since), span, now);
        queue.look(now, told);
    });
}

/// A reservation has ended: gives back what was given up in front of it, if nobody else stands behind.
pub(crate) fn ended(bucket: &dyn Bucket, whose: Whose) {
    if bucket.queues().is_busy(whose) {
        let now = bucket.moment();
        bucket.queues().with_queue(key(whose), |queue, told| {
            queue.settle(bucket, whose, &now);
            queue.look(&now, told);
        });
    }
}

/// A place that was given up with somebody behind it, if there is one for `n`.
pub(crate) fn from_gap(
    bucket: &dyn Bucket,
    whose: Whose,
    n: u64,
    within: Option<core::time::Duration>,
) -> Option<Place> {
    if n == 0 || !bucket.queues().is_busy(whose) {
        return None;
    }
    let now = bucket.moment();
    bucket
        .queues()
        .with_queue(key(whose), |queue, _| queue.gap(bucket, whose, n, within, &now))
        .flatten()
}

impl Queue {
    fn gap(
        &mut self,
        bucket: &dyn Bucket,
        whose: Whose,
        n: u64,
        within: Option<core::time::Duration>,
        now: &Moment,
    ) -> Option<Place> {
        if !self.order.has_gaps() {
            return None;
        }
        self.settle(bucket, whose, now);
        // What a place costs there is not known before it is taken.
        if self.order.is_paid_after() {
            return None;
        }
        if n > bucket.waiting().largest_place(now) {
            return None;
        }
        let units = now.rule().worth(n)?;
        let (longest, _) = now.figures(0).longest(u64::MAX, within);
        let suits = |end| now.rule().until_place(end, now.units) <= longest;
        let span = self.order.take_gap(units, now.units, suits)?;
        Some(bucket.place_at(whose, n, span.end, now))
    }
}

/// Gives `n` tokens to those who wait, if anybody does.
pub(crate) fn refund(bucket: &dyn Bucket, whose: Whose, n: u64) -> bool {
    if n == 0 || !bucket.queues().is_busy(whose) {
        return false;
    }
    let now = bucket.moment();
    let Some(units) = now.rule().worth(n) else { return false };
    let given = bucket.queues().with_queue(key(whose), |queue, told| {
        queue.settle(bucket, whose, &now);
        let Some(start) = queue.order.first_start() else { return false };
        // The first place comes earlier by as much, and with it all others.
        queue.free(bucket, (whose, None), Span::ending(start, units), &now);
        queue.look(&now, told);
        true
    });
    given.unwrap_or(false)
}
