//! The parts of a table: lines of slots, floors, and what belongs to no key. They have the same
//! bytes in memory and in a file.

use super::ledger::GROUPS;
use crate::bucket::{Furthest, Returns};
use crate::cell::Cell;
use crate::error::QuotaError;
use crate::sync::AtomicU64;
use crate::timeline::Announced;
use core::ops::Deref;

/// The number of slots in a cache line. Loom checks the protocol on lines of one slot, shuttle on
/// whole lines.
pub(super) const WAYS: usize = if cfg!(sluicegate_loom) { 1 } else { 4 };

/// The number of a key's candidate slots.
pub(super) const CANDIDATES: usize = 2 * WAYS;

/// The number of lines whose keys share a floor.
///
/// Measured with as many active keys as the capacity, and with 1.1 and 1.2 times as many, each
/// asking for half of what flows. These shares of requests are denied that a larger table would
/// grant:
///
/// | lines for each floor | 1.0 | 1.1 | 1.2 |
/// | --- | --- | --- | --- |
/// | 16, with twice the memory for floors | 0.03 % | 0.2 % | 1.4 % |
/// | 32 | 0.04 % | 0.3 % | 4.3 % |
/// | 64 | 0.1 % | 1.6 % | 8.6 % |
pub(super) const FLOOR: usize = if cfg!(sluicegate_loom) { 1 } else { 32 };

/// The most keys that a table can be made for. On a machine of 32 bits it is a sixty-fourth of the
/// addresses, so that no figure of a table exceeds a machine word.
const MOST_KEYS: u64 = most_keys(isize::MAX as u64);

const fn most_keys(addresses: u64) -> u64 {
    let most = addresses / 64;
    if most < 1 << 40 { most } else { 1 << 40 }
}

/// Computes the number of slots for `capacity` keys: three for two keys, 24 bytes a key.
pub(super) fn slots(capacity: usize) -> Result<usize, QuotaError> {
    if capacity == 0 || capacity as u64 > MOST_KEYS {
        return Err(QuotaError::CAPACITY);
    }
    Ok(capacity + capacity.div_ceil(2))
}

/// The number of floors beside `lines` lines.
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

/// A value on cache lines of its own, which every compiler and library version lays out the same.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The parts of a table that belong to no key.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Common {
    /// The number of buckets forgotten before they were full.
    pub(super) evictions: Apart<AtomicU64>,
    /// The number of slots that killed processes had left reserved.
    pub(super) reclaimed: Apart<AtomicU64>,
    /// The changes of the quota.
    pub(super) announced: Apart<Announced>,
    /// The state of the bucket that keys without a slot share.
    pub(super) overflow: Apart<Cell>,
    /// The counts of the tokens given back to each group of keys.
    pub(super) returns: Apart<[Returns; GROUPS]>,
    /// The emptiest state that a bucket in debt has ever had.
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
        // A table needs three slots of 16 bytes for two keys, and their floors.
        let most = most_keys(i32::MAX as u64);
        assert_eq!(most, 33_554_431);
        assert!(most * 24 + most / 8 < i32::MAX as u64);
        assert_eq!(slots(MOST_KEYS as usize + 1), Err(QuotaError::CAPACITY));
        assert!(slots(MOST_KEYS as usize).is_ok());
    }
}
