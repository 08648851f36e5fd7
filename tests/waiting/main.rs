//! Waiting, on tokio's paused clock and in threads: in order, woken once, given back when dropped.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    #[path = "mod.rs"]
    pub(crate) mod models;
}

#[cfg(feature = "tokio")]
mod bursts;
mod combined;
#[cfg(feature = "tokio")]
mod given_up;
#[cfg(feature = "tokio")]
mod given_up_laws;
#[cfg(feature = "tokio")]
mod in_order;
#[cfg(feature = "tokio")]
mod owned;
#[cfg(feature = "tokio")]
mod runtimes;
#[cfg(feature = "tokio")]
mod warm_up;
