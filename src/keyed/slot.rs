//! The word of a slot: state, epoch and value, as plain numbers.
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
//! The word is its own nonce. A pair (epoch, value) does not come back in the same state of a slot.
//! So a swap that succeeds on a word proves that nothing has happened to the slot since the word
//! was loaded. Each step upholds this:
//!
//! | step | why the pair (epoch, value) is new |
//! | --- | --- |
//! | take, charge | the value grows |
//! | claim | the value grows to now, or else the epoch does (1) |
//! | evict, refund, reset | the value may shrink: the epoch grows |
//! | a first touch that leaves less than a claim | the same |
//! | publish, promote | the state is new |
//! | kill | the state is new; the next claim changes the pair (2) |
//!
//! 1. The value cannot grow under a clock that lags, or in a window that goes on.
//! 2. So a slot becomes free under one pair only once.
//!
//! The epoch has the bits that the value leaves: 6 beside a bucket's value, up to 22 beside a
//! window's. A word repeats only if all epochs pass and the value returns to the same unit while a
//! thread is stopped between a load and its swap. Such a repeat would charge one request to another
//! key.
//!
//! - A bucket's value is a time (in units of 35 ns at most rates), and a thread that evicts a
//!   bucket begins the new one with no less than the value that it displaces.
//! - A window's value is a count. A key that takes one token and gives it back leaves the same
//!   count every time, and 64 such turns take some microseconds. The wider epoch makes up for that.

use crate::word::VALUE_BITS;

/// The number of bits of the epoch and the value together.
const STATE_SHIFT: u32 = 62;

/// The division of a table's words into epoch and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    value_bits: u32,
}

/// The state of a slot without a key. A zeroed slot is free.
pub(super) const FREE: u64 = 0;
/// The state of a slot that one thread has claimed, and writes the tag of.
pub(super) const RESERVED: u64 = 1;
/// The state of a slot that is announced with its tag, and not yet known to be the key's only one.
pub(super) const PENDING: u64 = 2;
/// The state of a slot that is its key's bucket.
pub(super) const LIVE: u64 = 3;

#[inline(always)]
pub(super) fn state(word: u64) -> u64 {
    word >> STATE_SHIFT
}

/// Puts the same epoch and value into another state.
#[inline(always)]
pub(super) fn with_state(word: u64, state: u64) -> u64 {
    word & !(!0 << STATE_SHIFT) | state << STATE_SHIFT
}

impl Fields {
    /// The division for buckets.
    pub(super) const BUCKET: Self = Self { value_bits: VALUE_BITS };

    /// The division for values of `bits` bits, at most those of a bucket's value.
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

    /// Replaces the value, and keeps the state and the epoch. The value of a corrupt file may grow
    /// beyond its field, and must not reach the others.
    #[inline(always)]
    pub(super) fn with_value(self, word: u64, value: u64) -> u64 {
        word & !self.mask() | self.value(value)
    }

    /// Replaces the value in the next epoch, and keeps the state.
    #[inline(always)]
    pub(super) fn next_epoch(self, word: u64, value: u64) -> u64 {
        let epoch = (word >> self.value_bits).wrapping_add(1);
        with_state(epoch << self.value_bits | self.value(value), state(word))
    }

    /// Computes the word of a slot that is claimed: the value grows to `fresh`, or else the epoch
    /// grows.
    pub(super) fn claimed(self, word: u64, fresh: u64) -> u64 {
        let grows = fresh > self.value(word);
        let next = if grows {
            self.with_value(word, fresh)
        } else {
            self.next_epoch(word, self.value(word))
        };
        with_state(next, RESERVED)
    }

    /// Computes the word of a slot that is evicted. Its value is given up, so the epoch grows.
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
