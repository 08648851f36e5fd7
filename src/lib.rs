//! Rate limiting on the hot path: a bucket is one 64-bit word, changed by one compare-and-swap.
//!
//! ```
//! # #[cfg(feature = "std")] {
//! use sluicegate::{Quota, RateLimiter};
//!
//! let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
//! match limiter.check() {
//!     Ok(grant) => println!("welcome, {} left", grant.remaining()),
//!     Err(denied) => println!("retry after {:?}", denied.retry_after()),
//! }
//! # }
//! ```
//!
//! - [`Quota`]: how much, how often; in code or as text (`100/minute burst 20`).
//! - [`RateLimiter`]: one bucket. [`KeyedLimiter`]: one for each key.
//! - [`Combined`]: several limits as one, all or nothing. [`Tiers`]: named quotas, chosen per call.
//! - `RedisLimiter` and `LeasedLimiter` (feature `redis`): limits that all machines share.
//! - [`AnyLimiter`]: any of these stores as one type; with the feature `url`, the one of a URL.
//! - [`WarmUpLimiter`]: slower at first and after idling, for callers that wait.
//! - [`Grant`] and [`Denied`]: the answers, and their figures. [`Reservation`]: a place in line.
//! - [`Algorithm`]: token bucket, leaky bucket, fixed window, sliding window.
//! - [`Clock`]: where time comes from; [`ManualClock`] for tests.
//!
//! The same verb means the same everywhere. A keyed limiter's methods take the key first. Limits in
//! Redis answer by futures, but for `try_check`, which spends leased tokens.
//!
//! | verb | [`RateLimiter`] | [`KeyedLimiter`] | [`Combined`] | [`WarmUpLimiter`] | `RedisLimiter` | `LeasedLimiter` | [`AnyLimiter`] |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | `check`, `check_n` | yes | yes | yes | - | yes | yes | yes |
//! | `check_up_to`, `peek` | yes | yes | yes | - | yes | - | yes |
//! | `try_check`, `try_check_n`, `try_check_up_to` | - | - | - | - | - | yes | - |
//! | `check_many` | - | yes | - | - | - | - | - |
//! | `charge`, `refund`, `available` | yes | yes | yes | yes | yes | - | yes |
//! | `level` | yes | yes | - | - | yes | - | yes |
//! | `reset` | yes | yes | - | yes | yes | - | yes |
//! | `reserve`, `reserve_within` | yes | yes | yes | yes | yes | - | yes |
//! | `reserve_owned`, `acquire_owned` | yes | yes | - | - | - | - | - |
//! | `acquire` | yes | yes | yes | yes | yes | - | yes |
//! | `acquire_blocking`, `acquire_blocking_timeout` | yes | yes | yes | yes | - | - | - |
//! | `throttle`, `throttle_sink` | yes | yes | - | - | - | - | - |
//! | `set_quota` | yes | yes | - | yes | - | - | - |
//! | `as_limit` | yes | yes | - | - | - | - | - |
//! | `quota` | yes | yes | - | yes | yes | yes | yes |
//! | `algorithm` | yes | yes | - | - | yes | yes | yes |
//!
//! `ci/verbs.py` keeps this table true.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
// In the library alone: tests and examples may.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;
// Tests within share the exact models of those without.
#[cfg(all(test, feature = "redis"))]
extern crate self as sluicegate;

mod algorithm;
mod answer;
mod any;
mod bucket;
mod cell;
mod clock;
mod combined;
mod error;
mod keyed;
mod limiter;
#[cfg(any(sluicegate_loom, sluicegate_shuttle))]
#[doc(hidden)]
pub mod model;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod sync;
mod tiers;
mod time;
mod timeline;
mod wait;
mod warm_up;
mod word;

pub use algorithm::{Algorithm, Carry};
pub use answer::{Denied, Grant, Source};
#[cfg(feature = "url")]
pub use any::AnyBuilder;
pub use any::{AnyError, AnyLimiter, AnyReservation};
#[cfg(feature = "quanta")]
pub use clock::QuantaClock;
#[cfg(feature = "tokio")]
pub use clock::TokioClock;
pub use clock::{Clock, ManualClock};
#[cfg(feature = "std")]
pub use clock::{CoarseClock, MonotonicClock};
pub use combined::{Combined, CombinedReservation, Limit};
pub use error::{CombinedError, QuotaError, TiersError, UnknownTier};
#[cfg(all(unix, feature = "shared"))]
pub use keyed::SharedError;
pub use keyed::{KeyedBuilder, KeyedLimiter, WhenFull};
pub use limiter::{RateLimiter, RateLimiterBuilder};
pub use quota::Quota;
#[cfg(feature = "redis")]
pub use redis::{
    Fallback, LeaseMetrics, LeasedBuilder, LeasedLimiter, RedisBuilder, RedisError, RedisLimiter,
    RedisMetrics, RedisReservation,
};
pub use tiers::{Tiers, TiersBuilder};
pub use wait::Reservation;
#[cfg(feature = "tokio")]
pub use wait::{Acquire, Throttle, ThrottleSink};
pub use warm_up::{WarmUpBuilder, WarmUpLimiter};

/// Chapters: which limiter to choose, what it guarantees, how it works, and how fast it is.
// The links between chapters. The first definition of a label wins: here it is rustdoc's, and the
// one at the end of the file is the repository's.
#[cfg(doc)]
pub mod docs {
    #[doc = "[limits-waiting]: self::limits#waiting"]
    #[doc = "[redis]: self::redis"]
    #[doc = "[speed]: self::speed"]
    // Pictures as data, by the same rule.
    #[doc = include_str!("../images/rustdoc.md")]
    #[doc = include_str!("../docs/choosing.md")]
    pub mod choosing {}
    #[doc = "[capacity]: self::choosing#the-capacity-of-a-keyed-limiter"]
    #[doc = "[waiting]: self::limits#waiting"]
    #[doc = include_str!("../docs/coming-from.md")]
    pub mod coming_from {}
    #[doc = "[speed]: self::speed"]
    #[doc = include_str!("../docs/comparison.md")]
    pub mod comparison {}
    #[doc = "[capacity]: self::choosing#the-capacity-of-a-keyed-limiter"]
    #[doc = "[models]: self::models"]
    #[doc = "[precision]: self::limits#precision"]
    #[doc = "[removed]: self::choosing#one-process-or-several"]
    #[doc = "[rule]: self::limits#waiting"]
    #[doc = include_str!("../docs/guarantees.md")]
    pub mod guarantees {}
    #[doc = include_str!("../docs/limits.md")]
    pub mod limits {}
    #[doc = include_str!("../docs/redis.md")]
    pub mod redis {}
    #[doc = include_str!("../docs/speed.md")]
    pub mod speed {}
    #[doc = "[keyed-table]: self::keyed_table"]
    #[doc = "[timeline]: self::timeline"]
    #[doc = "[waiting]: self::waiting"]
    #[doc = "[models]: self::models"]
    #[doc = "[redis-inside]: self::redis#how-it-works-inside"]
    #[doc = include_str!("../images/rustdoc.md")]
    #[doc = include_str!("../docs/internals.md")]
    pub mod internals {}
    #[doc = include_str!("../docs/keyed-table.md")]
    pub mod keyed_table {}
    #[doc = include_str!("../docs/timeline.md")]
    pub mod timeline {}
    #[doc = "[accounts]: self::keyed_table#accounts-of-keys"]
    #[doc = include_str!("../docs/waiting.md")]
    pub mod waiting {}
    #[doc = include_str!("../docs/models.md")]
    pub mod models {}
}

/// The README's examples compile and run.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
