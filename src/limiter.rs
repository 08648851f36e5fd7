//! `RateLimiter`: one limit over one cell.

mod account;
mod builder;
mod mode;
#[cfg(all(test, feature = "quanta"))]
mod restarts;
mod set_quota;
mod store;

pub use builder::RateLimiterBuilder;

use crate::algorithm::{Algorithm, Rule, Terms, TokenBucket};
use crate::answer::{AnswerKind, Denied, Figures, Grant};
use crate::bucket::{Queues, Returns, Waiting, Whose, verbs};
use crate::cell::{Cell, Step};
use crate::clock::Timer;
use crate::quota::Quota;
use crate::timeline::{Announced, Moment, Reading, Timeline};
pub(crate) mod striped;
use crate::word;
use alloc::sync::Arc;
use core::fmt;
use crossbeam_utils::CachePadded;
use mode::{Mode, Stripes};

/// One limit, shared by any number of threads.
///
/// The whole state is one 64-bit word. A check reads the clock, does a multiplication and a few
/// additions, and commits with one compare-and-swap. A denial writes nothing. A check never blocks,
/// waits or allocates.
///
/// ```
/// # #[cfg(feature = "std")] {
/// use sluicegate::{Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
/// match limiter.check() {
///     Ok(grant) => println!("{} left", grant.remaining()),
///     Err(denied) => println!("come back in {:?}", denied.retry_after()),
/// }
/// # }
/// ```
///
/// Share the limiter by reference, in an `Arc`, or in a `static` with `LazyLock`.
///
/// | verb | reads the clock | atomic operations |
/// | --- | --- | --- |
/// | `check`, `check_n`, `check_up_to`, granted | once | 1 load, 1 compare-and-swap |
/// | the same, denied | once | 1 load |
/// | the same, batched or striped, most grants | no | 1 load, 1 compare-and-swap |
/// | the same, striped, denied | once | 1 load, and 1 for each stripe |
/// | `peek`, `available`, `level` | once | 1 load |
/// | `charge` | once | 1 load, 1 compare-and-swap |
/// | `refund` | once | the same, 1 load, and 1 compare-and-swap that counts it |
/// | `reset` | once | 1 load, 3 compare-and-swaps, and a short lock |
/// | `reserve`, `acquire`, if the tokens are there | once | 4 loads, 1 compare-and-swap |
/// | the same, if a caller waits | twice | the same, and a short lock |
///
/// Each reading of the clock takes 1 more load, of the [quota](Self::set_quota)'s generation, which
/// no thread writes between changes of the quota. After the first change it takes a few more. A
/// compare-and-swap that loses to another thread's is tried again on the newer word.
pub struct RateLimiter {
    /// The cell has a cache line of its own: a write to it must not evict the read-only fields from
    /// the caches of other cores.
    cell: CachePadded<Cell>,
    timeline: Timeline,
    announced: Announced,
    mode: Mode,
    /// The terms in the answers of grants that read no clock, under the first quota.
    free: Terms,
    waiting: Waiting,
    /// The debt in tokens at which a charge stops.
    max_debt: u64,
    returns: Returns,
    /// The callers that wait. No check looks at them.
    queues: Arc<Queues>,
}

