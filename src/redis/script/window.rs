//! Fixed and sliding windows in Redis: their decisions, and the calls of their script. Integers in,
//! integers out.
//!
//! Windows are aligned to 1970 by the server's clock, in whole microseconds. Two counters estimate
//! a sliding window, as in memory (`algorithm/sliding_window.rs` says why). The current one counts
//! in full. The previous one counts evenly, by the share of it that the last period still covers;
//! or, if the limit was reached in it, at the rate.
//!
//! ```text
//!   index = floor(now / period)              left = (index + 1) * period - now, 1 to the period
//!   level = previous * left / period + current                                  fixed: current
//!           max(previous + part - count * (period - left) / period, 0) + current      paced
//!
//!   take n:    current  ->  current + n         if level + n <= count
//!   up to n:   current  ->  current + granted   granted = min(n, floor(count - level))
//!   charge n:  current  ->  current + n         at most 2^52, and the bound on debts
//!   refund n:  current  ->  current - n         then, sliding, previous less the rest
//! ```
//!
//! **Nothing is rounded**: the count and the request are whole, so `level + n <= count` exactly if
//! the same holds with the share of the previous window rounded up. The share is a quotient of up
//! to 103 bits, which the scripts divide digit by digit. A paced window counts in whole parts of a
//! token: a token has one part for each microsecond of the period.
//!
//! A server's clock that was set back makes no window wait for its return: the counts of a later
//! window are taken, and written, as those of the present one. The law holds before and after, so
//! each such step admits at most the count more. A clock that was set forward begins at most a
//! fresh window.

use super::{Ask, Scripts, State};
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::redis::client::lua::{Call, Lua, lua};
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(crate) static WINDOW: Lua = lua!("window.lua");
static GROUP: Lua = lua!(group: "window.lua");

/// The longest period, in microseconds, and the highest limit. The time two periods after the
/// latest one is still a number of the scripts, as is each step of their division in base 2.
const MOST: u64 = 1 << 51;
/// The most that a window counts. The sum of two such counts is a number of the scripts.
pub(crate) const MOST_COUNTED: u64 = 1 << 52;
/// A level that no window exceeds: both its counts together.
const MOST_OWED: u64 = 2 * MOST_COUNTED;

/// The window of one quota, as the script counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    limit: u64,
    period_us: u64,
    sliding: bool,
    /// The highest level that a charge reaches: the limit and the largest debt.
    most_owed: u64,
}

/// The counts that a server answers: as they were at its time, before it did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The microseconds of the window that are still to come, from 1 to the period.
    pub(crate) left: u64,
    /// The tokens admitted in the window before; 0 unless it slides.
    pub(crate) previous: u64,
    /// The tokens admitted in this window.
    pub(crate) current: u64,
    /// What else is known of them.
    pub(crate) known: Known,
}

/// The knowledge of a window's admissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// Only their counts are known.
    #[default]
    Count,
    /// The limit was reached in this window.
    Reached,
    /// The window is paced. Its counts are the tokens that must flow until all are gone, and this
    /// is the number of parts to add, of which `period` are a token.
    Paced(u64),
}

impl Known {
    /// The number that the script has for it.
    pub(crate) fn mark(self) -> u64 {
        match self {
            Self::Count => 0,
            Self::Reached => 1,
            Self::Paced(part) => 2 + part,
        }
    }
}

impl Window {
    pub(crate) fn new(quota: &Quota, sliding: bool) -> Result<Self, QuotaError> {
        if quota.burst_size() != quota.count() {
            return Err(QuotaError::WINDOW_BURST);
        }
        let period = quota.period_ns();
        let whole = period.is_multiple_of(1_000).then_some(period / 1_000);
        let window = whole.and_then(|period_us| Self::of(quota.count(), period_us, sliding));
        window.ok_or(QuotaError::REDIS_WINDOW)
    }

    /// A window of this limit and period; `None` if the script has no numbers for it.
    pub(crate) fn of(limit: u64, period_us: u64, sliding: bool) -> Option<Self> {
        let has_numbers = (1..=MOST).contains(&limit) && (1..=MOST).contains(&period_us);
        has_numbers.then_some(Self { limit, period_us, sliding, most_owed: MOST_OWED })
    }

    /// The same window, whose charges take its balance no lower than `-tokens`.
    pub(crate) fn with_max_debt(self, tokens: u64) -> Self {
        Self { most_owed: self.limit.saturating_add(tokens).min(MOST_OWED), ..self }
    }

