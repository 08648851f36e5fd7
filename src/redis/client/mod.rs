//! Connections to Redis: one server, a cluster, or a server that sentinels watch.

#[cfg(feature = "redis-cluster")]
pub(super) mod cluster;
pub(super) mod connection;
pub(super) mod distance;
pub(super) mod link;
#[cfg(feature = "redis-tls")]
pub(super) mod tls;
pub(super) mod url;
