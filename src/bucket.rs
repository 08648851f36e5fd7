//! Places in line: what a limiter that is waited for keeps besides the word, and how it is asked.
//!
//! A place is a charge into the future. The word moves ahead by the cost, and from then on says itself that
//! later callers come later. `queue` keeps the callers that wait, in their order.
//!
//! ORDERING: what is given back is counted before the word is swapped for it, with a Release fence between
//! them; undoing a debit looks at the word, and after an Acquire fence at the count. So whoever sees the word that
//! something was given back to sees that it was counted.
//!
//! Two more fences, after what a place remembers and before a reset ends its count, forbid that a
//! place counts as one of after the reset whose debit the reset's swap has overwritten. For that
//! the load would have to be served after the debit that follows it, which processors other than
//! x86 may do, and loom, which runs each thread in order, does not: no model sees these two.

mod options;
pub(crate) mod queue;
mod store;
pub(crate) mod verbs;

pub(crate) use options::{Options, option_setters};
pub(crate) use queue::{Queues, Span};
pub(crate) use store::{Account, Ask, Store};

use crate::algorithm::{Algorithm, GivenUp};
use crate::answer::{Denied, Figures, Grant};
use crate::cell::{Cell, Step};
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::sync::Ordering::{Acquire, Release};
use crate::sync::fence;
use crate::timeline::Moment;
use alloc::sync::Arc;
use core::time::Duration;

/// How long a line may get, and who may stand in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Tokens that all who wait may be in debt for.
    pub(crate) most: u64,
    /// Whether a cost over the burst may be paid in instalments.
    pub(crate) instalments: bool,
    /// Of a queue, what passes at once: a burst that quotas do not change.
    pub(crate) queue: Option<u64>,
}

/// A builder's choice of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) capacity: Option<u64>,
    /// So many of the capacity pass at once.
    pub(crate) delay_free: u64,
}

impl Queue {
    /// The quota and the line of a leaky bucket that is a queue; of any other limiter, its own.
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
    /// A later quota; what passes a queue at once is its own.
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

    /// Before the word is swapped.
    pub(crate) fn raise(&self, to: u64) {
        self.0.update(|seen| match to.wrapping_sub(seen) as i64 {
            1.. => Step::Put(to, ()),
            _ => Step::Keep(()),
        });
        fence(Release);
    }
}

/// What a line's word does not say of its places.
///
/// A reset makes all places void. It begins to be counted before it swaps the word, and has been counted after; a place
/// that is taken in between, or before a reset that has begun since, may have been of the word that is gone.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Returns {
    /// Resets that have begun, in the upper half, and ended.
    resets: Cell,
    /// Units that have been given back, by which the word is less than it was.
    returned: Cell,
}

/// When a place was taken: after how many resets, and how much had been given back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since {
    /// The account of its key, if it has one: see `keyed/ledger.rs`.
    pub(crate) account: u32,
    pub(crate) resets: u32,
    pub(crate) returned: u64,
}

impl Since {
    /// Without a part of both.
    pub(crate) fn without(self, part: Self) -> Self {
        let void = self.resets == VOID;
        let resets = if void { VOID } else { self.resets.wrapping_sub(part.resets) };
        Self { resets, returned: self.returned.wrapping_sub(part.returned), ..self }
    }

    /// Whether nobody has reset anything between both.
    pub(crate) fn has_same_resets(self, other: Self) -> bool {
        self.resets == other.resets && self.resets != VOID
    }
}

const HALF: u64 = 1 << 32;
/// Of a place that was taken while somebody reset the line.
const VOID: u32 = u32::MAX;

impl Returns {
    pub(crate) fn new() -> Self {
        Self { resets: Cell::new(0), returned: Cell::new(0) }
    }

    /// Before a place is taken.
    #[inline]
    pub(crate) fn since(&self) -> Since {
        let (resets, returned) = (self.resets.load(), self.returned.load());
        fence(Acquire);
        let (begun, ended) = ((resets >> 32) as u32, resets as u32);
        Since { account: 0, resets: if begun == ended { begun } else { VOID }, returned }
    }

