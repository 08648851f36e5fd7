//! Eight processes that lease from one limit, and are killed at any moment: each window of what
//! they admitted is proved.

use crate::support::server::Server;
use crate::support::windows_law::{Admission, worst_window};
use sluicegate::{Clock, MonotonicClock, Quota, RedisLimiter};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NODES: u64 = 8;
const KEYS: u64 = 4;
const QUOTA: Quota = Quota::per_second(2_000).burst(800);
const SECONDS: u64 = 5;
/// As the system's clocks are kept right they may differ by so much in their pace.
const SLEW: f64 = 1.0005;

/// Of a process that is one of the nodes: the server, its log, and a number of its own.
const NODE: &str = "SLUICEGATE_TEST_NODE";

/// 32 bytes: the key, the nanoseconds before and after, the tokens.
fn record(key: u64, admission: &Admission) -> Vec<u8> {
    [key, admission.before, admission.after, admission.granted].map(u64::to_le_bytes).concat()
}

fn read(log: &Path) -> Vec<(u64, Admission)> {
    let bytes = std::fs::read(log).unwrap();
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    // A killed process may have left a part of a record: that request was not served.
    let records = bytes.chunks_exact(32).map(|record| {
        let [key, before, after, granted] = [0, 8, 16, 24].map(|at| number(&record[at..at + 8]));
        (key, Admission { before, after, granted })
    });
    records.collect()
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
    *state >> 33
}

/// One of the nodes, until it is killed. What it admits it serves by writing it down: so all that
/// is served is in the log, and of a token that was taken and not written down nobody has had
/// anything.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn node(server: &str, log: &str, mut chance: u64) {
    let patient = Duration::from_secs(20);
    let builder = RedisLimiter::builder(QUOTA).deadline(patient).connect_timeout(patient).leased();
    let builder = builder.nodes(NODES).lease_for(Duration::from_millis(150));
    let limiter = builder.connect(server).await.unwrap();
    let mut log = File::create(log).unwrap();
    let (clock, began) = (MonotonicClock::new(), Instant::now());
    // Should the test itself be killed.
    while began.elapsed() < Duration::from_secs(60) {
        // One key for a while, so that leases of others are left over.
        let key = random(&mut chance) % KEYS;
        let name = format!("key {key}");
        let (turn, wait) = (Instant::now(), Duration::from_millis(20 + random(&mut chance) % 200));
        while turn.elapsed() < wait {
            let n = 1 + random(&mut chance) % 3;
            let before = clock.nanos();
            let granted = match random(&mut chance) % 8 {
                0 => limiter.check_n(&name, n).await.is_ok(),
                _ => limiter.try_check_n(&name, n).is_ok(),
            };
            if granted {
                let admission = Admission { before, after: clock.nanos(), granted: n };
                log.write_all(&record(key, &admission)).unwrap();
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// This test once more, as a node.
fn start(server: &Server, folder: &Path, number: u64) -> (Child, PathBuf) {
    let log = folder.join(number.to_string());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "processes::law_1_every_window_of_processes_that_are_killed",
        "--nocapture",
    ]);
    command.env(NODE, format!("{}\n{}\n{number}", server.url(), log.display()));
    (command.stdout(Stdio::null()).spawn().unwrap(), log)
}

/// `admitted <= burst + rate * W + nodes * max_lease` in every window.
///
/// A killed process's lease dies with it and counts no longer. What it was giving back does, until
/// Redis has it: so the next process starts after that.
#[test]
fn law_1_every_window_of_processes_that_are_killed() {
    if let Ok(node_of) = std::env::var(NODE) {
        let parts: Vec<_> = node_of.split('\n').collect();
        return node(parts[0], parts[1], parts[2].parse().unwrap());
    }
    let server = Server::start(&[]);
    let mut client = server.client();
    let folder = tempfile::tempdir().unwrap();
    let mut running: Vec<_> = (0..NODES).map(|i| start(&server, folder.path(), i)).collect();
    let (mut logs, mut number, mut chance) = (Vec::new(), NODES, 0x9E37_79B9_7F4A_7C15);
    let began = Instant::now();
    let admits = |log: &PathBuf| std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
    while began.elapsed() < Duration::from_secs(SECONDS) {
        // Not to wait for anything: to choose the moment of a death.
        std::thread::sleep(Duration::from_micros(100_000 + random(&mut chance) % 150_000));
        let victim = random(&mut chance) as usize % running.len();
        if !admits(&running[victim].1) {
            continue;
        }
        let (mut child, log) = running.swap_remove(victim);
        child.kill().unwrap();
        child.wait().unwrap();
        logs.push(log);
        for _ in 0..2 {
            redis::cmd("PING").exec(&mut client).unwrap();
        }
        running.push(start(&server, folder.path(), number));
        number += 1;
    }
    for (mut child, log) in running {
        child.kill().unwrap();
        child.wait().unwrap();
        logs.push(log);
    }
    assert!(number > NODES + 5, "{} were killed", number - NODES);

    let mut keys: HashMap<u64, Vec<Admission>> = HashMap::new();
    for (key, admission) in logs.iter().filter(|log| admits(log)).flat_map(|log| read(log)) {
        keys.entry(key).or_default().push(admission);
    }
    assert_eq!(keys.len() as u64, KEYS);
    let max_lease = QUOTA.burst_size() / (2 * NODES);
    let most = (QUOTA.burst_size() + NODES * max_lease) as f64;
    let rate = QUOTA.count() as f64 / 1e9;
    for (key, log) in &keys {
        let worst = worst_window(log, rate * SLEW);
        let (first, last) = (log.iter().map(|a| a.before).min(), log.iter().map(|a| a.after).max());
        let seconds = (last.unwrap() - first.unwrap()) as f64 / 1e9;
        let admitted = log.iter().map(|a| a.granted).sum::<u64>() as f64;
        assert!(worst <= most + 1e-3, "key {key}: {worst} in a window, {most} are permitted");
        // What was lost with the killed, and the moments in which leases were on their way, are
        // less than half.
        assert!(admitted * 2.0 > rate * 1e9 * seconds, "key {key}: {admitted} in {seconds} s");
    }
}
