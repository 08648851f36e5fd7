//! Limits in Redis while a server or the network fails: calls end in time, and nothing is counted
//! twice.
//!
//! A binary of their own, since these tests bound how late a call may be: beside those of `redis`,
//! some of which keep the machine busy, they would measure the machine.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    pub(crate) mod fakes;
    pub(crate) mod leases;
    pub(crate) mod proxy;
    #[path = "redis.rs"]
    pub(crate) mod server;
}

mod away;
mod debts;
mod errors;
mod far;
mod leases;
mod network;
mod outages;
mod servers;
