//! Places in the waiting line of a bucket: the decisions, and the calls for them.
//!
//! A place is a charge into the future, as in the local limiters: a later caller is behind it.
//! It is known by its *end*, the time at which the bucket would be full after it. It is due a burst
//! before that.
//!
//! ```text
//!   reserve n:   debt -> debt + n      if that is at most the burst and the longest wait together
//!   give up n:   debt -> debt - back   back = n - (the end of the line - the end of the place)
//!   hand back n: debt -> debt - n      if the place ends where the line ends
//! ```
//!
//! Once a place is given up that has others behind it, the debt no longer tells where the line
//! ends: the others keep their moments, while the debt is less. So the furthest end that is still
//! promised is kept beside it. Without that (as in Go's x/time/rate) a window may admit more than a
//! burst and its flow.
//!
//! A process hands back flow that its own callers (`queue/`) no longer need, many places at once
//! and whole: as if they had never been taken, provided that no caller has taken anything since.
//! Otherwise nothing of it comes back, and the process keeps it for its next callers.

use super::units::{Flow, Units};
use crate::redis::client::lua::Call;
use core::time::Duration;

/// The end of a place: the time at which the bucket would be full after it, since 1970.
pub(crate) type End = Flow;

/// The waiting line of a bucket, as the server saw it before a place was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerQueue {
    /// What is missing from the bucket, in parts.
    pub(crate) debt: u128,
    /// The server's time, in microseconds since 1970.
    pub(crate) now: u64,
    /// The end of the last place that a caller may hold.
    pub(crate) last: End,
}

/// The outcome of handing flow back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum HandedBack {
    /// Redis takes it: the bucket lacks this much less, in parts.
    Returned(u128),
    /// Redis does not take it, since others have taken places behind it.
    Kept,
    /// It is gone: by a reset, a refund, or a loss of the server's data.
    Lost,
}

impl ServerQueue {
    pub(crate) fn read(units: &Units, answer: &[u64]) -> Option<Self> {
        let &[us, part, now, last_us, last_part] = answer else { return None };
        let last = End { us: last_us, part: last_part };
        Some(Self { debt: units.in_parts(Flow { us, part }), now, last })
    }
}

impl Units {
    /// The debt that a reservation may reach, in parts, where callers wait for at most `tokens`,
    /// and this one at most for the time `within`.
    pub(crate) fn reach(&self, tokens: u64, within: Option<Duration>) -> u128 {
        let longest = self.cost(tokens);
        let within = within.map(|within| within.as_micros().saturating_mul(self.parts().into()));
        let longest = within.map_or(longest, |within| within.min(longest));
        (self.burst() + longest).min(self.longest_debt())
    }

    /// What is missing with a place for `n`; `None` if there is no place.
    pub(crate) fn reserve(&self, debt: u128, n: u64, reach: u128) -> Option<u128> {
        let after = debt + self.cost(n);
        (after <= reach).then_some(after)
    }

    /// Microseconds until there is a place for `n`; `None` if it is too far off even where nothing
    /// is missing.
    pub(crate) fn until_place(&self, debt: u128, n: u64, reach: u128) -> Option<u64> {
        let room = reach.checked_sub(self.cost(n))?;
        Some(self.until_full(debt.saturating_sub(room)))
    }

    /// Microseconds until a place is due that left this debt.
    pub(crate) fn until_due(&self, debt: u128) -> u64 {
        self.until_full(debt.saturating_sub(self.burst()))
    }

    /// The end of a place that left this debt.
    pub(crate) fn end(&self, debt: u128, now: u64) -> End {
        let Flow { us, part } = self.flow(debt);
        End { us: now.saturating_add(us), part }
    }

    pub(crate) fn is_due(&self, end: End, now: u64) -> bool {
        self.in_parts(end) <= self.in_parts(End { us: now, part: 0 }) + self.burst()
    }

    /// What comes back, in parts, if `n` tokens of a place are given up.
    ///
    /// That is nothing if the line ends before the place: then it has lost the place to a reset, a
    /// refund, or a loss of the server's data.
    pub(crate) fn give_up(&self, queue: ServerQueue, end: End, n: u64) -> u128 {
        if self.is_due(end, queue.now) || queue.last < end {
            return 0;
        }
        let behind = self.in_parts(queue.last) - self.in_parts(end);
        self.cost(n).saturating_sub(behind).min(queue.debt)
    }

    /// Decides on `n` tokens with this end that no caller has used and that are handed back.
    pub(crate) fn hand_back(&self, queue: ServerQueue, end: End, n: u64) -> HandedBack {
        if queue.last < end {
            HandedBack::Lost
        } else if queue.last > end {
            HandedBack::Kept
        } else {
            HandedBack::Returned(self.cost(n).min(queue.debt))
        }
    }

    /// The whole tokens in `parts`, rounded down.
    pub(crate) fn whole(&self, parts: u128) -> u64 {
        // A request has no more, all of which costs less than 2^105.
        (parts / self.cost(1)) as u64
    }

    pub(crate) fn call_reserve(&self, n: u64, reach: u128) -> Call {
        let mut call = self.verb_of("reserve", n);
        let Flow { us, part } = self.flow(reach);
        call.numbers.extend([us, part]);
        call
    }

    pub(crate) fn call_give_up(&self, end: End, n: u64) -> Call {
        self.call_at("give_up", end, n)
    }

    pub(crate) fn call_hand_back(&self, end: End, n: u64) -> Call {
        self.call_at("hand_back", end, n)
    }

    fn call_at(&self, verb: &'static str, end: End, n: u64) -> Call {
        let mut call = self.verb_of(verb, n);
        call.numbers.extend([end.us, end.part]);
        call
    }
}
