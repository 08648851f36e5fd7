//! Fixed and sliding windows in Redis, and their decisions: integers in, integers out.
//!
//! Windows are aligned to 1970 by the server's clock, in whole microseconds. A sliding window is
//! estimated by two counters, as in memory (`algorithm/sliding_window.rs` says why): the current
//! one in full, and the previous one evenly, by the share of it that the last period still covers;
//! or at the rate, if the limit was reached in it.
//!
//! ```text
//!   index = floor(now / period)              left = (index + 1) * period - now, 1 to the period
//!   level = previous * left / period + current                                  fixed: current
//!           max(previous + part - count * (period - left) / period, 0) + current      paced
//!
//!   take n:    current  ->  current + n         if level + n <= count
//!   up to n:   current  ->  current + granted   granted = min(n, floor(count - level))
//!   charge n:  current  ->  current + n         at most 2^52, and what may be owed
//!   refund n:  current  ->  current - n         then, sliding, previous less the rest
//! ```
//!
//! **Nothing is rounded**: the count and what is asked are whole, so that `level + n <= count` just
//! if its share, rounded up, fits too. The share is a quotient of up to 103 bits; the scripts
//! divide it by digits. A paced window's part is a whole number of the period's parts of a token.
//!
//! A server's clock that was set back makes no window wait for its return: counts of a later window
//! are taken, and written, as those of now's. The law then holds before and after, so that each
//! such step admits the count more at most. One that was set forward begins a fresh window at most.

use crate::error::QuotaError;
use crate::quota::Quota;
use crate::redis::client::link::{Lua, lua};
use crate::redis::script::units::Ask;
use alloc::vec::Vec;

pub(in crate::redis) static TAKE: Lua = lua!("window.lua", "window_take.lua");
pub(in crate::redis) static EACH: Lua = lua!("window.lua", "window_each.lua");
pub(in crate::redis) static UP_TO: Lua = lua!("window.lua", "window_up_to.lua");
pub(in crate::redis) static CHARGE: Lua = lua!("window.lua", "window_charge.lua");
pub(in crate::redis) static REFUND: Lua = lua!("window.lua", "window_refund.lua");
pub(in crate::redis) static LOOK: Lua = lua!("window.lua", "window_look.lua");

/// The longest period, in microseconds, and the highest limit. Two periods after the latest time
/// there is still a number of the scripts, and in base 2 each step of their division is one.
const MOST: u64 = 1 << 51;
/// The most that a window counts: two of them add up to a number of the scripts.
pub(in crate::redis) const MOST_COUNTED: u64 = 1 << 52;
/// A level that no window reaches: both its counts together.
const MOST_OWED: u64 = 2 * MOST_COUNTED;

/// A window's quota, as the scripts count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) struct Window {
    limit: u64,
    period_us: u64,
    sliding: bool,
    /// The level that a charge reaches at most: the limit, and what may be owed.
    most_owed: u64,
}

/// What a server answers: how things stood, at its time, before it did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) struct Counts {
    /// Microseconds of the window still to come, from 1 to the period.
    pub(in crate::redis) left: u64,
    /// Admitted in the window before; 0 unless it slides.
    pub(in crate::redis) previous: u64,
    /// Admitted in this one.
    pub(in crate::redis) current: u64,
    /// What more is known of them.
    pub(in crate::redis) known: Known,
}

/// What is known of a window's admissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::redis) enum Known {
    /// Their counts.
    #[default]
    Count,
    /// And that the limit was reached in this one.
    Reached,
    /// It is paced: what flows until all are gone, in tokens and these parts of one, `period` of
    /// which are one.
    Paced(u64),
}

#[cfg(test)]
impl Known {
    /// As the scripts write it.
    pub(in crate::redis) fn mark(self) -> u64 {
        match self {
            Self::Count => 0,
            Self::Reached => 1,
            Self::Paced(part) => 2 + part,
        }
    }
}

impl Window {
    pub(in crate::redis) fn new(quota: &Quota, sliding: bool) -> Result<Self, QuotaError> {
        if quota.burst_size() != quota.count() {
            return Err(QuotaError::WINDOW_BURST);
        }
        let period = quota.period_ns();
        let whole = period.is_multiple_of(1_000).then_some(period / 1_000);
        let window = whole.and_then(|period_us| Self::of(quota.count(), period_us, sliding));
        window.ok_or(QuotaError::REDIS_WINDOW)
    }

