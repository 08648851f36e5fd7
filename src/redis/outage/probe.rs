//! Probes Redis during an outage, and logs how the outage begins and ends.

use super::guard::Guard;
use crate::algorithm::Algorithm;
use crate::quota::Quota;
use crate::redis::client::link::Fresh;
use crate::redis::error::RedisError;
use crate::redis::script::{self, Ask};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use std::sync::PoisonError;
use tokio::time::sleep;

/// The quota of the probes' own bucket, which is full again in a millisecond.
const QUOTA: Quota = Quota::per_second(1_000);

impl Guard {
    /// Logs that Redis is away, and probes until it is back. The breaker has just opened.
    pub(super) fn begin_outage(self: &Arc<Self>, name: &[u8], error: &RedisError) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = name.to_vec();
        self.counters.opened.add(1);
        let pause = self.breaker.next_pause(0);
        let (server, policy) = (self.server(), self.fallback);
        let logged = Logged {
            login: error.refuses_login(),
            slow: matches!(error, RedisError::TooFar { .. }),
            last: None,
        };
        if logged.login {
            // A refused login does not pass by itself.
            tracing::error!(server, ?policy, %error, "Redis is away");
        } else {
            tracing::warn!(server, ?policy, %error, "Redis is away");
        }
        self.runtime.spawn(probe_until_back(Arc::downgrade(self), pause, logged));
    }

    /// Writes in the slot of the key that failed, over a connection of its own.
    async fn probe(&self) -> Result<Fresh, RedisError> {
        let name = {
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            let mut name = Vec::with_capacity(failed.len() + 6);
            name.extend_from_slice(&failed);
            name.extend_from_slice(b":probe");
            name
        };
        let call = script::of(&QUOTA, Algorithm::TokenBucket, u64::MAX)?.call(Ask::Take(1));
        self.link.probe(&call, &name).await
    }
}

/// The log of an outage, so that each thing is logged once.
struct Logged {
    login: bool,
    slow: bool,
    /// The last mistake in the set-up.
    last: Option<RedisError>,
}

impl Logged {
    /// Logs the failure of a probe, if it is news.
    fn tell(&mut self, guard: &Guard, error: RedisError) {
        let server = guard.server();
        if matches!(error, RedisError::TooFar { .. }) {
            if !mem::replace(&mut self.slow, true) {
                tracing::warn!(server, %error, "Redis stays away while it is slow");
            }
            return;
        }
        guard.distance().unanswered();
        // A mistake in the set-up does not pass by itself.
        if error.is_configuration() && self.last.as_ref() != Some(&error) {
            if !(error.refuses_login() && mem::replace(&mut self.login, true)) {
                tracing::error!(server, %error, "Redis stays away until it is set up");
            }
            self.last = Some(error);
        }
    }
}

/// Probes after each pause, until Redis is back or the limiter is gone.
async fn probe_until_back(guard: Weak<Guard>, mut pause: Duration, mut logged: Logged) {
    for probe in 1.. {
        sleep(pause).await;
        let Some(guard) = guard.upgrade() else { return };
        guard.counters.probes.add(1);
        match guard.probe().await {
            Ok(fresh) => {
                guard.link.adopt(fresh);
                guard.breaker.close();
                let server = guard.server();
                tracing::info!(server, probes = probe, "Redis is back");
                return;
            }
            Err(error) => logged.tell(&guard, error),
        }
        pause = guard.breaker.next_pause(probe);
    }
}
