//! Places in the waiting queue: the state that a limiter keeps for callers that wait, besides the
//! word.
//!
//! A place is a charge into the future. The word moves ahead by the cost, and from then on itself
//! makes later callers come later. `queue` keeps the waiting callers in their order.
//!
//! ORDERING: tokens that are given back are counted before the word is swapped for them, with a
//! Release fence between them. A caller that undoes a debit loads the word, and after an Acquire
//! fence the count. So a caller that sees the word with the tokens given back sees that they were
//! counted.
//!
//! Two more fences, after what a place remembers and before a reset ends its count, prevent a place
//! from counting as taken after a reset if the reset's swap has overwritten its debit. For that the
//! load would have to be served after the debit that follows it. Processors other than x86 may do
//! so; loom, which runs each thread in order, does not, so no model sees these two fences.

mod options;
mod place;
pub(crate) mod queue;
mod store;
pub(crate) mod verbs;

pub(crate) use options::{Options, option_setters};
pub(crate) use place::Place;
pub(crate) use queue::{Queues, Span};
pub(crate) use store::{Account, Ask, Store};

use crate::algorithm::Algorithm;
use crate::answer::{Denied, Grant};
use crate::cell::{Cell, Step};
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::sync::Ordering::{Acquire, Release};
use crate::sync::fence;
use crate::timeline::Moment;
use alloc::sync::Arc;
use core::time::Duration;

/// The bounds of a waiting queue: its length, and the cost that it accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// The most tokens that all waiting callers together may be in debt for.
    pub(crate) most: u64,
    /// Set if a cost over the burst may be paid in instalments.
    pub(crate) instalments: bool,
    /// For a leaky bucket that is a queue: the burst, which passes at once and which quotas do not
    /// change.
    pub(crate) queue: Option<u64>,
}

/// A builder's choice of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) capacity: Option<u64>,
    /// The part of the capacity that passes at once.
    pub(crate) delay_free: u64,
}

impl Queue {
    /// Returns the quota and the waiting queue of a leaky bucket that is a queue; for any other
    /// limiter, its own.
    pub(crate) fn shape(
        self,
        algorithm: Algorithm,
        quota: Quota,
        waiting: Waiting,
    ) -> Result<(Quota, Waiting), QuotaError> {
        let Some(capacity) = self.capacity else {
            let none = self.delay_free == 0;
            return if none { Ok((quota, waiting)) } else { Err(QuotaError::DELAY_FREE) };
        };
        if algorithm != Algorithm::LeakyBucket {
            return Err(QuotaError::QUEUE);
        }
        let most = capacity.checked_sub(self.delay_free).ok_or(QuotaError::DELAY_FREE)?;
        let quota = quota.try_burst(self.delay_free.saturating_add(1))?;
        let queue = Some(quota.burst_size());
        Ok((quota, Waiting { most: most.min(waiting.most), instalments: true, queue }))
    }
}

impl Waiting {
    /// Returns a later quota, with a queue's own burst.
    pub(crate) fn shape(&self, quota: Quota) -> Quota {
        self.queue.map_or(quota, |burst| quota.with_burst(burst))
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self { most: u64::MAX, instalments: false, queue: None }
    }
}

/// A state that only goes forward.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Furthest(Cell);

impl Furthest {
    pub(crate) fn new() -> Self {
        Self(Cell::new(0))
    }

    pub(crate) fn seen(&self) -> u64 {
        self.0.load()
    }

    /// Raises the state, before the word is swapped.
    pub(crate) fn raise(&self, to: u64) {
        self.0.update(|seen| match to.wrapping_sub(seen) as i64 {
            1.. => Step::Put(to, ()),
            _ => Step::Keep(()),
        });
        fence(Release);
    }
}

/// The counts that tell whether a bucket's places still hold, and by how much they have moved; the
/// word does not tell.
///
/// A reset makes all places void. It is counted once before it swaps the word, and once after. A
/// place that is taken in between, or before a reset that has begun since, may belong to the word
/// that is gone.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Returns {
    /// Resets that have begun, in the upper half, and resets that have ended, in the lower.
    resets: Cell,
    /// Units that have been given back, by which the word is less than it was.
    returned: Cell,
}

/// The time at which a place was taken: the resets before it, and the units given back before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since {
    /// The account of its key, if it has one: see `keyed/ledger.rs`.
    pub(crate) account: u32,
    pub(crate) resets: u32,
    pub(crate) returned: u64,
}

impl Since {
    /// Returns the difference of both.
    pub(crate) fn without(self, part: Self) -> Self {
        let void = self.resets == VOID;
        let resets = if void { VOID } else { self.resets.wrapping_sub(part.resets) };
        Self { resets, returned: self.returned.wrapping_sub(part.returned), ..self }
    }

    /// Returns whether no reset came between both.
    pub(crate) fn has_same_resets(self, other: Self) -> bool {
        self.resets == other.resets && self.resets != VOID
    }
}

const HALF: u64 = 1 << 32;
/// The count of a place that was taken during a reset.
const VOID: u32 = u32::MAX;

impl Returns {
    pub(crate) fn new() -> Self {
        Self { resets: Cell::new(0), returned: Cell::new(0) }
    }

    /// Returns the counts, before a place is taken.
    #[inline]
    pub(crate) fn since(&self) -> Since {
        let (resets, returned) = (self.resets.load(), self.returned.load());
        fence(Acquire);
        let (begun, ended) = ((resets >> 32) as u32, resets as u32);
        Since { account: 0, resets: if begun == ended { begun } else { VOID }, returned }
    }

