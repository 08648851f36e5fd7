//! Outages: how they are noticed, what decides meanwhile, and how they end.

pub(super) mod breaker;
pub(super) mod fallback;
pub(super) mod probe;
