//! A lease of tokens as a slot's value: the tokens left, the end, and whether a caller has been
//! told to ask for more.
//!
//! ```text
//!     55                          26 25                   6 5       1   0
//!     +-----------------------------+----------------------+---------+-----+
//!     | end: ticks of 4.2 ms (30)   | 2^20 - 1 - left (20) | low (5) |asked|
//!     +-----------------------------+----------------------+---------+-----+
//!                                   | seconds more (20)    |  31     |  1  |  denied until the end
//!
//!     take n:     left  ->  left - n            and asked, if that leaves less than the low water
//!     too few:    asked ->  1                   one of all callers that find too few asks for more
//!     deposit g:  left  ->  left + g            asked -> 0, a later end
//!     deny:       left = 0  ->  denied          no caller asks before it ends
//!     withdraw:   left  ->  0                   asked -> 0, low -> 0
//! ```
//!
//! The tokens left are stored as their complement, so that taking makes the value larger, as the
//! table requires; a later end does too. The low water is a power of two, about half of the lease's
//! intended size: a caller that finds less asks for more, while there are still tokens left.
//!
//! **The end wraps, after 52 days.** A lease holds if its end is at most [`LONGEST`] ahead. A value
//! that was not touched for 52 days does no harm when its end comes round once more: tokens in it
//! were debited and are still unspent, and a denial or a question is over after `LONGEST`.

/// Nanoseconds in a tick, as a power of two: 4.2 ms.
pub(crate) const TICK_BITS: u32 = 22;

const ASKED_BITS: u32 = 1;
const LOW_BITS: u32 = 5;
const LEFT_BITS: u32 = 20;
const END_BITS: u32 = 30;

const LOW_SHIFT: u32 = ASKED_BITS;
const LEFT_SHIFT: u32 = LOW_SHIFT + LOW_BITS;
const END_SHIFT: u32 = LEFT_SHIFT + LEFT_BITS;

const ASKED: u64 = 1;
const END_MASK: u64 = (1 << END_BITS) - 1;
/// The mark of a denial: a low water that no lease has.
const DENIED: u64 = (1 << LOW_BITS) - 1;

/// The most tokens that a lease has.
pub(crate) const MOST: u64 = (1 << LEFT_BITS) - 1;
/// The mark of a denial without an answer, in place of its seconds.
const UNANSWERED: u64 = MOST;
/// The most ticks that a lease lasts: 275 s.
pub(crate) const LONGEST: u64 = 1 << 16;
/// Ticks for which the tokens of an ended lease wait for their owner: 1.1 s.
const GRACE: u64 = 1 << 8;

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Taken {
    /// Granted; `left` tokens are left. `ask`: the caller has to ask for more.
    Granted { granted: u64, left: u64, ask: bool },
    /// Too few tokens, or none yet. `ask`: the caller has to ask for more.
    Short { left: u64, ask: bool },
    /// The server had none, and has none before these ticks, and these seconds more, have passed.
    Denied { ticks: u64, seconds: u64 },
    /// The server did not answer, and is not asked for these ticks.
    Unanswered { ticks: u64 },
}

fn pack(end: u64, left: u64, low: u64, asked: u64) -> u64 {
    (end & END_MASK) << END_SHIFT | (MOST - left.min(MOST)) << LEFT_SHIFT | low << LOW_SHIFT | asked
}

#[inline(always)]
fn low(value: u64) -> u64 {
    value >> LOW_SHIFT & ((1 << LOW_BITS) - 1)
}

#[inline(always)]
fn is_denied(value: u64) -> bool {
    low(value) == DENIED
}

/// Returns the complement of the tokens left.
#[inline(always)]
fn spent(value: u64) -> u64 {
    value >> LEFT_SHIFT & MOST
}

/// Returns the tokens in the lease, whether it has ended or not: all were debited, and none is
/// spent.
#[inline(always)]
pub(crate) fn left(value: u64) -> u64 {
    if is_denied(value) { 0 } else { MOST - spent(value) }
}

/// Returns the ticks until the lease ends; 0 if it has.
#[inline(always)]
pub(crate) fn ends_in(value: u64, now: u64) -> u64 {
    let ahead = (value >> END_SHIFT).wrapping_sub(now) & END_MASK;
    if ahead <= LONGEST { ahead } else { 0 }
}

/// Returns the ticks since the lease ended; 0 if it has not.
fn ended(value: u64, now: u64) -> u64 {
    now.wrapping_sub(value >> END_SHIFT) & END_MASK
}

/// Returns an empty lease that ended at `now`: the largest value that may be forgotten then.
#[inline(always)]
pub(crate) fn nothing(now: u64) -> u64 {
    pack(now, 0, DENIED, ASKED)
}

