//! All limiters against their peers, interleaved in one run: `cargo bench --bench versus`.
//!
//! `ci/bench.sh` adds a description of the machine.
#![allow(clippy::expect_used, reason = "a bench has nobody to return an error to")]

#[path = "support/buckets.rs"]
mod buckets;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/hashing.rs"]
mod hashing;
#[path = "support/keys.rs"]
mod keys;
#[path = "support/large.rs"]
mod large;
#[path = "support/limiters.rs"]
mod limiters;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/report.rs"]
mod report;
#[path = "support/spread.rs"]
mod spread;

use clap::Parser;
use harness::{Case, Turn};
use report::Verdict;
use std::process::ExitCode;
use std::time::Duration;

/// Compares sluicegate with its peers, in interleaved rounds, and prints Markdown.
#[derive(Debug, Parser)]
struct Args {
    /// Only the cases whose name contains this text.
    #[arg(long, default_value = "")]
    filter: String,
    /// Numbers of threads, for the cases that can have several.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Rounds of each case [default: 41, quick 5].
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds of each turn [default: 12, quick 1].
    #[arg(long)]
    turn: Option<u64>,
    /// Keys of the large keyed cases [default: 1000000, quick 20000].
    #[arg(long)]
    keys: Option<u64>,
    /// Untimed calls before each turn of a large keyed case [default: a quarter of the keys].
    #[arg(long)]
    lead: Option<u64>,
    /// A smoke run, whose figures mean nothing. SLUICEGATE_BENCH_QUICK=1 asks for one, too, and so
    /// does a run without --bench.
    #[arg(long)]
    quick: bool,
    /// Only fills this table, and prints how many bytes of memory that took. The program calls
    /// itself with it.
    #[arg(long, hide = true)]
    fill: Option<memory::Table>,
    /// Fails if a goal is missed.
    #[arg(long)]
    strict: bool,
    /// Given by `cargo bench`. Without it, as under `cargo test --benches`, this is a smoke run.
    #[arg(long)]
    bench: bool,
}

type Build<'a> = Box<dyn Fn(usize) -> Case + 'a>;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(table) = args.fill {
        let bytes = memory::fill(table, args.keys.unwrap_or(1_000_000));
        println!("{}", bytes.map_or_else(String::new, |bytes| bytes.to_string()));
        return ExitCode::SUCCESS;
    }
    let asked = std::env::var_os("SLUICEGATE_BENCH_QUICK").is_some_and(|value| value != "0");
    let quick = args.quick || asked || !args.bench;
    let or =
        |given: Option<u64>, quickly, fully| given.unwrap_or(if quick { quickly } else { fully });
    let rounds = args.rounds.unwrap_or(if quick { 5 } else { 41 }).max(1);
    let turn = Turn::Lasting(Duration::from_millis(or(args.turn, 1, 12)));
    let keys = or(args.keys, 20_000, 1_000_000).max(1);
    let lead = args.lead.unwrap_or(keys / 4);
    let many = Turn::Calls { timed: (keys / 8).max(1), lead };
    if quick {
        println!("**A smoke run: these figures say nothing.**\n");
    }

    if "keyed memory".contains(&args.filter) {
        let few = [1_000, 100_003];
        let all = [1_000, 100_003, 1_000_000, 1_500_000];
        memory::print(if quick { &few } else { &all });
    }
    let single: &[usize] = &[1];
    let all_threads: Vec<usize> = {
        let mut threads = args.threads.clone();
        threads.push(1);
        threads.retain(|threads| *threads > 0);
        threads.sort_unstable();
        threads.dedup();
        threads
    };
    let cases: Vec<(&str, &[usize], Build<'_>)> = vec![
        ("direct admit", &args.threads, Box::new(|threads| limiters::admit(threads, turn))),
        ("direct scaling", single, Box::new(|_| limiters::scaling(&all_threads, turn))),
        ("direct denied", &args.threads, Box::new(|threads| limiters::denied(threads, turn))),
        ("direct half denied", single, Box::new(|threads| limiters::half_denied(threads, turn))),
        ("direct coarse clock", single, Box::new(|threads| limiters::coarse_clock(threads, turn))),
        ("direct frozen clock", single, Box::new(|threads| limiters::frozen_clock(threads, turn))),
        ("keyed u64", &args.threads, Box::new(|threads| keys::Many(keys).of_u64(threads, many))),
        ("keyed str", &args.threads, Box::new(|threads| keys::Many(keys).of_str(threads, many))),
        (
            "keyed u64 apart",
            single,
            Box::new(|threads| keys::Many(keys).of_u64_apart(threads, many)),
        ),
        (
            "keyed str apart",
            single,
            Box::new(|threads| keys::Many(keys).of_str_apart(threads, many)),
        ),
        ("keyed many", single, Box::new(|t| large::many_at_once(4 * keys, t, many))),
        ("keyed largest", single, Box::new(|t| large::largest(10 * keys, t, many))),
        #[cfg(unix)]
        ("keyed shared", single, Box::new(|t| large::shared(keys, t, many))),
        ("keyed one", &args.threads, Box::new(|threads| keys::one(threads, turn))),
        ("keyed hot", &args.threads, Box::new(|threads| keys::hot(threads, turn))),
        ("hashing u64", single, Box::new(|threads| hashing::of_u64(threads, turn))),
        ("hashing str", single, Box::new(|threads| hashing::of_str(threads, turn))),
    ];
    let mut total = Verdict::default();
    for (name, threads, build) in &cases {
        if !name.contains(&args.filter) {
            continue;
        }
        for threads in threads.iter().filter(|threads| **threads > 0) {
            let case = build(*threads);
            let verdict = report::print(&case, &case.measure(rounds));
            total.missed.extend(verdict.missed);
            total.lost.extend(verdict.lost);
        }
    }
    report::summary(&total);
    if args.strict && !total.missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
