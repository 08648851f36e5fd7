//! `RedisLimiter`: every decision is made in the server, in one round trip.

use super::builder::RedisBuilder;
use super::error::RedisError;
use super::link::{Link, Lua};
use super::units::{Ask, Flow, LONGEST_DEBT, Units};
use crate::algorithm::{Algorithm, Mark, Terms};
use crate::error::Denied;
use crate::figures::{Figures, Grant};
use crate::quota::Quota;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use std::sync::LazyLock;

macro_rules! lua {
    ($name:literal) => {{
        const CODE: &str = concat!(include_str!("debt.lua"), include_str!($name));
        Lua { code: CODE, digest: LazyLock::new(|| Lua::digest(CODE)) }
    }};
}

pub(super) static TAKE: Lua = lua!("take.lua");
pub(super) static UP_TO: Lua = lua!("up_to.lua");
pub(super) static CHARGE: Lua = lua!("charge.lua");
pub(super) static REFUND: Lua = lua!("refund.lua");
pub(super) static LOOK: Lua = lua!("look.lua");

/// A limit for each key that all machines share, kept in Redis.
///
/// Every decision is one short script in the server, and so one round trip: exact, by the server's clock, and the same for
/// all who ask. A key takes memory there from its first token until its bucket is full again, when it expires.
///
/// ```no_run
/// use sluicegate::{Quota, RedisError, RedisLimiter};
///
/// # async fn example() -> Result<(), RedisError> {
/// let builder = RedisLimiter::builder(Quota::per_minute(100).burst(20)).prefix("api");
/// let limiter = builder.connect("redis://localhost").await?;
/// match limiter.check("alice").await {
///     Ok(grant) => println!("welcome, {} left", grant.remaining()),
///     Err(RedisError::Denied(denied)) => println!("retry after {:?}", denied.retry_after()),
///     Err(failure) => println!("no answer: {failure}"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// Cloning it is cheap; all clones share one connection, over which any number of calls are on their way at once. A
/// limiter belongs to the tokio runtime that it was connected in. Every verb panics outside of one that has its
/// time enabled.
///
/// | verb | in the server |
/// | --- | --- |
/// | `check`, `check_n`, `check_up_to`, granted; `charge`; `refund` | 1 `EVALSHA`: a `TIME`, a `GET`, a `SET` |
/// | the same, denied; `peek`, `available`, `level` | 1 `EVALSHA`: a `TIME`, a `GET` |
/// | `reset` | 1 `DEL` |
///
/// A dropped future may have been sent, and is then charged.
#[derive(Clone)]
pub struct RedisLimiter {
    terms: Terms,
    units: Units,
    /// Up to the caller's key.
    head: Vec<u8>,
    prefix: String,
    link: Link,
}

impl RedisLimiter {
    /// Chooses the prefix, the deadline and the rest, and connects.
    pub fn builder(quota: Quota) -> RedisBuilder {
        RedisBuilder::new(quota)
    }

    pub(super) fn assemble(terms: Terms, units: Units, prefix: String, link: Link) -> Self {
        let head = alloc::format!("{prefix}:{{{}:", fingerprint(&terms.quota)).into_bytes();
        Self { terms: terms.marked(Mark::Told), units, head, prefix, link }
    }

