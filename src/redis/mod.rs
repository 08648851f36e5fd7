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

mod acquire;
mod away;
mod breaker;
mod builder;
#[cfg(feature = "redis-cluster")]
mod cluster;
mod combine;
mod connection;
mod distance;
mod error;
mod exact;
mod fallback;
mod held;
mod joint;
mod kernel;
mod key;
mod lease;
mod lines;
mod link;
mod metrics;
mod path;
mod place;
mod probe;
mod queue;
mod reservation;
mod several;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_window;
#[cfg(test)]
mod tests_window_laws;
#[cfg(feature = "redis-tls")]
mod tls;
mod units;
mod url;
mod waiting;
mod window;

pub use builder::RedisBuilder;
pub use error::RedisError;
pub use exact::RedisLimiter;
pub use fallback::Fallback;
pub use lease::{LeaseStats, LeasedBuilder, LeasedLimiter};
pub use metrics::RedisMetrics;
pub use reservation::RedisReservation;
