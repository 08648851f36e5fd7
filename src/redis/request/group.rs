//! The way of a request to several limits of a key.
//!
//! Every limit has the key that it would have alone, and all of a caller's have a hash tag in common, so that they
//! are in one slot.

use crate::algorithm::Terms;
use crate::answer::{Denied, Grant, Source};
use crate::combined::Combined;
use crate::redis::client::link::both;
use crate::redis::error::RedisError;
use crate::redis::outage::fallback::{Fallback, Local, Owed};
use crate::redis::request::key;
use crate::redis::request::{Path, figures, level, nanos};
use crate::redis::script::group;
use crate::redis::script::units::Ask;
use crate::redis::script::{Call, Kernel, State};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter;
use core::time::Duration;
use tokio::task::coop::consume_budget;

/// The most limits of one limiter.
const MOST: usize = 8;

/// A limit beside the first.
pub(in crate::redis) struct More {
    pub(in crate::redis) terms: Terms,
    pub(in crate::redis) kernel: Kernel,
    pub(in crate::redis) head: Vec<u8>,
    pub(in crate::redis) local: Option<Local>,
}

/// Whether they can be several, beside a first.
pub(in crate::redis) fn can_be(head: &[u8], more: &[More], queue: bool) -> Result<(), RedisError> {
    let heads = || iter::once(head).chain(more.iter().map(|more| &more.head[..]));
    let twice = heads().enumerate().any(|(i, head)| heads().take(i).any(|other| other == head));
    let text = match more {
        [] => return Ok(()),
        _ if more.len() >= MOST => "at most 8 limits can be one",
        _ if queue => "a queue cannot be one of several limits",
        _ if twice => "two of several limits are the same",
        _ => return Ok(()),
    };
    Err(RedisError::Configuration(text.to_string()))
}

/// One of all.
#[derive(Clone, Copy)]
struct Limit<'a> {
    which: u8,
    terms: &'a Terms,
    kernel: &'a Kernel,
    head: &'a [u8],
    local: Option<&'a Local>,
}

