//! Calls for one key at the same time become one.
//!
//! While a call for a key is on its way, others for that key wait; when it is back, all of them go as one. A hot key
//! then costs the server a script for each round trip, however many ask. Who comes first is served first: the script, and
//! everybody's answer, take one request after the other.

use crate::redis::error::RedisError;
use crate::redis::request::Path;
use crate::redis::script::State;
use crate::redis::script::units::Ask;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Locks, so that keys seldom wait for each other, and so many that few of the keys that are on their way have one in
/// common: those are looked through one by one.
const SHARDS: usize = 256;

/// The most requests that go as one, so that a script stays short.
const MOST: usize = 512;

/// The answer to one of several: the key as it was before it.
pub(in crate::redis) type Answer = Result<State, RedisError>;

/// One who waits for the call before him.
#[derive(Debug)]
pub(in crate::redis) struct Waiter {
    pub(in crate::redis) n: u64,
    pub(in crate::redis) answer: oneshot::Sender<Answer>,
}

/// A key that a call is on its way for.
#[derive(Debug)]
struct Key {
    hash: u64,
    name: Box<[u8]>,
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
pub(in crate::redis) struct Combine {
    shards: Box<[Mutex<Vec<Key>>]>,
    hasher: RandomState,
}

/// Whose turn it is.
#[derive(Debug)]
pub(in crate::redis) enum Turn {
    /// One's own. It must be [given on](Combine::next).
    Mine,
    /// Somebody else's call is on its way.
    Later(oneshot::Receiver<Answer>),
}

impl Combine {
    pub(in crate::redis) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// Of a key's name.
    pub(in crate::redis) fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    pub(in crate::redis) fn enter(&self, hash: u64, name: &[u8], n: u64) -> Turn {
        let mut keys = self.shard(hash);
        if let Some(at) = place(&keys, hash, name) {
            let (answer, later) = oneshot::channel();
            keys[at].waiting.push(Waiter { n, answer });
            return Turn::Later(later);
        }
        keys.push(Key { hash, name: name.into(), waiting: Vec::new() });
        Turn::Mine
    }

    /// Who comes next, now that a call is over. If nobody does, the next to come has his own turn.
    pub(in crate::redis) fn next(&self, hash: u64, name: &[u8]) -> Option<Vec<Waiter>> {
        let mut keys = self.shard(hash);
        let at = place(&keys, hash, name)?;
        let waiting = &mut keys[at].waiting;
        if waiting.is_empty() {
            keys.swap_remove(at);
            return None;
        }
        let later = waiting.split_off(waiting.len().min(MOST));
        Some(core::mem::replace(waiting, later))
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Vec<Key>> {
        // Under 256.
        let shard = hash as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(keys: &[Key], hash: u64, name: &[u8]) -> Option<usize> {
    keys.iter().position(|key| key.hash == hash && *key.name == *name)
}

impl Path {
    pub(in crate::redis) async fn take_together(
        self: &Arc<Self>,
        combine: &Arc<Combine>,
        name: &[u8],
        n: u64,
    ) -> Answer {
        let hash = combine.hash(name);
        match combine.enter(hash, name, n) {
            Turn::Mine => {
                // Given on also if this future is dropped.
                let _turn = GiveOn { path: self, combine, hash, name };
                self.send(name, self.kernel.call(Ask::Take(n))).await
            }
            Turn::Later(answer) => {
                self.counters.combined.add(1);
                match timeout(self.link.patience(), answer).await {
                    Ok(Ok(answer)) => answer,
                    // The runtime of the connection is gone.
                    Ok(Err(_)) => Err(RedisError::no_runtime()),
                    Err(_) => Err(RedisError::Timeout(self.link.deadline())),
                }
            }
        }
    }

    /// Asks for all who wait, until nobody does.
    async fn take_for(
        self: Arc<Self>,
        combine: Arc<Combine>,
        hash: u64,
        name: Vec<u8>,
        mut waiters: Vec<Waiter>,
    ) {
        loop {
            // Who has given up meanwhile is not charged.
            waiters.retain(|waiter| !waiter.answer.is_closed());
            if !waiters.is_empty() {
                self.take_each(&name, waiters).await;
            }
            match combine.next(hash, &name) {
                Some(next) => waiters = next,
                None => return,
            }
        }
    }

    async fn take_each(&self, name: &[u8], waiters: Vec<Waiter>) {
        let asked: Vec<_> = waiters.iter().map(|waiter| waiter.n).collect();
        let mut answer = self.send(name, self.kernel.call_each(&asked)).await;
        for waiter in waiters {
            let told = answer.clone();
            if let Ok(state) = &mut answer {
                (_, *state) = self.kernel.settle(*state, Ask::Take(waiter.n));
            }
            // Who gave up after it was sent is charged.
            let _ = waiter.answer.send(told);
        }
    }
}

/// Lets those who wait for a call have their turn when it is over.
struct GiveOn<'a> {
    path: &'a Arc<Path>,
    combine: &'a Arc<Combine>,
    hash: u64,
    name: &'a [u8],
}

impl Drop for GiveOn<'_> {
    fn drop(&mut self) {
        if let Some(waiters) = self.combine.next(self.hash, self.name) {
            let (path, combine) = (Arc::clone(self.path), Arc::clone(self.combine));
            self.path.runtime.spawn(path.take_for(combine, self.hash, self.name.to_vec(), waiters));
        }
    }
}
