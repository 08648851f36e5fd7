//! What tests of leases have in common.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "a module of tests")]

use super::server::Server;
use sluicegate::{LeasedLimiter, Quota, RedisLimiter};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
pub const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
pub const SLOW: Quota = Quota::per_day(1);

pub async fn connect(server: &Server, quota: Quota, nodes: u64) -> LeasedLimiter {
    let builder = RedisLimiter::builder(quota).deadline(PATIENT).connect_timeout(PATIENT);
    builder.leased().nodes(nodes).connect(&server.url()).await.unwrap()
}

/// Looks again and again until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENT, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
