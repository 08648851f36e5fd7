//! Limits that all machines share, in Redis.
//!
//! Exact mode: a decision is a script in the server. `units.rs` has the numbers and the pure decisions, the `*.lua` the
//! same for the server, `window.rs` and `window*.lua` those of windows, `kernel.rs` how one is asked and answers; `link.rs`
//! is the connection (`connection.rs`: how it is made, `cluster.rs`: that to a cluster,
//! `distance.rs`: how far it is), and `path.rs` the way of a request: combined with others
//! (`combine.rs`), or decided here (`away.rs`, `fallback.rs`) while Redis is away (`breaker.rs`,
//! `probe.rs`). `key.rs` names keys.
//! `waiting.rs` reserves places in line (`place.rs`), which are held by a
//! `reservation.rs`, or by the line of this process (`held.rs`, `queue.rs`, `lines.rs`,
//! `acquire.rs`); `several.rs` asks several limits as one (`joint.rs`). Leased mode, `lease/`,
//! stands on all of it.

mod client;
mod error;
mod lease;
mod limiter;
mod metrics;
mod outage;
mod queue;
mod request;
mod script;
#[cfg(test)]
mod tests;

pub use error::RedisError;
pub use lease::{LeaseStats, LeasedBuilder, LeasedLimiter};
pub use limiter::RedisLimiter;
pub use limiter::builder::RedisBuilder;
pub use metrics::RedisMetrics;
pub use outage::fallback::Fallback;
pub use request::reservation::RedisReservation;
