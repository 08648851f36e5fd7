//! Limits in Redis with many processes: clusters, sentinels, and nodes that are killed.
//!
//! A binary of their own, since one test here starts up to eight processes, and beside them a test
//! of `redis_faults` would measure the machine.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    #[cfg(feature = "redis-cluster")]
    pub(crate) mod cluster;
    #[cfg(feature = "redis-cluster")]
    pub(crate) mod fakes;
    #[cfg(feature = "redis-sentinel")]
    pub(crate) mod sentinel;
    #[path = "redis.rs"]
    pub(crate) mod server;
    #[cfg(feature = "redis-cluster")]
    pub(crate) mod stalls;
    #[cfg(unix)]
    pub(crate) mod windows_law;
}

#[cfg(feature = "redis-cluster")]
mod cluster;
#[cfg(unix)]
mod processes;
#[cfg(feature = "redis-sentinel")]
mod sentinel;