    /// Takes one token of the key's bucket, or says how long until there is one.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    pub async fn check(&self, key: impl AsRef<[u8]>) -> Result<Grant, RedisError> {
        self.check_n(key, 1).await
    }

    /// Takes `n` tokens, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`RedisError::Denied`] with the time until `n` tokens are there, or without one if `n` exceeds the limit; any
    /// other if there is no answer.
    pub async fn check_n(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.ask(key.as_ref(), Ask::Take(n), n).await
    }

    /// Takes as many of `n` tokens as are there, down to one. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`RedisError::Denied`] with the time until the next token, if there is none; any other if there is no answer.
    pub async fn check_up_to(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.ask(key.as_ref(), Ask::UpTo(n), n.min(1)).await
    }

    /// What [`check_n`](Self::check_n) would answer now. Takes nothing.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    pub async fn peek(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.ask(key.as_ref(), Ask::Look(n), n).await
    }

    /// Takes `n` tokens even if they are not there, for a cost that is known only afterwards, and says how long
    /// until the debt is paid: zero if there is none. Debt ends at 142 years of flow.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn charge(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Duration, RedisError> {
        let debt = self.debt(key.as_ref(), Ask::Charge(n)).await?;
        let debt = self.units.settle(debt, Ask::Charge(n)).debt;
        Ok(Duration::from_micros(self.units.until(debt, 0).unwrap_or(0)))
    }

    /// Gives `n` tokens back, never above the burst. What is given back may be taken again.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn refund(&self, key: impl AsRef<[u8]>, n: u64) -> Result<(), RedisError> {
        self.debt(key.as_ref(), Ask::Refund(n)).await.map(|_| ())
    }

    /// Whole tokens there now, rounded down; negative in debt.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn available(&self, key: impl AsRef<[u8]>) -> Result<i64, RedisError> {
        let debt = self.debt(key.as_ref(), Ask::Look(0)).await?;
        Ok(self.units.balance(debt))
    }

    /// How full the leaky bucket is: whole tokens poured in and not yet leaked, rounded up. Of a token bucket: what
    /// is missing from the burst.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn level(&self, key: impl AsRef<[u8]>) -> Result<u64, RedisError> {
        let balance = self.available(key).await?;
        // The burst is at most 2^48.
        Ok((self.units.limit() as i64).saturating_sub(balance).max(0) as u64)
    }

    /// Makes the key's bucket full again, as if nothing had ever been taken.
    ///
    /// # Errors
    ///
    /// If there is no answer. It is never denied.
    pub async fn reset(&self, key: impl AsRef<[u8]>) -> Result<(), RedisError> {
        self.link.delete(&self.key(key.as_ref())).await
    }

    /// The quota of each key.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.terms.quota
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.terms.algorithm
    }

    /// Under which name a key's bucket is in Redis: `prefix:{fingerprint of the quota:key}`.
    ///
    /// The fingerprint is of the quota: another quota begins with other buckets, since it counts in other units.
    /// In a cluster the braces make it one slot.
    #[must_use]
    pub fn key(&self, key: impl AsRef<[u8]>) -> Vec<u8> {
        let key = key.as_ref();
        let mut name = Vec::with_capacity(self.head.len() + key.len() + 1);
        name.extend_from_slice(&self.head);
        name.extend_from_slice(key);
        name.push(b'}');
        name
    }

    /// How figures that are told are marked.
    pub(super) fn told_terms(&self) -> Terms {
        self.terms
    }

    /// The longest that a call takes.
    pub(super) fn deadline(&self) -> Duration {
        self.link.deadline()
    }

    /// Asks, and decides as the server did. A denial is of so many tokens `asked`.
    async fn ask(&self, key: &[u8], ask: Ask, asked: u64) -> Result<Grant, RedisError> {
        let debt = self.debt(key, ask).await?;
        let settled = self.units.settle(debt, ask);
        let figures = |retry_after| Figures {
            state: self.units.balance(settled.debt).max(0) as u64,
            now: nanos(self.units.until_full(settled.debt)),
            nanos: retry_after,
            terms: self.terms,
        };
        match settled.granted {
            Some(granted) => Ok(Grant::new(granted, figures(0))),
            None => {
                let retry_after = self.units.until(debt, asked).map_or(u64::MAX, nanos);
                Err(Denied::new(asked, figures(retry_after)).into())
            }
        }
    }

    /// Asks; what was missing before, in parts.
    async fn debt(&self, key: &[u8], ask: Ask) -> Result<u128, RedisError> {
        let (script, numbers) = call(&self.units, ask);
        let (us, part) = self.link.run(script, &self.key(key), &numbers).await?;
        Ok(self.units.in_parts(Flow { us, part }))
    }
}

/// The script that does what is asked, and its numbers.
pub(super) fn call(units: &Units, ask: Ask) -> (&'static Lua, Vec<u64>) {
    let burst = units.flow(units.burst());
    let mut numbers = alloc::vec![units.parts(), burst.us, burst.part];
    let cost = |n| {
        let cost = units.flow(units.cost(n));
        [cost.us, cost.part]
    };
    let script = match ask {
        // What is nothing is not written.
        Ask::Take(0) | Ask::UpTo(0) | Ask::Charge(0) | Ask::Refund(0) | Ask::Look(_) => &LOOK,
        Ask::Take(n) => {
            numbers.extend(cost(n));
            &TAKE
        }
        Ask::UpTo(n) => {
            numbers.extend(cost(1));
            numbers.push(n.min(units.limit()));
            &UP_TO
        }
        Ask::Charge(n) => {
            numbers.extend(cost(n));
            numbers.push(LONGEST_DEBT);
            &CHARGE
        }
        Ask::Refund(n) => {
            numbers.extend(cost(n));
            &REFUND
        }
    };
    (script, numbers)
}

/// Of microseconds under 2^53, which is what a debt and a burst add up to.
fn nanos(us: u64) -> u64 {
    us.saturating_mul(1_000)
}

/// Short, and readable: `b100/1m/20`. The letter says that a bucket is kept so; the period is in its largest whole unit.
pub(super) fn fingerprint(quota: &Quota) -> String {
    const UNITS: [(u64, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let period = quota.period_ns();
    let unit = UNITS.iter().find(|(ns, _)| period.is_multiple_of(*ns));
    let (ns, name) = unit.copied().unwrap_or((1, "ns"));
    alloc::format!("b{}/{}{name}/{}", quota.count(), period / ns, quota.burst_size())
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter")
            .field("quota", &self.quota())
            .field("algorithm", &self.algorithm())
            .field("prefix", &self.prefix)
            .field("server", &self.link.server())
            .field("deadline", &self.link.deadline())
            .finish()
    }
}
