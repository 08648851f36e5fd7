//! The callers of one process that wait for a key.

pub(super) mod held;
pub(super) mod queues;
pub(super) mod wait_queue;
