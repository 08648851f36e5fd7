//! The callers of this process that wait for a key: `wait_queue.rs` is their queue, `held.rs` the
//! flow that Redis has granted for them, and `queues.rs` has the queues of all keys.

pub(super) mod held;
pub(super) mod queues;
pub(super) mod wait_queue;
