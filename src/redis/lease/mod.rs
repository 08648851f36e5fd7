//! Leases: tokens are taken in Redis ahead, and spent in this process.
//!
//! `limiter.rs` spends them. `refill.rs` is the task that fetches leases and gives them back:
//! `record.rs` has its record of each key, `size.rs` how large the next lease is, `answers.rs` what
//! it does with the answers of Redis. `keyed/leases.rs` is the table in which leases are kept.

mod answers;
pub(super) mod builder;
pub(super) mod limiter;
mod message;
pub(super) mod metrics;
mod record;
mod refill;
mod shared;
mod size;
