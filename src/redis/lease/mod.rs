//! `LeasedLimiter`: tokens are debited in Redis ahead, a lease of them at a time, and spent here in nanoseconds.
//!
//! `size.rs` says how large a lease is, `record.rs` what is known of a key that has one, `refill.rs` is the task that fetches
//! leases and gives them back, `answers.rs` what it makes of the answers. Where they are kept meanwhile, and how they are spent, is `keyed/leases.rs`.

mod answers;
mod builder;
mod record;
mod refill;
mod size;
mod stats;

pub use builder::LeasedBuilder;
pub use stats::LeaseStats;

use crate::algorithm::lease::{TICK_BITS, Taken};
use crate::algorithm::{Algorithm, Terms};
use crate::answer::{AnswerKind, Denied, Figures, Grant, Source};
use crate::keyed::leases::Leases;
use crate::quota::Quota;
use crate::redis::{RedisError, RedisLimiter};
use alloc::string::ToString;
use core::fmt;
use core::time::Duration;
use refill::{Ask, Message};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Requests for leases that may wait for the task at once.
const QUEUE: usize = 4_096;

/// When to come back to a lease that is being fetched.
const FETCHING: Duration = Duration::from_millis(5);

/// How long a key whose request could not even be noted is left alone.
const NO_ROOM: Duration = Duration::from_millis(10);

/// What the handles and the task have in common.
#[derive(Debug)]
struct Shared {
    leases: Leases,
    redis: RedisLimiter,
    /// Of answers from leases that Redis granted, and from those that the fallback did.
    terms: Terms,
    nodes: u64,
    max_lease: u64,
    capacity: usize,
    horizon: u64,
    lease_for: u64,
    /// In which a whole burst flows.
    reset_after: u64,
    counters: stats::Counters,
    /// Has no permits, and is closed when the task has ended, however it has.
    ended: Semaphore,
}

/// A limit for each key that all machines share, kept in Redis, of which this process holds small leases: most
/// decisions are made here, in nanoseconds.
///
/// A background task asks Redis for a key's tokens ahead, as many as the key will spend in the next 100 ms at its present
/// rate, and gives back what is not spent within a second. A check takes them out of a table in memory: it hashes the key,
/// reads the clock and swaps a word, and nobody waits for anybody.
///
/// ```no_run
/// use sluicegate::{LeasedLimiter, Quota, RedisError};
///
/// # async fn example() -> Result<(), RedisError> {
/// let builder = LeasedLimiter::builder(Quota::per_second(10_000)).nodes(3);
/// let limiter = builder.connect("redis://localhost").await?;
/// // A new user's first request waits for a lease; others need not.
/// match limiter.check_or_lease("alice", 1).await {
///     Ok(grant) => println!("welcome, {} here", grant.remaining()),
///     Err(RedisError::Denied(denied)) => println!("retry after {:?}", denied.retry_after()),
///     Err(failure) => println!("no answer: {failure}"),
/// }
/// limiter.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// **What is promised.** A token is debited in Redis before anybody is granted it. So in any window of length W all
/// machines together admit at most burst + rate * W, and what was leased when the window began: for each key at most
/// [`max_overshoot`](Self::max_overshoot). A process that is killed takes its leases with it: less is admitted, not more.
/// One that stands still for longer than a lease holds spends nothing of it afterwards. What was being given back when an
/// answer was lost counts as leased until Redis has it.
///
/// **While Redis is away**, leases are granted by its [`Fallback`](crate::Fallback), by default from this node's share of the
/// limit; [`Grant::source`] says `Lease` or `Fallback`.
///
/// **What it costs.** While one machine holds a lease, others cannot have its tokens, for a second at most. Figures of answers are
/// bounds: [`remaining`](Grant::remaining) is what is left of this machine's lease, `reset_after` the time in which a whole
/// burst flows. A long key goes to Redis as a digest, as a [`RedisLimiter`]'s does.
///
/// **`check` or `check_or_lease`.** [`check`](Self::check) never waits, so it denies a key for which there is no lease yet,
/// with a [`retry_after`](Denied::retry_after) of 5 ms, and one whose lease ran out before the next came.
/// [`check_or_lease`](Self::check_or_lease) waits for it.
///
/// Cloning is cheap. The task needs the runtime: where that has one thread, a loop of checks that never awaits gets no
/// lease. It ends, and gives all leases back, when the last clone is dropped or
/// [`shutdown`](Self::shutdown) is called.
#[derive(Clone)]
pub struct LeasedLimiter {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Message>,
}

