//! What the task knows of the keys that have leases, and when it has to look at each of them again.

use super::refill::Waiter;
use crate::redis::RedisError;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use std::collections::HashMap;
use std::sync::Arc;

pub(super) type Key = Arc<[u8]>;

/// A key with a lease, or a question about one. Times are nanoseconds of the leases' clock; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) hash: u64,
    /// Whether a call is on its way. There is one at a time, so that what is being given back is never leased once more
    /// before.
    pub(super) calls: bool,
    /// What the last lease was meant to be, what was there when it came, and when.
    pub(super) size: u64,
    pub(super) left: u64,
    pub(super) at: u64,
    /// When it ends.
    pub(super) ends: u64,
    /// Nothing is fetched before this, and who waits is told so, if there is something to tell.
    pub(super) held: u64,
    pub(super) verdict: Option<RedisError>,
    /// Who waits for the call, and who has come since it was sent.
    pub(super) waiting: Vec<Waiter>,
    pub(super) next: Vec<Waiter>,
    /// Of those, how many tokens they want; whether anybody, they or another, wants a lease.
    pub(super) need: u64,
    pub(super) wanted: bool,
    /// When it has to be looked at; none while a call is on its way.
    due: u64,
}

/// The records, and the order in which they are due: each once.
#[derive(Debug, Default)]
pub(super) struct Records {
    all: HashMap<Key, Record>,
    due: BTreeSet<(u64, Key)>,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<&mut Record> {
        self.all.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: Key, hash: u64) {
        self.all.insert(key, Record { hash, ..Record::default() });
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// One that is due, which is then planned anew.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        if let Some(record) = self.all.get_mut(&key) {
            record.due = 0;
        }
        Some(key)
    }

    /// After anything has happened to a record: says when it is due next, or forgets it.
    pub(super) fn plan(&mut self, key: &Key) {
        let Some(record) = self.all.get_mut(key) else { return };
        let times = [record.held, record.ends].into_iter().filter(|&time| time > 0);
        let due = if record.calls { 0 } else { times.min().unwrap_or(0) };
        if record.due != due {
            if record.due > 0 {
                self.due.remove(&(record.due, key.clone()));
            }
            record.due = due;
            if due > 0 {
                self.due.insert((due, key.clone()));
            }
        }
        if due == 0 && !record.calls {
            self.all.remove(key);
        }
    }

    /// Takes out all keys.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.all.keys().cloned().collect()
    }
}