impl Path {
    fn all(&self) -> impl Iterator<Item = Limit<'_>> {
        let Self { terms, kernel, head, local, .. } = self;
        let first = Limit { which: 0, terms, kernel, head, local: local.as_ref() };
        let more = self.more.iter().zip(1..).map(|(more, which)| {
            let More { terms, kernel, head, local } = more;
            Limit { which, terms, kernel, head, local: local.as_ref() }
        });
        iter::once(first).chain(more)
    }

    fn kernels(&self) -> Vec<Kernel> {
        self.all().map(|limit| *limit.kernel).collect()
    }

    fn locals(&self) -> impl Iterator<Item = &Local> {
        self.all().filter_map(|limit| limit.local)
    }

    pub(in crate::redis) fn all_terms(&self) -> impl Iterator<Item = &Terms> {
        self.all().map(|limit| limit.terms)
    }

    pub(in crate::redis) fn heads(&self) -> impl Iterator<Item = &[u8]> {
        self.all().map(|limit| limit.head)
    }

    pub(in crate::redis) fn names(&self, key: &[u8]) -> Vec<Vec<u8>> {
        self.heads().map(|head| key::name(head, key)).collect()
    }

    /// The limit that admits the least at once: which it is, its terms, and how much that is.
    pub(in crate::redis) fn least(&self) -> (u8, &Terms, u64) {
        let least = self.all().map(|limit| (limit.kernel.limit(), limit.which, limit.terms));
        let least = least.min_by_key(|&(limit, which, _)| (limit, which));
        least.map_or((0, &self.terms, self.limit()), |(limit, which, terms)| (which, terms, limit))
    }

    /// Asks, and decides as the server did.
    pub(in crate::redis) async fn decide_all(
        self: &Arc<Self>,
        key: &[u8],
        ask: Ask,
        asked: u64,
    ) -> Result<Grant, RedisError> {
        match self.ask_all(key, ask).await {
            Ok(states) => Ok(self.answer_all(&states, ask, asked)?),
            Err(error) if error.is_degraded() && self.fallback != Fallback::Error => {
                self.counters.fallbacks.add(1);
                consume_budget().await;
                Ok(self.stand_in_all(key, ask, asked)?)
            }
            Err(error) => Err(error),
        }
    }

    /// The longest that it takes until a debt is paid.
    pub(in crate::redis) async fn charge_all(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
    ) -> Result<Duration, RedisError> {
        match self.ask_all(key, Ask::Charge(n)).await {
            Ok(states) => {
                let (_, states) = group::settle(&self.kernels(), &states, Ask::Charge(n));
                let until = |(limit, state): (Limit<'_>, State)| limit.kernel.until(state, 0);
                let longest = self.all().zip(states).filter_map(until).max();
                Ok(Duration::from_micros(longest.unwrap_or(0)))
            }
            Err(error) => self.instead(error, |_| {
                self.locals().map(|local| local.charge(key, n)).max().unwrap_or_default()
            }),
        }
    }

    pub(in crate::redis) async fn refund_all(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
    ) -> Result<(), RedisError> {
        match self.ask_all(key, Ask::Refund(n)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let perhaps = error.may_be_applied();
                self.instead(error, |_| {
                    self.locals().for_each(|local| local.refund(key, n, perhaps));
                })
            }
        }
    }

    /// The least that is there.
    pub(in crate::redis) async fn available_all(
        self: &Arc<Self>,
        key: &[u8],
    ) -> Result<i64, RedisError> {
        let least = match self.ask_all(key, Ask::Look(0)).await {
            Ok(states) => {
                let limits = self.all().zip(states);
                limits.map(|(limit, state)| limit.kernel.balance(state)).min()
            }
            Err(error) => {
                self.instead(error, |_| self.locals().map(|local| local.available(key)).min())?
            }
        };
        Ok(least.unwrap_or(0))
    }

    /// The most that is missing.
    pub(in crate::redis) async fn level_all(
        self: &Arc<Self>,
        key: &[u8],
    ) -> Result<u64, RedisError> {
        let most = match self.ask_all(key, Ask::Look(0)).await {
            Ok(states) => {
                let limits = self.all().zip(states);
                let missing = |(limit, state): (Limit<'_>, State)| {
                    level(limit.kernel.balance(state), limit.kernel.limit())
                };
                limits.map(missing).max()
            }
            Err(error) => {
                self.instead(error, |_| self.locals().map(|local| local.level(key)).max())?
            }
        };
        Ok(most.unwrap_or(0))
    }

    pub(in crate::redis) async fn reset_all(
        self: &Arc<Self>,
        key: &[u8],
    ) -> Result<(), RedisError> {
        let _pending = self.enter(key)?;
        let names = self.names(key);
        // What is owed goes with the reset, and comes back if that fails.
        let owed: Vec<_> = self.locals().filter_map(|local| Owed::of(local, key)).collect();
        let answer = self.exchange_all(&names, group::call_reset(&self.kernels())).await;
        self.heard(&names[0], answer)?;
        owed.into_iter().for_each(Owed::forgive);
        self.locals().for_each(|local| local.reset(key));
        Ok(())
    }

    /// All keys as they were before they were asked.
    async fn ask_all(self: &Arc<Self>, key: &[u8], ask: Ask) -> Result<Vec<State>, RedisError> {
        let _pending = self.enter(key)?;
        let names = self.names(key);
        let call = self.exchange_all(&names, group::call(&self.kernels(), ask));
        let owed = self.all().zip(&names).filter_map(|(limit, name)| {
            let owed = self.owed(limit.local, key)?;
            Some((*limit.kernel, &name[..], owed))
        });
        let owed: Vec<_> = owed.collect();
        let answer =
            if owed.is_empty() { call.await } else { both(self.pay_all(owed), call).await };
        let states = self.heard(&names[0], answer)?;
        if !self.breaker.is_open() {
            let (_, after) = group::settle(&self.kernels(), &states, ask);
            for (limit, state) in self.all().zip(after) {
                if let Some(local) = limit.local {
                    local.learn(key, limit.kernel, state);
                }
            }
        }
        Ok(states)
    }

    /// Charges what was taken while Redis was away: all in one call. What was granted is charged
    /// whole, and what was charged as far as a charge goes.
    pub(in crate::redis) async fn pay_all(
        &self,
        all: Vec<(Kernel, &[u8], Owed<'_>)>,
    ) -> Result<(), RedisError> {
        let (mut debts, mut keys) = (Vec::new(), Vec::new());
        for (kernel, name, owed) in &all {
            for debt in [(kernel.with_max_debt(u64::MAX), owed.granted), (*kernel, owed.charged)] {
                if debt.1 > 0 {
                    debts.push(debt);
                    keys.push(*name);
                }
            }
        }
        let (script, numbers) = group::call_debts(&debts);
        self.counters.calls.add(1);
        self.link.run_before::<Vec<u64>>(script, &keys, &numbers).await?;
        all.into_iter().for_each(|(_, _, owed)| owed.forgive());
        Ok(())
    }

    async fn exchange_all(
        &self,
        names: &[Vec<u8>],
        (script, numbers): Call,
    ) -> Result<Vec<State>, RedisError> {
        self.counters.calls.add(1);
        let keys: Vec<_> = names.iter().map(Vec::as_slice).collect();
        let answer: Vec<u64> = self.link.run(script, &keys, &numbers).await?;
        group::states(&self.kernels(), &answer).ok_or_else(RedisError::odd_answer)
    }

    /// The grant of the limit with the least left, or the denial of all that deny.
    fn answer_all(&self, states: &[State], ask: Ask, asked: u64) -> Result<Grant, Denied> {
        let (granted, after) = group::settle(&self.kernels(), states, ask);
        let limits = self.all().zip(after);
        let told = |limit: &Limit<'_>, state, retry_after| {
            let (balance, until_full) =
                (limit.kernel.balance(state), limit.kernel.until_full(state));
            figures(limit.terms, Source::Redis, balance, until_full, retry_after)
        };
        let Some(granted) = granted else {
            let denials = limits.filter_map(|(limit, state)| {
                let wait = limit.kernel.until(state, asked);
                let denies = wait != Some(0);
                let denied = Denied::new(asked, told(&limit, state, wait.map_or(u64::MAX, nanos)));
                denies.then(|| denied.of(limit.which))
            });
            let denied = denials.reduce(Denied::and);
            // What all can give is not denied.
            return Err(denied.unwrap_or_else(|| self.by_least(Source::Redis, asked, 0)));
        };
        let grants = limits.map(|(limit, state)| {
            Grant::new(granted, told(&limit, state, 0)).of(limit.which, granted)
        });
        let tightest = grants.min_by_key(|grant| (grant.remaining(), grant.which()));
        tightest.ok_or_else(|| self.by_least(Source::Redis, asked, 0))
    }

    /// The policy's decision.
    fn stand_in_all(&self, key: &[u8], ask: Ask, asked: u64) -> Result<Grant, Denied> {
        let least = self.least().2;
        let shares = self.locals().map(|local| local.limit(key));
        let Ok(shares) = Combined::from_limits(shares) else {
            let granted = if let Ask::UpTo(n) = ask { n.min(least) } else { asked };
            return self.by_policy(granted, asked, least);
        };
        let answer = match ask {
            Ask::Take(n) => shares.check_n(n),
            Ask::UpTo(n) => shares.check_up_to(n),
            _ => return self.by_shares(shares.peek(asked)),
        };
        if let Ok(grant) = answer
            && grant.granted() > 0
        {
            self.locals().for_each(|local| local.owe(key, grant.granted()));
        }
        self.by_shares(answer)
    }

    fn by_shares(&self, answer: Result<Grant, Denied>) -> Result<Grant, Denied> {
        match answer {
            Ok(grant) => Ok(grant.by(Source::Fallback)),
            Err(denied) => Err(self.of_the_share(denied.by(Source::Fallback), self.least().2)),
        }
    }
}
