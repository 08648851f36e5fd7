//! What goes on while Redis is away.

use crate::algorithm::Algorithm;
use crate::quota::Quota;
use crate::redis::client::link::Fresh;
use crate::redis::error::RedisError;
use crate::redis::request::Path;
use crate::redis::script::Kernel;
use crate::redis::script::units::Ask;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use std::sync::PoisonError;
use tokio::time::sleep;

/// A bucket of the probes' own, which is full again in a millisecond.
const QUOTA: Quota = Quota::per_second(1_000);

/// The breaker has opened: says so, once, and probes until Redis is back.
pub(in crate::redis) fn begin(path: &Arc<Path>, name: &[u8], error: &RedisError) {
    *path.failed.lock().unwrap_or_else(PoisonError::into_inner) = name.to_vec();
    path.counters.opened.add(1);
    let pause = path.breaker.next_pause(0);
    let (server, policy) = (path.link.server(), path.fallback);
    let told = Told {
        login: error.refuses_login(),
        slow: matches!(error, RedisError::TooFar { .. }),
        last: None,
    };
    if told.login {
        // It does not pass by itself.
        tracing::error!(server, ?policy, %error, "Redis is away");
    } else {
        tracing::warn!(server, ?policy, %error, "Redis is away");
    }
    path.runtime.spawn(until_back(Arc::downgrade(path), pause, told));
}

/// What has been logged of an outage, so that each thing is logged once.
struct Told {
    login: bool,
    slow: bool,
    /// The last fault of the set-up.
    last: Option<RedisError>,
}

impl Told {
    /// Logs the failure of a probe, if it is news.
    fn tell(&mut self, path: &Path, error: RedisError) {
        let server = path.link.server();
        if matches!(error, RedisError::TooFar { .. }) {
            if !mem::replace(&mut self.slow, true) {
                tracing::warn!(server, %error, "Redis stays away while it is slow");
            }
            return;
        }
        path.link.distance().unanswered();
        // It does not pass by itself.
        if error.is_configuration() && self.last.as_ref() != Some(&error) {
            if !(error.refuses_login() && mem::replace(&mut self.login, true)) {
                tracing::error!(server, %error, "Redis stays away until it is set up");
            }
            self.last = Some(error);
        }
    }
}

/// Ends when the limiter does.
async fn until_back(path: Weak<Path>, mut pause: Duration, mut told: Told) {
    for probe in 1.. {
        sleep(pause).await;
        let Some(path) = path.upgrade() else { return };
        path.counters.probes.add(1);
        match once(&path).await {
            Ok(fresh) => {
                path.link.adopt(fresh);
                path.breaker.close();
                let server = path.link.server();
                tracing::info!(server, probes = probe, "Redis is back");
                return;
            }
            Err(error) => told.tell(&path, error),
        }
        pause = path.breaker.next_pause(probe);
    }
}

/// A write in the slot of the key that failed, on a connection of its own.
async fn once(path: &Path) -> Result<Fresh, RedisError> {
    let name = {
        let failed = path.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = Vec::with_capacity(failed.len() + 6);
        name.extend_from_slice(&failed);
        name.extend_from_slice(b":probe");
        name
    };
    let (script, numbers) = Kernel::new(&QUOTA, Algorithm::TokenBucket)?.call(Ask::Take(1));
    path.link.probe(script, &name, &numbers).await
}
