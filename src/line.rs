//! Places in line: what a limiter that is waited for keeps besides the word, and how it is asked.
//!
//! A place is a charge into the future. The word moves ahead by the cost, and from then on says itself who
//! comes next: whoever asks later stands behind, with a wait of his own, and nobody keeps a queue.
//!
//! ORDERING: giving up a place looks at the word, then at how far the line is promised; who shortens the line
//! with somebody behind first raises what is promised, then swaps the word. An Acquire fence after the first load
//! and a Release fence before the second swap pair with each other, so whoever sees the shorter line sees what is promised.

use crate::algorithm::{Algorithm, GivenUp};
use crate::cell::{Cell, Step};
use crate::error::{Denied, QuotaError};
use crate::figures::{Figures, Grant};
use crate::quota::Quota;
use crate::sync::Ordering::{Acquire, Release};
use crate::sync::fence;
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
pub(crate) struct Promised {
    /// How far somebody may still hold a place, though the line is shorter again.
    end: Furthest,
    /// Resets that have begun, in the upper half, and ended.
    resets: Cell,
    /// Units that have been given back, by which the word is less than it was.
    returned: Cell,
}

/// What was seen of it, for a place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// How far the line is promised.
    pub(crate) end: u64,
    /// What has been given back since the place was taken, in units.
    pub(crate) returned: u64,
}

/// When a place was taken: after how many resets, and how much had been given back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since {
    pub(crate) resets: u32,
    pub(crate) returned: u64,
}

const HALF: u64 = 1 << 32;
/// Of a place that was taken while somebody reset the line.
const VOID: u32 = u32::MAX;

impl Promised {
    pub(crate) fn new() -> Self {
        Self { end: Furthest::new(), resets: Cell::new(0), returned: Cell::new(0) }
    }

    /// Of a line that begins at zero and may go back from there, and wraps: nothing, for a quarter of it.
    pub(crate) fn far_behind() -> Self {
        Self { end: Furthest(Cell::new(3 << 62)), ..Self::new() }
    }

    /// Before a place is taken.
    #[inline]
    pub(crate) fn since(&self) -> Since {
        let (resets, returned) = (self.resets.load(), self.returned.load());
        fence(Acquire);
        let (begun, ended) = ((resets >> 32) as u32, resets as u32);
        Since { resets: if begun == ended { begun } else { VOID }, returned }
    }

    /// After the word was loaded; `None` for a place that a reset has made void.
    pub(crate) fn seen(&self, since: Since) -> Option<Seen> {
        fence(Acquire);
        let void = since.resets == VOID || (self.resets.load() >> 32) as u32 != since.resets;
        let returned = self.returned.load().wrapping_sub(since.returned);
        (!void).then(|| Seen { end: self.end.seen(), returned })
    }

    /// Counts what is given back, before the word is swapped; if the swap fails, a little too much.
    pub(crate) fn returns(&self, units: u64) {
        self.returned.update(|returned| Step::Put(returned.wrapping_add(units), ()));
        fence(Release);
    }

    /// Before the word is swapped.
    pub(crate) fn raise(&self, to: u64) {
        self.end.raise(to);
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
    /// When it was taken: [`Since`], spread out so that it takes no more than it must.
    pub(crate) resets: u32,
    /// Tokens of it that had been debited before.
    pub(crate) held: u32,
    pub(crate) returned: u64,
    /// How long it was until it is due, in units.
    pub(crate) wait: u64,
    /// The same in nanoseconds.
    pub(crate) nanos: u64,
    /// The state that it made, at the moment that it was made.
    pub(crate) at: Figures,
}

impl Place {
    /// One that is due already.
    #[inline]
    pub(crate) fn at_once(whose: Whose, n: u64, made: u64, since: Since, at: Figures) -> Self {
        let Since { resets, returned } = since;
        Self { whose, n, place: made, made, resets, held: 0, returned, wait: 0, nanos: 0, at }
    }

    /// When it was taken.
    pub(crate) fn since(&self) -> Since {
        Since { resets: self.resets, returned: self.returned }
    }

    /// Whether nobody has taken after it, so that what is given back of it is no more than it had itself.
    pub(crate) fn is_last(&self, state: u64) -> bool {
        self.held == 0 && self.made == state
    }

    /// How long it was until it is due.
    pub(crate) fn waits(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// `n` of its tokens, which are given back; `place` is what is remembered.
    pub(crate) fn given(&self, place: u64, n: u64, seen: Seen) -> GivenUp {
        let Self { n: of, made, held, .. } = *self;
        let worth = self.at.terms.rule().worth(of.saturating_sub(held.into()), held.into());
        let kept = self.at.terms.scale().units_at_most(of.saturating_sub(n), worth);
        let Seen { end: promised, returned } = seen;
        GivenUp { place, n, of, made, units: worth - kept, returned, promised }
    }

    /// What is remembered of it, as the quota in force would have it.
    ///
    /// A larger burst shifts the line back, so that a bucket which had been full lacks the difference, and its full time
    /// lies ahead again. What is remembered is shifted as well: that it had been full must not be forgotten.
    pub(crate) fn place_by(&self, now: &Figures) -> u64 {
        let grown = now.terms.burst_units().saturating_sub(self.at.terms.burst_units());
        self.place.wrapping_sub(grown)
    }
}

/// Whom a place is taken of.
pub(crate) trait Line: Send + Sync {
    /// Takes a place for `n`, or, if it were due only after `within`, changes nothing.
    fn place(&self, whose: Whose, n: u64, within: Option<Duration>) -> Result<Place, Denied>;

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

    /// Gives up `n` tokens of a place that is not due yet: how many come back.
    fn give_up(&self, place: &Place, n: u64) -> u64;

    /// Makes a place, due or not, never to have been, as far as that can be told.
    fn undo(&self, place: &Place);

    /// Gives `n` tokens back to whom a place was taken of.
    fn refund(&self, place: &Place, n: u64);

    /// Gives `n` tokens back to whoever has them missing.
    fn put_back(&self, whose: Whose, n: u64);

    /// Takes `n` whatever is there, and says how long until the debt is paid.
    fn charge(&self, whose: Whose, n: u64) -> Duration;

    /// The number of changes of the quota. One load.
    #[cfg(feature = "std")]
    fn generation(&self) -> u64;
}
