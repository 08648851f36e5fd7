//! The way of a request: to Redis, together with others for its key, or to the policy while that is away.

pub(super) mod acquire;
pub(super) mod coalesce;
pub(super) mod group;
pub(super) mod key;
pub(super) mod local;
pub(super) mod reservation;

use crate::algorithm::Terms;
use crate::answer::{AnswerKind, Denied, Figures, Grant, Source};
use crate::bucket::Waiting;
use crate::redis::client::link::{Link, Reply, both};
use crate::redis::error::RedisError;
use crate::redis::metrics::{Counters, RedisMetrics};
use crate::redis::outage::breaker::Breaker;
use crate::redis::outage::fallback::{Fallback, Local, Owed};
use crate::redis::outage::probe;
use crate::redis::queue::queues::Lines;
use crate::redis::request::coalesce::{Answer, Combine};
use crate::redis::request::group::More;
use crate::redis::script::place;
use crate::redis::script::units::Ask;
use crate::redis::script::{Call, Kernel, State};
use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::Relaxed;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::Mutex;
use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;

/// One limiter. Its keys are what stands for them in here: see `key.rs`.
pub(in crate::redis) struct Path {
    pub(in crate::redis) terms: Terms,
    pub(in crate::redis) kernel: Kernel,
    /// Who may wait.
    pub(in crate::redis) waiting: Waiting,
    /// Those who do.
    pub(in crate::redis) lines: Arc<Lines>,
    /// Of every key's name, up to what the key is.
    pub(in crate::redis) head: Vec<u8>,
    /// Of long keys: see `key.rs`.
    pub(in crate::redis) digest_key: [u8; 32],
    pub(in crate::redis) prefix: String,
    pub(in crate::redis) link: Link,
    pub(in crate::redis) breaker: Breaker,
    pub(in crate::redis) fallback: Fallback,
    /// Of [`Fallback::Local`].
    pub(in crate::redis) local: Option<Local>,
    /// Limits beside this one; with any, all decide together.
    pub(in crate::redis) more: Vec<More>,
    /// Unless calls are not combined.
    pub(in crate::redis) combine: Option<Arc<Combine>>,
    /// Requests on their way, their names' bytes, and the most requests that may be.
    pub(in crate::redis) pending: AtomicU64,
    pub(in crate::redis) pending_bytes: AtomicU64,
    pub(in crate::redis) most_pending: u64,
    pub(in crate::redis) counters: Counters,
    /// The name of the key whose call failed last: a probe asks for one in its slot.
    pub(in crate::redis) failed: Mutex<Vec<u8>>,
    /// Where connections live.
    pub(in crate::redis) runtime: Handle,
}

/// The bytes of names on their way, for each request that may be: more than the name of the longest
/// key has, but for a prefix of 200.
const BYTES: u64 = 512;

/// A request on its way.
pub(in crate::redis) struct Pending<'a> {
    path: &'a Path,
    bytes: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.path.pending.fetch_sub(1, Relaxed);
        self.path.pending_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

impl Path {
    pub(in crate::redis) fn limit(&self) -> u64 {
        self.kernel.limit()
    }

    pub(in crate::redis) fn metrics(&self) -> RedisMetrics {
        self.counters.read(self.breaker.is_open(), self.link.distance())
    }

    pub(in crate::redis) fn name(&self, key: &[u8]) -> Vec<u8> {
        key::name(&self.head, key)
    }

    /// Asks, and decides as the server did. A denial is of so many tokens `asked`.
    pub(in crate::redis) async fn decide(
        self: &Arc<Self>,
        key: &[u8],
        ask: Ask,
        asked: u64,
    ) -> Result<Grant, RedisError> {
        if !self.more.is_empty() {
            return self.decide_all(key, ask, asked).await;
        }
        match self.ask(key, ask).await {
            Ok(state) => Ok(self.answer(state, ask, asked)?),
            Err(error) if error.is_degraded() && self.fallback != Fallback::Error => {
                self.counters.fallbacks.add(1);
                // Nothing waits here: who asks again and again is to let others have their turn.
                consume_budget().await;
                Ok(self.stand_in(key, ask, asked)?)
            }
            Err(error) => Err(error),
        }
    }

    pub(in crate::redis) async fn charge(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
    ) -> Result<Duration, RedisError> {
        if !self.more.is_empty() {
            return self.charge_all(key, n).await;
        }
        match self.ask(key, Ask::Charge(n)).await {
            Ok(state) => {
                let (_, state) = self.kernel.settle(state, Ask::Charge(n));
                Ok(Duration::from_micros(self.kernel.until(state, 0).unwrap_or(0)))
            }
            Err(error) => self.instead(error, |local| local.charge(key, n)),
        }
    }

