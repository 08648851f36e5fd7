//! Waiting for tokens: places in a line that all machines share.

use crate::answer::{Denied, Grant, Source};
use crate::clock::{Clock, TokioClock};
use crate::redis::error::RedisError;
use crate::redis::limiter::RedisLimiter;
use crate::redis::outage::fallback::Fallback;
use crate::redis::request::reservation::{Held, RedisReservation};
use crate::redis::request::{Path, nanos};
use crate::redis::script::State;
use crate::redis::script::place::{self, End, Line};
use crate::redis::script::units::{Ask, Flow, Units};
use alloc::string::ToString;
use alloc::sync::Arc;
use core::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::sleep;

impl RedisLimiter {
    /// Takes a place in the key's line for `n` tokens: now if they are there, otherwise for when they will have flowed,
    /// behind everybody who has reserved before, on whatever machine.
    ///
    /// The wait is known at once, and to the microsecond; it counts from when the answer came, so that it ends by as
    /// much as that was under way later than the server's, and never earlier. Nobody is woken but by a timer of his
    /// own. While anybody waits, checks are denied. A reservation that is dropped before it is due gives its tokens back: see
    /// [`RedisReservation`]. `n = 0` is ready at once and takes nothing.
    ///
    /// One `EVALSHA`: a `TIME`, a `GET`, a `SET`.
    ///
    /// ```no_run
    /// use sluicegate::{Quota, RedisError, RedisLimiter};
    ///
    /// # async fn example() -> Result<(), RedisError> {
    /// let calls = RedisLimiter::builder(Quota::per_second(10)).connect("redis://localhost").await?;
    /// let place = calls.reserve("partner", 1).await?;
    /// println!("in {:?}", place.ready_in());
    /// let grant = place.ready().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// While Redis is away the places are those of this node's share, due at once, or none, as its
    /// [`Fallback`] says.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Denied`]: `n` exceeds the limit; or so many wait that the debt would exceed
    ///   [`max_waiting`](crate::RedisBuilder::max_waiting);
    /// - [`RedisError::Configuration`] of a window, and of several limits, which have no places;
    /// - any other if there is no answer.
    pub async fn reserve(
        &self,
        key: impl AsRef<[u8]>,
        n: u64,
    ) -> Result<RedisReservation, RedisError> {
        self.path.reserve(&self.path.id(key.as_ref()).await, n, None).await
    }

    /// [`reserve`](Self::reserve), if the place is due within `max_wait`; otherwise nothing changes.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve), and if the wait would be longer: then [`Denied::retry_after`]
    /// says by how much.
    pub async fn reserve_within(
        &self,
        key: impl AsRef<[u8]>,
        n: u64,
        max_wait: Duration,
    ) -> Result<RedisReservation, RedisError> {
        self.path.reserve(&self.path.id(key.as_ref()).await, n, Some(max_wait)).await
    }

    /// Takes `n` tokens, and waits until they are there, first come, first served on all machines.
    /// One round trip however many wait, and none if another caller has left a place behind.
    ///
    /// Dropped while it waits, it leaves the line of this process, and costs nobody a token,
    /// wherever it stood: those behind it move up, and what is then left is handed to the next who
    /// comes, or back to Redis. Dropped before the answer came likewise. Dropping takes a short
    /// lock, and does not wait.
    ///
    /// A window has no places, nor have several limits: there it is a [`check_n`](Self::check_n), and another after each
    /// [`retry_after`](crate::Denied::retry_after), a round trip each, and whoever asks first then is first.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve); of what has no places, as [`check_n`](Self::check_n), if `n` exceeds the limit or there is no answer.
    pub async fn acquire(&self, key: impl AsRef<[u8]>, n: u64) -> Result<Grant, RedisError> {
        self.path.acquire(&self.path.id(key.as_ref()).await, n, None).await
    }

    /// [`acquire`](Self::acquire), if the wait is at most `timeout`: what is known to come too late is denied at once, and
    /// takes nothing, even if others might leave. The round trip comes on top, which has its own
    /// [deadline](crate::RedisBuilder::deadline); of what has no places, all but the last count as
    /// well.
    ///
    /// # Errors
    ///
    /// As [`reserve_within`](Self::reserve_within); of what has no places, as [`check_n`](Self::check_n).
    pub async fn acquire_timeout(
        &self,
        key: impl AsRef<[u8]>,
        n: u64,
        timeout: Duration,
    ) -> Result<Grant, RedisError> {
        self.path.acquire(&self.path.id(key.as_ref()).await, n, Some(timeout)).await
    }
}

impl Path {
    /// Of a bucket alone, which has one.
    fn line(&self) -> Option<&Units> {
        self.kernel.places().filter(|_| self.more.is_empty())
    }

    /// The most tokens that one place can have: over the limit only of a queue, where they are paid in instalments.
    pub(in crate::redis) fn most_of_a_place(&self) -> u64 {
        let more = if self.waiting.instalments { self.waiting.most } else { 0 };
        self.limit().saturating_add(more)
    }