    /// `None` if the scripts have no numbers for it.
    pub(in crate::redis) fn of(limit: u64, period_us: u64, sliding: bool) -> Option<Self> {
        let has_numbers = (1..=MOST).contains(&limit) && (1..=MOST).contains(&period_us);
        has_numbers.then_some(Self { limit, period_us, sliding, most_owed: MOST_OWED })
    }

    /// The same window, whose charges take its balance no lower than `-tokens`.
    pub(in crate::redis) fn with_max_debt(self, tokens: u64) -> Self {
        Self { most_owed: self.limit.saturating_add(tokens).min(MOST_OWED), ..self }
    }

    pub(in crate::redis) fn limit(&self) -> u64 {
        self.limit
    }

    /// An answer, brought into the range that the scripts keep to, whoever gave it.
    pub(in crate::redis) fn counts(
        &self,
        (left, previous, current, mark): (u64, u64, u64, u64),
    ) -> Counts {
        let counted = |n: u64| n.min(MOST_COUNTED);
        let (previous, known) = match (self.sliding, mark) {
            (false, _) => (0, Known::Count),
            (true, 0) => (counted(previous), Known::Count),
            (true, 1) => (counted(previous), Known::Reached),
            (true, _) => {
                (previous.min(self.limit), Known::Paced((mark - 2).min(self.period_us - 1)))
            }
        };
        Counts { left: left.clamp(1, self.period_us), previous, current: counted(current), known }
    }

    /// What is granted, and the counts then.
    pub(in crate::redis) fn settle(&self, counts: Counts, ask: Ask) -> (Option<u64>, Counts) {
        let there = u64::try_from(self.balance(counts)).unwrap_or(0);
        let take = |n: u64| {
            if n > there {
                return (None, counts);
            }
            (Some(n), self.with(counts, n, true))
        };
        match ask {
            Ask::Take(n) | Ask::Look(n) => take(n),
            Ask::UpTo(n) => take(n.min(there).max(n.min(1))),
            Ask::Charge(asked) => {
                let may_be_owed = (self.most_owed - self.limit) as i64;
                let room = self.balance(counts).saturating_add(may_be_owed).max(0) as u64;
                let n = asked.min(MOST_COUNTED - counts.current).min(room);
                (Some(asked), self.with(counts, n, false))
            }
            Ask::Refund(n) => (Some(n), self.without(counts, n)),
        }
    }

    /// The counts with `n` more. A charge does not note that the limit is reached.
    fn with(&self, counts: Counts, n: u64, admitted: bool) -> Counts {
        let Counts { previous, current, known, .. } = counts;
        if n == 0 {
            return counts;
        }
        let (is_empty, paced) = match known {
            Known::Paced(part) => {
                let sum = self.parts(previous + current) + u128::from(part);
                (sum <= self.flowed(counts), Some(sum))
            }
            _ => (previous + current == 0, None),
        };
        match paced {
            Some(sum) if !is_empty => self.paced(counts, sum + self.parts(n)),
            _ if is_empty && self.sliding && self.limit == 1 => {
                self.paced(counts, self.flowed(counts) + self.parts(n))
            }
            _ => {
                // A paced one that is empty begins anew.
                let none = Counts { previous: 0, current: 0, known: Known::Count, ..counts };
                let counts = if paced.is_some() { none } else { counts };
                let is_reached = self.sliding && admitted && self.balance(counts) - (n as i64) < 1;
                let known = if is_reached { Known::Reached } else { counts.known };
                Counts { current: counts.current + n, known, ..counts }
            }
        }
    }

    fn without(&self, counts: Counts, n: u64) -> Counts {
        let Counts { previous, current, known, .. } = counts;
        if let Known::Paced(part) = known {
            let sum = self.parts(previous + current) + u128::from(part);
            let after = sum.saturating_sub(self.parts(n));
            if sum <= self.flowed(counts) {
                return counts;
            }
            if after <= self.flowed(counts) {
                return Counts { previous: 0, current: 0, known: Known::Count, ..counts };
            }
            return self.paced(counts, after);
        }
        let here = n.min(current);
        let before = (n - here).min(previous);
        let (previous, current) = (previous - before, current - here);
        let known = if previous + current == 0 { Known::Count } else { known };
        Counts { previous, current, known, ..counts }
    }

