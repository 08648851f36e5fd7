//! Coalesces calls for one key.
//!
//! While a call for a key is in flight, others for that key wait. When it is back, all of them go
//! as one. A hot key then costs the server one script for each round trip, however many callers
//! ask. First come, first served: the script takes one request after the other, and so do the
//! answers.

use super::Requests;
use super::turns::{Answer, Turn, Turns, Waiter};
use crate::redis::client::lua::Call;
use crate::redis::error::RedisError;
use crate::redis::script::Ask;
use alloc::sync::Arc;
use alloc::vec::Vec;
use tokio::time::timeout;

impl Requests {
    /// Makes the call that takes `n` tokens, or lets a call for the same key take them too.
    pub(super) async fn take_in_turn(
        self: &Arc<Self>,
        turns: &Arc<Turns>,
        name: &[u8],
        n: u64,
        call: impl FnOnce() -> Call,
    ) -> Answer {
        let hash = turns.hash(name);
        match turns.enter(hash, name, n) {
            Turn::Now => {
                // The turn ends also if this future is dropped.
                let _turn = EndTurn { requests: self, turns, hash, name };
                self.run_one(name, call()).await
            }
            Turn::Later(answer) => {
                self.guard.counters.combined.add(1);
                let distance = self.guard.distance();
                match timeout(distance.patience(), answer).await {
                    Ok(Ok(answer)) => answer,
                    // The runtime of the connection has ended.
                    Ok(Err(_)) => Err(RedisError::no_runtime()),
                    Err(_) => Err(RedisError::Timeout(distance.deadline())),
                }
            }
        }
    }

    /// Asks for all waiting requests, until there are none.
    async fn take_for(
        self: Arc<Self>,
        turns: Arc<Turns>,
        hash: u64,
        name: Vec<u8>,
        mut waiters: Vec<Waiter>,
    ) {
        loop {
            // A caller that has given up meanwhile is not charged.
            waiters.retain(|waiter| !waiter.answer.is_closed());
            if !waiters.is_empty() {
                self.take_each(&name, waiters).await;
            }
            match turns.next(hash, &name) {
                Some(next) => waiters = next,
                None => return,
            }
        }
    }

    async fn take_each(&self, name: &[u8], waiters: Vec<Waiter>) {
        let scripts = &self.first().scripts;
        let asked: Vec<_> = waiters.iter().map(|waiter| waiter.n).collect();
        let mut answer = self.run_one(name, scripts.call_each(&asked)).await;
        for waiter in waiters {
            let told = answer.clone();
            if let Ok(state) = &mut answer {
                (_, *state) = scripts.settle(*state, Ask::Take(waiter.n));
            }
            // A caller that gave up after the call was sent is charged.
            let _ = waiter.answer.send(told);
        }
    }
}

/// Guards a turn. When it ends, the waiting requests have theirs.
struct EndTurn<'a> {
    requests: &'a Arc<Requests>,
    turns: &'a Arc<Turns>,
    hash: u64,
    name: &'a [u8],
}

impl Drop for EndTurn<'_> {
    fn drop(&mut self) {
        let Self { requests, turns, hash, name } = *self;
        if let Some(waiters) = turns.next(hash, name) {
            let taking =
                Arc::clone(requests).take_for(Arc::clone(turns), hash, name.to_vec(), waiters);
            requests.guard.runtime.spawn(taking);
        }
    }
}
