//! The memory of a key, and the keys that a table of that size loses.

use crate::keys::{governor_quota, mix, text};
use sluicegate::{KeyedLimiter, Quota};
use std::hash::Hash;
use std::hint::black_box;
use std::process::Command;

/// Bytes of a key, without the table's fixed part.
const BYTES: f64 = 24.0;
/// Bytes that a table of any size may have in addition.
const FIXED: f64 = 4_096.0;
/// The share of first touches that may evict another key.
const EVICTING: f64 = 0.003;
/// The least number of keys that stands out from the rest of a process's memory.
const ENOUGH: u64 = 100_000;

/// A table, filled with as many keys as a process is told.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Table {
    Sluicegate,
    GovernorU64,
    GovernorString,
}

/// Prints the table.
///
/// # Panics
///
/// A table is larger, or loses more keys, than promised.
pub(crate) fn print(capacities: &[u64]) {
    println!("### keyed memory\n");
    println!(
        "Tables filled to their capacity with distinct random keys that all stay active; resident \
         memory of a process of its own, as the system counts it.\n"
    );
    println!("| | keys | bytes a key | resident bytes a key | first touches that evict |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for keys in capacities {
        let limiter = sluicegate(*keys);
        assert!(limiter.capacity() as u64 >= *keys);
        let bytes = limiter.memory() as f64;
        let evicting = limiter.evictions() as f64 / *keys as f64;
        println!(
            "| **sluicegate** | {keys} | {:.1} | {} | {:.3} % |",
            bytes / *keys as f64,
            measured("sluicegate", *keys),
            evicting * 100.0
        );
        assert!(bytes <= BYTES * *keys as f64 + FIXED, "{bytes} bytes for {keys} keys");
        // With few keys, one or two more evictions are chance.
        let most = EVICTING * *keys as f64 + if *keys < ENOUGH { 8.0 } else { 0.0 };
        assert!(evicting * *keys as f64 <= most, "{evicting} of {keys} first touches evicted");
    }
    for keys in capacities.iter().filter(|keys| **keys >= ENOUGH) {
        println!("| governor, u64 | {keys} | | {} | none |", measured("governor-u64", *keys));
        println!("| governor, String | {keys} | | {} | none |", measured("governor-string", *keys));
    }
    println!();
}

/// Fills a table, and returns how many bytes of memory that took.
pub(crate) fn fill(table: Table, keys: u64) -> Option<u64> {
    match table {
        Table::Sluicegate => growth(|| sluicegate(keys)),
        Table::GovernorU64 => growth(|| governor(keys, mix)),
        Table::GovernorString => growth(|| governor(keys, text)),
    }
}

fn sluicegate(keys: u64) -> KeyedLimiter<u64> {
    // A token a day: no bucket is full again during the run.
    let limiter = KeyedLimiter::new(Quota::per_day(1).burst(10), keys as usize);
    assert!((0..keys).all(|key| limiter.check(&mix(key)).is_ok()));
    limiter
}

fn governor<K: Hash + Eq + Clone>(keys: u64, key: fn(u64) -> K) -> impl Sized {
    let limiter = governor::RateLimiter::dashmap(governor_quota());
    assert!((0..keys).all(|number| limiter.check_key(&key(number)).is_ok()));
    limiter
}

/// Measures the bytes of a key in a process of its own. In this process, memory that was free
/// already would not be counted.
fn measured(table: &str, keys: u64) -> String {
    if keys < ENOUGH {
        return String::new();
    }
    let program = std::env::current_exe().expect("this program has a path");
    let output =
        Command::new(program).args(["--fill", table, "--keys", &keys.to_string()]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let bytes = text.ok().and_then(|text| text.trim().parse::<f64>().ok());
    bytes.map_or_else(String::new, |bytes| format!("{:.1}", bytes / keys as f64))
}

fn growth<T>(make: impl FnOnce() -> T) -> Option<u64> {
    let before = resident()?;
    let made = black_box(make());
    let after = resident()?;
    drop(made);
    Some(after.saturating_sub(before))
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibi| kibi * 1024)
}
