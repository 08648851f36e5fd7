//! The text that the program prints.

use crate::Key;
use crate::log::Log;
use crate::run::{Outcome, is_window};
use sluicegate::{Algorithm, Quota, QuotaError};
use std::fmt::Write;
use std::time::Duration;

/// The most characters of a key that are printed.
const WIDTH: usize = 40;

/// Prints a key for a terminal: without control characters, and shortened in the middle.
pub(crate) fn shown(key: &str) -> String {
    let escaped: Vec<char> = key.chars().flat_map(char::escape_debug).collect();
    if escaped.len() <= WIDTH {
        return escaped.into_iter().collect();
    }
    let half = (WIDTH - 1) / 2;
    let (start, end) = (&escaped[..half], &escaped[escaped.len() - half..]);
    start.iter().chain(&['…']).chain(end).collect()
}

fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Describes the log.
pub(crate) fn about(log: &Log, key: Key) -> String {
    let first = log.requests.first().map_or(0, |(at, _)| *at);
    let mut text = format!(
        "{} requests of {} {}, in {} from {}\n",
        log.requests.len(),
        log.keys.len(),
        match key {
            Key::Ip => "addresses",
            Key::User => "users",
            Key::Path => "paths",
            Key::Agent => "user agents",
        },
        span(log.span()),
        utc(first),
    );
    if log.skipped > 0 {
        let _ =
            writeln!(text, "{} of {} lines don't parse, and were left out", log.skipped, log.lines);
    }
    if log.listed > 0 {
        let _ = writeln!(
            text,
            "{} requests name several addresses; the first public one is taken for the client",
            log.listed
        );
    }
    if log.late > 0 {
        let by = span(log.late_by.unsigned_abs());
        let _ = writeln!(
            text,
            "{} lines were out of order, by up to {by}; replayed in order of time",
            log.late
        );
    }
    text
}

pub(crate) fn utc(at: i64) -> String {
    let time = chrono::DateTime::from_timestamp(at, 0);
    time.map_or_else(|| at.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn span(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Describes one algorithm's outcome, and the clients that it would have denied.
pub(crate) fn outcome(
    log: &Log,
    limit: Quota,
    algorithm: Algorithm,
    outcome: &Outcome,
    top: usize,
) -> String {
    let all = log.requests.len() as u64;
    let hit = outcome.clients.iter().filter(|(_, denied)| *denied > 0).count();
    let mut text = format!(
        "\n{limit} by {algorithm}: {} allowed, {} denied, {:.2} %; {hit} of {} limited\n",
        all - outcome.denied,
        outcome.denied,
        share(outcome.denied, all),
        log.keys.len(),
    );
    let worst = worst(outcome, top);
    if !worst.is_empty() {
        let _ =
            writeln!(text, "\n{:<WIDTH$} {:>9} {:>9} {:>8}", "who", "requests", "denied", "share");
        for key in &worst {
            let (requests, denied) = outcome.clients[*key];
            let who = shown(&log.keys[*key]);
            let share = share(denied, requests);
            let _ = writeln!(text, "{who:<WIDTH$} {requests:>9} {denied:>9} {share:>6.1} %");
        }
        if hit > worst.len() {
            let _ = writeln!(text, "... and {} more", hit - worst.len());
        }
    }
    text
}

/// The keys with the most denials, the worst first.
pub(crate) fn worst(outcome: &Outcome, top: usize) -> Vec<usize> {
    let mut keys: Vec<usize> =
        (0..outcome.clients.len()).filter(|key| outcome.clients[*key].1 > 0).collect();
    keys.sort_by_key(|key| (std::cmp::Reverse(outcome.clients[*key].1), *key));
    keys.truncate(top);
    keys
}

/// Finds the tightest limits that would have denied no request.
pub(crate) fn tightest(
    limit: Quota,
    algorithm: Algorithm,
    burst: Option<u64>,
    count: Option<u64>,
) -> String {
    let mut text = "\nthe tightest limit that would have denied nobody:\n".to_owned();
    if let Some(quota) = burst.and_then(|burst| limit.try_burst(burst).ok()) {
        let _ = writeln!(text, "  at this rate, the smallest burst: {quota}");
    }
    let _ = match count.map(|count| counted(limit, algorithm, count)) {
        Some(Some(quota)) if is_window(algorithm) => writeln!(text, "  {quota}"),
        Some(Some(quota)) => writeln!(text, "  with this burst, the smallest rate: {quota}"),
        _ => writeln!(text, "  with this burst, none: more than it came within one second"),
    };
    text
}

fn counted(limit: Quota, algorithm: Algorithm, count: u64) -> Option<Quota> {
    let quota = Quota::new(count, limit.period()).ok()?;
    if is_window(algorithm) { Some(quota) } else { quota.try_burst(limit.burst_size()).ok() }
}

/// An algorithm's outcome and its tightest count, or the reason why it cannot hold the limit.
pub(crate) type Row = Result<(Outcome, Option<u64>), QuotaError>;

/// Compares all algorithms, side by side.
pub(crate) fn compared(log: &Log, limit: Quota, rows: &[(Algorithm, Row)]) -> String {
    let mut text = format!("\n{limit}, by each algorithm:\n\n");
    let _ = writeln!(
        text,
        "{:<15} {:>9} {:>9} {:>9} {:>9}   tightest that denies nobody",
        "", "allowed", "denied", "share", "limited"
    );
    let all = log.requests.len() as u64;
    for (algorithm, row) in rows {
        let (outcome, tightest) = match row {
            Ok(row) => row,
            Err(why) => {
                let _ = writeln!(text, "{algorithm:<15} {why}");
                continue;
            }
        };
        let hit = outcome.clients.iter().filter(|(_, denied)| *denied > 0).count();
        let tightest = tightest.and_then(|count| counted(limit, *algorithm, count));
        let _ = writeln!(
            text,
            "{:<15} {:>9} {:>9} {:>7.2} % {:>9}   {}",
            algorithm,
            all - outcome.denied,
            outcome.denied,
            share(outcome.denied, all),
            hit,
            tightest.map_or_else(|| "none with this burst".to_owned(), |quota| quota.to_string()),
        );
    }
    let period = limit.period();
    if limit.burst_size() != limit.count() {
        let _ = writeln!(
            text,
            "\nA window has no burst: it admits {} a {}.",
            limit.count(),
            name(period)
        );
    }
    let _ = writeln!(text, "\nWindows begin at multiples of a {} since 1970, UTC.", name(period));
    text
}

/// The period in the words of a quota: "minute", "90 s".
fn name(period: Duration) -> String {
    let quota = Quota::new(1, period).map(|quota| quota.to_string()).unwrap_or_default();
    quota.split_once('/').map_or(quota.clone(), |(_, period)| period.to_owned())
}
