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

/// How far somebody may still hold a place, though the line is shorter again.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Promised(Cell);

impl Promised {
    pub(crate) fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Of a line that begins at zero and may go back from there, and wraps: nothing, for a quarter of it.
    pub(crate) fn far_behind() -> Self {
        Self(Cell::new(3 << 62))
    }

    /// After the word was loaded.
    pub(crate) fn seen(&self) -> u64 {
        fence(Acquire);
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
    /// How long it was until it is due, in units.
    pub(crate) wait: u64,
    /// The same as a time.
    pub(crate) waits: Duration,
    /// The state that it made, at the moment that it was made.
    pub(crate) at: Figures,
}

impl Place {
    /// One that is due already.
    #[inline]
    pub(crate) fn at_once(whose: Whose, n: u64, place: u64, at: Figures) -> Self {
        Self { whose, n, place, wait: 0, waits: Duration::ZERO, at }
    }

    /// `n` of its tokens, which are given back; `place` is what is remembered.
    pub(crate) fn given(&self, place: u64, n: u64, promised: u64) -> GivenUp {
        GivenUp { place, n, of: self.n, promised }
    }

    /// What is remembered of it, as the quota in force would have it.
    ///
    /// A larger burst shifts the line back, so that a bucket which had been full lacks the difference, and its full time
    /// lies ahead again. What is remembered is shifted as well: that it had been full must not be forgotten.
    pub(crate) fn made(&self, now: &Figures) -> u64 {
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
