//! Limits that all machines share, in Redis.
//!
//! Exact mode: a decision is a script in the server. `units.rs` has the numbers and the pure decisions, the `*.lua` the
//! same for the server, `link.rs` the connection, `connection.rs` how it is made, `cluster.rs` that to a cluster.

mod builder;
#[cfg(feature = "redis-cluster")]
mod cluster;
mod connection;
mod error;
mod exact;
mod link;
#[cfg(test)]
mod tests;
#[cfg(feature = "redis-tls")]
mod tls;
mod units;
mod url;

pub use builder::RedisBuilder;
pub use error::RedisError;
pub use exact::RedisLimiter;
