//! Connects to Redis: to one server, a cluster, or a server that sentinels watch. `link.rs` is the
//! connection of one limiter and its calls; all else makes that connection.

#[cfg(feature = "redis-cluster")]
mod cluster;
mod connection;
pub(super) mod distance;
mod failure;
pub(super) mod link;
pub(super) mod lua;
pub(super) mod maker;
#[cfg(feature = "redis-tls")]
mod tls;
mod url;
