//! The replay example, as its user runs it: totals equal a count of this test's own, and bad input
//! gets a clear message.

use crate::support::replay::{program, run_on};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(super) const LOG: &str = include_str!("../data/access.log");

/// What it printed about the synthetic log.
pub(super) fn said(flags: &[&str]) -> String {
    let output = run_on(LOG.as_bytes(), flags);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Seconds and addresses, read by this test's own few lines, in order of time.
fn requests() -> Vec<(i64, &'static str)> {
    let read = |line: &'static str| {
        let (head, rest) = line.split_once(" [01/Jan/2026:").unwrap();
        let (time, zone) = rest.split_once(']').unwrap().0.split_once(' ').unwrap();
        let number = |text: &str| text.parse::<i64>().unwrap();
        let hms: Vec<i64> = time.split(':').map(number).collect();
        let offset = number(&zone[..3]) * 3_600 + number(&zone[3..]) * 60;
        (hms[0] * 3_600 + hms[1] * 60 + hms[2] - offset, head.split(' ').next().unwrap())
    };
    let mut requests: Vec<_> = LOG.lines().map(read).collect();
    requests.sort_by_key(|(at, _)| *at);
    requests
}

/// What is known of a client: when last seen, and what there was. Tokens times the period, or of
/// windows the number of the last, what the one before it and it admitted, whether that goes at the
/// rate, and whether the limit was reached.
#[derive(Clone, Copy, Default)]
struct State {
    seen: i64,
    tokens: i64,
    counts: [i64; 2],
    paced: bool,
    reached: bool,
}

impl State {
    /// A window further on.
    fn next(self, count: i64, period: i64) -> Self {
        let full = (self.reached || self.counts[1] >= (count - 1) * period)
            && self.counts[0] <= count * period;
        let left = if self.paced { self.counts[0] - count * period } else { 0 } + self.counts[1];
        let paced = (self.paced || full) && left > 0;
        Self { counts: [left.max(0), 0], paced, reached: false, ..self }
    }

    /// The level after a part of the window.
    fn level(&self, passed: i64, count: i64, period: i64) -> i64 {
        let [previous, current] = self.counts;
        let goes = if self.paced { count * passed } else { previous * passed / period };
        (previous - goes).max(0) + current
    }
}

/// Denials of each address by exact arithmetic on whole seconds: `count` in `period` seconds.
/// Counts are times the period.
fn denials(algorithm: &str, count: i64, period: i64, burst: i64) -> HashMap<&'static str, u64> {
    let mut states: HashMap<&str, State> = HashMap::new();
    let mut denied = HashMap::new();
    for (at, who) in requests() {
        let admitted = match algorithm {
            "token" | "leaky" => {
                let new = State { seen: at, tokens: burst * period, ..State::default() };
                let state = states.entry(who).or_insert(new);
                let tokens = (state.tokens + (at - state.seen) * count).min(burst * period);
                let admitted = tokens >= period;
                let tokens = if admitted { tokens - period } else { tokens };
                *state = State { seen: at, tokens, ..*state };
                admitted
            }
            _ => {
                let (window, passed) = (at / period, at % period);
                let new = State { seen: window, ..State::default() };
                let state = states.entry(who).or_insert(new);
                match window - state.seen {
                    0 => {}
                    1 if algorithm == "sliding" => *state = state.next(count, period),
                    _ => *state = State::default(),
                }
                state.seen = window;
                let level = state.level(passed, count, period);
                let admitted = level + period <= count * period;
                if admitted && algorithm == "sliding" && level == 0 {
                    // It begins anew, but a single one is its moment.
                    let counts = if count == 1 { [passed + period, 0] } else { [0, period] };
                    *state = State { seen: window, counts, paced: count == 1, ..*state };
                    state.reached = false;
                } else if admitted {
                    state.counts[usize::from(!state.paced)] += period;
                }
                let reached = state.level(passed, count, period) > (count - 1) * period;
                state.reached |= admitted && reached;
                admitted
            }
        };
        *denied.entry(who).or_insert(0) += u64::from(!admitted);
    }
    denied
}

/// "341 allowed, 16 denied" of a report.
pub(super) fn totals(text: &str) -> (u64, u64) {
    let line = text.lines().find(|line| line.contains(" allowed, ")).unwrap();
    let number = |word: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = words.iter().position(|found| found.trim_end_matches(',') == word).unwrap();
        words[place - 1].parse().unwrap()
    };
    (number("allowed"), number("denied"))
}

