//! Limiters of one process on a clock that the test sets: what they admit, deny, reserve and
//! refuse.
//!
//! Nothing here depends on how fast the machine is, so these tests may run beside each other.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support"]
mod support {
    pub(crate) mod line;
    #[path = "mod.rs"]
    pub(crate) mod models;
    pub(crate) mod warming;
}

mod carry;
#[cfg(feature = "std")]
mod clocks;
#[cfg(feature = "std")]
mod combined;
mod combined_laws;
#[cfg(feature = "std")]
mod combined_models;
mod exact_models;
mod extremes;
mod field_defects;
mod horizon;
mod long_run;
mod max_debt;
mod periods;
mod places_in_line;
mod places_in_windows;
mod queues;
mod quota;
mod reservation_laws;
mod reservations;
mod sliding_windows;
mod tiers;
mod warm_up;
mod warm_up_laws;
mod warm_up_limits;
mod windows;
