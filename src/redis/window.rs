//! Fixed and sliding windows in Redis, and their decisions: integers in, integers out.
//!
//! Windows are aligned to 1970 by the server's clock, in whole microseconds. A sliding window is estimated by
//! two counters: the current one in full, the previous one by the share of it that the last period still covers.
//!
//! ```text
//!   index  = floor(now / period)                     left = (index + 1) * period - now     1 to the period
//!   weight = previous * left / period + current      (fixed: current)
//!
//!   take n:    current  ->  current + n            if weight + n <= count
//!   up to n:   current  ->  current + granted      granted = min(n, floor(count - weight))
//!   charge n:  current  ->  current + n            at most 2^52
//!   refund n:  current  ->  current - n            then, sliding, previous less the rest; neither below 0
//! ```
//!
//! **Nothing is rounded**: the count and what is asked are whole, so that `weight + n <= count` just if its
//! share, rounded up, fits too. The share is a quotient of up to 103 bits; the scripts divide it by digits.
//!
//! A server's clock that was set back makes no window wait for its return: counts of a later window are taken, and
//! written, as those of now's. The law then holds before and after, so that each such step admits the count more at most.
//! One that was set forward begins a fresh window at most.

use super::link::{Lua, lua};
use super::units::Ask;
use crate::error::QuotaError;
use crate::quota::Quota;
use alloc::vec::Vec;

pub(super) static TAKE: Lua = lua!("window.lua", "window_take.lua");
pub(super) static EACH: Lua = lua!("window.lua", "window_each.lua");
pub(super) static UP_TO: Lua = lua!("window.lua", "window_up_to.lua");
pub(super) static CHARGE: Lua = lua!("window.lua", "window_charge.lua");
pub(super) static REFUND: Lua = lua!("window.lua", "window_refund.lua");
pub(super) static LOOK: Lua = lua!("window.lua", "window_look.lua");

/// The longest period, in microseconds, and the highest limit. Two periods after the latest time there is still a
/// number of the scripts, and in base 2 each step of their division is one.
const MOST: u64 = 1 << 51;
/// The most that a window counts: two of them add up to a number of the scripts.
pub(super) const MOST_COUNTED: u64 = 1 << 52;

/// A window's quota, as the scripts count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    limit: u64,
    period_us: u64,
    sliding: bool,
}

/// What a server answers: how things stood, at its time, before it did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Microseconds of the window still to come, from 1 to the period.
    pub(super) left: u64,
    /// Admitted in the window before; 0 unless it slides.
    pub(super) previous: u64,
    /// Admitted in this one.
    pub(super) current: u64,
}

impl Window {
    pub(super) fn new(quota: &Quota, sliding: bool) -> Result<Self, QuotaError> {
        if quota.burst_size() != quota.count() {
            return Err(QuotaError::WINDOW_BURST);
        }
        let period = quota.period_ns();
        let whole = period.is_multiple_of(1_000).then_some(period / 1_000);
        let window = whole.and_then(|period_us| Self::of(quota.count(), period_us, sliding));
        window.ok_or(QuotaError::REDIS_WINDOW)
    }

