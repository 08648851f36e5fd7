//! `RateLimiter`: the public verbs over one cell.

use crate::algorithm::{self, Algorithm, Batch, Mark, Rule, Terms, TokenBucket};
use crate::basis::{Basis, Now};
use crate::cell::{Cell, Step};
use crate::clock::{Clock, Source, Timer};
use crate::error::{Denied, QuotaError};
use crate::figures::Grant;
use crate::quota::Quota;
use crate::word;
use core::fmt;
use core::time::Duration;
use crossbeam_utils::CachePadded;

/// One limit, shared by any number of threads.
///
/// The whole state is one 64-bit word. A check reads the clock, does a multiply and a few additions,
/// and commits with one compare-and-swap; a denial writes nothing. Nothing blocks, waits or allocates.
///
/// ```
/// use sluicegate::{Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
/// match limiter.check() {
///     Ok(grant) => println!("{} left", grant.remaining()),
///     Err(denied) => println!("come back in {:?}", denied.retry_after()),
/// }
/// ```
///
/// Share it by reference, in an `Arc`, or in a `static` with `LazyLock`.
///
/// | verb | reads the clock | atomic operations |
/// | --- | --- | --- |
/// | `check`, `check_n`, `check_up_to`, granted | once | 1 load, 1 compare-and-swap |
/// | the same, denied | once | 1 load |
/// | the same, batched, most grants | no | 1 load, 1 compare-and-swap |
/// | `peek`, `available`, `level` | once | 1 load |
/// | `charge`, `refund`, `reset` | once | 1 load, 1 compare-and-swap |
///
/// A compare-and-swap that meets another thread's is tried again on the newer word.
pub struct RateLimiter {
    /// On a cache line of its own: writing it must not take the read-only rest from other cores.
    cell: CachePadded<Cell>,
    basis: Basis,
    path: Path,
    quota: Quota,
}

/// The ways of a check, the commonest first.
#[derive(Debug)]
enum Path {
    /// A token or leaky bucket that reads the clock each time.
    Exact(TokenBucket),
    /// A bucket with tokens drawn ahead.
    Batched(Batch),
    /// Whatever the basis' rule says.
    Window,
}