impl LeasedLimiter {
    /// Chooses the number of nodes and the rest, and connects.
    pub fn builder(quota: Quota) -> LeasedBuilder {
        LeasedBuilder::new(RedisLimiter::builder(quota))
    }

    fn start(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let (asks, queue) = mpsc::channel(QUEUE);
        tokio::spawn(refill::Refiller::new(shared.clone(), queue).run());
        Self { shared, asks }
    }

    /// Takes one token of the key's lease, or says how long until there may be one.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    #[inline]
    pub fn check(&self, key: impl AsRef<[u8]>) -> Result<Grant, Denied> {
        self.check_n(key, 1)
    }

    /// Takes `n` tokens of the key's lease, all or none. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`], without a time to retry after if `n` exceeds [`max_lease`](Self::max_lease). With one of 5 ms if
    /// the lease has too few, and else with the time that Redis said. Without an answer from Redis it is denied, for 10
    /// to 100 ms at a time.
    #[inline]
    pub fn check_n(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, Denied> {
        self.spend(key.as_ref(), n, n)
    }

    /// Takes as many of `n` tokens as are left of the key's lease, down to one. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n) of one token.
    #[inline]
    pub fn check_up_to(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, Denied> {
        self.spend(key.as_ref(), n.min(1), n)
    }

    #[inline]
    fn spend(&self, key: &[u8], least: u64, most: u64) -> Result<Grant, Denied> {
        let shared = &*self.shared;
        let hash = shared.leases.hash(key);
        // One comparison for both ends: 0 wraps to the top.
        if least.wrapping_sub(1) >= shared.max_lease {
            return self.odd(hash, least);
        }
        let taken = shared.leases.take(hash, least, most);
        if let Taken::Granted { ask: true, .. } | Taken::Short { ask: true, .. } = taken {
            self.ask(key, hash, least);
        }
        shared.answer(least, taken)
    }

    /// Nothing, or more than there ever is.
    #[cold]
    fn odd(&self, hash: u64, n: u64) -> Result<Grant, Denied> {
        let left = self.shared.leases.left(hash);
        let figures = self.shared.figures(left, u64::MAX);
        if n == 0 { Ok(Grant::new(0, figures)) } else { Err(Denied::new(n, figures)) }
    }

    /// Sees to it that the task asks for more. Never waits: without room for the request the key is left alone for a moment.
    #[cold]
    fn ask(&self, key: &[u8], hash: u64, need: u64) {
        let key = self.shared.redis.path.id_now(key);
        let ask = Ask { hash, key: (*key).into(), need, waiter: None };
        if self.asks.try_send(Message::Ask(ask)).is_err() {
            self.shared.drop_ask(hash);
        }
    }

    /// Takes `n` tokens of the key's lease, and waits for the next one if it has too few: for one call to Redis, which all who
    /// wait for the key share. `n = 0` is granted and changes nothing.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Denied`]: Redis has said that there are none, or `n` exceeds [`max_lease`](Self::max_lease);
    /// - [`RedisError::Timeout`]: there were none within the deadline, whoever took them;
    /// - any other: Redis does not answer, or the limiter has been shut down.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its time enabled.
    pub async fn check_or_lease(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        let key = key.as_ref();
        let hash = self.shared.leases.hash(key);
        if n.wrapping_sub(1) >= self.shared.max_lease {
            return Ok(self.odd(hash, n)?);
        }
        let deadline = self.shared.redis.deadline();
        let leasing = self.take_or_wait(key, hash, n);
        timeout(deadline, leasing).await.unwrap_or(Err(RedisError::Timeout(deadline)))
    }

    async fn take_or_wait(&self, key: &[u8], hash: u64, n: u64) -> Result<Grant, RedisError> {
        let over = || RedisError::Unavailable("the limiter has been shut down".to_string());
        loop {
            let taken = self.shared.leases.take(hash, n, n);
            if let Taken::Granted { ask: true, .. } = taken {
                self.ask(key, hash, 0);
            }
            // Why there is no answer is for the task to say.
            if !matches!(taken, Taken::Short { .. } | Taken::Unanswered { .. }) {
                return Ok(self.shared.answer(n, taken)?);
            }
            let (waiter, told) = oneshot::channel();
            let key = self.shared.redis.path.id(key).await;
            let ask = Ask { hash, key: (*key).into(), need: n, waiter: Some(waiter) };
            self.asks.send(Message::Ask(ask)).await.map_err(|_| over())?;
            let Err(why) = told.await.unwrap_or_else(|_| Err(over())) else { continue };
            // The call before may have brought enough for those who had come too late for it.
            let left = self.shared.leases.left(hash);
            if left >= n {
                continue;
            }
            let RedisError::Denied(denied) = why else { return Err(why) };
            let first = denied.retry_after().map_or(0, builder::nanos);
            return Err(self.shared.denied(n, left, first).into());
        }
    }

    /// Ends the background task, and gives back what is left of all leases. From then on everything is denied. Takes at most
    /// as long as a lease [holds](LeasedBuilder::lease_for): what has not been given back by then is lost.
    pub async fn shutdown(&self) {
        // Otherwise somebody else has told it so.
        let _ = self.asks.send(Message::Stop).await;
        let _ = self.shared.ended.acquire().await;
    }

    /// The most tokens of a key that this process holds at a time, and the most that one request can be granted: half a
    /// burst divided by the nodes, and at most 1,048,575.
    #[must_use]
    pub fn max_lease(&self) -> u64 {
        self.shared.max_lease
    }

    /// By how much all nodes together may exceed burst + rate * W in a window of length W:
    /// [`max_lease`](Self::max_lease) for each of them.
    #[must_use]
    pub fn max_overshoot(&self) -> u64 {
        self.shared.nodes.saturating_mul(self.shared.max_lease)
    }

    /// How many nodes it was built for.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.shared.nodes
    }

    /// The limiter that leases are taken from, to ask for more than a lease, or exactly.
    #[must_use]
    pub fn redis(&self) -> &RedisLimiter {
        &self.shared.redis
    }

    /// The quota of each key.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.shared.redis.quota()
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.shared.redis.algorithm()
    }

