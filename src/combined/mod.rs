//! `Combined`: several limits as one, all or nothing.
//!
//! ```text
//!   look at all limits but the first   loads only; if one denies, so does the answer, and nothing
//!                                      is written
//!   debit one after the other          each debit remembers the state that it made
//!   one denies after all               another call took meanwhile: the debits are undone, and the
//!                                      call begins again
//! ```
//!
//! **One order for all.** Limits are debited in the order of their addresses and fingerprints,
//! however they were given. Two calls that want the same limits then meet at the first one of them,
//! and only one goes on. So of calls that hinder each other one always succeeds: the one that has
//! come furthest in the order. If each call chose its own order, one would hold what the other
//! lacks, and both would be denied. That also bounds the repetitions of a call: each time another
//! call has succeeded. (Processes that share a table see it at other addresses; their debits are
//! only undone, and denied, more often.)
//!
//! Limits that draw ahead come last, because the last debit is never undone: it is a plain check,
//! which spends drawn or leased tokens without reading a clock.

mod limit;
mod reservation;
#[cfg(feature = "std")]
mod waiting;

use crate::answer::{Denied, Grant};
use crate::bucket::Place;
use crate::error::CombinedError;
use core::fmt;
use core::time::Duration;
pub use limit::Limit;
pub use reservation::CombinedReservation;

/// The most limits that can be combined.
const MAX: usize = 8;

/// The attempts of a call whose debits were undone.
const TRIES: u32 = if cfg!(sluicegate_loom) { 2 } else { 16 };

/// Several limits as one: a request is admitted if all of them admit it, and otherwise costs
/// nothing in any.
///
/// Per user 10 a second and 1000 an hour, per tenant 200 a second, for all together 5000: direct
/// and keyed limiters together, up to 8, with keys of any types. It is a small value without an
/// allocation, made anew for each request:
///
/// ```
/// # #[cfg(feature = "std")] {
/// use sluicegate::{Combined, KeyedLimiter, Quota, RateLimiter};
///
/// let per_second = KeyedLimiter::<str>::new(Quota::per_second(10), 10_000);
/// let per_hour = KeyedLimiter::<str>::new(Quota::per_hour(1_000), 10_000);
/// let tenants = KeyedLimiter::<u32>::new(Quota::per_second(200), 1_000);
/// let all = RateLimiter::new(Quota::per_second(5_000));
///
/// let (user, tenant) = ("alice", 7);
/// let limits = [
///     per_second.as_limit(user),
///     per_hour.as_limit(user),
///     tenants.as_limit(&tenant),
///     all.as_limit(),
/// ];
/// match Combined::new(limits).check() {
///     Ok(grant) => println!("{} left of limit {}", grant.remaining(), grant.which()),
///     Err(denied) => println!("limit {} denies: {denied}", denied.which()),
/// }
/// # }
/// ```
///
/// **Answers.** A grant has the figures of the limit with the least
/// [`remaining`](Grant::remaining), and [`Grant::which`] returns that limit's index. A denial has
/// the figures of the limit that denied. If several denied, it has the longest
/// [`retry_after`](Denied::retry_after) ("never" counts as the longest), the least `remaining` and
/// the longest `reset_after`. [`Denied::which`] returns the index of the limit with the longest
/// `retry_after`.
///
/// **Cost.** A grant by N limits costs N - 1 looks (the clock and 1 load each), then N times what a
/// check costs. A denial costs at most N looks, and nothing is written. If another call takes
/// tokens between the look and the debit, a limit may deny although the look found enough. The
/// debits made so far are then undone exactly, and the call tries again, up to 16 times. Until they
/// are undone they may make a limit deny other callers. A limiter that is `striped()` or
/// [batched](crate::RateLimiterBuilder::batch) keeps its speed if it is the only one of its kind.
/// With two limits of that kind, a request for more than half of a limit that has to be undone may
/// lose leased tokens.
///
/// The same limit given twice is debited twice. Every limit keeps its own law, whatever is undone.
#[derive(Clone, Copy)]
pub struct Combined<'a> {
    /// The limits in the order in which they are debited, none twice; behind `len`, copies of one.
    limits: [Limit<'a>; MAX],
    len: usize,
}

