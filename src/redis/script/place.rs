//! Places in the line of a bucket: the decisions, and how a server is asked for them.
//!
//! A place is a charge into the future, as in the local limiters: whoever asks later stands behind. It is known by
//! the time at which the bucket would be full after it, its *end*; it is due a burst before that.
//!
//! ```text
//!   reserve n:   debt -> debt + n        if that is at most the reach: the burst, and as long as somebody waits
//!   give up n:   debt -> debt - back     back = n - behind, behind = the line's end - the place's end
//!   hand back n: debt -> debt - n        if it is the end of the line
//! ```
//!
//! Where the line ends is not the debt's to say once a place with others behind it was given up: they keep their
//! moments, while the debt is less. So the furthest end that is still promised is kept beside it. Without it (as in Go's
//! x/time/rate) a window may admit more than a burst and what has flowed.
//!
//! A process hands back what its own line (`queue.rs`) has no more use for, many places at once and
//! as a whole: as if they had never been taken, while nobody has taken anything since. Otherwise
//! nothing of them comes back, and the process keeps them for its next callers.

use crate::redis::client::link::{Lua, lua};
use crate::redis::script::units::{Flow, Units};
use crate::redis::script::{Call, cost, head};
use core::time::Duration;

pub(in crate::redis) static RESERVE: Lua = lua!("debt.lua", "put.lua", "reserve.lua");
pub(in crate::redis) static UNDO: Lua = lua!("debt.lua", "put.lua", "back.lua", "undo.lua");
pub(in crate::redis) static HAND_BACK: Lua =
    lua!("debt.lua", "put.lua", "back.lua", "hand_back.lua");
pub(in crate::redis) static RESET: Lua = lua!("debt.lua", "put.lua", "back.lua", "reset.lua");

/// Where a place is in its line: the time at which the bucket would be full after it, since 1970.
pub(in crate::redis) type End = Flow;

/// A line as a server saw it before a place was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) struct Line {
    /// What is missing, in parts.
    pub(in crate::redis) debt: u128,
    /// In microseconds since 1970.
    pub(in crate::redis) now: u64,
    /// Where the last place is that somebody may hold.
    pub(in crate::redis) last: End,
}

/// What becomes of flow that a process hands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::redis) enum HandedBack {
    /// Redis takes it: so much less is missing, in parts.
    Returned(u128),
    /// Redis does not take it: others have taken since.
    Kept,
    /// A reset or a refund has taken it, or it went with the server's data.
    Lost,
}

impl Line {
    pub(in crate::redis) fn of(units: &Units, answer: &[u64]) -> Option<Self> {
        let &[us, part, now, last_us, last_part] = answer else { return None };
        let last = End { us: last_us, part: last_part };
        Some(Self { debt: units.in_parts(Flow { us, part }), now, last })
    }
}

impl Units {
    /// How far a bucket may go into debt for one who waits for at most so many tokens, and within that time: in parts.
    pub(in crate::redis) fn reach(&self, tokens: u64, within: Option<Duration>) -> u128 {
        let longest = self.cost(tokens);
        let within = within.map(|within| within.as_micros().saturating_mul(self.parts().into()));
        let longest = within.map_or(longest, |within| within.min(longest));
        (self.burst() + longest).min(self.longest_debt())
    }

    /// What is missing with a place for `n`; `None` if there is none.
    pub(in crate::redis) fn reserve(&self, debt: u128, n: u64, reach: u128) -> Option<u128> {
        let after = debt + self.cost(n);
        (after <= reach).then_some(after)
    }

    /// Microseconds until there is a place for `n`; `None` if it is too far off even where nothing is missing.
    pub(in crate::redis) fn until_place(&self, debt: u128, n: u64, reach: u128) -> Option<u64> {
        let room = reach.checked_sub(self.cost(n))?;
        Some(self.until_full(debt.saturating_sub(room)))
    }

    /// Microseconds until a place is due which left so much missing.
    pub(in crate::redis) fn until_due(&self, debt: u128) -> u64 {
        self.until_full(debt.saturating_sub(self.burst()))
    }

    /// Where the place is that left so much missing.
    pub(in crate::redis) fn end(&self, debt: u128, now: u64) -> End {
        let Flow { us, part } = self.flow(debt);
        End { us: now.saturating_add(us), part }
    }

    pub(in crate::redis) fn is_due(&self, end: End, now: u64) -> bool {
        self.in_parts(end) <= self.in_parts(End { us: now, part: 0 }) + self.burst()
    }

    /// What comes back, in parts, if `n` tokens of a place are given up.
    ///
    /// Nothing if the line ends before the place: it has lost it, to a reset or a refund, or the server its data.
    pub(in crate::redis) fn give_up(&self, line: Line, end: End, n: u64) -> u128 {
        if self.is_due(end, line.now) || line.last < end {
            return 0;
        }
        let behind = self.in_parts(line.last) - self.in_parts(end);
        self.cost(n).saturating_sub(behind).min(line.debt)
    }

    /// Decides on `n` tokens that end there, that nobody has used, and that are handed back.
    pub(in crate::redis) fn hand_back(&self, line: Line, end: End, n: u64) -> HandedBack {
        if line.last < end {
            HandedBack::Lost
        } else if line.last > end {
            HandedBack::Kept
        } else {
            HandedBack::Returned(self.cost(n).min(line.debt))
        }
    }

    /// Whole tokens in so many parts, rounded down.
    pub(in crate::redis) fn whole(&self, parts: u128) -> u64 {
        // No more than a request had, all of which costs less than 2^105.
        (parts / self.cost(1)) as u64
    }
}

pub(in crate::redis) fn call_reserve(units: &Units, n: u64, reach: u128) -> Call {
    let mut numbers = head(units, 4);
    numbers.extend(cost(units, n));
    let Flow { us, part } = units.flow(reach);
    numbers.extend([us, part]);
    (&RESERVE, numbers)
}

pub(in crate::redis) fn call_undo(units: &Units, end: End, n: u64) -> Call {
    let mut numbers = head(units, 4);
    numbers.extend([end.us, end.part]);
    numbers.extend(cost(units, n));
    (&UNDO, numbers)
}

pub(in crate::redis) fn call_hand_back(units: &Units, end: End, n: u64) -> Call {
    let (_, numbers) = call_undo(units, end, n);
    (&HAND_BACK, numbers)
}

/// `most` is the most tokens that one place can have.
pub(in crate::redis) fn call_reset(units: &Units, most: u64) -> Call {
    let mut numbers = head(units, 2);
    numbers.extend(cost(units, most));
    (&RESET, numbers)
}