    /// After the word was loaded: what has been given back since a place was taken, in units; `None` for a
    /// place that a reset has made void.
    pub(crate) fn since_then(&self, since: Since) -> Option<u64> {
        fence(Acquire);
        let void = since.resets == VOID || (self.resets.load() >> 32) as u32 != since.resets;
        (!void).then(|| self.returned.load().wrapping_sub(since.returned))
    }

    /// Counts what is given back, before the word is swapped; if the swap fails, a little too much.
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

/// Whose line it is: the only one of a limiter, or a key's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whose {
    /// The key's fingerprint.
    pub(crate) hash: u64,
    /// Whether the key had no slot, and stands in the line that all such keys share.
    pub(crate) shared: bool,
}

/// A place in line.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) whose: Whose,
    pub(crate) n: u64,
    /// What the algorithm remembers of it.
    pub(crate) place: u64,
    /// The state that it made.
    pub(crate) made: u64,
    /// When it was taken.
    pub(crate) since: Since,
    /// How long it was until it is due, in units.
    pub(crate) wait: u64,
    /// The same in nanoseconds, if the figures are told ones, which cannot say it.
    pub(crate) told: u64,
    /// The state that it made, at the moment that it was made.
    pub(crate) at: Figures,
}

impl Place {
    /// One that is due already.
    #[inline]
    pub(crate) fn at_once(whose: Whose, n: u64, made: u64, since: Since, at: Figures) -> Self {
        Self { whose, n, place: made, made, since, wait: 0, told: 0, at }
    }

    /// One that ends there, and what the bucket is then.
    pub(crate) fn ending(whose: Whose, n: u64, end: u64, since: Since, now: &Moment) -> Self {
        let at = now.figures(end);
        let wait = now.rule().until_place(end, now.units);
        Self { whose, n, place: end, made: end, since, wait, told: 0, at }
    }

    /// How long it was until it is due.
    pub(crate) fn waits(&self) -> Duration {
        let nanos = if self.at.is_told() { self.told } else { self.at.nanos_of(self.wait) };
        Duration::from_nanos(nanos)
    }

    /// The limiter's answer as it will be when the place is due.
    pub(crate) fn grant(&self) -> Grant {
        Grant::new(self.n, self.at.after(self.wait, self.told))
    }

    /// The last `n` of its tokens as a span of the line; `None` where the line has none: of windows, and of keys that
    /// share a bucket since they have no slot.
    pub(crate) fn span_of(&self, n: u64) -> Option<Span> {
        let rule = self.at.terms.rule();
        let worth = |n| rule.worth(n);
        let units = worth(self.n)? - worth(self.n.saturating_sub(n))?;
        (!self.whose.shared).then(|| Span::ending(self.place, units))
    }

    /// `n` of its tokens, which are given back; `place` is what is remembered, `returned` what others have given back.
    pub(crate) fn given(&self, place: u64, n: u64, returned: u64) -> GivenUp {
        let rule = self.at.terms.rule();
        let worth = |n| rule.worth(n).unwrap_or(0);
        let units = worth(self.n) - worth(self.n.saturating_sub(n));
        GivenUp { place, n, made: self.made, units, returned }
    }

    /// By how much the line was shifted back since the place was taken, for a larger burst.
    ///
    /// A bucket that had been full then lacks the difference, and its full time lies ahead again. What is remembered is
    /// shifted as well: that it had been full must not be forgotten.
    fn shift(&self, now: &Moment) -> u64 {
        // Figures that were computed then are of no line.
        if self.at.is_told() {
            return 0;
        }
        now.terms().burst_units().saturating_sub(self.at.terms.burst_units())
    }

    /// What is remembered of it, as the quota in force would have it.
    pub(crate) fn place_by(&self, now: &Moment) -> u64 {
        self.place.wrapping_sub(self.shift(now))
    }

    /// A span of it, as the quota in force would have it, and with so much given back since: that went back from the end of
    /// a line in which nobody waited, so what was taken before moved down with it.
    pub(crate) fn by_now(&self, span: Span, returned: u64, now: &Moment) -> Span {
        let down = self.shift(now).wrapping_add(returned);
        Span { start: span.start.wrapping_sub(down), end: span.end.wrapping_sub(down) }
    }
}