    async fn acquire(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, RedisError> {
        if let Some(&units) = self.line() {
            if n == 0 || n > self.most_of_a_place() {
                return self.decide(key, Ask::Look(n), n).await;
            }
            return match self.wait_in_line(key, &units, n, within).await {
                Err(error) if error.is_degraded() && self.fallback != Fallback::Error => {
                    self.acquire_here(key, n, within).await
                }
                answer => answer,
            };
        }
        let clock = TokioClock::new();
        loop {
            let denied = match self.decide(key, Ask::Take(n), n).await {
                Err(RedisError::Denied(denied)) => denied,
                answer => return answer,
            };
            let waited = Duration::from_nanos(clock.nanos());
            let left = within.map_or(Duration::MAX, |within| within.saturating_sub(waited));
            match denied.retry_after() {
                // A closed one says when Redis may be back, and not when there is something.
                Some(wait) if wait <= left && denied.source() != Source::FailClosed => {
                    sleep(wait).await;
                }
                _ => return Err(denied.into()),
            }
        }
    }

    async fn reserve(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<RedisReservation, RedisError> {
        let Some(&units) = self.line() else {
            let text = "windows and several limits at once have no places in Redis";
            return Err(RedisError::Configuration(text.to_string()));
        };
        let held = |grant, wait, held| RedisReservation::new(self, key, grant, wait, held);
        // Nothing is always there; what never fits is denied, with the figures of a look.
        if n == 0 || n > self.most_of_a_place() {
            let grant = self.decide(key, Ask::Look(n), n).await?;
            return Ok(held(grant, Duration::ZERO, Held::Nothing));
        }
        match self.place(key, &units, n, within).await {
            Ok((after, now)) => {
                let wait = units.until_due(after);
                let due = after.saturating_sub(units.in_parts(Flow { us: wait, part: 0 }));
                let (balance, until_full) = (units.balance(due), units.until_full(due));
                let grant = Grant::new(n, self.figures(Source::Redis, balance, until_full, 0));
                let end = Held::There(units.end(after, now));
                Ok(held(grant, Duration::from_micros(wait), end))
            }
            Err(error) if error.is_degraded() && self.fallback != Fallback::Error => {
                self.reserve_here(key, n, within).await
            }
            Err(error) => Err(error),
        }
    }

    /// Waits as the policy has it while Redis is away.
    async fn acquire_here(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, RedisError> {
        self.counters.fallbacks.add(1);
        consume_budget().await;
        let most = self.most_of_a_place();
        Ok(match &self.local {
            Some(local) => local
                .acquire(key, n, within)
                .await
                .map_err(|denied| self.of_the_share(denied, most))?,
            None => self.by_policy(n, n, most)?,
        })
    }

    /// Takes a place as the policy has it while Redis is away.
    async fn reserve_here(
        self: &Arc<Self>,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<RedisReservation, RedisError> {
        self.counters.fallbacks.add(1);
        consume_budget().await;
        let held = |grant, wait, held| RedisReservation::new(self, key, grant, wait, held);
        let Some(local) = &self.local else {
            let grant = self.by_policy(n, n, self.most_of_a_place())?;
            return Ok(held(grant, Duration::ZERO, Held::Nothing));
        };
        let place = local.place(key, n, within);
        let place = place.map_err(|denied| self.of_the_share(denied, self.most_of_a_place()))?;
        let (grant, wait) = (place.grant().by(Source::Fallback), place.waits());
        Ok(held(grant, wait, Held::Here(place)))
    }

    /// A place in the server's line: what is missing with it, and the server's time.
    pub(in crate::redis) async fn place(
        self: &Arc<Self>,
        key: &[u8],
        units: &Units,
        n: u64,
        within: Option<Duration>,
    ) -> Result<(u128, u64), RedisError> {
        let reach = units.reach(self.waiting.most, within);
        let _pending = self.enter(key)?;
        let name = self.name(key);
        let call = async {
            let call = place::call_reserve(units, n, reach);
            match self.exchange(&name, call).await?[..] {
                [us, part, now] => Ok((units.in_parts(Flow { us, part }), now)),
                _ => Err(RedisError::odd_answer()),
            }
        };
        let (debt, now) = self.with_debts(key, &name, call).await?;
        let after = units.reserve(debt, n, reach);
        self.learn(key, State::Bucket(after.unwrap_or(debt)));
        let Some(after) = after else {
            let (balance, until_full) = (units.balance(debt), units.until_full(debt));
            let retry_after = units.until_place(debt, n, reach).map_or(u64::MAX, nanos);
            let figures = self.figures(Source::Redis, balance, until_full, retry_after);
            return Err(Denied::new(n, figures).into());
        };
        Ok((after, now))
    }

    /// Gives up `n` tokens of a place: how many come back; `None` if it is due.
    pub(in crate::redis) async fn give_up(
        self: &Arc<Self>,
        key: &[u8],
        end: End,
        n: u64,
    ) -> Result<Option<u64>, RedisError> {
        let Some(units) = self.kernel.places() else { return Ok(None) };
        let _pending = self.enter(key)?;
        let name = self.name(key);
        let call = async {
            let answer = self.exchange(&name, place::call_undo(units, end, n)).await?;
            Line::of(units, &answer).ok_or_else(RedisError::odd_answer)
        };
        let line = self.with_debts(key, &name, call).await?;
        let back = units.give_up(line, end, n);
        self.learn(key, State::Bucket(line.debt - back));
        Ok((!units.is_due(end, line.now)).then(|| units.whole(back).min(n)))
    }
}