    /// `None` if the scripts have no numbers for it.
    pub(super) fn of(limit: u64, period_us: u64, sliding: bool) -> Option<Self> {
        let has_numbers = (1..=MOST).contains(&limit) && (1..=MOST).contains(&period_us);
        has_numbers.then_some(Self { limit, period_us, sliding })
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// An answer, brought into the range that the scripts keep to, whoever gave it.
    pub(super) fn counts(&self, (left, previous, current): (u64, u64, u64)) -> Counts {
        let counted = |n: u64| n.min(MOST_COUNTED);
        Counts {
            left: left.clamp(1, self.period_us),
            previous: if self.sliding { counted(previous) } else { 0 },
            current: counted(current),
        }
    }

    /// What is granted, and the counts then.
    pub(super) fn settle(&self, counts: Counts, ask: Ask) -> (Option<u64>, Counts) {
        let Counts { previous, current, .. } = counts;
        let there = u64::try_from(self.balance(counts)).unwrap_or(0);
        let take = |n: u64| {
            if n > there {
                return (None, counts);
            }
            (Some(n), Counts { current: current + n, ..counts })
        };
        match ask {
            Ask::Take(n) | Ask::Look(n) => take(n),
            Ask::UpTo(n) => take(n.min(there).max(n.min(1))),
            Ask::Charge(n) => {
                let current = current.saturating_add(n).min(MOST_COUNTED);
                (Some(n), Counts { current, ..counts })
            }
            Ask::Refund(n) => {
                let here = n.min(current);
                let before = (n - here).min(previous);
                let after =
                    Counts { previous: previous - before, current: current - here, ..counts };
                (Some(n), after)
            }
        }
    }

    /// What is left of the limit, rounded down; negative after a charge beyond it.
    pub(super) fn balance(&self, counts: Counts) -> i64 {
        let share = u128::from(counts.previous) * u128::from(counts.left);
        // At most the previous count. All three are under 2^53.
        let share = share.div_ceil(self.period_us.into()) as i64;
        self.limit as i64 - counts.current as i64 - share
    }

    /// Microseconds until `n` are left if nobody takes any, rounded up; `None` if they never are.
    ///
    /// Within this window the previous one slides out; in the next, this one does.
    pub(super) fn until(&self, counts: Counts, n: u64) -> Option<u64> {
        let room = self.limit.checked_sub(n)?;
        let Counts { left, previous, current } = counts;
        Some(match room.checked_sub(current) {
            Some(room) => left.saturating_sub(self.most_left(room, previous)),
            None if self.sliding => left + self.period_us - self.most_left(room, current),
            None => left,
        })
    }

    /// Microseconds until the whole limit is left.
    pub(super) fn until_full(&self, counts: Counts) -> u64 {
        match (counts.previous, counts.current) {
            (0, 0) => 0,
            (_, current) if current > 0 && self.sliding => counts.left + self.period_us,
            _ => counts.left,
        }
    }

    /// The longest part of a window with `weighed * part <= room * period`: the most that may be left of it.
    fn most_left(&self, room: u64, weighed: u64) -> u64 {
        let period = u128::from(self.period_us);
        let most = (u128::from(room) * period).checked_div(weighed.into());
        most.map_or(period, |most| most.min(period)) as u64
    }

    /// The script that does what is asked, and its numbers. What is more than could make a difference is left out: the
    /// scripts have no numbers for it.
    pub(super) fn call(&self, ask: Ask) -> (&'static Lua, Vec<u64>) {
        let mut numbers = self.head(2);
        let script = match ask {
            // What is nothing is not written.
            Ask::Take(0) | Ask::UpTo(0) | Ask::Charge(0) | Ask::Refund(0) | Ask::Look(_) => &LOOK,
            Ask::Take(n) => {
                numbers.extend([self.limit, n.min(self.limit + 1)]);
                &TAKE
            }
            Ask::UpTo(n) => {
                numbers.extend([self.limit, n.min(self.limit)]);
                &UP_TO
            }
            Ask::Charge(n) => {
                numbers.push(n.min(MOST_COUNTED));
                &CHARGE
            }
            Ask::Refund(n) => {
                numbers.push(n.min(2 * MOST_COUNTED));
                &REFUND
            }
        };
        (script, numbers)
    }

    /// What every script is told, with room for more.
    pub(super) fn head(&self, more: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(2 + more);
        numbers.extend([self.period_us, u64::from(self.sliding)]);
        numbers
    }

    /// What `window_fit.lua` is told, of units of `n`.
    pub(super) fn fit(&self, n: u64) -> Vec<u64> {
        let mut numbers = self.head(2);
        numbers.extend([self.limit, n.min(self.limit + 1)]);
        numbers
    }

    /// The script that takes for one after the other of these, each all or none.
    pub(super) fn call_each(&self, asked: &[u64]) -> (&'static Lua, Vec<u64>) {
        // So many single ones are as many as there are of so many.
        if asked.iter().all(|&n| n == 1) {
            return self.call(Ask::UpTo(asked.len() as u64));
        }
        let mut numbers = self.head(1 + asked.len());
        numbers.push(self.limit);
        numbers.extend(asked.iter().map(|&n| n.min(self.limit + 1)));
        (&EACH, numbers)
    }
}
