//! Limits that all machines share, in Redis.
//!
//! Exact mode: a decision is a script in the server. `units.rs` has the numbers and the pure decisions, the `*.lua` the
//! same for the server, `link.rs` the connection. `window.rs` and the `window*.lua` are that of windows.

mod builder;
mod error;
mod exact;
mod link;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_window;
#[cfg(test)]
mod tests_window_laws;
mod units;
#[cfg_attr(not(test), expect(dead_code, reason = "limiters take windows up next"))]
mod window;

pub use builder::RedisBuilder;
pub use error::RedisError;
pub use exact::RedisLimiter;