impl<'a> Combined<'a> {
    /// Combines 1 to 8 limits; another number does not compile.
    #[must_use]
    #[inline]
    pub fn new<const N: usize>(limits: [Limit<'a>; N]) -> Self {
        const { assert!(N >= 1 && N <= MAX, "1 to 8 limits can be combined") };
        Self::of(limits[0], &limits)
    }

    /// Combines limits whose number is known only at run time.
    ///
    /// # Errors
    ///
    /// If there are none, or more than 8.
    pub fn from_limits(limits: impl IntoIterator<Item = Limit<'a>>) -> Result<Self, CombinedError> {
        let mut limits = limits.into_iter();
        let first = limits.next().ok_or(CombinedError::None)?;
        let (mut all, mut len) = ([first; MAX], 1);
        for limit in limits {
            *all.get_mut(len).ok_or(CombinedError::TooMany)? = limit;
            len += 1;
        }
        Ok(Self::of(first, &all[..len]))
    }

    /// Combines at least one limit, in the order of debits, each once.
    fn of(first: Limit<'a>, limits: &[Limit<'a>]) -> Self {
        let mut this = Self { limits: [first; MAX], len: 1 };
        for (limit, which) in limits.iter().zip(0..).skip(1) {
            this.insert(limit.numbered(which));
        }
        this
    }

    fn insert(&mut self, limit: Limit<'a>) {
        let order = limit.order();
        let mut at = self.len;
        while at > 0 && self.limits[at - 1].order() > order {
            at -= 1;
        }
        if at > 0 && self.limits[at - 1].order() == order {
            self.limits[at - 1].join(&limit);
            return;
        }
        for i in (at..self.len).rev() {
            self.limits[i + 1] = self.limits[i];
        }
        self.limits[at] = limit;
        self.len += 1;
    }

    #[inline]
    fn limits(&self) -> &[Limit<'a>] {
        &self.limits[..self.len]
    }

