//! The server example, as its user meets it: over TCP, by its exit status and its log.

use crate::support::example::*;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;
#[test]
fn sixth_request_of_a_user_is_denied_and_others_are_not() {
    // So slow that no token flows while the test runs.
    let server = Server::start(&["--limit", "1/hour burst 5"]);
    let (allowed, denied) = server.until_denied("alice", 6);
    assert_eq!((allowed, denied.body.as_str()), (5, EXCEEDED));
    assert_eq!(denied.header("content-type"), Some("application/json"));
    assert_eq!(denied.header("cache-control"), Some("no-store"));
    let wait: u64 = denied.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait} s");
    let bob = server.get("/api?user=bob");
    assert_eq!((bob.status, bob.body.as_str()), (200, ALLOWED));
    assert_eq!(bob.header("content-type"), Some("application/json"));
    assert_eq!(bob.header("retry-after"), None);
}

#[test]
fn user_is_allowed_again_after_a_second_as_it_stands() {
    for algorithm in ["token", "leaky"] {
        let server = Server::start(&["--algorithm", algorithm]);
        let start = Instant::now();
        // Five, and one for each second that the machine may have taken.
        let (allowed, denied) = server.until_denied("alice", 60);
        assert!(allowed >= 5, "{algorithm}: {allowed}");
        assert_eq!(denied.header("retry-after"), Some("1"), "{algorithm}");
        let again = || (server.get("/api?user=alice").status == 200).then(|| start.elapsed());
        let elapsed = until("alice is allowed again", again).as_secs_f64();
        // All that was allowed: five, and the whole seconds that had passed. Two clocks differ a
        // little.
        let most = 5.001 + elapsed;
        assert!((allowed + 1) as f64 <= most, "{algorithm}: {allowed} and 1 in {elapsed} s");
    }
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let server = Server::start(&["--limit", "1/hour burst 5"]);
    let long = format!("/api?user={}", "x".repeat(129));
    for (target, why) in [
        (long.as_str(), "longer than 128 bytes"),
        ("/api?user=a%0Ab", "control characters"),
        ("/api?user=a%00", "control characters"),
        ("/api?user=%FF%FE", "not UTF-8"),
        ("/api?user=a&user=b", "given twice"),
    ] {
        let reply = server.get(target);
        assert_eq!(reply.status, 400, "{target}");
        assert!(reply.error().contains(why), "{target}: {}", reply.body);
    }
    let nowhere = server.get("/nowhere");
    assert_eq!((nowhere.status, nowhere.error().as_str()), (404, "No such path"));
    for method in ["POST", "PUT", "DELETE"] {
        let reply = server.request(method, "/api?user=alice");
        assert_eq!((reply.status, reply.header("allow")), (405, Some("get,head")));
        assert!(reply.error().contains("GET"));
    }
    // None of them cost anybody anything, and a percent sign alone is a name.
    assert_eq!(server.until_denied("alice", 6).0, 5);
    assert_eq!(server.until_denied("%zz", 6).0, 5);
}

#[test]
fn nameless_requests_share_one_bucket() {
    let server = Server::start(&["--limit", "1/hour burst 3"]);
    for target in ["/api", "/api?user=", "/api?other=1"] {
        assert_eq!(server.get(target).status, 200, "{target}");
    }
    assert_eq!(server.get("/api").status, 429);
    assert_eq!(server.get("/api?user=anonymous").status, 429);
    assert_eq!(server.get("/api?user=alice").status, 200);
}

/// What the example says to these flags, which end it at once.
fn refused(flags: &[&str]) -> Vec<String> {
    let mut run = Run::start(flags);
    let errors = run.errors();
    let status = run.wait();
    let errors: Vec<_> = errors.iter().collect();
    // Clap's status, and the example's own; a panic has another.
    assert!(matches!(status.code(), Some(1 | 2)), "{flags:?}: {status}, {errors:?}");
    assert!(!errors.concat().contains("QuotaError"), "{errors:?}");
    errors
}

#[test]
fn flags_that_make_no_sense_are_told_so() {
    for (flags, why) in [
        (["--limit", "10/fortnight"], "byte 3: expected a unit"),
        (["--limit", "0/second"], "--limit <LIMIT>': count must be at least 1"),
        (["--algorithm", "wishful"], "token-bucket, leaky-bucket"),
        (["--listen", "nowhere"], "--listen <LISTEN>': invalid socket address"),
        (["--capacity", "0"], "capacity must be from 1"),
    ] {
        let errors = refused(&flags);
        assert!(errors[0].starts_with("error: ") && errors[0].contains(why), "{errors:?}");
    }
}

