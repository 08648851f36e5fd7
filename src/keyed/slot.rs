//! A slot's word: state, epoch and value. Plain numbers.
//!
//! ```text
//!     63   62 61       56 55                                       0
//!     +------+-----------+-----------------------------------------+
//!     |state | epoch (6+)| value (up to 56): the bucket's state    |
//!     +------+-----------+-----------------------------------------+
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
//! The epoch has the bits that the value leaves: 6 beside a bucket's, up to 22 beside a window's. For a repeat all
//! epochs must pass and the value must return to the same unit while a thread is stopped between a load and
//! its swap; what it costs is then one request charged to another key. A bucket's value is a time (35 ns at most
//! rates), and whoever evicts begins with no less than it displaces. A window's is a count: of a key that takes one
//! and gives it back it is the same every time, and 64 such turns take some microseconds.

use crate::word::VALUE_BITS;

/// Bits of the epoch and the value together.
const STATE_SHIFT: u32 = 62;

/// How a table's words are divided into epoch and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    value_bits: u32,
}

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

/// The same epoch and value in another state.
#[inline(always)]
pub(super) fn with_state(word: u64, state: u64) -> u64 {
    word & !(!0 << STATE_SHIFT) | state << STATE_SHIFT
}

impl Fields {
    /// Of buckets.
    pub(super) const BUCKET: Self = Self { value_bits: VALUE_BITS };

    /// For values of so many bits, up to a bucket's.
    pub(super) const fn with_value_bits(bits: u32) -> Self {
        Self { value_bits: if bits < VALUE_BITS { bits } else { VALUE_BITS } }
    }

    #[inline(always)]
    fn mask(self) -> u64 {
        (1 << self.value_bits) - 1
    }

    #[inline(always)]
    pub(super) fn value(self, word: u64) -> u64 {
        word & self.mask()
    }

    /// The same state and epoch with another value. What a corrupt file's value grows to may exceed the
    /// field, and must not reach the others.
    #[inline(always)]
    pub(super) fn with_value(self, word: u64, value: u64) -> u64 {
        word & !self.mask() | self.value(value)
    }

    /// The same state with another value, in the next epoch.
    #[inline(always)]
    pub(super) fn next_epoch(self, word: u64, value: u64) -> u64 {
        let epoch = (word >> self.value_bits).wrapping_add(1);
        with_state(epoch << self.value_bits | self.value(value), state(word))
    }

    /// A claimed slot's word: the value grows to `fresh`, or the epoch does.
    pub(super) fn claimed(self, word: u64, fresh: u64) -> u64 {
        let grows = fresh > self.value(word);
        let next = if grows {
            self.with_value(word, fresh)
        } else {
            self.next_epoch(word, self.value(word))
        };
        with_state(next, RESERVED)
    }

    /// An evicted slot's word: its value is given up, so the epoch grows.
    pub(super) fn evicted(self, word: u64, fresh: u64) -> u64 {
        with_state(self.next_epoch(word, fresh), RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        for bits in [40, 48, 56] {
            let fields = Fields::with_value_bits(bits);
            let live = with_state(fields.with_value(0, (1 << bits) - 1), LIVE);
            assert_eq!((state(live), fields.value(live)), (LIVE, (1 << bits) - 1));
            assert_eq!(with_state(live, PENDING), 2 << 62 | ((1 << bits) - 1));
            let mut word = live;
            for _ in 0..1_u64 << (62 - bits) {
                let next = fields.next_epoch(word, 7);
                assert_eq!((state(next), fields.value(next)), (LIVE, 7));
                assert_ne!(next, word);
                word = next;
            }
            assert_eq!(word, fields.with_value(live, 7), "epochs wrap within their field");
        }
        assert_eq!(Fields::with_value_bits(60), Fields::BUCKET);
    }

    #[test]
    fn claiming_changes_epoch_or_value() {
        let fields = Fields::BUCKET;
        let free = fields.with_value(0, 10);
        assert_eq!(fields.claimed(free, 11), with_state(fields.with_value(0, 11), RESERVED));
        for stale in [9, 10] {
            let next = fields.next_epoch(free, 10);
            assert_eq!(fields.claimed(free, stale), with_state(next, RESERVED));
        }
        assert_eq!(fields.evicted(free, 3), with_state(fields.next_epoch(free, 3), RESERVED));
    }
}
