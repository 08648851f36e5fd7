//! Rate limiting on the hot path: a bucket is one 64-bit word, changed by one compare-and-swap.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod algorithm;
mod basis;
mod cell;
mod clock;
mod error;
mod figures;
mod keyed;
mod limiter;
#[cfg(any(sluicegate_loom, sluicegate_shuttle))]
#[doc(hidden)]
pub mod model;
mod quota;
mod sync;
mod time;
mod word;

pub use algorithm::Algorithm;
#[cfg(feature = "quanta")]
pub use clock::QuantaClock;
pub use clock::{Clock, ManualClock};
#[cfg(feature = "std")]
pub use clock::{CoarseClock, MonotonicClock};
pub use error::{Denied, QuotaError};
pub use figures::Grant;
pub use keyed::{KeyedBuilder, KeyedLimiter, WhenFull};
pub use limiter::{Builder, RateLimiter};
pub use quota::Quota;