impl core::fmt::Debug for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Place").field("n", &self.n).field("waits", &self.waits()).finish()
    }
}

impl Waiting {
    /// The most tokens that one place can have.
    pub(crate) fn largest_place(&self, now: &Moment) -> u64 {
        let more = self.instalments && !now.terms().is_window();
        now.limit().saturating_add(if more { self.most } else { 0 })
    }
}

/// Whom a place is taken of.
pub(crate) trait Bucket: Send + Sync {
    /// Takes a place for `n` behind everybody else, or, if it were due only after `within`, changes nothing.
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied>;

    /// [`place`](Self::place), at a moment that has just been read.
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

    /// The place of `n` that ends there, in a part of the line that somebody gave up. Takes nothing.
    fn place_at(&self, whose: Whose, n: u64, end: u64, now: &Moment) -> Place;

    /// A place for `n` now or never: what [`take`](Self::take) does, so that it can be undone.
    fn debit(&self, whose: Whose, n: u64) -> Result<Place, Denied>;

    /// Whether there is such a place now. Takes nothing.
    fn foresee(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<(), Denied>;

    /// Takes `n` now or never, as a check does.
    fn take(&self, whose: Whose, n: u64) -> Result<Grant, Denied>;

    /// What [`take`](Self::take) would answer, at the least cost. Takes nothing.
    fn look(&self, whose: Whose, n: u64) -> Result<Grant, Denied>;

    /// Whole tokens there.
    fn available(&self, whose: Whose) -> i64;

    /// Whether tokens are drawn ahead, so that [`take`](Self::take) costs less than a place.
    fn draws_ahead(&self) -> bool;

    /// How long until a place is due.
    fn until(&self, place: &Place) -> Duration;

    /// How long the line may get.
    fn waiting(&self) -> &Waiting;

    /// The last `n` tokens of a place as a span of the line: see [`Place::span_of`].
    fn span_of(&self, place: &Place, n: u64) -> Option<Span> {
        place.span_of(n)
    }

    /// `n` tokens of a place, whose span is handed on, are not spent: what remembers them forgets
    /// them.
    fn unspent(&self, _: &Place, _: u64) {}

    /// Those who wait.
    fn queues(&self) -> &Arc<Queues>;

    /// Reads the clock once.
    fn moment(&self) -> Moment;

    /// Takes a span of the line back, of which nobody in line has a use. `false`, and nothing changes, if the line goes
    /// on behind it. If a reset has made void what was taken at the time of `since`, nothing changes either.
    fn take_back(&self, whose: Whose, span: Span, since: Option<Since>, now: &Moment) -> bool;

    /// Makes of the state what `rework` says, unless a reset has made void what was taken at the time of `since`. Whether it
    /// did.
    #[cfg(feature = "std")]
    fn rework(
        &self,
        whose: Whose,
        since: Since,
        now: &Moment,
        rework: &dyn Fn(u64) -> Option<u64>,
    ) -> bool;

    /// Gives so many units back if nobody waits; otherwise nothing changes.
    fn add_if_idle(&self, whose: Whose, units: u64, now: &Moment) -> bool;

    /// What has been given back since the place was taken, in units; `None` if a reset has made the place void.
    fn returned_since(&self, place: &Place) -> Option<u64>;

    /// Gives up `n` tokens of a place that is not due yet, if nobody stands behind it: how many come back.
    fn give_up(&self, place: &Place, n: u64) -> u64;

    /// Makes `n` tokens of a place, due or not, never to have been, as far as that can be told. `false`, and nothing
    /// changes, if somebody waits behind it.
    fn undo(&self, place: &Place, n: u64, now: &Moment) -> bool;

    /// Gives `n` tokens back to whoever has them missing.
    fn put_back(&self, whose: Whose, n: u64);

    /// Takes `n` whatever is there, and says how long until the debt is paid.
    fn charge(&self, whose: Whose, n: u64) -> Duration;
}
