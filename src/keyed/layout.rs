//! What a table consists of: lines of slots, floors, and what belongs to no key. The same bytes in memory and in a file.

use super::ledger::GROUPS;
use crate::bucket::{Furthest, Returns};
use crate::cell::Cell;
use crate::error::QuotaError;
use crate::sync::AtomicU64;
use crate::timeline::Announced;
use core::ops::Deref;

/// Slots in a cache line. Loom checks the protocol on lines of one, shuttle on whole ones.
pub(super) const WAYS: usize = if cfg!(sluicegate_loom) { 1 } else { 4 };

/// A key's candidate slots.
pub(super) const CANDIDATES: usize = 2 * WAYS;

/// Lines whose keys have a floor together.
///
/// With as many active keys as the capacity, each asking for half of what flows, 0.04 % of requests are denied
/// that a larger table would grant; 0.3 % and 4.3 % with 1.1 and 1.2 times as many keys. With a floor for 64
/// lines, 0.1, 1.6 and 8.6 %; for 16, and so for twice the memory, 0.03, 0.2 and 1.4 %.
pub(super) const FLOOR: usize = if cfg!(sluicegate_loom) { 1 } else { 32 };

/// The most keys that a table can be made for: of a machine of 32 bits, a sixty-fourth of what it can address, so
/// that no figure of a table exceeds its words.
const MOST_KEYS: u64 = most_keys(isize::MAX as u64);

const fn most_keys(addresses: u64) -> u64 {
    let most = addresses / 64;
    if most < 1 << 40 { most } else { 1 << 40 }
}

/// Three slots for two keys: 24 bytes a key.
pub(super) fn slots(capacity: usize) -> Result<usize, QuotaError> {
    if capacity == 0 || capacity as u64 > MOST_KEYS {
        return Err(QuotaError::CAPACITY);
    }
    Ok(capacity + capacity.div_ceil(2))
}

/// The number of floors beside so many lines.
pub(super) fn floors(lines: usize) -> usize {
    lines.div_ceil(FLOOR)
}

/// One cache line of slots.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Line {
    pub(super) tags: [AtomicU64; WAYS],
    pub(super) words: [AtomicU64; WAYS],
}

/// On lines of its own, and laid out the same by every compiler and library version.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What belongs to no key.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Common {
    /// Buckets forgotten before they were full.
    pub(super) evictions: Apart<AtomicU64>,
    /// Slots that killed processes had left reserved.
    pub(super) reclaimed: Apart<AtomicU64>,
    /// The quota in force.
    pub(super) announced: Apart<Announced>,
    /// The bucket that keys without a slot share.
    pub(super) overflow: Apart<Cell>,
    /// What has been given back, for groups of keys.
    pub(super) returns: Apart<[Returns; GROUPS]>,
    /// How far the most indebted bucket has ever gone.
    pub(super) furthest: Apart<Furthest>,
}

impl Common {
    pub(super) fn new() -> Self {
        Self {
            evictions: Apart(AtomicU64::new(0)),
            reclaimed: Apart(AtomicU64::new(0)),
            announced: Apart(Announced::new()),
            overflow: Apart(Cell::new(0)),
            returns: Apart(core::array::from_fn(|_| Returns::new())),
            furthest: Apart(Furthest::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_KEYS, QuotaError, most_keys, slots};

    #[test]
    fn no_table_exceeds_what_can_be_addressed() {
        assert_eq!(most_keys(i64::MAX as u64), 1 << 40);
        // Three slots of 16 bytes for two keys, and their floors.
        let most = most_keys(i32::MAX as u64);
        assert_eq!(most, 33_554_431);
        assert!(most * 24 + most / 8 < i32::MAX as u64);
        assert_eq!(slots(MOST_KEYS as usize + 1), Err(QuotaError::CAPACITY));
        assert!(slots(MOST_KEYS as usize).is_ok());
    }
}
