//! Waiting queues: one for each bucket that callers wait for, beside its word.
//!
//! The tokens of all waiting callers are debited in the word when they come, so checks see the
//! debits without looking here, and cannot overtake. This file keeps the waiting callers and their
//! order, under a lock that is held for a few steps. [`Order`] decides who gets what, and this file
//! wakes the callers.
//!
//! - A caller that comes debits the word under the lock, so that the queue and the word have one
//!   order.
//! - A caller whose place is due is granted it and woken by the first look at the queue: that of a
//!   timer of a runtime that tasks wait on, or of any caller. One timer rings for the first place
//!   of the queue.
//! - A caller that leaves, at any moment, hands its place on, see [`Order`]; the place of the last
//!   one goes back to the word.
//!
//! A reservation has a promised moment and does not wait in the queue. If it is given up while
//! callers wait behind it, its place is kept as a gap for the next caller that comes.
//!
//! Checks take no lock. Nor do reservations, refunds, and callers that find tokens there, as long
//! as `busy` shows that no caller waits and nothing was given up. A caller that gives up a place
//! before it is due takes the lock, and so does a reset.

#[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "tasks need all of it"))]
mod order;
mod places;
#[cfg(feature = "std")]
mod waiters;

pub(crate) use order::Span;
pub(crate) use places::{cancel, ended, from_gap, refund, undo};
#[cfg(feature = "std")]
pub(crate) use waiters::{Entered, Notify, Progress, act, enter, leave, progress_as_thread};
#[cfg(feature = "tokio")]
pub(crate) use waiters::{Together, claim_as_task};

use crate::bucket::{Bucket, Since, Whose};
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
type Caller = waiters::Waiter;
/// Without threads and tasks no caller waits, and there are gaps only.
#[cfg(not(feature = "std"))]
type Caller = core::convert::Infallible;

/// The locks of a keyed limiter's queues. Keys that share a lock wait for each other's steps, never
/// for tokens.
const SHARDS: usize = if cfg!(sluicegate_loom) { 1 } else { 16 };

/// The key's fingerprint, and whether it has no slot of its own.
type Key = (u64, bool);

fn key(whose: Whose) -> Key {
    (whose.hash, whose.shared)
}

/// The waiting queues of a limiter.
#[derive(Debug)]
pub(crate) struct Queues {
    shards: Box<[Shard]>,
    /// The bucket's burst, if the queues are paid afterwards.
    paid_after: Option<u64>,
}

#[derive(Debug)]
struct Shard {
    /// The number of queues that are not empty. A hint: a thread that changes a queue holds its
    /// lock. A forked child counts on from what its parent had.
    busy: AtomicU64,
    queues: ProcessLock<BTreeMap<Key, Queue>>,
}

type Locked<'a> = crate::sync::Locked<'a, BTreeMap<Key, Queue>>;

/// The waiting queue of one bucket.
#[derive(Debug)]
struct Queue {
    order: Order<Caller>,
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

/// The callers to wake when the lock is released.
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
    /// Makes the queue of a limiter of one bucket.
    pub(crate) fn of_one() -> Arc<Self> {
        Self::with(1, None)
    }

    /// Makes the queue of a limiter with one bucket, of this burst, whose costs are paid
    /// afterwards. A place is due as soon as all places in front of it are paid; its own cost
    /// delays the next place.
    pub(crate) fn of_one_paid_after(burst: u64) -> Arc<Self> {
        Self::with(1, Some(burst))
    }

    /// Makes the queues of a limiter with a bucket for each key.
    pub(crate) fn of_keys() -> Arc<Self> {
        Self::with(SHARDS, None)
    }

    fn with(shards: usize, paid_after: Option<u64>) -> Arc<Self> {
        let shard = |_| Shard { busy: AtomicU64::new(0), queues: ProcessLock::new() };
        Arc::new(Self { shards: (0..shards).map(shard).collect(), paid_after })
    }

