//! Outages of Redis: how they are noticed and how they end, and this node's share of a limit, which
//! decides meanwhile.

mod breaker;
pub(super) mod fallback;
pub(super) mod guard;
mod probe;
pub(super) mod share;