    /// Returns the last limit, and those before it.
    fn ends(&self) -> (&Limit<'a>, &[Limit<'a>]) {
        let last = self.len - 1;
        (&self.limits[last], &self.limits[..last])
    }

    /// Takes one token of each limit, or none.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    pub fn check(&self) -> Result<Grant, Denied> {
        self.check_n(1)
    }

    /// Takes `n` tokens of each limit, or none of any. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] by the limits that lack them.
    pub fn check_n(&self, n: u64) -> Result<Grant, Denied> {
        self.try_often(|limit| limit.look(n).map(|_| ()), || self.debit(n))
    }

    /// Debits all limits, one after the other, or none.
    fn debit(&self, n: u64) -> Result<Grant, Denied> {
        let (last, others) = self.ends();
        let mut debits = [const { None }; MAX - 1];
        let mut tightest = Tightest::default();
        for (i, limit) in others.iter().enumerate() {
            match limit.debit(n) {
                Ok(debit) => {
                    tightest.add(limit, Grant::new(n, debit.at));
                    debits[i] = Some(debit);
                }
                Err(denied) => return Err(Self::undo(others, &debits[..i], denied)),
            }
        }
        // The last debit is never undone, so it can be a check.
        match last.take(n) {
            Ok(grant) if others.is_empty() => Ok(last.answer(grant, n)),
            Ok(grant) => Ok(tightest.with(last, grant, n)),
            Err(denied) => Err(Self::undo(others, &debits, denied)),
        }
    }

    /// Undoes the debits, the last first: of keys that share a bucket, its place is behind the
    /// others'.
    #[cold]
    fn undo(limits: &[Limit<'a>], debits: &[Option<Place>], denied: Denied) -> Denied {
        for (limit, debit) in limits.iter().zip(debits).rev() {
            debit.iter().for_each(|debit| limit.undo(debit));
        }
        denied
    }

    /// Looks at all limits but the first, which is debited at once, and takes; after a race, it
    /// does so again.
    fn try_often<T>(
        &self,
        look: impl Fn(&Limit<'a>) -> Result<(), Denied>,
        take: impl Fn() -> Result<T, Denied>,
    ) -> Result<T, Denied> {
        let denials = |limits: &[Limit<'a>]| {
            let denials = limits.iter().filter_map(|limit| look(limit).err());
            denials.reduce(Denied::and)
        };
        let (first, others) = (&self.limits[0], &self.limits()[1..]);
        let mut tries = TRIES;
        loop {
            if let Some(denied) = denials(others) {
                return Err(look(first).err().map_or(denied, |other| other.and(denied)));
            }
            match take() {
                // The first limit denied, so nothing was debited, and the others have just been
                // looked at.
                Err(denied) if tries > 0 && !first.denies(&denied) => tries -= 1,
                answer => return answer,
            }
        }
    }

    /// Takes as many of `n` tokens as all limits have, down to one. `n = 0` is granted and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] by the limits that have none.
    pub fn check_up_to(&self, n: u64) -> Result<Grant, Denied> {
        let mut tries = TRIES;
        loop {
            let there = self.available().max(0) as u64;
            let answer = self.check_n(n.min(there.max(1)));
            // Otherwise other calls were faster.
            if answer.is_ok() || there == 0 || tries == 0 {
                return answer;
            }
            tries -= 1;
        }
    }

    /// Predicts what [`check_n`](Self::check_n) would answer now. Takes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`check_n`](Self::check_n).
    pub fn peek(&self, n: u64) -> Result<Grant, Denied> {
        let (last, others) = self.ends();
        let (mut denied, mut tightest) = (None::<Denied>, Tightest::default());
        for limit in others {
            match limit.look(n) {
                Ok(grant) => tightest.add(limit, grant),
                Err(next) => denied = Some(denied.map_or(next, |denied| denied.and(next))),
            }
        }
        match (last.look(n), denied) {
            (Ok(grant), None) => Ok(tightest.with(last, grant, n)),
            (Ok(_), Some(denied)) => Err(denied),
            (Err(last), None) => Err(last),
            (Err(last), Some(denied)) => Err(denied.and(last)),
        }
    }

    /// Takes `n` tokens of each limit even if they are not there. Returns the time until all debts
    /// are paid: see [`RateLimiter::charge`](crate::RateLimiter::charge).
    pub fn charge(&self, n: u64) -> Duration {
        self.limits().iter().map(|limit| limit.charge(n)).max().unwrap_or_default()
    }

    /// Gives `n` tokens back to each limit, never above its burst: see
    /// [`RateLimiter::refund`](crate::RateLimiter::refund).
    pub fn refund(&self, n: u64) {
        self.limits().iter().for_each(|limit| limit.refund(n));
    }

    /// Returns the number of requests of one token that all limits have room for now; negative in
    /// debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.limits().iter().map(Limit::available).min().unwrap_or_default()
    }
}

/// The answer of the limit that has the least left, of those that count something.
#[derive(Default)]
struct Tightest<'l, 'a>(Option<((u64, u8), &'l Limit<'a>, Grant)>);

impl<'l, 'a> Tightest<'l, 'a> {
    fn add(&mut self, limit: &'l Limit<'a>, grant: Grant) {
        let rank = limit.rank(&grant);
        if self.0.is_none_or(|(tightest, ..)| rank < tightest) {
            self.0 = Some((rank, limit, grant));
        }
    }

    fn answer(&self, n: u64) -> Option<Grant> {
        self.0.map(|(_, limit, grant)| limit.answer(grant, n))
    }

    /// Joins the answer of the last limit.
    fn with(self, last: &Limit<'a>, grant: Grant, n: u64) -> Grant {
        match self.0 {
            Some((rank, limit, tightest)) if rank < last.rank(&grant) => limit.answer(tightest, n),
            _ => last.answer(grant, n),
        }
    }
}

impl fmt::Debug for Combined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combined")
            .field("limits", &self.len)
            .field("available", &self.available())
            .finish()
    }
}
