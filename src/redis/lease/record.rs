//! The task's knowledge of the keys that have leases, and of when each needs it again.

use super::message::{Key, Waiter};
use crate::redis::error::RedisError;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use std::collections::HashMap;

/// A key with a lease, or with a request for one. Times are nanoseconds of the leases' clock; 0 is
/// none.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) hash: u64,
    /// Whether a call is in flight. There is one at a time, so that tokens that are being given
    /// back are never leased again before that has ended.
    pub(super) calls: bool,
    /// The size of the last lease, the tokens that were left when it came, and the time at which it
    /// came.
    pub(super) size: u64,
    pub(super) left: u64,
    pub(super) at: u64,
    /// The time at which the lease ends.
    pub(super) ends: u64,
    /// The time before which nothing is fetched, and what callers are told until then.
    pub(super) held: u64,
    pub(super) verdict: Option<RedisError>,
    /// The callers that wait for the call in flight, and those that have come since it was sent.
    pub(super) waiting: Vec<Waiter>,
    pub(super) next: Vec<Waiter>,
    /// The tokens that the latter want, and whether any caller wants a lease.
    pub(super) need: u64,
    pub(super) wanted: bool,
    /// The time at which the record needs the task; none while a call is in flight.
    due: u64,
}

/// The records, and the order in which they are due. Each is due once.
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

    /// The time at which the next record is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes a record that is due. The caller must [plan](Self::plan) it anew.
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

    /// Computes when a record is due next, after anything has happened to it, or forgets it.
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

    /// All keys.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.all.keys().cloned().collect()
    }
}
