//! Tables in a file that several limiters and several processes open.

#![cfg(all(unix, feature = "shared"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    pub(crate) mod windows_law;
}

mod corrupt;
mod one_table;
mod processes;
mod quota_changes;
mod removed;
