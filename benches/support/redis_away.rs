//! The time of a decision while Redis is away.

use crate::redis_peers::Setup;
use crate::redis_turns::{micros, runtime};
use crate::server::Server;
use sluicegate::{Quota, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const TASKS: usize = 256;
/// The deadline of the limiter.
const DEADLINE: Duration = Duration::from_millis(5);
const SLACK: Duration = Duration::from_millis(1);
/// The longest time of a decision that Redis is not asked for.
const AT_ONCE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
enum Fault {
    /// The port refuses connections.
    Killed,
    /// The port accepts what it is sent, and does not answer.
    Stopped,
}

/// The times of decisions that ended after the fault.
#[derive(Default)]
struct Away {
    /// Decisions that began before the limiter took Redis to be away.
    before: Vec<Duration>,
    after: Vec<Duration>,
}

/// Prints the table. Returns the goals that were missed.
pub(crate) fn print(lasting: Duration) -> Vec<String> {
    println!("### Redis away, {TASKS} tasks\n");
    println!(
        "The server is killed, or stopped, under the load of all tasks, for {lasting:?}. The table \
         has the decisions that ended while it was away, each by this process's share, with a \
         deadline of {DEADLINE:?}. A task asks again a millisecond after a decision.\n"
    );
    println!("| | decisions | p50, ms | p99, ms | longest, ms |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let (mut missed, mut goals) = (Vec::new(), Vec::new());
    for (name, fault) in [("killed", Fault::Killed), ("stopped", Fault::Stopped)] {
        let Away { before, after } = measure(fault, lasting);
        for (when, mut times) in [("before it is given up", before), ("after", after)] {
            times.sort_unstable();
            let Some(last) = times.len().checked_sub(1) else { continue };
            let at = |share: f64| times[(share * last as f64) as usize];
            let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| micros(at(share)) / 1e3);
            println!("| {name}, {when} | {} | {p50:.3} | {p99:.3} | {longest:.3} |", times.len());
            let (what, time, most) = match when {
                "after" => ("p99", at(0.99), AT_ONCE),
                _ => ("longest", at(1.0), DEADLINE + SLACK),
            };
            let met = time <= most;
            let text =
                format!("{name}, {when}: {what} at most {most:?}: {:.2} ms", micros(time) / 1e3);
            goals.push(format!("{text}, {}", if met { "met" } else { "**missed**" }));
            if !met {
                missed.push(format!("Redis away: {text}"));
            }
        }
    }
    println!();
    for goal in goals {
        println!("- Goal: {goal}");
    }
    println!();
    missed
}

fn measure(fault: Fault, lasting: Duration) -> Away {
    let mut server = Server::start(&[]);
    let runtime = runtime(1);
    let quota = Quota::per_second(1_000_000).burst(1_000_000);
    let setup = Setup { server: &server, quota, prefix: "sluicegate" };
    let limiter = runtime.block_on(setup.limiter(setup.builder(DEADLINE)));
    let [gone, done] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (limiter, gone, done) = (limiter.clone(), gone.clone(), done.clone());
            runtime.spawn(async move {
                let key = format!("user:{task}");
                let mut away = Away::default();
                while !done.load(Relaxed) {
                    let (began, given_up) = (Instant::now(), limiter.is_away());
                    let grant = limiter.check(&key).await.expect("enough for all");
                    let took = began.elapsed();
                    if grant.source() == Source::Redis {
                        continue;
                    }
                    // An error before the fault may have been a hiccup of the machine.
                    if gone.load(Relaxed) {
                        if given_up { &mut away.after } else { &mut away.before }.push(took);
                    }
                    tokio::time::sleep(SLACK).await;
                }
                away
            })
        })
        .collect();
    // The server works for a while before it fails.
    runtime.block_on(async { tokio::time::sleep(lasting / 4).await });
    match fault {
        Fault::Killed => server.kill(),
        Fault::Stopped => server.pause(),
    }
    gone.store(true, Relaxed);
    runtime.block_on(async { tokio::time::sleep(lasting).await });
    done.store(true, Relaxed);
    let mut all = Away::default();
    for task in runtime.block_on(futures_util::future::join_all(tasks)) {
        let away = task.expect("a task ends");
        all.before.extend(away.before);
        all.after.extend(away.after);
    }
    if matches!(fault, Fault::Stopped) {
        server.go_on();
    }
    all
}