    /// Returns the units given back since a place was taken, after the word was loaded; `None` for
    /// a place that a reset has made void.
    pub(crate) fn since_then(&self, since: Since) -> Option<u64> {
        fence(Acquire);
        let void = since.resets == VOID || (self.resets.load() >> 32) as u32 != since.resets;
        (!void).then(|| self.returned.load().wrapping_sub(since.returned))
    }

    /// Counts units that are given back, before the word is swapped; if the swap fails, the count
    /// is a little too high.
    pub(crate) fn count(&self, units: u64) {
        self.returned.update(|returned| Step::Put(returned.wrapping_add(units), ()));
        fence(Release);
    }

    /// Runs `swap`, which resets the word.
    pub(crate) fn reset<R>(&self, swap: impl FnOnce() -> R) -> R {
        self.resets.update(|resets| Step::Put(resets.wrapping_add(HALF), ()));
        fence(Release);
        let swapped = swap();
        fence(Release);
        // The lower half wraps by itself.
        self.resets.update(|resets| {
            let ended = resets.wrapping_add(1) & (HALF - 1);
            Step::Put(resets & !(HALF - 1) | ended, ())
        });
        swapped
    }
}

/// The bucket that a caller asks: the only one of a limiter, or a key's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whose {
    /// The key's fingerprint.
    pub(crate) hash: u64,
    /// Set if the key had no slot, and waits in the queue that all such keys share.
    pub(crate) shared: bool,
}

impl Waiting {
    /// Returns the most tokens that one place can have.
    pub(crate) fn largest_place(&self, now: &Moment) -> u64 {
        let more = self.instalments && !now.terms().is_window();
        now.limit().saturating_add(if more { self.most } else { 0 })
    }
}

/// A bucket, or the buckets of a keyed limiter, as the waiting queue sees them.
pub(crate) trait Bucket: Send + Sync {
    /// Takes a place for `n` behind all other callers; changes nothing if it would be due only
    /// after `within`.
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied>;

    /// Takes a place as [`place`](Self::place) does, at a moment that has just been read.
    #[cfg(feature = "std")]
    fn place_by(
        &self,
        _: &Moment,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Place, Denied> {
        self.place(whose, n, within)
    }

    /// Returns the place of `n` that ends at `end`, in a span that another caller gave up. Takes
    /// nothing.
    fn place_at(&self, whose: Whose, n: u64, end: u64, now: &Moment) -> Place;

    /// Takes `n` now or never, as [`take`](Self::take) does, and returns a place, so that the debit
    /// can be undone.
    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied>;

    /// Predicts whether [`place`](Self::place) would find a place now. Takes nothing.
    fn foresee(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<(), Denied>;

    /// Takes `n` now or never, as a check does.
    fn take(&self, whose: Whose, n: u64) -> Result<Grant, Denied>;

    /// Predicts the answer of [`take`](Self::take), at the least cost. Takes nothing.
    fn look(&self, whose: Whose, n: u64) -> Result<Grant, Denied>;

    /// Returns the whole tokens there.
    fn available(&self, whose: Whose) -> i64;

    /// Returns whether tokens are drawn ahead, so that [`take`](Self::take) costs less than a
    /// place.
    fn draws_ahead(&self) -> bool;

    /// Returns the time until a place is due.
    fn until(&self, place: &Place) -> Duration;

    /// Returns the bounds of the waiting queue.
    fn waiting(&self) -> &Waiting;

    /// Returns the last `n` tokens of a place as a span of token time: see [`Place::span_of`].
    fn span_of(&self, place: &Place, n: u64) -> Option<Span> {
        place.span_of(n)
    }

    /// Forgets that `n` tokens of a place are spent, since the span of the place is handed on.
    fn unspent(&self, _: &Place, _: u64) {}

    /// Returns the queues of the callers that wait.
    fn queues(&self) -> &Arc<Queues>;

    /// Reads the clock once.
    fn moment(&self) -> Moment;

    /// Takes back a span that no waiting caller has a use for. Changes nothing and returns `false`
    /// if other places follow the span. Changes nothing and returns `true` if a reset has made void
    /// the places of the time of `since`.
    fn take_back(&self, whose: Whose, span: Span, since: Option<Since>, now: &Moment) -> bool;

    /// Replaces the state by what `rework` returns, unless a reset has made void the places of the
    /// time of `since`. Returns whether it did.
    #[cfg(feature = "std")]
    fn rework(
        &self,
        whose: Whose,
        since: Since,
        now: &Moment,
        rework: &dyn Fn(u64) -> Option<u64>,
    ) -> bool;

    /// Gives `units` back if no caller waits; otherwise changes nothing.
    fn add_if_idle(&self, whose: Whose, units: u64, now: &Moment) -> bool;

    /// Returns the units given back since the place was taken; `None` if a reset has made the place
    /// void.
    fn returned_since(&self, place: &Place) -> Option<u64>;

    /// Gives up `n` tokens of a place that is not due yet, if no caller waits behind it. Returns
    /// the tokens that come back.
    fn give_up(&self, place: &Place, n: u64) -> u64;

    /// Undoes the debit of `n` tokens of a place, due or not, as far as the word can tell. Changes
    /// nothing and returns `false` if a caller waits behind it.
    fn undo(&self, place: &Place, n: u64, now: &Moment) -> bool;

    /// Gives `n` tokens back to the first waiting caller, or else to the bucket.
    fn put_back(&self, whose: Whose, n: u64);

    /// Takes `n` even if they are not there, and returns the time until the debt is paid.
    fn charge(&self, whose: Whose, n: u64) -> Duration;
}