impl RateLimiter {
    /// A token bucket that starts full, on the default clock.
    ///
    /// The first limiter of a process calibrates the time stamp counter, for some milliseconds.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let timer = Timer::new(Timer::system());
        let terms = Terms::bucket(quota, Algorithm::TokenBucket, u64::BITS);
        Self::assemble(quota, terms, timer, None)
    }

    /// Chooses the algorithm, the clock and the rest.
    pub fn builder(quota: Quota) -> Builder {
        Builder {
            quota,
            algorithm: Algorithm::TokenBucket,
            initial: None,
            batch: None,
            source: None,
        }
    }

    fn assemble(quota: Quota, terms: Terms, timer: Timer, batch: Option<Batch>) -> Self {
        let basis = Basis::new(terms, timer);
        let path = match (batch, basis.rule) {
            (Some(batch), _) => Path::Batched(batch),
            (None, Rule::Bucket(rule)) => Path::Exact(rule),
            (None, _) => Path::Window,
        };
        Self { cell: CachePadded::new(Cell::new(0)), basis, path, quota }
    }

    /// Takes one token, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    #[inline]
    pub fn check(&self) -> Result<Grant, Denied> {
        self.check_n(1)
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the time until `n` tokens are there, or without one if `n` exceeds the limit.
    #[inline]
    pub fn check_n(&self, n: u64) -> Result<Grant, Denied> {
        let Path::Exact(rule) = &self.path else { return self.check_otherwise(n) };
        // One comparison for both ends: 0 wraps to the top.
        if n.wrapping_sub(1) >= rule.limit() {
            return self.peek(n);
        }
        let now = self.basis.now();
        // The answer is put together outside of the loop, where the compiler sees what is not used.
        let taken = self.cell.update(|state| match rule.take(state, now.units, n) {
            Some(taken) => Step::Put(taken, Ok(taken)),
            None => Step::Keep(Err(state)),
        });
        match taken {
            Ok(taken) => Ok(self.basis.grant(n, taken, now)),
            Err(state) => Err(self.basis.denied(n, state, now)),
        }
    }

    /// Batched limiters here, windows further on.
    #[inline]
    fn check_otherwise(&self, n: u64) -> Result<Grant, Denied> {
        if let Path::Batched(batch) = &self.path {
            let spent = self.cell.update(|seen| match batch.spend(seen, n) {
                Some(spent) => Step::Put(spent, Some(word::tokens(spent))),
                None => Step::Keep(None),
            });
            if let Some(drawn) = spent
                && n > 0
            {
                return Ok(self.clock_free(n, drawn));
            }
        }
        self.check_slowly(n)
    }

    /// A batched limiter's draw, a window, or a request that cannot be granted.
    #[inline(never)]
    fn check_slowly(&self, n: u64) -> Result<Grant, Denied> {
        if n.wrapping_sub(1) >= self.basis.rule.limit() {
            return self.peek(n);
        }
        let now = self.basis.now();
        self.cell.update(|seen| match (self.take(seen, now, n), &self.path) {
            (Some(drawn), Path::Batched(_)) => {
                Step::Put(drawn, Ok(self.clock_free(n, word::tokens(drawn))))
            }
            (Some(taken), _) => Step::Put(taken, Ok(self.basis.grant(n, taken, now))),
            (None, _) => Step::Keep(Err(self.denied(n, seen, now))),
        })
    }

    #[inline(always)]
    fn clock_free(&self, granted: u64, drawn: u64) -> Grant {
        let mut at = self.basis.figures(drawn, Now { units: 0, ticks: 0 });
        at.terms.mark = Mark::ClockFree;
        Grant::new(granted, at)
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the time until the next token, if there is none.
    #[inline]
    pub fn check_up_to(&self, n: u64) -> Result<Grant, Denied> {
        if n == 0 {
            return self.peek(0);
        }
        let now = self.basis.now();
        self.cell.update(|seen| {
            let there = self.balance(seen, now).max(0) as u64;
            let Some(taken) = self.take(seen, now, n.min(there)) else {
                return Step::Keep(Err(self.denied(1, seen, now)));
            };
            Step::Put(taken, Ok(self.grant(n.min(there), taken, now)))
        })
    }

    /// What [`check_n`](Self::check_n) would answer now. Takes nothing.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    #[inline(never)]
    pub fn peek(&self, n: u64) -> Result<Grant, Denied> {
        let now = self.basis.now();
        let seen = self.cell.load();
        if n == 0 {
            return Ok(self.grant(0, seen, now));
        }
        match self.take(seen, now, n) {
            Some(taken) => Ok(self.grant(n, taken, now)),
            None => Err(self.denied(n, seen, now)),
        }
    }

    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards, and
    /// says how long until the debt is paid: zero if there is none.
    ///
    /// While in debt the limiter denies. Debt ends at 10 years of flow (at most rates), or at what a
    /// window's field holds; a fixed window forgets its debt at the boundary.
    pub fn charge(&self, n: u64) -> Duration {
        let now = self.basis.now();
        let charged = self.cell.update(|seen| {
            let (drawn, state) = self.split(seen);
            // Drawn tokens are spent first: they have been debited already.
            let left = drawn.saturating_sub(n);
            let charged = self.basis.rule.charge(state, now.units, n - (drawn - left));
            Step::Put(self.join(left, charged), charged)
        });
        // Paid when a request of nothing would fit.
        self.basis.figures(charged, now).retry_after(0).unwrap_or_default()
    }

    /// Gives `n` tokens back, never above the burst.
    ///
    /// What is given back may be taken again, so the limiter then admits that much more in a window.
    /// A fixed window takes back what it admitted since its boundary; a sliding window, that and what
    /// the previous one did.
    pub fn refund(&self, n: u64) {
        let now = self.basis.now();
        self.cell.update(|seen| {
            let (drawn, state) = self.split(seen);
            match self.basis.rule.refund(state, now.units, n) {
                Some(refunded) => Step::Put(self.join(drawn, refunded), ()),
                None => Step::Keep(()),
            }
        });
    }

    /// Whole tokens there now, rounded down; negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        let now = self.basis.now();
        self.balance(self.cell.load(), now)
    }

    /// How full the leaky bucket is: whole tokens poured in and not yet leaked, rounded up. Over the
    /// capacity after a [`charge`](Self::charge) into debt.
    ///
    /// Of the other algorithms: what is missing from the limit.
    #[must_use]
    pub fn level(&self) -> u64 {
        let now = self.basis.now();
        let (drawn, state) = self.split(self.cell.load());
        algorithm::level(&self.basis.rule, state, now.units).saturating_sub(drawn)
    }

    /// Makes the bucket full again, as if nothing had ever been taken.
    pub fn reset(&self) {
        let now = self.basis.now();
        let full = self.basis.rule.fresh(now.units);
        self.cell.update(|_| Step::Put(full, ()));
    }

    /// The quota.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.basis.terms.algorithm
    }

    /// The tokens drawn ahead, which only a batched limiter has, and the state.
    #[inline(always)]
    fn split(&self, seen: u64) -> (u64, u64) {
        match self.path {
            Path::Batched(_) => (word::tokens(seen), word::value(seen)),
            _ => (0, seen),
        }
    }

    #[inline(always)]
    fn join(&self, drawn: u64, state: u64) -> u64 {
        match self.path {
            Path::Batched(_) => word::pack(drawn, state),
            _ => state,
        }
    }

    #[inline]
    fn balance(&self, seen: u64, now: Now) -> i64 {
        match &self.path {
            Path::Batched(batch) => batch.balance(seen, now.units),
            _ => self.basis.rule.balance(seen, now.units),
        }
    }

    #[inline]
    fn take(&self, seen: u64, now: Now, n: u64) -> Option<u64> {
        match &self.path {
            _ if n == 0 || n > self.basis.rule.limit() => None,
            Path::Batched(batch) => batch.spend(seen, n).or_else(|| batch.draw(seen, now.units, n)),
            _ => self.basis.rule.take(seen, now.units, n),
        }
    }

    /// A grant that read the clock, so that it knows its figures also where tokens are drawn ahead.
    fn grant(&self, granted: u64, seen: u64, now: Now) -> Grant {
        self.basis.grant(granted, self.undrawn(seen, now), now)
    }

    fn denied(&self, asked: u64, seen: u64, now: Now) -> Denied {
        self.basis.denied(asked, self.undrawn(seen, now), now)
    }

    /// The state as if the tokens drawn ahead had never left the bucket, for figures.
    #[inline]
    fn undrawn(&self, seen: u64, now: Now) -> u64 {
        let (drawn, state) = self.split(seen);
        match drawn {
            0 => state,
            drawn => self.basis.rule.refund(state, now.units, drawn).unwrap_or(state),
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("quota", &self.quota)
            .field("algorithm", &self.algorithm())
            .field("available", &self.available())
            .finish()
    }
}

