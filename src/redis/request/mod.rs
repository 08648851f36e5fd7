//! The way of a request: to Redis, together with others for its key, or to a decision in this
//! process while Redis is away.
//!
//! `key.rs` names keys. `turns.rs` and `coalesce.rs` let calls for one key share a script.
//! `answer.rs` tells what Redis decided, `local.rs` decides without Redis. `place.rs` asks for
//! places in a waiting line. A `reservation.rs` holds one, or the queue of this process does
//! (`acquire.rs`, `tidy.rs`).

mod acquire;
mod answer;
mod coalesce;
pub(super) mod key;
pub(super) mod limit;
mod local;
mod place;
pub(super) mod reservation;
mod reserve;
mod tidy;
pub(super) mod turns;

use crate::answer::Grant;
use crate::bucket::Waiting;
use crate::redis::client::link::both;
use crate::redis::client::lua::{Call, Reply};
use crate::redis::error::RedisError;
use crate::redis::outage::guard::{Guard, InFlight};
use crate::redis::outage::share::{Owed, Share};
use crate::redis::queue::queues::WaitQueues;
use crate::redis::script::{Ask, Scripts, State, group};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use key::DigestKey;
use limit::Limit;
use turns::Turns;

/// The shared state of one limiter in Redis. Its keys are ids: see `key.rs`.
pub(super) struct Requests {
    /// One or more. All decide together.
    pub(super) limits: Box<[Limit]>,
    /// Bounds how many may wait.
    pub(super) waiting: Waiting,
    /// The callers that wait in this process.
    pub(super) queues: Arc<WaitQueues>,
    pub(super) digest_key: DigestKey,
    pub(super) prefix: String,
    pub(super) guard: Arc<Guard>,
    /// The turns of calls for one key, if those are to share scripts.
    pub(super) turns: Option<Arc<Turns>>,
}

/// What a call granted, if anything, and the states of all limits after it.
type Outcome = (Option<u64>, Vec<State>);

impl Requests {
    pub(super) fn first(&self) -> &Limit {
        &self.limits[0]
    }

    fn scripts(&self) -> impl Iterator<Item = &dyn Scripts> + Clone {
        self.limits.iter().map(|limit| &*limit.scripts)
    }

    fn shares(&self) -> impl Iterator<Item = &Share> {
        self.limits.iter().filter_map(|limit| limit.share.as_ref())
    }

    fn names(&self, id: &[u8]) -> Vec<Vec<u8>> {
        self.limits.iter().map(|limit| key::name(&limit.head, id)).collect()
    }

    /// Asks Redis, or decides locally while it is away. A denial is one of `asked` tokens.
    pub(crate) async fn decide(
        self: &Arc<Self>,
        id: &[u8],
        ask: Ask,
        asked: u64,
    ) -> Result<Grant, RedisError> {
        match self.ask(id, ask).await {
            Ok((Some(granted), after)) => Ok(self.grant(granted, &after)),
            Ok((None, states)) => Err(self.denial(asked, &states).into()),
            Err(error) => {
                self.fall_back(error).await?;
                Ok(self.decide_locally(id, ask, asked)?)
            }
        }
    }

    pub(super) async fn charge(
        self: &Arc<Self>,
        id: &[u8],
        n: u64,
    ) -> Result<Duration, RedisError> {
        match self.ask(id, Ask::Charge(n)).await {
            Ok((_, after)) => {
                let until = |(limit, state): (&dyn Scripts, State)| limit.until(state, 0);
                let longest = self.scripts().zip(after).filter_map(until).max();
                Ok(Duration::from_micros(longest.unwrap_or(0)))
            }
            Err(error) => self.instead(error, || {
                self.shares().map(|share| share.charge(id, n)).max().unwrap_or_default()
            }),
        }
    }

