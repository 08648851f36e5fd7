//! Limits in Redis, against real servers that answer: what is admitted, waited for, leased and
//! kept.
//!
//! Each test starts a server of its own. The harness runs tests in the order of their names, so a
//! test's neighbours are mostly those of its own module.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    #[cfg(feature = "redis-tls")]
    pub(crate) mod fakes;
    pub(crate) mod leases;
    #[path = "redis.rs"]
    pub(crate) mod server;
    #[cfg(feature = "redis-tls")]
    pub(crate) mod stalls;
    #[cfg(feature = "redis-tls")]
    pub(crate) mod tls;
    pub(crate) mod windows_law;
}

#[cfg(feature = "shared")]
mod any_store;
mod coalesced;
mod given_up;
mod given_up_rates;
mod leases;
mod limiter;
mod long_keys;
mod places;
mod several_limits;
mod steps;
#[cfg(feature = "redis-tls")]
mod tls;
mod windows;
