//! Medians and Markdown.

use crate::harness::{Case, Kind, Measured};
use crate::spread::Spread;

/// The outcome of a case's table, for the summary and the exit status.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) missed: Vec<String>,
    pub(crate) lost: Vec<String>,
}

/// Prints a case's table, its goals, and the rows where this crate loses.
pub(crate) fn print(case: &Case, measured: &Measured) -> Verdict {
    let index = |name: &str| {
        let found = case.contestants.iter().position(|contestant| contestant.name == name);
        found.expect("goals and baselines name contestants of their case")
    };
    let ratio = |row: usize, against: usize| {
        Spread::of(measured.nanos[row].iter().zip(&measured.nanos[against]).map(|(a, b)| a / b))
    };
    let threads = if case.threads == 1 { "thread" } else { "threads" };
    let rounds = measured.nanos[0].len();
    if case.contestants.iter().any(|contestant| contestant.threads.is_some()) {
        println!("### {}\n", case.name);
    } else {
        println!("### {}, {} {threads}\n", case.name, case.threads);
    }
    println!(
        "{} {rounds} rounds; each thread had {:.0} % of a processor, and {:.0} % of the turns were \
         disturbed by other processes.\n",
        case.about,
        measured.share * 100.0,
        measured.disturbed * 100.0
    );
    if case.threads > 1 && measured.disturbed > 0.25 {
        println!("**Not to be trusted: threads that other processes held up did not contend.**\n");
    }
    println!("| | ns a call | quartiles | least to most | x {} | quartiles |", case.baseline);
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let baseline = index(case.baseline);
    for (row, contestant) in case.contestants.iter().enumerate() {
        let nanos = Spread::of(measured.nanos[row].iter().copied());
        let times = ratio(row, baseline);
        let name = match contestant.kind {
            Kind::Ours => format!("**{}**", contestant.name),
            Kind::Peer => contestant.name.to_owned(),
            Kind::Floor => format!("_{}_", contestant.name),
        };
        println!(
            "| {name} | {:.2} | {:.2} to {:.2} | {:.2} to {:.2} | {:.2} | {:.2} to {:.2} |",
            nanos.median,
            nanos.quartiles.0,
            nanos.quartiles.1,
            nanos.least,
            nanos.most,
            times.median,
            times.quartiles.0,
            times.quartiles.1,
        );
    }
    println!();
    let mut verdict = Verdict::default();
    for goal in &case.goals {
        let reached = ratio(index(goal.row), index(goal.against)).median;
        let text = format!("{} at most {:.2} x {}", goal.row, goal.most, goal.against);
        let met = if reached <= goal.most { "met" } else { "**missed**" };
        println!("- Goal: {text}: {reached:.2}, {met}");
        if reached > goal.most {
            verdict.missed.push(format!("{}, {}: {text}: {reached:.2}", case.name, case.threads));
        }
    }
    // Medians of ratios are not transitive, so look at every pair.
    for (row, ours) in case.contestants.iter().enumerate().filter(|(_, c)| c.kind == Kind::Ours) {
        for (other, peer) in case.contestants.iter().enumerate() {
            let times = ratio(row, other).median;
            if peer.kind == Kind::Peer && peer.threads == ours.threads && times > 1.0 {
                let text = format!("{} takes {times:.2} x {}", ours.name, peer.name);
                println!("- Loses: {text}");
                verdict.lost.push(format!("{}, {}: {text}", case.name, case.threads));
            }
        }
    }
    println!();
    verdict
}

/// Prints the outcome of all tables.
pub(crate) fn summary(verdict: &Verdict) {
    println!("### Summary\n");
    let print = |title: &str, lines: &[String]| {
        let none = if lines.is_empty() { " none" } else { "" };
        println!("{title}:{none}\n");
        for line in lines {
            println!("- {line}");
        }
        if !lines.is_empty() {
            println!();
        }
    };
    print("Goals missed", &verdict.missed);
    print("Rows where sluicegate loses", &verdict.lost);
}
