//! The example programs, as their users run them. Needs `cargo build --examples` with the same
//! features.

#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    pub(crate) mod example;
    pub(crate) mod replay;
    #[cfg(feature = "redis")]
    #[path = "redis.rs"]
    pub(crate) mod server;
}

mod replay;
mod replay_clients;
mod replay_input;
mod server;
#[cfg(feature = "redis")]
mod server_stores;
