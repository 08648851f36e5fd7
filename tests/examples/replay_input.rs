//! What the replay example makes of its input: odd lines, bad lines, and limits that cannot be.

use super::replay::{LOG, complaint, packed, said, totals};
use crate::support::replay::{program, run_on};
use std::process::Command;

#[test]
fn lines_that_do_not_parse_are_named_and_counted() {
    let good = LOG.lines().next().unwrap();
    let long = "x".repeat(70_000);
    let mut bytes = Vec::new();
    for line in [good, "nonsense", good, "", &long, "198.51.100.1 - - [99/Foo/2026] oops", good] {
        bytes.extend(line.as_bytes());
        bytes.push(b'\n');
    }
    bytes.extend(b"\xff\xfe not text\n");
    for _ in 0..7 {
        bytes.extend(b"more\n");
    }
    let output = run_on(&bytes, &["--limit", "10/minute"]);
    assert!(output.status.success());
    let start = "it does not begin with a host, two names and [a time]";
    let expected = format!(
        "line 2: {start}\n\
                    line 5: longer than 65536 bytes\n\
                    line 6: the time \"99/Foo/2026\" does not parse: input is out of range\n\
                    line 8: not UTF-8\n\
                    line 9: {start}\n\
                    ... and 6 lines more that don't parse\n"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("3 requests of 1 addresses"), "{text}");
    assert!(text.contains("11 of 15 lines don't parse, and were left out"), "{text}");
}

/// What servers write that is easily taken for wrong: a parser crate rejected all of these.
#[test]
fn odd_lines_of_both_formats_parse() {
    let mut text = String::new();
    for line in [
        r#"host.example - - [01/Jan/2026:12:03:00 +0000] "GET /a?b=c HTTP/1.1" 200 -"#,
        r#"203.0.113.1 - John Doe [01/Jan/2026:12:03:00 +0000] "GET / HTTP/1.1" 200 1"#,
        r#"fe80::1%eth0 - - [01/Jan/2026:12:03:00 +0000] "-" 408 0 "-" "-""#,
        concat!(
            r#"203.0.113.2 - - [01/Jan/2026:12:03:00 +0000] "#,
            r#""GET /\"x\" HTTP/1.1" 000 1 "not a uri" "odd \"agent\"""#,
        ),
        r#"203.0.113.3 - - [01/Jan/2026:12:03:00 +0000] "\x16\x03\x01" 400 226 "-" "-" 0.001"#,
    ] {
        text += line;
        text.push('\n');
    }
    let report = |key| {
        let output = run_on(text.as_bytes(), &["--limit", "1/hour", "--key", key]);
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for (key, first) in [
        ("ip", "5 requests of 5 addresses"),
        ("user", "5 requests of 5 users"),
        ("path", "5 requests of 5 paths"),
    ] {
        let (said, complaints) = report(key);
        assert!(said.starts_with(first) && complaints.is_empty(), "{key}: {said}{complaints}");
    }
    // The first two have no agent to be found by.
    let (said, complaints) = report("agent");
    assert!(said.starts_with("3 requests of 2 user agents"), "{said}");
    assert_eq!(complaints.matches("no user agent: not in combined format").count(), 2);
}

/// Each part of a line that is missing is named.
#[test]
fn lines_that_end_early_say_what_is_missing() {
    let head = "203.0.113.1 - - [01/Jan/2026:12:03:00 +0000]";
    for (rest, why) in [
        ("", "no request in quotes after the time"),
        (r#" "GET /"#, "no request in quotes after the time"),
        (r#" "GET / HTTP/1.1""#, "no status of three digits after the request"),
        (r#" "GET / HTTP/1.1" 20"#, "no status of three digits after the request"),
        (r#" "GET / HTTP/1.1" 200"#, "no number of bytes after the status"),
    ] {
        let told = complaint(&run_on(format!("{head}{rest}\n").as_bytes(), &["--limit", "1/s"]));
        assert!(told.starts_with(&format!("line 1: {why}\n")), "{rest}: {told}");
    }
}

/// A comparison goes on without an algorithm that cannot hold the count; a log longer than a
/// limiter's time is refused.
#[test]
fn what_no_limiter_can_do_is_said() {
    let table = said(&["--limit", "100000/second", "--compare"]);
    let sliding = table.lines().find(|line| line.starts_with("sliding-window")).unwrap();
    assert!(sliding.contains("count must fit the window's state"), "{table}");
    assert!(table.lines().any(|line| line.starts_with("token-bucket") && line.contains("357")));
    let line =
        |year| format!("203.0.113.1 - - [01/Jan/{year}:12:03:00 +0000] \"GET / HTTP/1.1\" 200 1\n");
    let ages = line(1990) + &line(2026);
    let told = complaint(&run_on(ages.as_bytes(), &["--limit", "1/s"]));
    assert!(
        told.ends_with("error: the log spans over 30 years, for which no limiter's time is made\n")
    );
}

#[test]
fn bad_input_gets_one_clear_line() {
    let flags = ["--limit", "10/minute"];
    let of = |bytes: &[u8]| complaint(&run_on(bytes, &flags));
    assert_eq!(of(b""), "error: no requests in standard input: it is empty\n");
    let none = of(b"a\nb\n");
    assert!(none.ends_with("error: no requests in standard input: none of its 2 lines parses\n"));
    let whole = packed(&LOG.repeat(40));
    let cut = of(&whole[..whole.len() / 2]);
    let told =
        cut.strip_prefix("error: standard input ends in the middle of its gzip data, after ");
    let lines: u64 = told.unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(lines > 1_000 && lines < 40 * 357, "{cut}");
    assert!(of(b"\x1f\x8bno gzip after all").starts_with("error: "), "no panic");
    let of_path =
        |path: &str| complaint(&Command::new(program()).arg(path).args(flags).output().unwrap());
    assert!(of_path("/no/such/log").starts_with("error: cannot read /no/such/log: No such file"));
    assert_eq!(of_path("/"), "error: cannot read /: it is a folder\n");
    let usage = |flags: &[&str]| run_on(LOG.as_bytes(), flags);
    assert_eq!(usage(&["--limit", "ten"]).status.code(), Some(2));
    assert_eq!(usage(&[]).status.code(), Some(2));
    let windows = usage(&["--limit", "10/minute", "--burst", "3", "--algorithm", "fixed"]);
    assert_eq!(complaint(&windows), "error: a fixed-window has no burst: leave out --burst\n");
}

#[test]
fn unsorted_logs_are_replayed_in_order_of_time() {
    let mut lines: Vec<&str> = LOG.lines().collect();
    let sorted = said(&["--limit", "10/minute burst 20"]);
    lines.reverse();
    let output = run_on(lines.join("\n").as_bytes(), &["--limit", "10/minute burst 20"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("lines were out of order, by up to 14 min 56 s; replayed in order of time")
    );
    assert_eq!(totals(&text), totals(&sorted));
}

/// A log is not to be trusted: what clients sent must not reach the terminal as it is.
#[test]
fn control_characters_are_escaped() {
    let line = concat!(
        "203.0.113.9 - - [01/Jan/2026:12:03:00 +0000] ",
        "\"GET / HTTP/1.1\" 200 1 \"-\" \"\u{1b}[2J\u{7}\"\n",
    );
    let output = run_on(line.repeat(3).as_bytes(), &["--limit", "1/hour", "--key", "agent"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\\u{1b}[2J\\u{7}") && !text.contains('\u{1b}'), "{text:?}");
}
