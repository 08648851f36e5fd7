//! Limits in Redis, against the client alone and against another algorithm, with a server of its
//! own: `cargo bench --features redis --bench redis`.
#![allow(clippy::expect_used, reason = "a bench has nobody to return an error to")]

#[path = "support/redis_away.rs"]
mod redis_away;
#[path = "support/redis_leased.rs"]
mod redis_leased;
#[path = "support/redis_memory.rs"]
mod redis_memory;
#[path = "support/redis_peers.rs"]
mod redis_peers;
#[path = "support/redis_turns.rs"]
mod redis_turns;
#[path = "../tests/support/redis.rs"]
mod server;
#[path = "support/spread.rs"]
mod spread;

use clap::Parser;
use redis_peers::Who;
use redis_turns::{Case, Effort, Goal};
use sluicegate::Quota;
use std::process::ExitCode;
use std::time::Duration;

/// Measures limits in Redis, and prints Markdown.
#[derive(Debug, Parser)]
struct Args {
    /// Only the cases whose name contains this text.
    #[arg(long, default_value = "")]
    filter: String,
    /// Rounds of each case.
    #[arg(long)]
    rounds: Option<usize>,
    /// Fails if a goal is missed.
    #[arg(long)]
    strict: bool,
    /// A smoke run, whose figures mean nothing.
    #[arg(long)]
    test: bool,
    /// Given by `cargo bench`. Without it, as under `cargo test --benches`, this is a smoke run.
    #[arg(long)]
    bench: bool,
}

/// The case that the others vary.
const MANY: Case = Case {
    name: "exact, many keys",
    about: "10,000 keys in turn, every call admitted;",
    quota: Quota::per_second(10_000).burst(1_000),
    tasks: 256,
    threads: 1,
    keys: Some(10_000),
    row: 1,
    admitted: 1,
    who: &[Who::Sluicegate, Who::Evalsha, Who::Multiplexed, Who::Gcra, Who::Get],
    goals: &[
        Goal::Rate { least: 0.9, against: Who::Evalsha },
        Goal::Rate { least: 1.3, against: Who::Gcra },
    ],
};

fn cases() -> Vec<Case> {
    vec![
        MANY,
        Case { threads: 2, ..MANY },
        Case {
            name: "exact, half denied",
            about: "As many keys, each asked for twice, with a burst of one;",
            quota: Quota::per_day(1).burst(1),
            keys: None,
            row: 2,
            who: &[Who::Sluicegate, Who::Evalsha, Who::Multiplexed, Who::Gcra],
            ..MANY
        },
        Case {
            name: "exact, one key",
            about: "A hot key, every call admitted;",
            quota: Quota::per_second(1_000_000).burst(1_000_000),
            keys: Some(1),
            who: &[Who::Sluicegate, Who::Uncombined, Who::Evalsha, Who::Gcra, Who::Get],
            goals: &[Goal::Rate { least: 3.0, against: Who::Uncombined }],
            ..MANY
        },
        Case {
            name: "exact, alone",
            about: "64 keys in turn, every call admitted;",
            tasks: 1,
            keys: Some(64),
            goals: &[Goal::P99 { most: 1.5, against: Who::Get }],
            ..MANY
        },
    ]
}

fn main() -> ExitCode {
    let args = Args::parse();
    let quick = args.test || !args.bench;
    let rounds = args.rounds.unwrap_or(if quick { 2 } else { 21 }).max(1);
    if quick {
        println!("**A smoke run: these figures say nothing.**\n");
    }
    let mut missed = Vec::new();
    for case in cases().iter().filter(|case| case.name.contains(&args.filter)) {
        // A single task waits for each answer.
        let full = if case.tasks == 1 { 4_096 } else { 16_384 };
        missed.extend(case.run(Effort { rounds, calls: if quick { 512 } else { full } }));
    }
    if "memory".contains(&args.filter) {
        missed.extend(redis_memory::print(if quick { 1_000 } else { 100_000 }));
    }
    if "leased".contains(&args.filter) {
        missed.extend(redis_leased::print(if quick { 1 } else { rounds.min(11) }));
    }
    if "away".contains(&args.filter) {
        missed.extend(redis_away::print(Duration::from_millis(if quick { 100 } else { 2_000 })));
    }
    println!("### Summary\n\nGoals missed:{}\n", if missed.is_empty() { " none" } else { "" });
    for goal in &missed {
        println!("- {goal}");
    }
    if args.strict && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
