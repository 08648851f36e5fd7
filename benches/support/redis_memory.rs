//! The memory of a key in the server.

use crate::redis_peers::{Peer, Setup, Who};
use crate::redis_turns::runtime;
use crate::server::Server;
use sluicegate::Quota;

const MOST: f64 = 140.0;
/// The bytes of a key's whole name, at which the goal is measured.
const NAME: usize = 23;
/// The number of tasks that ask at once.
const TASKS: usize = 64;

/// Prints the table. Returns the goals that were missed.
pub(crate) fn print(keys: usize) -> Vec<String> {
    println!("### Memory of the server\n");
    println!(
        "{keys} keys, each lacking a token, and their expiry. `MEMORY USAGE` is that of one key; \
         `used_memory` is its growth for each key.\n"
    );
    println!("| | bytes of a key's name | `MEMORY USAGE` | `used_memory` |");
    println!("| --- | ---: | ---: | ---: |");
    // More digits make up for what the limiter adds to a key's name.
    let short = |around: usize, number: usize| {
        format!("{number:0width$}", width = NAME.saturating_sub(around))
    };
    let long = |_, number: usize| format!("user:0193a6f0-5d3c-7b8e-9f10-{number:012x}");
    let ours = row(keys, Who::Sluicegate, "s", short);
    row(keys, Who::Sluicegate, "sluicegate", long);
    row(keys, Who::Gcra, "s", short);
    println!();
    let text = format!("at most {MOST:.0} bytes a key with a name of {NAME}");
    let verdict = if ours <= MOST { "met" } else { "**missed**" };
    println!("- Goal: {text}: {ours:.0}, {verdict}\n");
    (ours > MOST).then(|| format!("memory of the server: {text}: {ours:.0}")).into_iter().collect()
}

/// Prints the row of a kind of keys. Returns the larger of its two figures.
fn row(keys: usize, who: Who, prefix: &'static str, name: fn(usize, usize) -> String) -> f64 {
    let server = Server::start(&[]);
    // A token a day: no key expires during the run.
    let setup = Setup { server: &server, quota: Quota::per_day(10).burst(10), prefix };
    let runtime = runtime(1);
    let mut control = server.client();
    runtime.block_on(async {
        let around =
            setup.limiter(setup.builder(std::time::Duration::from_secs(10))).await.key("").len();
        let names: Vec<_> = (0..keys).map(|number| name(around, number)).collect();
        let peer = Peer::connect(who, setup, &names).await;
        peer.prepare(&mut control);
        let before = used(&mut control);
        let tasks = (0..TASKS).map(|task| {
            let mut peer = peer.clone();
            tokio::spawn(async move {
                for key in (task..keys).step_by(TASKS) {
                    assert!(peer.ask(key).await, "the bucket is full");
                }
            })
        });
        for task in futures_util::future::join_all(tasks).await {
            task.expect("a task ends");
        }
        let grown = (used(&mut control) - before) / keys as f64;
        let (mut length, mut usage) = (0, 0);
        for key in peer.keys() {
            let memory = redis::cmd("MEMORY").arg("USAGE").arg(&key).query::<u64>(&mut control);
            usage += memory.expect("the key is there");
            length = key.len();
        }
        let usage = usage as f64 / keys as f64;
        println!("| {} | {length} | {usage:.1} | {grown:.1} |", who.title());
        usage.max(grown)
    })
}

fn used(control: &mut redis::Connection) -> f64 {
    let info: redis::InfoDict =
        redis::cmd("INFO").arg("memory").query(control).expect("the server answers");
    info.get("used_memory").expect("a number of bytes")
}
