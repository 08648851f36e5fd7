//! Waits for tokens, and reserves them: by Redis, or locally while it is away.

use super::Requests;
use super::reservation::{Place, RedisReservation};
use crate::answer::{Grant, Source};
use crate::clock::{Clock, TokioClock};
use crate::redis::error::RedisError;
use crate::redis::script::Ask;
use crate::redis::script::units::Flow;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::time::Duration;
use tokio::time::sleep;

impl Requests {
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        id: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, RedisError> {
        let Some(&units) = self.bucket() else {
            return self.acquire_by_checks(id, n, within).await;
        };
        if n == 0 || n > self.most_of_a_place() {
            return self.decide(id, Ask::Look(n), n).await;
        }
        match self.wait_in_queue(id, &units, n, within).await {
            Err(error) if error.is_degraded() => {
                self.fall_back(error).await?;
                self.acquire_locally(id, n, within).await
            }
            answer => answer,
        }
    }

    /// Checks, and checks again after each denial.
    async fn acquire_by_checks(
        self: &Arc<Self>,
        id: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, RedisError> {
        let clock = TokioClock::new();
        loop {
            let denied = match self.decide(id, Ask::Take(n), n).await {
                Err(RedisError::Denied(denied)) => denied,
                answer => return answer,
            };
            let waited = Duration::from_nanos(clock.nanos());
            let left = within.map_or(Duration::MAX, |within| within.saturating_sub(waited));
            match denied.retry_after() {
                // A closed fallback says when Redis may be back, not when there are tokens.
                Some(wait) if wait <= left && denied.source() != Source::FailClosed => {
                    sleep(wait).await;
                }
                _ => return Err(denied.into()),
            }
        }
    }

    pub(crate) async fn reserve(
        self: &Arc<Self>,
        id: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<RedisReservation, RedisError> {
        let Some(&units) = self.bucket() else {
            let text = "in Redis, windows and several limits at once have no waiting line";
            return Err(RedisError::Configuration(text.to_string()));
        };
        // Nothing is always there. What never fits is denied, with the figures of a look.
        if n == 0 || n > self.most_of_a_place() {
            let grant = self.decide(id, Ask::Look(n), n).await?;
            return Ok(RedisReservation::new(self, id, grant, Duration::ZERO, Place::None));
        }
        match self.reserve_place(id, &units, n, within).await {
            Ok((after, now)) => {
                let wait = units.until_due(after);
                let due = after.saturating_sub(units.in_parts(Flow { us: wait, part: 0 }));
                let grant = Grant::new(n, self.first().figures_of(units.state_of(due), 0));
                let place = Place::InRedis(units.end(after, now));
                Ok(RedisReservation::new(self, id, grant, Duration::from_micros(wait), place))
            }
            Err(error) => {
                self.fall_back(error).await?;
                self.reserve_locally(id, n, within)
            }
        }
    }

    async fn acquire_locally(
        &self,
        id: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, RedisError> {
        let most = self.most_of_a_place();
        let Some(share) = &self.first().share else {
            return Ok(self.decide_without_share(n, n, most)?);
        };
        let answer = share.acquire(id, n, within).await;
        Ok(answer.map_err(|denied| self.denied_by_share(denied, most))?)
    }

    fn reserve_locally(
        self: &Arc<Self>,
        id: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<RedisReservation, RedisError> {
        let most = self.most_of_a_place();
        let (grant, wait, place) = match &self.first().share {
            None => (self.decide_without_share(n, n, most)?, Duration::ZERO, Place::None),
            Some(share) => {
                let place = share.place(id, n, within);
                let place = place.map_err(|denied| self.denied_by_share(denied, most))?;
                let grant = place.grant().by(Source::Fallback);
                (grant, place.waits(), Place::InShare(place))
            }
        };
        Ok(RedisReservation::new(self, id, grant, wait, place))
    }
}