    /// What its leases have come to.
    #[must_use]
    pub fn stats(&self) -> LeaseStats {
        self.shared.counters.read(self.shared.leases.evictions())
    }
}

impl Shared {
    #[inline]
    fn answer(&self, asked: u64, taken: Taken) -> Result<Grant, Denied> {
        match taken {
            Taken::Granted { granted, left, .. } => Ok(Grant::new(granted, self.figures(left, 0))),
            Taken::Short { left, .. } => {
                Err(Denied::new(asked, self.figures(left, builder::nanos(FETCHING))))
            }
            Taken::Denied { ticks, seconds } => {
                Err(self.denied(asked, 0, (ticks << TICK_BITS) + seconds * 1_000_000_000))
            }
            Taken::Unanswered { ticks } => {
                Err(Denied::new(asked, self.figures(0, ticks << TICK_BITS)))
            }
        }
    }

    /// Redis has said when the first of the tokens is there that are missing; the others flow after it.
    fn denied(&self, asked: u64, left: u64, first: u64) -> Denied {
        let others = asked.saturating_sub(left + 1);
        let retry_after =
            if others > 0 { first.saturating_add(flow(&self.terms.quota, others)) } else { first };
        Denied::new(asked, self.figures(left, retry_after))
    }

    #[inline]
    fn figures(&self, left: u64, retry_after: u64) -> Figures {
        let source = if self.redis.is_away() { Source::Fallback } else { Source::Lease };
        Figures::new(self.terms, left, self.reset_after, retry_after)
            .as_kind(AnswerKind::Told)
            .by(source)
    }

    /// A request for a lease goes nowhere.
    fn drop_ask(&self, hash: u64) {
        self.counters.dropped.add(1);
        self.pause(hash, self.leases.nanos() + builder::nanos(NO_ROOM));
    }

    /// Nobody asks before that time, unless something is left.
    fn pause(&self, hash: u64, until: u64) {
        if !self.leases.deny(hash, until, None) {
            self.leases.unask(hash);
        }
    }
}

/// Nanoseconds in which so many tokens flow: of a burst, 71 years at most.
#[cold]
fn flow(quota: &Quota, tokens: u64) -> u64 {
    let nanos = u128::from(tokens) * u128::from(quota.period_ns());
    nanos.div_ceil(quota.count().into()) as u64
}

impl fmt::Debug for LeasedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedLimiter")
            .field("redis", &self.shared.redis)
            .field("nodes", &self.shared.nodes)
            .field("max_lease", &self.shared.max_lease)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