impl RateLimiter {
    /// Makes a token bucket that starts full, on the default clock.
    ///
    /// The first limiter of a process calibrates the time stamp counter, which takes some
    /// milliseconds.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let timer = Timer::new(Timer::system());
        let terms = Terms::bucket(quota, Algorithm::TokenBucket, u64::BITS);
        Self::assemble(terms, timer, Mode::of(&terms), Waiting::default())
    }

    /// Chooses the algorithm, the clock and the rest.
    pub fn builder(quota: Quota) -> RateLimiterBuilder {
        RateLimiterBuilder::new(quota)
    }

    fn assemble(terms: Terms, timer: Timer, mode: Mode, waiting: Waiting) -> Self {
        let (cell, timeline) = (CachePadded::new(Cell::new(0)), Timeline::new(terms, timer));
        let (announced, returns, queues) = (Announced::new(), Returns::new(), Queues::of_one());
        let free = AnswerKind::ClockFree.label(mode.lowered(terms));
        Self { cell, timeline, announced, mode, free, waiting, max_debt: u64::MAX, returns, queues }
    }

    /// Reads the clock once. The terms of the moment are those of the bucket that tokens are drawn
    /// from: its burst without the tokens that a batch or the stripes withhold.
    #[inline]
    fn now(&self) -> Moment {
        self.timeline.now(&self.announced).under(|terms| self.mode.lowered(terms))
    }

    /// Computes the terms of a grant that reads no clock, after a change of the quota.
    #[cold]
    #[inline(never)]
    fn changed_free(&self) -> Terms {
        AnswerKind::ClockFree.label(self.mode.lowered(self.timeline.terms(&self.announced)))
    }

    /// Takes one token, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    #[inline]
    pub fn check(&self) -> Result<Grant, Denied> {
        self.check_n(1)
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the time until `n` tokens are there, or without one if `n` exceeds the
    /// limit.
    #[inline]
    pub fn check_n(&self, n: u64) -> Result<Grant, Denied> {
        let Mode::Exact(rule) = &self.mode else { return self.check_otherwise(n) };
        // One comparison for both ends: 0 wraps to the top.
        if n.wrapping_sub(1) >= rule.limit() {
            return self.check_slowly(n);
        }
        // Most limiters keep their first quota, which this reads by.
        let Some(now) = self.timeline.read_wrapping(&self.announced) else {
            return self.check_changed(n);
        };
        match self.take_exactly(rule, now, n) {
            Ok(taken) => Ok(Grant::new(n, self.timeline.figures(now, taken))),
            Err(state) => Err(Denied::new(n, self.timeline.figures(now, state))),
        }
    }

    /// Takes `n` tokens, from 1 to the limit. Returns the state after the grant, or the state that
    /// has too few tokens.
    ///
    /// The caller builds the answer, so that the compiler sees which of its fields go unused.
    #[inline(always)]
    fn take_exactly(&self, rule: &TokenBucket, now: Reading, n: u64) -> Result<u64, u64> {
        self.cell.update(|state| match rule.take(state, now.units, n) {
            Some(taken) => Step::Put(taken, Ok(taken)),
            None => Step::Keep(Err(state)),
        })
    }

    /// Checks under a quota that has replaced the first one.
    #[inline(never)]
    fn check_changed(&self, n: u64) -> Result<Grant, Denied> {
        if let Some(quota) = self.timeline.in_force(&self.announced)
            && n.wrapping_sub(1) < quota.limit()
            && let Some(rule) = self.timeline.bucket(&quota)
            && let Some(read) = self.timeline.read(&self.announced, &quota)
        {
            let taken = self.take_exactly(&rule, read, n);
            let now = self.timeline.moment(quota.slope, read);
            return match taken {
                Ok(taken) => Ok(now.grant(n, taken)),
                Err(state) => Err(now.denied(n, state)),
            };
        }
        self.check_slowly(n)
    }

    /// Tries a grant that reads no clock. Every other request goes to
    /// [`check_slowly`](Self::check_slowly).
    #[inline]
    fn check_otherwise(&self, n: u64) -> Result<Grant, Denied> {
        if n > 0 {
            let left = match &self.mode {
                Mode::Batched(batch) => self.cell.update(|seen| match batch.spend(seen, n) {
                    Some(spent) => Step::Put(spent, Some(word::tokens(spent))),
                    None => Step::Keep(None),
                }),
                Mode::Striped(striped) => striped.spend(striped::mine(), n),
                _ => None,
            };
            if let Some(left) = left {
                return Ok(self.clock_free(n, left));
            }
        }
        self.check_slowly(n)
    }

    /// Decides by the clock: for a batched or striped limiter that must draw, for a window, and for
    /// a request of nothing or of more than the limit.
    #[inline(never)]
    fn check_slowly(&self, n: u64) -> Result<Grant, Denied> {
        let now = self.now();
        if n.wrapping_sub(1) >= now.limit() {
            return self.peek(n);
        }
        if let Mode::Striped(striped) = &self.mode {
            let time = Stripes(self, striped);
            let (answer, now) = striped.draw(&self.cell, &time, striped::mine(), n);
            let now = now.under(|terms| self.mode.lowered(terms));
            return match answer {
                Ok(state) => Ok(now.grant(n, state)),
                Err(state) => Err(now.denied(n, state)),
            };
        }
        self.cell.update(|seen| match (self.take(seen, now, n), &self.mode) {
            (Some(drawn), Mode::Batched(_)) => {
                Step::Put(drawn, Ok(self.clock_free(n, word::tokens(drawn))))
            }
            (Some(taken), _) => Step::Put(taken, Ok(now.grant(n, taken))),
            (None, _) => Step::Keep(Err(now.denied(n, self.undrawn(seen, now)))),
        })
    }

    #[inline(always)]
    fn clock_free(&self, granted: u64, drawn: u64) -> Grant {
        let changed = self.timeline.has_changed(&self.announced);
        let terms = if changed { self.changed_free() } else { self.free };
        Grant::new(granted, Figures::new(terms, drawn, 0, 0))
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the time until the next token, if there is none.
    #[inline]
    pub fn check_up_to(&self, n: u64) -> Result<Grant, Denied> {
        verbs::check_up_to(self, Whose::default(), n)
    }

    /// Predicts the answer of [`check_n`](Self::check_n). Takes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    #[inline(never)]
    pub fn peek(&self, n: u64) -> Result<Grant, Denied> {
        verbs::peek(self, Whose::default(), n)
    }

    /// The quota in force. The burst of a [queue](RateLimiterBuilder::queue)'s quota is the number
    /// of requests that pass at once.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.timeline.terms(&self.announced).quota
    }

    /// The algorithm that decides.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.timeline.first().algorithm
    }

    /// Splits the word into the tokens drawn ahead, which only a batched limiter has, and the
    /// state.
    #[inline(always)]
    fn split(&self, seen: u64) -> (u64, u64) {
        match self.mode {
            Mode::Batched(_) => (word::tokens(seen), word::value(seen)),
            _ => (0, seen),
        }
    }

    /// Counts the tokens that are leased to stripes and not yet spent.
    fn held(&self) -> u64 {
        match &self.mode {
            Mode::Striped(striped) => striped.held(),
            _ => 0,
        }
    }

    #[inline(always)]
    fn join(&self, drawn: u64, state: u64) -> u64 {
        match self.mode {
            Mode::Batched(_) => word::pack(drawn, state),
            _ => state,
        }
    }

    /// Takes `n` tokens: returns the word after a draw of a batched limiter, or the state after the
    /// grant of any other.
    #[inline]
    fn take(&self, seen: u64, now: Moment, n: u64) -> Option<u64> {
        match (&self.mode, now.rule()) {
            (Mode::Batched(batch), Rule::Bucket(lowered)) => {
                batch.spend(seen, n).or_else(|| batch.draw(&lowered, seen, now.units, n))
            }
            (_, rule) => rule.take(seen, now.units, n),
        }
    }

    /// Computes the state as if the tokens drawn ahead and leased had never left the bucket, for
    /// figures.
    #[inline]
    fn undrawn(&self, seen: u64, now: Moment) -> u64 {
        let (drawn, state) = self.split(seen);
        match drawn + self.held() {
            0 => state,
            drawn => now.rule().refund(state, now.units, drawn).unwrap_or(state),
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("quota", &self.quota())
            .field("algorithm", &self.algorithm())
            .field("available", &self.available())
            .finish()
    }
}
