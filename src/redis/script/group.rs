//! Several limits of a key as one, all or nothing: the decision, and the scripts that make it.
//!
//! They are the scripts of one limit, as functions of its key and its numbers: one takes of all what fits all, or
//! nothing, the others do the same to each.

use crate::redis::client::link::Lua;
use crate::redis::script::place;
use crate::redis::script::units::Ask;
use crate::redis::script::{Call, Kernel, State};
use alloc::vec::Vec;
use core::iter;
use std::sync::LazyLock;

/// A script for several keys: what is done to one, and what becomes of all.
macro_rules! lua {
    ($($one:literal),+ => $all:literal) => {{
        const CODE: &str = concat!(
            "local function one(KEYS, ARGV)\n",
            $(include_str!($one)),+,
            "end\n",
            include_str!($all)
        );
        Lua { code: CODE, digest: LazyLock::new(|| Lua::digest(CODE)) }
    }};
}

/// The scripts of one kind of limits.
pub(in crate::redis) struct Scripts {
    pub(in crate::redis) take: Lua,
    pub(in crate::redis) charge: Lua,
    pub(in crate::redis) refund: Lua,
    pub(in crate::redis) reset: Lua,
}

pub(in crate::redis) static BUCKETS: Scripts = Scripts {
    take: lua!("debt.lua", "put.lua", "fit.lua", "one.lua" => "several.lua"),
    charge: lua!("debt.lua", "put.lua", "charge.lua" => "all.lua"),
    refund: lua!("debt.lua", "put.lua", "back.lua", "refund.lua" => "all.lua"),
    reset: lua!("debt.lua", "put.lua", "back.lua", "reset.lua" => "all.lua"),
};
pub(in crate::redis) static WINDOWS: Scripts = Scripts {
    take: lua!("window.lua", "window_fit.lua", "window_one.lua" => "several.lua"),
    charge: lua!("window.lua", "window_charge.lua" => "all.lua"),
    refund: lua!("window.lua", "window_refund.lua" => "all.lua"),
    reset: lua!("window.lua", "window_reset.lua" => "all.lua"),
};

/// All limits are of the first one's kind.
fn scripts(kernels: &[Kernel]) -> &'static Scripts {
    if let Some(Kernel::Window(_)) = kernels.first() { &WINDOWS } else { &BUCKETS }
}

pub(in crate::redis) fn call(kernels: &[Kernel], ask: Ask) -> Call {
    let scripts = scripts(kernels);
    let fits = |n, most| numbers(kernels, Some(most), |kernel| kernel.fit(n));
    let each = || numbers(kernels, None, |kernel| kernel.call(ask).1);
    match ask {
        Ask::Take(0) | Ask::UpTo(0) | Ask::Charge(0) | Ask::Refund(0) | Ask::Look(_) => {
            (&scripts.take, fits(0, 0))
        }
        Ask::Take(n) => (&scripts.take, fits(n, 1)),
        Ask::UpTo(n) => {
            let least = kernels.iter().map(Kernel::limit).min().unwrap_or(0);
            (&scripts.take, fits(1, n.min(least)))
        }
        Ask::Charge(_) => (&scripts.charge, each()),
        Ask::Refund(_) => (&scripts.refund, each()),
    }
}

pub(in crate::redis) fn call_reset(kernels: &[Kernel]) -> Call {
    let of_each = |kernel: &Kernel| match kernel {
        Kernel::Bucket(units) => place::call_reset(units, units.limit()).1,
        Kernel::Window(window) => window.head(0),
    };
    (&scripts(kernels).reset, numbers(kernels, None, of_each))
}

/// Of some of the limits, what each is charged: not nothing.
pub(in crate::redis) fn call_debts(debts: &[(Kernel, u64)]) -> Call {
    let windows = matches!(debts.first(), Some((Kernel::Window(_), _)));
    let charge = if windows { &WINDOWS.charge } else { &BUCKETS.charge };
    let each = debts.iter().map(|(kernel, n)| kernel.call(Ask::Charge(*n)).1);
    (charge, in_a_row(None, &each.collect::<Vec<_>>()))
}

/// How many numbers each limit has, what is told before them, and all of them.
fn numbers(
    kernels: &[Kernel],
    before: Option<u64>,
    of_each: impl Fn(&Kernel) -> Vec<u64>,
) -> Vec<u64> {
    let each: Vec<_> = kernels.iter().map(of_each).collect();
    in_a_row(before, &each)
}

fn in_a_row(before: Option<u64>, each: &[Vec<u64>]) -> Vec<u64> {
    let size = each.first().map_or(0, Vec::len) as u64;
    iter::once(size).chain(before).chain(each.iter().flatten().copied()).collect()
}

/// What a script answers: all keys as they were before.
pub(in crate::redis) fn states(kernels: &[Kernel], answer: &[u64]) -> Option<Vec<State>> {
    // All limits are of one kind, and so are their states.
    let each = answer.len() / kernels.len().max(1);
    if each < 2 || answer.len() != each * kernels.len() {
        return None;
    }
    kernels.iter().zip(answer.chunks(each)).map(|(kernel, state)| kernel.state(state)).collect()
}

/// As the scripts do: the tokens granted, if any, and what becomes of the keys.
pub(in crate::redis) fn settle(
    kernels: &[Kernel],
    states: &[State],
    ask: Ask,
) -> (Option<u64>, Vec<State>) {
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
