//! The laws among threads that race, most of them on the default clock.
//!
//! A binary of their own, since each test keeps all cores busy for a while: beside tests that wait
//! for a moment it would make those late.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    pub(crate) mod windows_law;
}

#[cfg(feature = "std")]
mod combined;
#[cfg(feature = "std")]
mod direct;
#[cfg(feature = "std")]
mod keyed;
#[cfg(feature = "std")]
mod stress;
#[cfg(feature = "std")]
mod striped;
mod warm_up;
