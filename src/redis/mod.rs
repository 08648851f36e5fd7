//! Limits that all machines share, in Redis.
//!
//! Each room uses only those below it:
//!
//! ```text
//!   lease     LeasedLimiter: tokens are taken ahead, and spent in this process
//!   limiter   RedisLimiter, its builder and its verbs
//!   request   the way of a request: to Redis, or to a decision in this process
//!   queue     the callers of this process that wait
//!   outage    whether Redis is asked at all, and what decides if not
//!   script    the scripts that decide in the server, and the same decisions in Rust
//!   client    connections
//! ```

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
pub use lease::builder::LeasedBuilder;
pub use lease::limiter::LeasedLimiter;
pub use lease::metrics::LeaseMetrics;
pub use limiter::RedisLimiter;
pub use limiter::builder::RedisBuilder;
pub use metrics::RedisMetrics;
pub use outage::fallback::Fallback;
pub use request::reservation::RedisReservation;