    pub(in crate::redis) async fn refund(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
    ) -> Result<(), RedisError> {
        if !self.more.is_empty() {
            return self.refund_all(key, n).await;
        }
        match self.ask(key, Ask::Refund(n)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let perhaps = error.may_be_applied();
                self.instead(error, |local| local.refund(key, n, perhaps))
            }
        }
    }

    pub(in crate::redis) async fn available(
        self: &Arc<Self>,
        key: &[u8],
    ) -> Result<i64, RedisError> {
        if !self.more.is_empty() {
            return self.available_all(key).await;
        }
        match self.ask(key, Ask::Look(0)).await {
            Ok(state) => Ok(self.kernel.balance(state)),
            Err(error) => self.instead(error, |local| local.available(key)),
        }
    }

    pub(in crate::redis) async fn level(self: &Arc<Self>, key: &[u8]) -> Result<u64, RedisError> {
        if !self.more.is_empty() {
            return self.level_all(key).await;
        }
        match self.ask(key, Ask::Look(0)).await {
            Ok(state) => Ok(level(self.kernel.balance(state), self.limit())),
            Err(error) => self.instead(error, |local| local.level(key)),
        }
    }

    pub(in crate::redis) async fn reset(self: &Arc<Self>, key: &[u8]) -> Result<(), RedisError> {
        if !self.more.is_empty() {
            return self.reset_all(key).await;
        }
        let _pending = self.enter(key)?;
        let name = self.name(key);
        // What is owed goes with the reset, and comes back if that fails.
        let owed = self.local.as_ref().and_then(|local| Owed::of(local, key));
        let answer = match self.kernel.places() {
            Some(units) => {
                let call = place::call_reset(units, self.most_of_a_place());
                self.send(&name, call).await.map(|_| ())
            }
            None => {
                self.counters.calls.add(1);
                self.link.delete(&name).await
            }
        };
        self.heard(&name, answer)?;
        if let Some(local) = &self.local {
            owed.into_iter().for_each(Owed::forgive);
            local.reset(key);
        }
        Ok(())
    }

    /// What the local limiter says instead of Redis, if there is one.
    pub(in crate::redis) fn instead<T>(
        &self,
        error: RedisError,
        say: impl FnOnce(&Local) -> T,
    ) -> Result<T, RedisError> {
        match &self.local {
            Some(local) if error.is_degraded() => {
                self.counters.fallbacks.add(1);
                Ok(say(local))
            }
            _ => Err(error),
        }
    }

    /// What is to be paid for the key now. While calls fail nothing is: what has no answer may have been charged, and would
    /// be once more by each that comes after it.
    pub(in crate::redis) fn owed<'a>(
        &self,
        local: Option<&'a Local>,
        key: &'a [u8],
    ) -> Option<Owed<'a>> {
        local.filter(|_| self.breaker.is_calm()).and_then(|local| Owed::of(local, key))
    }

    /// The key as it was before it was asked.
    async fn ask(self: &Arc<Self>, key: &[u8], ask: Ask) -> Answer {
        let _pending = self.enter(key)?;
        let name = self.name(key);
        let owed = self.owed(self.local.as_ref(), key);
        let answer = match owed {
            // Rare, and so not a part of every call's future.
            Some(owed) => Box::pin(self.pay(owed, &name, self.ask_now(&name, ask))).await,
            None => self.ask_now(&name, ask).await,
        };
        let answer = self.heard(&name, answer);
        if let Ok(state) = answer {
            let (_, state) = self.kernel.settle(state, ask);
            self.learn(key, state);
        }
        answer
    }

    /// A call, and before it what is owed for the key.
    pub(in crate::redis) async fn with_debts<T>(
        self: &Arc<Self>,
        key: &[u8],
        name: &[u8],
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        let owed = self.owed(self.local.as_ref(), key);
        let answer = match owed {
            Some(owed) => self.pay(owed, name, call).await,
            None => call.await,
        };
        self.heard(name, answer)
    }

    /// What has become of a key.
    pub(in crate::redis) fn learn(&self, key: &[u8], state: State) {
        if let Some(local) = &self.local
            && !self.breaker.is_open()
        {
            local.learn(key, &self.kernel, state);
        }
    }

    /// Lets a request for a key on its way.
    pub(in crate::redis) fn enter(&self, key: &[u8]) -> Result<Pending<'_>, RedisError> {
        if self.breaker.is_open() {
            let distance = self.link.distance();
            return Err(if distance.is_too_far() { distance.too_far() } else { RedisError::Away });
        }
        let bytes = self.heads().map(|head| key::length(head, key) as u64).sum();
        let before = self.pending.fetch_add(1, Relaxed);
        let bytes_before = self.pending_bytes.fetch_add(bytes, Relaxed);
        let pending = Pending { path: self, bytes };
        let most_bytes = self.most_pending.saturating_mul(BYTES);
        if before >= self.most_pending || bytes_before >= most_bytes {
            self.counters.overloaded.add(1);
            return Err(RedisError::Overloaded(self.most_pending));
        }
        Ok(pending)
    }

    /// Charges what was granted while Redis was away, and asks behind it, within one round trip. In two a call might miss a
    /// deadline that it would otherwise meet, be granted here, and be owed: so that the next one misses it too.
    async fn pay<T>(
        &self,
        owed: Owed<'_>,
        name: &[u8],
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        both(self.pay_all(Vec::from([(self.kernel, name, owed)])), call).await
    }

    async fn ask_now(self: &Arc<Self>, name: &[u8], ask: Ask) -> Answer {
        match (&self.combine, ask) {
            (Some(combine), Ask::Take(n)) if 0 < n && n <= self.limit() => {
                self.take_together(combine, name, n).await
            }
            _ => self.send(name, self.kernel.call(ask)).await,
        }
    }

    /// One round trip.
    pub(in crate::redis) async fn send(&self, name: &[u8], (script, numbers): Call) -> Answer {
        self.counters.calls.add(1);
        let Reply(answer, length) = self.link.run(script, &[name], &numbers).await?;
        self.kernel.state(&answer[..length]).ok_or_else(RedisError::odd_answer)
    }

    /// One that answers more than the state of the key.
    pub(in crate::redis) async fn exchange(
        &self,
        name: &[u8],
        (script, numbers): Call,
    ) -> Result<Vec<u64>, RedisError> {
        self.counters.calls.add(1);
        self.link.run(script, &[name], &numbers).await
    }

    /// Tells the breaker, and whoever counts.
    pub(in crate::redis) fn heard<T>(
        self: &Arc<Self>,
        name: &[u8],
        answer: Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        match &answer {
            Err(error) if error.is_degraded() => {
                let counter = match error {
                    RedisError::Timeout(_) => &self.counters.timeouts,
                    _ => &self.counters.failures,
                };
                counter.add(1);
                if self.breaker.bad(self.pending.load(Relaxed)) {
                    probe::begin(self, name, error);
                }
            }
            // A fault of the configuration is an answer too.
            _ => self.breaker.good(),
        }
        answer
    }

    fn answer(&self, state: State, ask: Ask, asked: u64) -> Result<Grant, Denied> {
        let (granted, after) = self.kernel.settle(state, ask);
        let figures = |retry_after| {
            self.figures(
                Source::Redis,
                self.kernel.balance(after),
                self.kernel.until_full(after),
                retry_after,
            )
        };
        match granted {
            Some(granted) => Ok(Grant::new(granted, figures(0))),
            None => {
                let retry_after = self.kernel.until(state, asked).map_or(u64::MAX, nanos);
                Err(Denied::new(asked, figures(retry_after)))
            }
        }
    }

    pub(in crate::redis) fn figures(
        &self,
        source: Source,
        balance: i64,
        until_full: u64,
        retry_after: u64,
    ) -> Figures {
        figures(&self.terms, source, balance, until_full, retry_after)
    }
}

/// What is told of a limit. Times are in microseconds, but the last in nanoseconds.
pub(in crate::redis) fn figures(
    terms: &Terms,
    source: Source,
    balance: i64,
    until_full: u64,
    retry_after: u64,
) -> Figures {
    Figures::new(*terms, balance.max(0) as u64, nanos(until_full), retry_after)
        .as_kind(AnswerKind::Told)
        .by(source)
}

/// What is missing of a limit, which is at most 2^51.
pub(in crate::redis) fn level(balance: i64, limit: u64) -> u64 {
    (limit as i64).saturating_sub(balance).max(0) as u64
}

/// Of microseconds under 2^53, which is what a debt and a burst add up to.
pub(in crate::redis) fn nanos(us: u64) -> u64 {
    us.saturating_mul(1_000)
}