    pub(super) async fn refund(self: &Arc<Self>, id: &[u8], n: u64) -> Result<(), RedisError> {
        match self.ask(id, Ask::Refund(n)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let may_be_applied = error.may_be_applied();
                self.instead(error, || {
                    self.shares().for_each(|share| share.refund(id, n, may_be_applied));
                })
            }
        }
    }

    /// The least balance of all limits.
    pub(super) async fn available(self: &Arc<Self>, id: &[u8]) -> Result<i64, RedisError> {
        let least = match self.ask(id, Ask::Look(0)).await {
            Ok((_, states)) => {
                self.scripts().zip(states).map(|(limit, state)| limit.balance(state)).min()
            }
            Err(error) => self.instead(error, || {
                self.shares().map(|share| share.limiter().available(id)).min()
            })?,
        };
        Ok(least.unwrap_or(0))
    }

    /// The most that is missing from any limit.
    pub(super) async fn level(self: &Arc<Self>, id: &[u8]) -> Result<u64, RedisError> {
        let most = match self.ask(id, Ask::Look(0)).await {
            Ok((_, states)) => {
                // A limit is at most 2^51.
                let missing = |(limit, state): (&dyn Scripts, State)| {
                    (limit.limit() as i64).saturating_sub(limit.balance(state)).max(0) as u64
                };
                self.scripts().zip(states).map(missing).max()
            }
            Err(error) => {
                self.instead(error, || self.shares().map(|share| share.limiter().level(id)).max())?
            }
        };
        Ok(most.unwrap_or(0))
    }

    pub(super) async fn reset(self: &Arc<Self>, id: &[u8]) -> Result<(), RedisError> {
        let _in_flight = self.enter(id)?;
        let names = self.names(id);
        // Debts end with the reset, and are owed again if it fails.
        let owed: Vec<_> = self.shares().filter_map(|share| Owed::of(share, id)).collect();
        let answer = match &*self.limits {
            [limit] => {
                let call = limit.scripts.call_reset(self.most_of_a_place());
                self.run_one(&names[0], call).await.map(|_| ())
            }
            _ => {
                let call = group::call_reset(&*self.first().scripts, self.scripts());
                self.run_group(&names, call).await.map(|_| ())
            }
        };
        self.guard.note(&names[0], answer)?;
        owed.into_iter().for_each(Owed::forgive);
        self.shares().for_each(|share| share.reset(id));
        Ok(())
    }

    /// Returns the answer of the shares instead of Redis's, if there are any.
    fn instead<T>(&self, error: RedisError, say: impl FnOnce() -> T) -> Result<T, RedisError> {
        if !error.is_degraded() || self.first().share.is_none() {
            return Err(error);
        }
        self.guard.counters.fallbacks.add(1);
        Ok(say())
    }

    /// Asks Redis, and decides as it did.
    async fn ask(self: &Arc<Self>, id: &[u8], ask: Ask) -> Result<Outcome, RedisError> {
        let _in_flight = self.enter(id)?;
        let names = self.names(id);
        let states = self.with_debts(id, &names, self.ask_now(&names, ask)).await?;
        let (granted, after) = group::settle(self.scripts(), &states, ask);
        self.learn(id, &after);
        Ok((granted, after))
    }

    /// Asks for the states before this call.
    async fn ask_now(
        self: &Arc<Self>,
        names: &[Vec<u8>],
        ask: Ask,
    ) -> Result<Vec<State>, RedisError> {
        let [limit] = &*self.limits else {
            let call = group::call(&*self.first().scripts, self.scripts(), ask);
            return self.run_group(names, call).await;
        };
        let call = || limit.scripts.call(ask);
        let state = match (&self.turns, ask) {
            (Some(turns), Ask::Take(n)) if 0 < n && n <= limit.scripts.limit() => {
                self.take_in_turn(turns, &names[0], n, call).await?
            }
            _ => self.run_one(&names[0], call()).await?,
        };
        Ok(Vec::from([state]))
    }

    async fn run_one(&self, name: &[u8], call: Call) -> Result<State, RedisError> {
        let Reply { numbers, length } = self.guard.run(&call, &[name]).await?;
        self.first().scripts.state(&numbers[..length]).ok_or_else(RedisError::odd_answer)
    }

    async fn run_group(&self, names: &[Vec<u8>], call: Call) -> Result<Vec<State>, RedisError> {
        let keys: Vec<_> = names.iter().map(Vec::as_slice).collect();
        let answer: Vec<u64> = self.guard.run(&call, &keys).await?;
        group::states(self.scripts(), &answer).ok_or_else(RedisError::odd_answer)
    }

    /// Lets a request for a key in flight.
    fn enter(&self, id: &[u8]) -> Result<InFlight<'_>, RedisError> {
        let bytes = self.limits.iter().map(|limit| key::length(&limit.head, id) as u64).sum();
        self.guard.enter(bytes)
    }

    /// Makes a call, and before it charges the key's debt, within one round trip. In two a call
    /// might miss a deadline that it would otherwise meet. It would then be granted here and be
    /// owed, so that the next call misses its deadline too.
    ///
    /// While calls fail nothing is charged: a charge without an answer may have been applied, and
    /// each later call would repeat it.
    async fn with_debts<T>(
        self: &Arc<Self>,
        id: &[u8],
        names: &[Vec<u8>],
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        let mut owed = Vec::new();
        if self.guard.is_calm() {
            for (limit, name) in self.limits.iter().zip(names) {
                let debt = limit.share.as_ref().and_then(|share| Owed::of(share, id));
                owed.extend(debt.map(|debt| (limit, name, debt)));
            }
        }
        let answer = if owed.is_empty() {
            call.await
        } else {
            // Rare, and so not a part of every call's future.
            Box::pin(both(self.pay(owed), call)).await
        };
        self.guard.note(&names[0], answer)
    }

    /// Charges Redis, in one call, for the tokens taken while it was away: tokens that were granted
    /// in full, tokens that were charged up to the debt bound.
    async fn pay(&self, owed: Vec<(&Limit, &Vec<u8>, Owed<'_>)>) -> Result<(), RedisError> {
        let (mut debts, mut keys) = (Vec::new(), Vec::new());
        for (limit, name, owed) in &owed {
            let charge = |scripts: &dyn Scripts, n| scripts.call(Ask::Charge(n)).numbers;
            if owed.granted > 0 {
                debts.push(charge(&*limit.scripts.without_max_debt(), owed.granted));
                keys.push(name.as_slice());
            }
            if owed.charged > 0 {
                debts.push(charge(&*limit.scripts, owed.charged));
                keys.push(name.as_slice());
            }
        }
        let call = group::call_debts(&*self.first().scripts, debts);
        self.guard.run_before::<Vec<u64>>(&call, &keys).await?;
        owed.into_iter().for_each(|(.., owed)| owed.forgive());
        Ok(())
    }

    /// Teaches the shares the new state of a key in Redis.
    fn learn(&self, id: &[u8], states: &[State]) {
        if self.guard.is_away() {
            return;
        }
        for (limit, &state) in self.limits.iter().zip(states) {
            if let Some(share) = &limit.share {
                share.learn(id, limit.scripts.limit(), limit.scripts.balance(state));
            }
        }
    }
}
