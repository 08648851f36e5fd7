//! Limits that all machines share, in Redis.
//!
//! Exact mode: a decision is a script in the server. `units.rs` has the numbers and the pure decisions, the `*.lua` the
//! same for the server, `link.rs` the connection.

mod builder;
mod error;
mod exact;
mod lease;
mod link;
#[cfg(test)]
mod tests;
mod units;

pub use builder::RedisBuilder;
pub use error::RedisError;
pub use exact::RedisLimiter;
pub use lease::{LeaseStats, LeasedBuilder, LeasedLimiter};
