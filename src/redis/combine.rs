//! Calls for one key at the same time become one.
//!
//! While a call for a key is on its way, others for that key wait; when it is back, all of them go as one. A hot key
//! then costs the server a script for each round trip, however many ask. Who comes first is served first: the script, and
//! everybody's answer, take one request after the other.

use super::error::RedisError;
use super::kernel::State;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Locks, so that keys seldom wait for each other.
const SHARDS: usize = 16;

/// The most requests that go as one, so that a script stays short.
const MOST: usize = 512;

/// The answer to one of several: the key as it was before it.
pub(super) type Answer = Result<State, RedisError>;

/// One who waits for the call before him.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) n: u64,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// A key is here while a call for it is on its way.
type Keys = HashMap<Box<[u8]>, Vec<Waiter>>;

#[derive(Debug)]
pub(super) struct Combine {
    shards: [Mutex<Keys>; SHARDS],
    hasher: RandomState,
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// One's own. It must be [given on](Combine::next).
    Mine,
    /// Somebody else's call is on its way.
    Later(oneshot::Receiver<Answer>),
}

impl Combine {
    pub(super) fn new() -> Self {
        Self { shards: core::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    pub(super) fn enter(&self, key: &[u8], n: u64) -> Turn {
        let mut keys = self.shard(key);
        if let Some(waiting) = keys.get_mut(key) {
            let (answer, later) = oneshot::channel();
            waiting.push(Waiter { n, answer });
            return Turn::Later(later);
        }
        keys.insert(key.into(), Vec::new());
        Turn::Mine
    }

    /// Who comes next, now that a call is over. If nobody does, the next to come has his own turn.
    pub(super) fn next(&self, key: &[u8]) -> Option<Vec<Waiter>> {
        let mut keys = self.shard(key);
        let waiting = keys.get_mut(key)?;
        if waiting.is_empty() {
            keys.remove(key);
            return None;
        }
        let later = waiting.split_off(waiting.len().min(MOST));
        Some(core::mem::replace(waiting, later))
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Keys> {
        // Under 16.
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
