//! Many processes on one table, some of them killed: the workers are the example `prefork`.

use crate::support::windows_law::{Admission, worst_window};
use sluicegate::{KeyedLimiter, Quota};
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const KEYS: u64 = 1_000;
const LIMIT: &str = "50/second burst 20";

/// The example beside this test's own folder.
fn prefork() -> Command {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let program: PathBuf = folder.join("examples").join("prefork");
    assert!(program.exists(), "run `cargo build --examples` first: no {}", program.display());
    Command::new(program)
}

fn worker(number: u64, file: &Path, limit: &str, keys: u64, more: &[&str]) -> Child {
    let mut command = prefork();
    command.arg("--worker").arg(number.to_string()).arg("--file").arg(file);
    command.arg("--limit").arg(limit).arg("--keys").arg(keys.to_string()).args(more);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads all that a worker says, while it says it.
fn listen(child: &mut Child) -> thread::JoinHandle<String> {
    let mut out = child.stdout.take().unwrap();
    thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text
    })
}

/// A killed worker's last line may be cut short: that admission is left out, which only makes the
/// law easier to keep by one.
fn admissions(text: &str) -> Vec<(u64, Admission)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| {
        let figures: Vec<u64> = line.split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [key, before, after, granted] = figures[..] else { panic!("a worker said {line:?}") };
        (key, Admission { before, after, granted })
    };
    whole.lines().map(parse).collect()
}

/// Eight processes hammer a thousand keys; most are killed at odd moments and others take their
/// place; then a ninth goes on. The log of all of them is on the clock that the table uses, so the
/// law is held to the token.
#[test]
fn law_1_every_key_among_processes_that_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table");
    let start = |number, seconds: &str| {
        let mut child = worker(number, &file, LIMIT, KEYS, &["--log", "--seconds", seconds]);
        let said = listen(&mut child);
        (child, said)
    };
    let mut running: Vec<_> = (0..8).map(|number| start(number, "3.5")).collect();
    let mut texts = Vec::new();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..24 {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        // Not to wait for anything: to choose the moment of a death.
        thread::sleep(Duration::from_micros(50_000 + (random >> 40) % 70_000));
        let victim = (random >> 33) as usize % running.len();
        let (mut child, said) = running.swap_remove(victim);
        child.kill().unwrap();
        child.wait().unwrap();
        texts.push(said.join().unwrap());
        running.push(start(100 + round, "1"));
    }
    for (mut child, said) in running {
        assert!(child.wait().unwrap().success());
        texts.push(said.join().unwrap());
    }
    // The ninth, to whom all keys are as the others left them.
    let (mut ninth, said) = start(1_000, "0.3");
    assert!(ninth.wait().unwrap().success());
    texts.push(said.join().unwrap());

    let mut logs: HashMap<u64, Vec<Admission>> = HashMap::new();
    for (key, admission) in texts.iter().flat_map(|text| admissions(text)) {
        logs.entry(key).or_default().push(admission);
    }
    assert_eq!(logs.len() as u64, KEYS, "every key was asked for");
    for (key, log) in &logs {
        let worst = worst_window(log, 50.0 / 1e9);
        assert!(worst <= 20.0 + 1e-3, "key {key}: {worst} in a window");
    }
    let admitted: usize = logs.values().map(Vec::len).sum();
    // The bursts, and a second's flow at least.
    assert!(admitted as u64 > KEYS * 70, "{admitted} admitted");

    let quota: Quota = LIMIT.parse().unwrap();
    let alone = KeyedLimiter::<u64>::open_shared(&file, quota, 4 * KEYS as usize).unwrap();
    assert!(alone.reclaimed() <= 24, "a killed worker strands a slot at most");
    assert_eq!(alone.evictions(), 0);
    assert!((0..KEYS).all(|key| alone.check_n(&key, 21).is_err()));
}

/// Two processes race to make the table, 200 times: one wins, and both use it.
#[test]
fn two_processes_race_to_make_the_table() {
    let folder = tempfile::tempdir().unwrap();
    for turn in 0..200 {
        let file = folder.path().join(turn.to_string());
        let start = |number| worker(number, &file, "10/hour", 1, &["--calls", "10"]);
        let racers = [start(1), start(2)];
        let granted: u64 = racers
            .into_iter()
            .map(|racer| {
                let output = racer.wait_with_output().unwrap();
                assert!(output.status.success(), "turn {turn}");
                let text = String::from_utf8(output.stdout).unwrap();
                text.split(' ').next().unwrap().parse::<u64>().unwrap()
            })
            .sum();
        assert_eq!(granted, 10, "turn {turn}: twenty asked for ten");
    }
}

/// The example as its user runs it.
#[test]
fn prefork_adds_up_to_one_limit() {
    let run = prefork()
        .args(["--workers", "3", "--limit", "7/hour burst 30", "--keys", "2", "--seconds", "0.2"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let text = String::from_utf8(run.stdout).unwrap();
    let last = text.lines().last().unwrap();
    assert_eq!(last, "together: 60 granted, by one limit of 7/hour burst 30 for each of 2 keys");
    assert_eq!(text.lines().count(), 4);
    let wrong = prefork().args(["--file", "/", "--workers", "1"]).output().unwrap();
    assert!(!wrong.status.success());
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("error: not a regular file, or a symbolic link"), "{said}");
}
