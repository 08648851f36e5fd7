//! One limit for all worker processes of a machine, without a server, as under gunicorn or nginx.
//!
//! ```sh
//! cargo run --release --example prefork -- --workers 4 --limit "1000/second burst 100" --seconds 2
//! ```
//!
//! The program starts worker processes that all ask as fast as they can for the same keys, each
//! through its own mapping of one file. It adds up what they were granted.

use clap::Parser;
use sluicegate::{Clock, KeyedLimiter, MonotonicClock, Quota};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Worker processes that share one limit for each key.
#[derive(Clone, Debug, Parser)]
struct Flags {
    /// Worker processes.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// The limit of each key, as in "1000/second burst 100".
    #[arg(long, default_value = "1000/second burst 100")]
    limit: Quota,
    /// Keys that all workers ask for, each in an order of its own.
    #[arg(long, default_value_t = 1)]
    keys: u64,
    /// Seconds for which the workers ask.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The table's file [default: one in the folder for temporary files, removed at the end].
    #[arg(long)]
    file: Option<PathBuf>,
    /// Be the worker of this number. Print what it was granted.
    #[arg(long, hide = true)]
    worker: Option<u64>,
    /// Print each admission of a worker: key, nanoseconds before and after, tokens.
    #[arg(long, hide = true)]
    log: bool,
    /// Ask at most this number of times, as a worker.
    #[arg(long, hide = true, default_value_t = u64::MAX)]
    calls: u64,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let done = match (flags.worker, &flags.file) {
        (Some(worker), Some(file)) => work(&flags, file, worker),
        _ => supervise(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Four times the keys, so that no key evicts another. With twice the keys, 2 in 100 million first
/// touches do.
fn capacity(flags: &Flags) -> usize {
    usize::try_from(flags.keys).unwrap_or(usize::MAX).saturating_mul(4)
}

fn work(flags: &Flags, file: &Path, worker: u64) -> Result<(), Box<dyn Error>> {
    let limiter = KeyedLimiter::<u64>::open_shared(file, flags.limit, capacity(flags))?;
    let clock = MonotonicClock::new();
    let time = Duration::try_from_secs_f64(flags.seconds)?;
    let end = clock.nanos().saturating_add(u64::try_from(time.as_nanos())?);
    // Writes are small, so that a worker that is killed has printed nearly all that it was granted.
    let mut out = std::io::LineWriter::with_capacity(512, std::io::stdout().lock());
    let (mut granted, mut denied, mut random) = (0, 0_u64, worker.wrapping_add(1));
    for _ in 0..flags.calls {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let key = (random >> 33) % flags.keys.max(1);
        let before = clock.nanos();
        if before >= end {
            break;
        }
        match limiter.check(&key) {
            Ok(grant) => {
                granted += grant.granted();
                if flags.log {
                    writeln!(out, "{key} {before} {} {}", clock.nanos(), grant.granted())?;
                }
            }
            Err(_) => denied += 1,
        }
    }
    if !flags.log {
        writeln!(out, "{granted} {denied}")?;
    }
    Ok(())
}

fn supervise(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let own = std::env::temp_dir().join(format!("sluicegate-prefork-{}", std::process::id()));
    let file = flags.file.as_ref().unwrap_or(&own);
    let workers = (0..flags.workers).map(|worker| {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--worker").arg(worker.to_string()).arg("--file").arg(file);
        command.arg("--limit").arg(flags.limit.to_string());
        command.arg("--keys").arg(flags.keys.to_string());
        command.arg("--seconds").arg(flags.seconds.to_string());
        command.stdout(Stdio::piped()).spawn()
    });
    let workers = workers.collect::<Result<Vec<_>, _>>()?;
    let mut total = 0;
    for (number, mut worker) in workers.into_iter().enumerate() {
        let mut line = String::new();
        if let Some(out) = worker.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if !worker.wait()?.success() {
            return Err(format!("worker {number} failed").into());
        }
        let mut figures = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(granted)), Some(Ok(denied))) = (figures.next(), figures.next()) else {
            return Err(format!("worker {number} said {line:?}").into());
        };
        println!("worker {number}: {granted} granted, {denied} denied");
        total += granted;
    }
    if flags.file.is_none() {
        std::fs::remove_file(&own)?;
    }
    println!(
        "together: {total} granted, by one limit of {} for each of {} keys",
        flags.limit, flags.keys
    );
    Ok(())
}
