//! What goes on while Redis is away.

use super::error::RedisError;
use super::kernel::Kernel;
use super::link::Fresh;
use super::path::Path;
use super::units::Ask;
use crate::algorithm::Algorithm;
use crate::quota::Quota;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use std::sync::PoisonError;
use tokio::time::sleep;

/// A bucket of the probes' own, which is full again in a millisecond.
const QUOTA: Quota = Quota::per_second(1_000);

/// The breaker has opened: says so, once, and probes until Redis is back.
pub(super) fn begin(path: &Arc<Path>, name: &[u8], error: &RedisError) {
    *path.failed.lock().unwrap_or_else(PoisonError::into_inner) = name.to_vec();
    path.counters.opened.add(1);
    let pause = path.breaker.next_pause(0);
    let (server, policy) = (path.link.server(), path.fallback);
    let login = error.refuses_login();
    if login {
        // It does not pass by itself.
        tracing::error!(server, ?policy, %error, "Redis is away");
    } else {
        tracing::warn!(server, ?policy, %error, "Redis is away");
    }
    path.runtime.spawn(until_back(Arc::downgrade(path), pause, login));
}

/// Ends when the limiter does. That the `login` is refused is told once in all.
async fn until_back(path: Weak<Path>, mut pause: Duration, mut login: bool) {
    let mut last = None;
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
            // It does not pass by itself, and is told when it is new.
            Err(error) if error.is_configuration() && last.as_ref() != Some(&error) => {
                let told = error.refuses_login() && mem::replace(&mut login, true);
                if !told {
                    let server = path.link.server();
                    tracing::error!(server, %error, "Redis stays away until it is set up");
                }
                last = Some(error);
            }
            Err(_) => {}
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
