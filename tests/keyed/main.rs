//! Keyed limiters in memory: what the table promises, and what a change of the quota keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    #[path = "mod.rs"]
    pub(crate) mod models;
    #[cfg(feature = "std")]
    pub(crate) mod windows_law;
}

mod check_many;
mod floods;
mod promises;
#[cfg(feature = "std")]
mod quota_changes;
#[cfg(feature = "std")]
mod stopped_changes;
