//! Turns: while a call for a key is in flight, other callers for that key wait.

use crate::redis::error::RedisError;
use crate::redis::script::State;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Locks, so that keys seldom wait for each other. There are 256, so that few keys in flight share
/// a lock; keys that share one are searched one after the other.
const SHARDS: usize = 256;

/// The most requests of one script, so that it stays short.
const MOST: usize = 512;

/// The state of the key before the request, which the caller settles.
pub(super) type Answer = Result<State, RedisError>;

/// A request that waits for the call before it.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) n: u64,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// A key with a call in flight.
#[derive(Debug)]
struct Key {
    hash: u64,
    name: Box<[u8]>,
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
pub(crate) struct Turns {
    shards: Box<[Mutex<Vec<Key>>]>,
    hasher: RandomState,
}

#[derive(Debug)]
pub(super) enum Turn {
    /// The caller asks now, and then calls [`Turns::next`].
    Now,
    /// A call is in flight. A later one will bring the answer.
    Later(oneshot::Receiver<Answer>),
}

impl Turns {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    pub(super) fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    pub(super) fn enter(&self, hash: u64, name: &[u8], n: u64) -> Turn {
        let mut keys = self.shard(hash);
        if let Some(at) = position(&keys, hash, name) {
            let (answer, later) = oneshot::channel();
            keys[at].waiting.push(Waiter { n, answer });
            return Turn::Later(later);
        }
        keys.push(Key { hash, name: name.into(), waiting: Vec::new() });
        Turn::Now
    }

    /// Ends a call, and takes the requests of the next one. If there are none, the next caller has
    /// a turn of its own.
    pub(super) fn next(&self, hash: u64, name: &[u8]) -> Option<Vec<Waiter>> {
        let mut keys = self.shard(hash);
        let at = position(&keys, hash, name)?;
        let waiting = &mut keys[at].waiting;
        if waiting.is_empty() {
            keys.swap_remove(at);
            return None;
        }
        let later = waiting.split_off(waiting.len().min(MOST));
        Some(core::mem::replace(waiting, later))
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Vec<Key>> {
        // The remainder is under 256.
        let shard = hash as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn position(keys: &[Key], hash: u64, name: &[u8]) -> Option<usize> {
    keys.iter().position(|key| key.hash == hash && *key.name == *name)
}