/// Returns the ticks until forgetting the value loses nothing.
pub(crate) fn until_nothing(value: u64, now: u64) -> u64 {
    let grace = if left(value) > 0 { GRACE } else { 0 };
    match ends_in(value, now) {
        0 => grace.saturating_sub(ended(value, now)),
        ticks => ticks + grace,
    }
}

/// Takes as many tokens as there are, from `least` to `most`. A caller that is told to ask has to
/// deposit, deny or withdraw within `patience` ticks; otherwise another caller is told to ask.
#[inline(always)]
pub(crate) fn take(value: u64, now: u64, least: u64, most: u64, patience: u64) -> (u64, Taken) {
    let ticks = ends_in(value, now);
    if ticks == 0 {
        return too_late(value, now, patience);
    }
    if is_denied(value) {
        let seconds = spent(value);
        let told = seconds < UNANSWERED;
        let denied = Taken::Denied { ticks, seconds };
        return (value, if told { denied } else { Taken::Unanswered { ticks } });
    }
    let left = MOST - spent(value);
    if left < least {
        return (value | ASKED, Taken::Short { left, ask: value & ASKED == 0 });
    }
    let granted = left.min(most);
    let (value, left) = (value + (granted << LEFT_SHIFT), left - granted);
    let ask = value & ASKED == 0 && left < low_water(value);
    (value | u64::from(ask), Taken::Granted { granted, left, ask })
}

/// Takes from a lease that has ended. Its tokens stay for the next lease, or to be withdrawn.
#[cold]
fn too_late(value: u64, now: u64, patience: u64) -> (u64, Taken) {
    let waits = left(value) > 0 && ended(value, now) <= GRACE;
    let short = |ask| Taken::Short { left: 0, ask };
    match waits {
        true => (value | ASKED, short(value & ASKED == 0)),
        false => (pack(now + patience.min(LONGEST), 0, 0, ASKED), short(true)),
    }
}

/// Returns the number of tokens under which a caller asks for more; 0 for a lease of one.
#[inline(always)]
fn low_water(value: u64) -> u64 {
    (1 << low(value)) >> 1
}

/// Adds tokens to those left, for a lease of the intended `size` that ends at `end`.
pub(crate) fn deposit(value: u64, tokens: u64, size: u64, end: u64) -> u64 {
    let low = size.clamp(1, MOST).ilog2();
    pack(end, left(value).saturating_add(tokens), low.into(), 0)
}

/// Denies until `end`, if no tokens are left. `seconds` are how much longer the denial may last;
/// `None`: the server did not answer.
pub(crate) fn deny(value: u64, end: u64, seconds: Option<u64>) -> Option<u64> {
    let seconds = seconds.map_or(UNANSWERED, |seconds| seconds.min(UNANSWERED - 1));
    let denied = || pack(end, MOST - seconds, DENIED, ASKED);
    (left(value) == 0).then(denied)
}

/// Lets the next caller that finds too few ask.
pub(crate) fn unask(value: u64) -> u64 {
    if is_denied(value) { value } else { value & !ASKED }
}

