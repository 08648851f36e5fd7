//! Several limits of a key as one, all or nothing: the decision, and the scripts that make it.
//!
//! They are the scripts of one limit, as functions of its key and its numbers: one takes of all what fits all, or
//! nothing, the others do the same to each.

use super::kernel::{self, Call, Kernel, State};
use super::link::Lua;
use super::place;
use super::units::{Ask, Units};
use alloc::vec::Vec;
use core::iter;
use std::sync::LazyLock;

/// A script for several keys: what is done to one, and what becomes of all.
macro_rules! lua {
    ($($one:literal),+ => $all:literal) => {{
        const CODE: &str = concat!(
            "local function one(KEYS, ARGV)\n",
            $(include_str!(concat!("lua/", $one))),+,
            "end\n",
            include_str!(concat!("lua/", $all))
        );
        Lua { code: CODE, digest: LazyLock::new(|| Lua::digest(CODE)) }
    }};
}

pub(super) static TAKE: Lua = lua!("debt.lua", "put.lua", "fit.lua", "one.lua" => "several.lua");
pub(super) static CHARGE: Lua = lua!("debt.lua", "put.lua", "charge.lua" => "all.lua");
pub(super) static REFUND: Lua = lua!("debt.lua", "put.lua", "back.lua", "refund.lua" => "all.lua");
pub(super) static RESET: Lua = lua!("debt.lua", "put.lua", "back.lua", "reset.lua" => "all.lua");

pub(super) fn call(kernels: &[Kernel], ask: Ask) -> Call {
    let fits = |n, most| numbers(kernels, Some(most), |units| kernel::fit(units, n));
    let each = || numbers(kernels, None, |units| kernel::call(units, ask).1);
    match ask {
        Ask::Take(0) | Ask::UpTo(0) | Ask::Charge(0) | Ask::Refund(0) | Ask::Look(_) => {
            (&TAKE, fits(0, 0))
        }
        Ask::Take(n) => (&TAKE, fits(n, 1)),
        Ask::UpTo(n) => {
            let least = kernels.iter().map(Kernel::limit).min().unwrap_or(0);
            (&TAKE, fits(1, n.min(least)))
        }
        Ask::Charge(_) => (&CHARGE, each()),
        Ask::Refund(_) => (&REFUND, each()),
    }
}

pub(super) fn call_reset(kernels: &[Kernel]) -> Call {
    let of_each = |units: &Units| place::call_reset(units, units.limit()).1;
    (&RESET, numbers(kernels, None, of_each))
}

/// Of some of the limits, what each is charged: not nothing.
pub(super) fn call_debts(debts: &[(Kernel, u64)]) -> Call {
    let each = debts.iter().map(|(kernel, n)| kernel.call(Ask::Charge(*n)).1);
    (&CHARGE, in_a_row(None, &each.collect::<Vec<_>>()))
}

/// How many numbers each limit has, what is told before them, and all of them.
fn numbers(
    kernels: &[Kernel],
    before: Option<u64>,
    of_each: impl Fn(&Units) -> Vec<u64>,
) -> Vec<u64> {
    let each: Vec<_> = kernels.iter().filter_map(Kernel::places).map(of_each).collect();
    in_a_row(before, &each)
}

fn in_a_row(before: Option<u64>, each: &[Vec<u64>]) -> Vec<u64> {
    let size = each.first().map_or(0, Vec::len) as u64;
    iter::once(size).chain(before).chain(each.iter().flatten().copied()).collect()
}

/// What a script answers: all keys as they were before.
pub(super) fn states(kernels: &[Kernel], answer: &[u64]) -> Option<Vec<State>> {
    if answer.len() != 2 * kernels.len() {
        return None;
    }
    kernels.iter().zip(answer.chunks(2)).map(|(kernel, state)| kernel.state(state)).collect()
}

/// As the scripts do: the tokens granted, if any, and what becomes of the keys.
pub(super) fn settle(kernels: &[Kernel], states: &[State], ask: Ask) -> (Option<u64>, Vec<State>) {
    let each = |ask| {
        let limits = kernels.iter().zip(states);
        limits.map(move |(kernel, &state)| kernel.settle(state, ask))
    };
    // Of the least that all can give, each gives it.
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