    /// In parts, of which a token has as many as the period has microseconds.
    fn parts(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.period_us)
    }

    /// The parts that have flowed since the window began.
    fn flowed(&self, counts: Counts) -> u128 {
        u128::from(self.limit) * u128::from(self.period_us - counts.left)
    }

    fn paced(&self, counts: Counts, sum: u128) -> Counts {
        let period = u128::from(self.period_us);
        let (tokens, part) = ((sum / period) as u64, (sum % period) as u64);
        let previous = tokens.min(self.limit);
        Counts { previous, current: tokens - previous, known: Known::Paced(part), ..counts }
    }

    /// What is left of the limit, rounded down; negative after a charge beyond it.
    pub(in crate::redis) fn balance(&self, counts: Counts) -> i64 {
        let Counts { left, previous, current, known } = counts;
        let previous = match known {
            Known::Paced(part) => {
                (self.parts(previous) + u128::from(part)).saturating_sub(self.flowed(counts))
            }
            _ => u128::from(previous) * u128::from(left),
        };
        // At most the previous count, or the limit. All three are under 2^53.
        let previous = previous.div_ceil(self.period_us.into()) as i64;
        self.limit as i64 - current as i64 - previous
    }

    /// Microseconds until `n` are left if nobody takes any, rounded up; `None` if they never are.
    ///
    /// Within this window the previous one slides out; in the next, this one does.
    pub(in crate::redis) fn until(&self, counts: Counts, n: u64) -> Option<u64> {
        let room = self.limit.checked_sub(n)?;
        let Counts { left, previous, current, known } = counts;
        let limit = u128::from(self.limit);
        let flows = |parts: u128| parts.div_ceil(limit) as u64;
        let next = left + self.period_us;
        Some(match known {
            Known::Paced(part) => {
                let sum = self.parts(previous + current) + u128::from(part);
                let all = sum.saturating_sub(self.parts(room));
                if sum <= 2 * self.parts(self.limit) {
                    return Some(flows(all.saturating_sub(self.flowed(counts))));
                }
                // A debt of more than the limit is gone with the window that follows it.
                let debt = (sum - self.parts(self.limit)).div_ceil(self.period_us.into());
                next - self.most_left(room, debt as u64)
            }
            _ if current <= room => left.saturating_sub(self.most_left(room - current, previous)),
            _ if !self.sliding => left,
            _ if self.leaves_paced(counts) => left + flows(self.parts(current - room)),
            _ => next - self.most_left(room, current),
        })
    }

    /// Whether the limit is known to have been reached in this window, and more than the rate lets
    /// flow is not left to the next.
    fn leaves_paced(&self, Counts { previous, current, known, .. }: Counts) -> bool {
        let is_full = known == Known::Reached || current + 1 >= self.limit;
        current == self.limit || is_full && current < self.limit && previous <= self.limit
    }

    /// Microseconds until the whole limit is left.
    pub(in crate::redis) fn until_full(&self, counts: Counts) -> u64 {
        self.until(counts, self.limit).unwrap_or(0)
    }

    /// The longest part of a window with `weighed * part <= room * period`: the most that may be
    /// left of it.
    fn most_left(&self, room: u64, weighed: u64) -> u64 {
        let period = u128::from(self.period_us);
        let most = self.parts(room).checked_div(weighed.into());
        most.map_or(period, |most| most.min(period)) as u64
    }

    /// The script that does what is asked, and its numbers. What is more than could make a
    /// difference is left out: the scripts have no numbers for it.
    pub(in crate::redis) fn call(&self, ask: Ask) -> (&'static Lua, Vec<u64>) {
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
                numbers.extend([n.min(MOST_COUNTED), self.most_owed]);
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
    pub(in crate::redis) fn head(&self, more: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(2 + more);
        numbers.extend([self.period_us, if self.sliding { self.limit } else { 0 }]);
        numbers
    }

    /// What `window_fit.lua` is told, of units of `n`.
    pub(in crate::redis) fn fit(&self, n: u64) -> Vec<u64> {
        let mut numbers = self.head(2);
        numbers.extend([self.limit, n.min(self.limit + 1)]);
        numbers
    }

    /// The script that takes for one after the other of these, each all or none.
    pub(in crate::redis) fn call_each(&self, asked: &[u64]) -> (&'static Lua, Vec<u64>) {
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
