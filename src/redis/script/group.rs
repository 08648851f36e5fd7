//! Several limits of a key as one, all or nothing: the decision, and the calls that make it.
//!
//! A single limit is a group of one. It is asked by its own script; only a group of more needs the
//! group's.

use super::{Ask, Scripts, State};
use crate::redis::client::lua::Call;
use alloc::vec::Vec;

/// The limits of a group, which are all of one algorithm.
pub(crate) trait Group<'a>: Iterator<Item = &'a dyn Scripts> + Clone {}

impl<'a, T: Iterator<Item = &'a dyn Scripts> + Clone> Group<'a> for T {}

/// The call that asks all limits, of which this is the first.
pub(crate) fn call<'a>(first: &dyn Scripts, limits: impl Group<'a>, ask: Ask) -> Call {
    let fits =
        |n, most| in_order(first, Some("fit"), most, limits.clone().map(|limit| limit.fit(n)));
    match ask {
        Ask::Take(n @ 1..) => fits(n, 1),
        Ask::UpTo(n @ 1..) => {
            let least = limits.clone().map(Scripts::limit).min().unwrap_or(0);
            fits(1, n.min(least))
        }
        _ => {
            let each = limits.map(|limit| limit.call(ask).numbers);
            in_order(first, first.call(ask).verb, 0, each)
        }
    }
}

/// The call that resets all limits, of which this is the first.
pub(crate) fn call_reset<'a>(first: &dyn Scripts, limits: impl Group<'a>) -> Call {
    in_order(first, Some("reset"), 0, limits.map(|limit| limit.call_reset(limit.limit()).numbers))
}

/// The call that charges debts: the numbers of each, to limits of the first one's algorithm.
pub(crate) fn call_debts(first: &dyn Scripts, debts: Vec<Vec<u64>>) -> Call {
    in_order(first, Some("charge"), 0, debts.into_iter())
}

/// A call of the group's script: how many numbers each limit has, the number `most` for all limits,
/// and then each limit's numbers.
fn in_order(
    first: &dyn Scripts,
    verb: Option<&'static str>,
    most: u64,
    each: impl Iterator<Item = Vec<u64>>,
) -> Call {
    let each: Vec<_> = each.collect();
    let size = each.first().map_or(0, Vec::len) as u64;
    let numbers = [size, most].into_iter().chain(each.into_iter().flatten()).collect();
    Call { script: first.group(), verb, numbers }
}

/// Reads the answer of a group's script. `None` if no script gives it.
pub(crate) fn states<'a>(limits: impl Group<'a>, answer: &[u64]) -> Option<Vec<State>> {
    let count = limits.clone().count();
    // The states of one algorithm are of one length.
    let each = answer.len() / count.max(1);
    if each < 2 || answer.len() != each * count {
        return None;
    }
    limits.zip(answer.chunks(each)).map(|(limit, state)| limit.state(state)).collect()
}

/// Decides as the scripts do: the tokens granted, if any, and the states after that.
pub(crate) fn settle<'a>(
    limits: impl Group<'a>,
    states: &[State],
    ask: Ask,
) -> (Option<u64>, Vec<State>) {
    let each = |ask| {
        let limits = limits.clone().zip(states);
        limits.map(move |(limit, &state)| limit.settle(state, ask))
    };
    // Each limit gives the least that all of them can give.
    let (granted, ask) = match ask {
        Ask::UpTo(n) => {
            let least = each(ask).map(|(granted, _)| granted.unwrap_or(0)).min();
            let least = least.filter(|&least| least > 0 || n == 0);
            (least, Ask::Take(least.unwrap_or(0)))
        }
        Ask::Take(n) | Ask::Look(n) | Ask::Charge(n) | Ask::Refund(n) => {
            (each(ask).all(|(granted, _)| granted.is_some()).then_some(n), ask)
        }
    };
    match granted {
        Some(_) => (granted, each(ask).map(|(_, state)| state).collect()),
        None => (None, states.to_vec()),
    }
}