    fn shard(&self, hash: u64) -> &Shard {
        // These bits choose no slot of the table. The number of shards is a power of two, since a
        // division takes a while.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    /// Returns whether a caller waits, or a place was given up, in the key's shard. One load.
    pub(crate) fn is_busy(&self, whose: Whose) -> bool {
        self.shard(whose.hash).busy.load(Relaxed) > 0
    }

    /// Runs `step` on the key's queue, if there is one; then wakes the callers that it names.
    fn with_queue<R>(&self, key: Key, step: impl FnOnce(&mut Queue, &mut Told) -> R) -> Option<R> {
        self.with_queue_or(key, || Some(None), |queue, told| Some(step(queue, told)))
    }

    /// Runs `step` as [`with_queue`](Self::with_queue) does, and makes a queue if there is none,
    /// unless `otherwise` has an answer, which it gives under the same lock.
    fn with_queue_or<R>(
        &self,
        key: Key,
        otherwise: impl FnOnce() -> Option<R>,
        step: impl FnOnce(&mut Queue, &mut Told) -> R,
    ) -> R {
        let shard = self.shard(key.0);
        self.with_locked((shard, shard.queues.lock()), key, otherwise, step)
    }

    /// Runs `step` as [`with_queue`](Self::with_queue) does, for a caller that has come to the
    /// queue in this process.
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

    /// Runs `step` as [`with_queue_or`](Self::with_queue_or) does, and makes a queue if there is
    /// none. A queue for which `is_of_ours` returns true is one of this process, so the system need
    /// not be asked.
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
        // The only queue of a limiter stays, and with it its memory.
        if is_empty && self.shards.len() > 1 {
            queues.remove(&key);
        }
        self.count(shard, was_empty, is_empty);
        drop(queues);
        told.tell();
        result
    }

    /// Computes when places are due, after another quota has been put in force. The queue goes on
    /// `shifted_back` units before its former end.
    pub(crate) fn requote(&self, now: &Moment, shifted_back: u64) {
        for shard in &self.shards {
            if shard.busy.load(Relaxed) == 0 {
                continue;
            }
            let keys: Vec<Key> = shard.queues.lock().keys().copied().collect();
            for key in keys {
                self.with_queue(key, |queue, told| {
                    // What had flowed by when token time was shifted back has still flowed by.
                    queue.order.trim(now.units.wrapping_add(shifted_back));
                    queue.requote(now, told);
                });
            }
        }
    }

    /// Fills the bucket by `reset`, and lets the waiting callers take places again in the full
    /// bucket.
    ///
    /// Takes the lock even if no caller waits: a caller that gives up a place just then sees that
    /// it is void.
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
            queue.restart(bucket, whose, reset, told)
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

/// Returns a function that takes spans back for the bucket that no waiting caller wants, unless a
/// reset has made them void.
fn taking_back<'a>(
    bucket: &'a dyn Bucket,
    whose: Whose,
    since: Option<Since>,
    now: &'a Moment,
) -> impl FnMut(Span) -> bool + 'a {
    move |span| bucket.take_back(whose, span, since, now)
}

impl Queue {
    /// Gives gaps back to the bucket, if no caller waits behind them any more.
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

    /// Hands a span on to the next caller, or to the bucket.
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

    /// Grants the places that are due, and sets the alarm for the next place.
    #[cfg(feature = "std")]
    fn look(&mut self, now: &Moment, told: &mut Told) {
        self.serve(now, told);
    }
}

/// Without threads and tasks no caller waits; there are gaps only.
#[cfg(not(feature = "std"))]
impl Queue {
    fn look(&mut self, _: &Moment, _: &mut Told) {}

    fn requote(&mut self, _: &Moment, _: &mut Told) {}

    fn restart(&mut self, _: &dyn Bucket, _: Whose, reset: impl FnOnce(), _: &mut Told) {
        self.order.forget_gaps();
        reset();
    }
}