    /// Reads an answer, and brings it into the range of the script.
    pub(crate) fn counts(&self, [left, previous, current, mark]: State) -> Counts {
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

    /// Decides as the script does: the tokens granted, if any, and the counts after that.
    pub(crate) fn settle(&self, counts: Counts, ask: Ask) -> (Option<u64>, Counts) {
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

    /// The counts with `n` tokens more. A charge does not note that the limit is reached.
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
                // A paced window that is empty begins anew.
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

    /// Tokens in parts: a token has one part for each microsecond of the period.
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

    /// The tokens left, rounded down; negative after a charge beyond the limit.
    pub(crate) fn balance(&self, counts: Counts) -> i64 {
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

    /// Microseconds until `n` are left if no caller takes any, rounded up; `None` if never.
    ///
    /// Within this window the previous one slides out; in the next, this one does.
    pub(crate) fn until(&self, counts: Counts, n: u64) -> Option<u64> {
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
                // A debt of more than the limit ends with the next window.
                let debt = (sum - self.parts(self.limit)).div_ceil(self.period_us.into());
                next - self.most_left(room, debt as u64)
            }
            _ if current <= room => left.saturating_sub(self.most_left(room - current, previous)),
            _ if !self.sliding => left,
            _ if self.leaves_paced(counts) => left + flows(self.parts(current - room)),
            _ => next - self.most_left(room, current),
        })
    }

    /// Says whether this window leaves its count to the next as a paced one: its limit is known to
    /// have been reached, and the next is not left more than the rate lets flow.
    fn leaves_paced(&self, Counts { previous, current, known, .. }: Counts) -> bool {
        let is_full = known == Known::Reached || current + 1 >= self.limit;
        current == self.limit || is_full && current < self.limit && previous <= self.limit
    }

    /// Microseconds until the whole limit is left.
    pub(crate) fn until_full(&self, counts: Counts) -> u64 {
        self.until(counts, self.limit).unwrap_or(0)
    }

    /// The longest rest of a window with `weighed * rest <= room * period`.
    fn most_left(&self, room: u64, weighed: u64) -> u64 {
        let period = u128::from(self.period_us);
        let most = self.parts(room).checked_div(weighed.into());
        most.map_or(period, |most| most.min(period)) as u64
    }

    /// A call of the window's script, with room for `more` numbers behind those of the window.
    fn verb(&self, verb: &'static str, more: usize) -> Call {
        let mut numbers = Vec::with_capacity(2 + more);
        numbers.extend([self.period_us, if self.sliding { self.limit } else { 0 }]);
        Call { script: &WINDOW, verb: Some(verb), numbers }
    }

    /// The same, with a number of tokens and the highest level to reach.
    fn verb_of(&self, verb: &'static str, n: u64, level: u64) -> Call {
        let mut call = self.verb(verb, 2);
        call.numbers.extend([n, level]);
        call
    }
}

fn state_of(Counts { left, previous, current, known }: Counts) -> State {
    [left, previous, current, known.mark()]
}

/// What exceeds the range that makes a difference is left out of a call, since the script has no
/// numbers for it.
impl Scripts for Window {
    fn limit(&self) -> u64 {
        self.limit
    }

    fn call(&self, ask: Ask) -> Call {
        match ask {
            _ if ask.is_look() => self.verb("look", 0),
            Ask::Take(n) | Ask::Look(n) => self.verb_of("take", n.min(self.limit + 1), self.limit),
            Ask::UpTo(n) => self.verb_of("up_to", n.min(self.limit), self.limit),
            Ask::Charge(n) => self.verb_of("charge", n.min(MOST_COUNTED), self.most_owed),
            Ask::Refund(n) => {
                let mut call = self.verb("refund", 1);
                call.numbers.push(n.min(2 * MOST_COUNTED));
                call
            }
        }
    }

    fn call_each(&self, asked: &[u64]) -> Call {
        // Requests of a token each take the same as one request for up to their sum.
        if asked.iter().all(|&n| n == 1) {
            return self.call(Ask::UpTo(asked.len() as u64));
        }
        let mut call = self.verb("each", 2 + asked.len());
        call.numbers.extend([asked.len() as u64, self.limit]);
        call.numbers.extend(asked.iter().map(|&n| n.min(self.limit + 1)));
        call
    }

    fn call_reset(&self, _: u64) -> Call {
        self.verb("reset", 0)
    }

    fn group(&self) -> &'static Lua {
        &GROUP
    }

    fn fit(&self, n: u64) -> Vec<u64> {
        self.verb_of("fit", n.min(self.limit + 1), self.limit).numbers
    }

    fn state(&self, answer: &[u64]) -> Option<State> {
        answer.first_chunk().copied()
    }

    fn settle(&self, state: State, ask: Ask) -> (Option<u64>, State) {
        let (granted, counts) = self.settle(self.counts(state), ask);
        (granted, state_of(counts))
    }

    fn balance(&self, state: State) -> i64 {
        self.balance(self.counts(state))
    }

    fn until_full(&self, state: State) -> u64 {
        self.until_full(self.counts(state))
    }

    fn until(&self, state: State, n: u64) -> Option<u64> {
        self.until(self.counts(state), n)
    }

    fn without_max_debt(&self) -> Box<dyn Scripts> {
        Box::new(self.with_max_debt(u64::MAX))
    }
}