#[test]
fn address_in_use_is_told_in_one_sentence() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let errors = refused(&["--listen", &address]);
    assert!(errors[0].starts_with(&format!("error: cannot listen on {address}: ")), "{errors:?}");
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[cfg(unix)]
#[test]
fn every_denial_is_one_line_of_log_that_nobody_can_forge() {
    let server = Server::start(&["--limit", "1/hour burst 1"]);
    // eve" retry_after=None, and an override of the reading direction.
    let eve = "eve%22%20retry_after=None%E2%80%AE";
    assert_eq!(server.until_denied(eve, 2).0, 1);
    assert_eq!(server.get(&format!("/api?user={eve}")).status, 429);
    // A line of its own, and a colour, if they were let through.
    for forged in ["x%0A2026-01-01T00:00:00Z%20WARN%20denied", "%1B[31mdenied", "x%0Ddenied"] {
        assert_eq!(server.get(&format!("/api?user={forged}")).status, 400, "{forged}");
    }
    assert_eq!(server.until_denied("bob", 2).0, 1);
    let (status, log) = server.stop("TERM");
    assert!(status.success(), "{status}");
    let (denials, others): (Vec<_>, Vec<_>) = log.iter().partition(|line| line.contains("denied"));
    let name = r#"user="eve\" retry_after=None\u{202e}" retry_after=Some("#;
    assert_eq!(denials.len(), 3, "{log:?}");
    assert!(denials[0].contains(name) && denials[1].contains(name), "{log:?}");
    assert!(denials[2].contains(r#"user="bob""#), "{log:?}");
    assert_eq!(others.len(), 2, "its end, in two lines, and nothing else: {log:?}");
    assert!(!log.concat().contains('\u{1b}'), "colours in a file: {log:?}");
}

#[cfg(unix)]
#[test]
fn both_signals_end_the_server_in_peace() {
    for signal in ["INT", "TERM"] {
        let server = Server::start(&[]);
        assert_eq!(server.get("/api?user=alice").status, 200);
        let (status, log) = server.stop(signal);
        assert!(status.success(), "{signal}: {status}");
        assert!(log.last().is_some_and(|line| line.ends_with("stopped")), "{signal}: {log:?}");
    }
}

#[cfg(unix)]
#[test]
fn request_at_hand_is_answered_before_the_server_ends() {
    for signal in ["INT", "TERM"] {
        let mut server = Server::start(&["--grace", "60"]);
        let mut at_hand = server.connect();
        write!(at_hand, "GET /api?user=alice HTTP/1.1\r\n").unwrap();
        // It has been accepted once a later one is answered.
        assert_eq!(server.get("/api?user=bob").status, 200);
        server.tell(signal);
        let line = server.log.recv_timeout(PATIENCE).unwrap();
        assert!(line.contains("stopping"), "{signal}: {line}");
        // Nobody else gets in.
        let address = server.address;
        until("nobody listens", || TcpStream::connect_timeout(&address, PATIENCE).err());
        assert_eq!(server.run.has_ended(), None, "{signal}: with a request at hand");
        write!(at_hand, "Host: here\r\n\r\n").unwrap();
        let reply = Reply::read(at_hand);
        assert_eq!((reply.status, reply.body.as_str()), (200, ALLOWED), "{signal}");
        let (status, log) = server.ended();
        assert!(status.success(), "{signal}: {status}");
        assert_eq!(log.len(), 1, "{signal}: {log:?}");
        assert!(log[0].ends_with("stopped"), "{signal}: {log:?}");
    }
}

#[cfg(unix)]
#[test]
fn clients_that_never_finish_do_not_keep_the_server() {
    let server = Server::start(&["--grace", "1"]);
    let mut idle = server.connect();
    write!(idle, "GET /api HTTP/1.1\r\nHost:").unwrap();
    // It has been accepted once a later one is answered.
    assert_eq!(server.get("/api").status, 200);
    let (status, log) = server.stop("TERM");
    assert!(status.success(), "{status}");
    assert!(log.concat().contains("still open"), "{log:?}");
}