#[test]
fn totals_equal_an_independent_count() {
    for (count, period, name) in [
        (10, 60, "minute"),
        (1, 1, "second"),
        (3, 10, "10 s"),
        (47, 3_600, "hour"),
        (7, 64, "64 s"),
    ] {
        for burst in [1, 5, 20] {
            for algorithm in ["token", "leaky", "fixed", "sliding"] {
                let window = algorithm == "fixed" || algorithm == "sliding";
                let limit = format!("{count}/{name}");
                let mut flags = vec!["--limit", &limit, "--algorithm", algorithm, "--top", "999"];
                let text = burst.to_string();
                if !window {
                    flags.extend(["--burst", &text]);
                }
                let expected = denials(algorithm, count, period, burst);
                let report = said(&flags);
                let denied: u64 = expected.values().sum();
                let all = requests().len() as u64;
                assert_eq!(totals(&report), (all - denied, denied), "{flags:?}");
                // Client by client.
                for (who, denied) in expected {
                    let line = report.lines().find(|line| line.split(' ').next() == Some(who));
                    let told = line.map_or(0, |line| {
                        line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
                    });
                    assert_eq!(told, denied, "{who}, {flags:?}");
                }
            }
        }
    }
}

/// The tightest limits that a report names deny nobody, and one less denies somebody.
#[test]
fn tightest_limits_are_tight() {
    let denied =
        |limit: &str, algorithm| totals(&said(&["--limit", limit, "--algorithm", algorithm])).1;
    for (limit, algorithm) in [
        ("10/minute burst 20", "token"),
        ("4/minute burst 12", "leaky"),
        ("10/minute", "fixed"),
        ("3/10 s", "sliding"),
    ] {
        let report = said(&["--limit", limit, "--algorithm", algorithm]);
        let (_, found) = report.split_once("would have denied nobody:\n").unwrap();
        let limits: Vec<&str> =
            found.lines().map(|line| line.rsplit(": ").next().unwrap().trim()).collect();
        assert_eq!(limits.len(), if algorithm == "token" || algorithm == "leaky" { 2 } else { 1 });
        for (i, tightest) in limits.into_iter().enumerate() {
            assert_eq!(denied(tightest, algorithm), 0, "{tightest}");
            // The burst is the first of two, and comes last in the text; the count comes first.
            let less = if i == 0 && tightest.contains("burst") {
                let (rate, burst) = tightest.rsplit_once(' ').unwrap();
                format!("{rate} {}", burst.parse::<u64>().unwrap() - 1)
            } else {
                let (count, rest) = tightest.split_once('/').unwrap();
                format!("{}/{rest}", count.parse::<u64>().unwrap() - 1)
            };
            assert!(denied(&less, algorithm) > 0, "{less}");
        }
    }
}

#[test]
fn comparison_says_what_each_algorithm_alone_says() {
    let table = said(&["--limit", "10/minute burst 20", "--compare"]);
    for algorithm in ["token", "leaky", "fixed", "sliding"] {
        let window = algorithm == "fixed" || algorithm == "sliding";
        let limit = if window { "10/minute" } else { "10/minute burst 20" };
        let (allowed, denied) = totals(&said(&["--limit", limit, "--algorithm", algorithm]));
        let row = table.lines().find(|line| line.starts_with(algorithm)).unwrap();
        let figures: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(figures[1..3], [allowed.to_string(), denied.to_string()], "{algorithm}");
    }
    assert!(table.contains("A window has no burst: it admits 10 a minute."), "{table}");
}

pub(super) fn packed(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

/// `replay ... | head`: who reads has had enough, and that is no error.
#[test]
fn closed_pipe_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.log");
    fs::write(&file, LOG).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(program());
    command.arg(&file).args(["--limit", "10/minute"]).stdout(writer).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn files_gzip_and_standard_input_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--limit", "10/minute", "--key", "user"];
    let of = |path: &Path| Command::new(program()).arg(path).args(flags).output().unwrap().stdout;
    let expected = run_on(LOG.as_bytes(), &flags).stdout;
    let (plain, gzip) = (folder.path().join("a.log"), folder.path().join("no-gz-in-its-name"));
    fs::write(&plain, LOG).unwrap();
    fs::write(&gzip, packed(LOG)).unwrap();
    assert_eq!(of(&plain), expected);
    assert_eq!(of(&gzip), expected);
    assert_eq!(run_on(&packed(LOG), &flags).stdout, expected);
    // As logs that have been rotated and joined are.
    let (a, b) = LOG.split_at(LOG.lines().take(100).map(|line| line.len() + 1).sum());
    assert_eq!(run_on(&[packed(a), packed(b)].concat(), &flags).stdout, expected);
}

#[test]
fn picture_is_drawn_and_names_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.svg");
    let path = file.to_str().unwrap();
    let report = said(&["--limit", "10/minute", "--plot", path]);
    assert!(report.ends_with(&format!("drawn: {path}\n")), "{report}");
    let svg = fs::read_to_string(&file).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in ["203.0.113.9", "203.0.113.80", "30 denied", "10/minute by token-bucket"] {
        assert!(svg.contains(text), "no {text}");
    }
    // Nobody denied: no panel for the worst.
    said(&["--limit", "10000/minute", "--plot", path]);
    assert!(!fs::read_to_string(&file).unwrap().contains("the worst clients"));
    let nowhere = run_on(LOG.as_bytes(), &["--limit", "1/s", "--plot", "/no/such/folder/x.svg"]);
    assert!(complaint(&nowhere).contains("error: cannot draw /no/such/folder/x.svg: "));
}
