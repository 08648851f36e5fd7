//! The messages to the task that leases, and from its calls.

use crate::answer::Grant;
use crate::redis::error::RedisError;
use alloc::sync::Arc;
use tokio::sync::oneshot;

/// The id of a key: see `request/key.rs`.
pub(super) type Key = Arc<[u8]>;

/// A caller that waits for a lease. If it is told no error, it looks whether there is enough for
/// it.
pub(super) type Waiter = oneshot::Sender<Result<(), RedisError>>;

/// Tells a caller the outcome. It may have given up.
pub(super) fn tell(waiter: Waiter, outcome: Result<(), RedisError>) {
    let _ = waiter.send(outcome);
}

/// A request for a lease.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) hash: u64,
    pub(super) key: Key,
    pub(super) need: u64,
    pub(super) waiter: Option<Waiter>,
}

#[derive(Debug)]
pub(super) enum Message {
    Ask(Ask),
    /// Gives all leases back, and ends the task.
    Stop,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) enum Done {
    Fetched { key: Key, want: u64, began: u64, asked: bool, answer: Result<Grant, RedisError> },
    Returned { key: Key, tokens: u64, answer: Result<(), RedisError> },
}
