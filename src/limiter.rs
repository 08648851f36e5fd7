//! `RateLimiter`: the public verbs over one cell.

mod builder;
mod place;

pub use builder::Builder;

use crate::algorithm::{self, Algorithm, Batch, Mark, Rule, Terms, TokenBucket};
use crate::basis::{Basis, Now};
use crate::cell::{Cell, Step};
use crate::clock::Timer;
use crate::error::Denied;
use crate::figures::Grant;
use crate::line::{Promised, Waiting};
use crate::quota::Quota;
use crate::striped::{self, Striped};
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
/// | the same, batched or striped, most grants | no | 1 load, 1 compare-and-swap |
/// | the same, striped, denied | once | 1 load, and 1 for each stripe |
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
    waiting: Waiting,
    promised: Promised,
}

/// The ways of a check, the commonest first.
#[derive(Debug)]
enum Path {
    /// A token or leaky bucket that reads the clock each time.
    Exact(TokenBucket),
    /// A bucket with tokens drawn ahead.
    Batched(Batch),
    /// A bucket with tokens leased to stripes.
    Striped(Striped),
    /// Whatever the basis' rule says: a window, or a bucket that warms up.
    ByRule,
}

impl Path {
    fn of(rule: &Rule) -> Self {
        match rule {
            Rule::Bucket(bucket) => Self::Exact(*bucket),
            _ => Self::ByRule,
        }
    }
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
        Self::assemble(quota, terms, timer, Path::of(&terms.rule()), Waiting::default())
    }

    /// Chooses the algorithm, the clock and the rest.
    pub fn builder(quota: Quota) -> Builder {
        Builder::new(quota)
    }

    fn assemble(quota: Quota, terms: Terms, timer: Timer, path: Path, waiting: Waiting) -> Self {
        let cell = CachePadded::new(Cell::new(0));
        let promised = Promised::new();
        Self { cell, basis: Basis::new(terms, timer), path, quota, waiting, promised }
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

    /// Grants without a clock here, windows and draws further on.
    #[inline]
    fn check_otherwise(&self, n: u64) -> Result<Grant, Denied> {
        if n > 0 {
            let left = match &self.path {
                Path::Batched(batch) => self.cell.update(|seen| match batch.spend(seen, n) {
                    Some(spent) => Step::Put(spent, Some(word::tokens(spent))),
                    None => Step::Keep(None),
                }),
                Path::Striped(striped) => striped.spend(striped::mine(), n),
                _ => None,
            };
            if let Some(left) = left {
                return Ok(self.clock_free(n, left));
            }
        }
        self.check_slowly(n)
    }

    /// A draw of a batched or striped limiter, a window, or a request that cannot be granted.
    #[inline(never)]
    fn check_slowly(&self, n: u64) -> Result<Grant, Denied> {
        if n.wrapping_sub(1) >= self.basis.rule.limit() {
            return self.peek(n);
        }
        if let Path::Striped(striped) = &self.path {
            let (answer, now) = striped.draw(&self.cell, &self.basis, striped::mine(), n);
            return match answer {
                Ok(state) => Ok(self.basis.grant(n, state, now)),
                Err(state) => Err(self.basis.denied(n, state, now)),
            };
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
        if let Path::Striped(_) = self.path {
            return self.check_up_to_striped(n);
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

    /// All that the centre and the stripes have, as one request; less if others are faster.
    fn check_up_to_striped(&self, n: u64) -> Result<Grant, Denied> {
        loop {
            let there = self.available().max(0) as u64;
            let answer = self.check_n(n.min(there.max(1)));
            if answer.is_ok() || there == 0 {
                return answer;
            }
        }
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
        // Drawn and leased tokens are spent first: they have been debited already.
        let n = match &self.path {
            Path::Striped(striped) => n - striped.collect(striped::mine(), n),
            _ => n,
        };
        let now = self.basis.now();
        let charged = self.cell.update(|seen| {
            let (drawn, state) = self.split(seen);
            let left = drawn.saturating_sub(n);
            let charged = self.basis.rule.charge(state, now.units, n - (drawn - left));
            Step::Put(self.join(left, charged), charged)
        });
        // Paid when a request of nothing would fit.
        self.basis.figures(charged, now).owes()
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
        let drawn = drawn + self.held();
        algorithm::level(&self.basis.rule, state, now.units).saturating_sub(drawn)
    }

    /// Makes the bucket full again, as if nothing had ever been taken.
    pub fn reset(&self) {
        if let Path::Striped(striped) = &self.path {
            striped.collect(striped::mine(), u64::MAX);
        }
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

    /// Tokens leased and unspent, which only a striped limiter has.
    fn held(&self) -> u64 {
        match &self.path {
            Path::Striped(striped) => striped.held(),
            _ => 0,
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
            Path::Striped(striped) => striped.balance(seen, now.units),
            _ => self.basis.rule.balance(seen, now.units),
        }
    }

    #[inline]
    fn take(&self, seen: u64, now: Now, n: u64) -> Option<u64> {
        match &self.path {
            _ if n == 0 || n > self.basis.rule.limit() => None,
            Path::Batched(batch) => batch.spend(seen, n).or_else(|| batch.draw(seen, now.units, n)),
            Path::Striped(striped) => striped.foresee(seen, now.units, n),
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
        match drawn + self.held() {
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
