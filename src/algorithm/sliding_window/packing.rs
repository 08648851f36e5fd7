//! The bits of a sliding window's state.
//!
//! ```text
//!     | window index | previous  | current     |  evenly spread
//!     | window index | previous  | 1 | current |  and the limit was reached in the current one
//!     | window index | the count | current     |  paced: empty at index + 1 + current / count
//!     | window index | 1 | part of a window    |  a count of 1: empty at index + 1 + part
//! ```
//!
//! Taking makes the state larger: the current count grows, then the previous one becomes the count,
//! then the index grows. The note that the limit was reached is above the current count. A count
//! that needs the top bits itself has no notes.

use super::{Even, Kept, Paced, SlidingWindow};

impl SlidingWindow {
    fn count_max(&self) -> u64 {
        (1 << self.count_bits) - 1
    }

    /// Returns the top bit of a count, if the count does not need it. In `current` it notes that
    /// the limit was reached; in `previous`, that the state is a moment.
    #[inline(always)]
    fn flag(&self) -> Option<u64> {
        let flag = (1 << self.count_bits) >> 1;
        (self.limit < flag).then_some(flag)
    }

    /// Returns the most that is counted.
    pub(super) fn most(&self) -> u64 {
        self.flag().map_or(self.count_max(), |flag| flag - 1)
    }

    /// Returns the bits by which units are finer than a moment, and those that are left over where
    /// they are not.
    fn moment_bits(&self) -> (u8, u8) {
        let bits = 2 * self.count_bits - 1;
        (self.fraction.saturating_sub(bits), bits.saturating_sub(self.fraction))
    }

    #[inline(always)]
    pub(super) fn unpack(&self, state: u64) -> (u64, Kept) {
        let index = state >> (2 * self.count_bits);
        let previous = (state >> self.count_bits) & self.count_max();
        let current = state & self.count_max();
        let limit = self.weight(self.limit);
        let kept = match self.flag() {
            Some(flag) if previous >= flag && self.limit == 1 => {
                let (right, left) = self.moment_bits();
                let part = (previous - flag) << self.count_bits | current;
                Paced { sum: limit + (i128::from(part >> left) << right) }
            }
            // The limit has been raised since.
            Some(flag) if previous >= flag => Even { previous: 0, current: 1, reached: false },
            flag => {
                let flag = flag.unwrap_or(1 << self.count_bits);
                let (current, reached) = (current & (flag - 1), current >= flag);
                if previous == self.limit {
                    Paced { sum: limit + self.weight(current) }
                } else {
                    Even { previous, current, reached }
                }
            }
        };
        (index, kept)
    }

    #[inline(always)]
    pub(super) fn pack(&self, index: u64, kept: Kept) -> u64 {
        let (index, previous, current) = match kept {
            Even { previous, current, reached } => {
                let flag = self.flag().filter(|_| reached).unwrap_or(0);
                (index, previous.min(self.most()), flag | current.min(self.most()))
            }
            Paced { sum } => self.pack_paced(index, sum),
        };
        index << (2 * self.count_bits) | previous << self.count_bits | current
    }

    fn pack_paced(&self, index: u64, sum: i128) -> (u64, u64, u64) {
        // A state that is empty before the window ends belongs to the window before it.
        let (index, rest) = match sum - self.weight(self.limit) {
            rest @ 0.. => (index, rest),
            _ => (index.saturating_sub(1), sum),
        };
        let Some(flag) = self.flag().filter(|_| self.limit == 1) else {
            return (index, self.limit, self.whole(rest).min(self.most()));
        };
        // Debts are paid at the rate, up to the end of time.
        let last = (1 << (u64::BITS as u8 - 2 - self.fraction)) - 1;
        let index = index.saturating_add((rest >> self.fraction) as u64).min(last);
        let (right, left) = self.moment_bits();
        let part = ((rest & (self.window() - 1)) >> right << left) as u64;
        (index, flag | part >> self.count_bits, part & self.count_max())
    }
}