/// Choices for a [`RateLimiter`], from [`RateLimiter::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    quota: Quota,
    algorithm: Algorithm,
    initial: Option<u64>,
    batch: Option<u64>,
    source: Option<Source>,
}

impl Builder {
    /// The algorithm, chosen at run time.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// [`Algorithm::TokenBucket`], the default.
    pub fn token_bucket(self) -> Self {
        self.algorithm(Algorithm::TokenBucket)
    }

    /// [`Algorithm::LeakyBucket`], as a meter: the burst is its capacity, the rate its leak.
    pub fn leaky_bucket(self) -> Self {
        self.algorithm(Algorithm::LeakyBucket)
    }

    /// [`Algorithm::FixedWindow`]: the count in each window of one period.
    pub fn fixed_window(self) -> Self {
        self.algorithm(Algorithm::FixedWindow)
    }

    /// [`Algorithm::SlidingWindow`].
    pub fn sliding_window(self) -> Self {
        self.algorithm(Algorithm::SlidingWindow)
    }

    /// Starts with `tokens` instead of a full burst.
    pub fn initial(mut self, tokens: u64) -> Self {
        self.initial = Some(tokens);
        self
    }

    /// Reads this clock instead of the default one.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.source = Some(clock.into_source());
        self
    }

    /// Draws tokens in batches of `size`, so that most grants do not read the clock: about a third
    /// of the cost.
    ///
    /// The law of the burst stands. The price: up to `size - 1` tokens of a burst are withheld
    /// (`limit()` says what is left), and figures of most grants are bounds.
    pub fn batch(mut self, size: u64) -> Self {
        self.batch = Some(size);
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// - the quota of a window has a burst of its own, or a count that its packing cannot hold
    ///   (at 1 s: 17 * 10^9 in a fixed window, 131,071 in a sliding one; more in longer windows);
    /// - `initial` over the burst, or given to a window;
    /// - `batch` of 0 or over what the word holds (255) or over about half of the burst, or given to a
    ///   window;
    /// - no clock, where the build has no default one.
    pub fn build(self) -> Result<RateLimiter, QuotaError> {
        let Self { quota, algorithm, initial, batch, source } = self;
        let timer = Timer::with(source)?;
        let (mut terms, batch) = match batch {
            None => (Terms::new(quota, algorithm, u64::BITS)?, None),
            Some(size) => {
                let terms = Terms::new(quota, algorithm, word::VALUE_BITS)?;
                (terms, Some(Batch::new(&quota, &terms.rule(), size)?))
            }
        };
        if let Some(batch) = &batch {
            // Figures speak of the bucket that tokens are drawn from.
            terms.quota = quota.burst(batch.limit());
        }
        let limiter = RateLimiter::assemble(quota, terms, timer, batch);
        if let Some(tokens) = initial {
            limiter.start_with(tokens)?;
        }
        Ok(limiter)
    }
}

impl RateLimiter {
    /// Sets what is there at the start.
    fn start_with(&self, tokens: u64) -> Result<(), QuotaError> {
        if self.basis.terms.is_window() {
            return Err(QuotaError::WINDOW_INITIAL);
        }
        let limit = self.basis.rule.limit();
        let missing = limit.checked_sub(tokens).ok_or(QuotaError::INITIAL)?;
        self.reset();
        self.charge(missing);
        Ok(())
    }
}