/// Takes out all tokens. What remains counts as nothing, whenever it is read.
pub(crate) fn withdraw(value: u64) -> (u64, u64) {
    (pack(value >> END_SHIFT, 0, 0, 0), left(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    const NOW: u64 = END_MASK - 3;

    fn take(value: u64, now: u64, n: u64) -> (u64, Taken) {
        super::take(value, now, n, n, 10)
    }

    #[test]
    fn fields_fill_the_value_and_do_not_touch_each_other() {
        assert_eq!(END_SHIFT + END_BITS, crate::word::VALUE_BITS);
        for (end, tokens, size) in [(0, 0, 1), (END_MASK, MOST, MOST), (77, 5, 9)] {
            let value = deposit(nothing(0), tokens, size, end);
            assert_eq!((left(value), value >> END_SHIFT, value & ASKED), (tokens, end, 0));
            assert_eq!(low(value), u64::from(size.ilog2()));
        }
        assert_eq!(left(deposit(deposit(nothing(0), 5, 5, 1), MOST, 5, 1)), MOST, "never more");
    }

    /// The table requires it: otherwise a swap could succeed on another key's word.
    #[test]
    fn taking_and_asking_make_the_value_larger() {
        let mut value = deposit(nothing(NOW), 9, 9, NOW + 8);
        for _ in 0..11 {
            let (next, taken) = take(value, NOW, 1);
            let same = matches!(taken, Taken::Short { ask: false, .. });
            assert!(if same { next == value } else { next > value }, "{taken:?}");
            value = next;
        }
    }

    #[test]
    fn one_is_told_to_ask_under_the_low_water_and_where_there_are_too_few() {
        // Under four of nine.
        let mut value = deposit(nothing(NOW), 9, 9, NOW + 8);
        for left in (0..9).rev() {
            let (next, taken) = take(value, NOW, 1);
            assert_eq!(taken, Taken::Granted { granted: 1, left, ask: left == 3 });
            value = next;
        }
        assert_eq!(take(value, NOW, 1).1, Taken::Short { left: 0, ask: false });
        let again = unask(value);
        assert_eq!(take(again, NOW, 1).1, Taken::Short { left: 0, ask: true });
        assert_eq!(take(take(again, NOW, 1).0, NOW, 1).1, Taken::Short { left: 0, ask: false });
        // A lease of one asks for no second one before a caller wants it.
        let one = deposit(nothing(NOW), 1, 1, NOW + 8);
        assert_eq!(take(one, NOW, 1).1, Taken::Granted { granted: 1, left: 0, ask: false });
        // A caller can have the tokens that there are.
        let value = deposit(nothing(NOW), 3, 100, NOW + 8);
        let (value, taken) = take(value, NOW, 4);
        assert_eq!(taken, Taken::Short { left: 3, ask: true });
        let granted = Taken::Granted { granted: 3, left: 0, ask: false };
        assert_eq!(super::take(value, NOW, 1, 100, 10).1, granted);
    }

    #[test]
    fn a_lease_ends_and_what_is_left_waits_for_its_owner() {
        let value = deposit(nothing(NOW), 5, 5, NOW + 8);
        assert!(matches!(take(value, NOW + 7, 1).1, Taken::Granted { .. }));
        let (asked, taken) = take(value, NOW + 8, 1);
        assert_eq!(taken, Taken::Short { left: 0, ask: true });
        assert_eq!(take(asked, NOW + 8 + GRACE, 1), (asked, Taken::Short { left: 0, ask: false }));
        assert_eq!(left(asked), 5);
        assert_eq!(left(deposit(asked, 2, 9, NOW + 20)), 7, "what is left is leased once more");
        let (value, taken) = take(asked, NOW + 8 + GRACE + 1, 1);
        assert_eq!((left(value), taken), (0, Taken::Short { left: 0, ask: true }));
        // The question itself lasts as long as its answer may take.
        assert_eq!(take(value, NOW + 18 + GRACE, 1).1, Taken::Short { left: 0, ask: false });
        assert_eq!(take(value, NOW + 19 + GRACE, 1).1, Taken::Short { left: 0, ask: true });
    }

    #[test]
    fn a_denial_lasts_until_its_end_and_is_asked_about_after_that() {
        let value = deny(nothing(NOW), NOW + 8, Some(30)).unwrap();
        assert_eq!(take(value, NOW + 1, 1), (value, Taken::Denied { ticks: 7, seconds: 30 }));
        assert_eq!((left(value), unask(value), withdraw(value).1), (0, value, 0));
        assert_eq!(take(value, NOW + 8, 1).1, Taken::Short { left: 0, ask: true });
        assert_eq!(left(deposit(value, 2, 2, NOW + 9)), 2);
        assert_eq!(deny(deposit(value, 2, 2, NOW + 9), NOW + 8, None), None);
        let long = deny(value, NOW + 8, Some(u64::MAX)).unwrap();
        assert_eq!(take(long, NOW, 1).1, Taken::Denied { ticks: 8, seconds: MOST - 1 });
        let away = deny(value, NOW + 8, None).unwrap();
        assert_eq!(take(away, NOW, 1), (away, Taken::Unanswered { ticks: 8 }));
    }

    #[test]
    fn what_is_withdrawn_leaves_nothing_whenever_it_is_looked_at() {
        let (value, tokens) = withdraw(take(deposit(nothing(NOW), 5, 5, NOW + 8), NOW, 1).0);
        assert_eq!(tokens, 4);
        for now in [NOW, NOW + 8, NOW + END_MASK, NOW + END_MASK + 2] {
            assert_eq!(take(value, now, 1).1, Taken::Short { left: 0, ask: true });
        }
        assert_eq!(withdraw(value), (value, 0));
    }

    #[test]
    fn what_may_be_forgotten_has_ended_and_has_nothing_left() {
        let lease = deposit(nothing(NOW), 5, 5, NOW + 8);
        assert_eq!(until_nothing(lease, NOW), 8 + GRACE);
        assert_eq!(until_nothing(lease, NOW + 8), GRACE);
        assert_eq!(until_nothing(lease, NOW + 8 + GRACE), 0);
        assert_eq!(until_nothing(withdraw(lease).0, NOW), 8);
        assert_eq!(until_nothing(withdraw(lease).0, NOW + 8), 0);
        let denied = deny(nothing(NOW), NOW + 8, Some(3)).unwrap();
        assert_eq!((until_nothing(denied, NOW + 7), until_nothing(denied, NOW + 8)), (1, 0));
        assert_eq!(until_nothing(nothing(NOW), NOW), 0);
        for value in [withdraw(lease).0, denied] {
            assert!(value <= nothing(NOW + 8) || NOW + 8 > END_MASK);
        }
    }
}
