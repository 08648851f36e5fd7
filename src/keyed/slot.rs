//! A slot's word: state, epoch and value. Plain numbers.
//!
//! ```text
//!     63   62 61     56 55                                         0
//!     +------+---------+-------------------------------------------+
//!     |state | epoch   | value (56): the bucket's state            |
//!     +------+---------+-------------------------------------------+
//!
//!     FREE(e,v) ──────────────┐ claim                       kill: any thread at work on the key
//!     LIVE(e,v), full ────────┤  CAS    tag, then   ┌──────────────────────────────┐
//!     LIVE(e,v), not full ────┴─► RESERVED ─► PENDING ─────────► LIVE              ▼
//!                      evict        owner's stores    promote: any thread         FREE
//!                                                     at work on the key
//! ```
//!
//! The word is its own nonce: (state, epoch, value) does not repeat in a slot, so a swap that succeeds
//! on a word proves that nothing has happened to the slot since it was loaded. Each step upholds it:
//!
//! | step | why the pair (epoch, value) is new |
//! | --- | --- |
//! | take, charge | the value grows |
//! | claim | the value grows to now; where it cannot (a lagging clock, a window that goes on), the epoch does |
//! | evict, refund, reset; a first touch that leaves less than a claim | the value may shrink: the epoch grows |
//! | publish, kill, promote | the state is new; a slot is free again under that pair only once, since the next claim changes it |
//!
//! The epoch has 6 bits. For a repeat, 64 epochs must pass and the value must return to the same unit
//! (35 ns of flow at most rates) while a thread is stopped between a load and its swap; what it costs is then
//! one request charged to another key.

use crate::word::{self, VALUE_BITS};

const EPOCH_BITS: u32 = 6;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;
const STATE_SHIFT: u32 = VALUE_BITS + EPOCH_BITS;

/// Nobody's. A zeroed slot is free.
pub(super) const FREE: u64 = 0;
/// Claimed by one thread, which is writing the tag.
pub(super) const RESERVED: u64 = 1;
/// Announced with its tag, and not yet known to be the key's only slot.
pub(super) const PENDING: u64 = 2;
/// The key's bucket.
pub(super) const LIVE: u64 = 3;

#[inline(always)]
pub(super) fn state(word: u64) -> u64 {
    word >> STATE_SHIFT
}

#[inline(always)]
pub(super) fn value(word: u64) -> u64 {
    word::value(word)
}

/// The same epoch and value in another state.
#[inline(always)]
pub(super) fn with_state(word: u64, state: u64) -> u64 {
    word & !(!0 << STATE_SHIFT) | state << STATE_SHIFT
}

/// The same state and epoch with another value. What a corrupt file's value grows to may exceed the
/// field, and must not reach the others.
#[inline(always)]
pub(super) fn with_value(word: u64, value: u64) -> u64 {
    word & !0 << VALUE_BITS | word::value(value)
}

/// The same state with another value, in the next epoch.
#[inline(always)]
pub(super) fn next_epoch(word: u64, value: u64) -> u64 {
    let epoch = (word >> VALUE_BITS).wrapping_add(1) & EPOCH_MASK;
    with_state(epoch << VALUE_BITS | word::value(value), state(word))
}

/// A claimed slot's word: the value grows to `fresh`, or the epoch does.
pub(super) fn claimed(word: u64, fresh: u64) -> u64 {
    let grows = fresh > value(word);
    let next = if grows { with_value(word, fresh) } else { next_epoch(word, value(word)) };
    with_state(next, RESERVED)
}

/// An evicted slot's word: its value is given up, so the epoch grows.
pub(super) fn evicted(word: u64, fresh: u64) -> u64 {
    with_state(next_epoch(word, fresh), RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let live = with_state(with_value(0, (1 << 56) - 1), LIVE);
        assert_eq!((state(live), value(live)), (LIVE, (1 << 56) - 1));
        assert_eq!(with_state(live, PENDING), 2 << 62 | ((1 << 56) - 1));
        let mut word = live;
        for _ in 0..64 {
            let next = next_epoch(word, 7);
            assert_eq!((state(next), value(next)), (LIVE, 7));
            assert_ne!(next, word);
            word = next;
        }
        assert_eq!(word, with_value(live, 7), "epochs wrap within their field");
    }

    #[test]
    fn claiming_changes_epoch_or_value() {
        let free = with_value(0, 10);
        assert_eq!(claimed(free, 11), with_state(with_value(0, 11), RESERVED));
        for stale in [9, 10] {
            assert_eq!(claimed(free, stale), with_state(next_epoch(free, 10), RESERVED));
        }
        assert_eq!(evicted(free, 3), with_state(next_epoch(free, 3), RESERVED));
    }
}
