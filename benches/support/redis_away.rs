//! How long a decision takes while Redis is away.

use crate::redis_peers::Setup;
use crate::redis_turns::{micros, runtime};
use crate::server::Server;
use sluicegate::{Quota, RedisError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const TASKS: usize = 256;
/// The limiter's own.
const DEADLINE: Duration = Duration::from_millis(20);
const SLACK: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
enum Fault {
    /// Its port refuses.
    Killed,
    /// Its port takes what it is sent, and does not answer.
    Stopped,
}

/// Decisions that began after the fault, and how long each took.
struct Away {
    times: Vec<Duration>,
    /// Whose time was over.
    late: usize,
}

/// Prints the table. Says which goals were missed.
pub(crate) fn print(lasting: Duration) -> Vec<String> {
    println!("### Redis away, {TASKS} tasks\n");
    println!(
        "Killed, or stopped, under the load of all tasks, for {lasting:?}: the decisions that began while it was away, \
         with a deadline of {DEADLINE:?}. A task asks again a millisecond after it has no answer.\n"
    );
    println!("| | decisions | of which `Timeout` | p50, ms | p99, ms | longest, ms |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut missed = Vec::new();
    let mut goals = Vec::new();
    for (name, fault) in [("killed", Fault::Killed), ("stopped", Fault::Stopped)] {
        let away = measure(fault, lasting);
        let at = |share: f64| away.times[(share * (away.times.len() - 1) as f64) as usize];
        let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| micros(at(share)) / 1e3);
        println!(
            "| {name} | {} | {} | {p50:.2} | {p99:.2} | {longest:.2} |",
            away.times.len(),
            away.late
        );
        let text = format!("{name}: p99 at most {:?}", DEADLINE + SLACK);
        let met = at(0.99) <= DEADLINE + SLACK;
        goals.push(format!("{text}: {p99:.2} ms, {}", if met { "met" } else { "**missed**" }));
        if !met {
            missed.push(format!("Redis away: {text}: {p99:.2} ms"));
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
    let limiter = runtime.block_on(setup.limiter(DEADLINE));
    let [gone, done] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (limiter, gone, done) = (limiter.clone(), gone.clone(), done.clone());
            runtime.spawn(async move {
                let key = format!("user:{task}");
                let mut away = Away { times: Vec::new(), late: 0 };
                while !done.load(Relaxed) {
                    let (began, was_gone) = (Instant::now(), gone.load(Relaxed));
                    let answer = limiter.check(&key).await;
                    if was_gone {
                        away.times.push(began.elapsed());
                        away.late += usize::from(matches!(answer, Err(RedisError::Timeout(_))));
                        let error = answer.expect_err("nobody can answer");
                        assert!(error.is_degraded(), "{error}");
                        tokio::time::sleep(SLACK).await;
                    }
                }
                away
            })
        })
        .collect();
    // The server is at work before it goes.
    runtime.block_on(async { tokio::time::sleep(lasting / 4).await });
    match fault {
        Fault::Killed => server.kill(),
        Fault::Stopped => server.pause(),
    }
    gone.store(true, Relaxed);
    runtime.block_on(async { tokio::time::sleep(lasting).await });
    done.store(true, Relaxed);
    let mut all = Away { times: Vec::new(), late: 0 };
    for task in runtime.block_on(futures_util::future::join_all(tasks)) {
        let away = task.expect("a task ends");
        all.times.extend(away.times);
        all.late += away.late;
    }
    if matches!(fault, Fault::Stopped) {
        server.go_on();
    }
    all.times.sort_unstable();
    all
}
