//! What a limiter in Redis logs: alone in its process, since who logs where is a process's.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/redis.rs"]
mod server;

use proxy::Proxy;
use server::Server;
use sluicegate::{Quota, RedisLimiter};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A line of log when it goes and one when it comes back, not one a call; and no password in any.
#[tokio::test]
async fn a_change_of_state_is_one_line_of_log() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let mut server = Server::start(&["--requirepass", "secret-word"]);
    let url = format!("redis://:secret-word@127.0.0.1:{}", server.port());
    let limiter = RedisLimiter::builder(Quota::per_day(1).burst(5))
        .connect_timeout(PATIENT)
        .connect(&url)
        .await
        .unwrap();
    for round in 1..=2 {
        server.kill();
        for _ in 0..50 {
            let _ = limiter.check("a").await;
        }
        assert!(limiter.is_away());
        server.restart();
        let began = Instant::now();
        while limiter.is_away() {
            assert!(began.elapsed() < PATIENT);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("Redis is away"), count("Redis is back")), (round, round), "{text}");
        assert_eq!(text.lines().count(), 2 * round, "{text}");
        assert!(!text.contains("secret-word"), "{text}");
        let shown = format!("{limiter:?}");
        assert!(!shown.contains("secret-word"), "{shown}");
    }
}

/// A password that is changed while the limiter runs is told in a sentence, once an outage, whoever
/// finds it.
#[tokio::test]
async fn a_login_that_is_refused_is_logged_once() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let server = Server::start(&["--requirepass", "secret-word"]);
    let url = format!("redis://:secret-word@127.0.0.1:{}", server.port());
    let builder = RedisLimiter::builder(Quota::per_day(1).burst(5)).connect_timeout(PATIENT);
    let limiter = builder.deadline(PATIENT).connect(&url).await.unwrap();
    let mut client = redis::Client::open(url).unwrap().get_connection().unwrap();
    let mut tell = |words: &[&str]| {
        let (name, rest) = words.split_first().unwrap();
        redis::cmd(name).arg(rest).exec(&mut client).unwrap();
    };
    for outage in 1..=2 {
        tell(&["CONFIG", "SET", "requirepass", "other-word"]);
        tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let probes = limiter.metrics().probes;
        let began = Instant::now();
        while limiter.metrics().probes < probes + 3 {
            assert!(began.elapsed() < PATIENT);
            let _ = limiter.check("a").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tell(&["CONFIG", "SET", "requirepass", "secret-word"]);
        while limiter.is_away() {
            assert!(began.elapsed() < PATIENT);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        let sentence = "the server refuses the login";
        assert_eq!((count(sentence), count("Redis is back")), (outage, outage), "{text}");
        assert!(!text.contains("secret-word") && !text.contains("other-word"), "{text}");
    }
}

/// A server that answers too late is told apart from one that does not answer.
#[tokio::test]
async fn a_server_that_is_slow_is_logged_as_such_once() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    let builder = RedisLimiter::builder(Quota::per_day(1).burst(5)).connect_timeout(PATIENT);
    let limiter = builder.deadline(Duration::from_millis(100)).connect(&proxy.url()).await.unwrap();
    proxy.delay(Duration::from_millis(60));
    let began = Instant::now();
    while limiter.metrics().probes < 4 {
        assert!(began.elapsed() < PATIENT);
        let _ = limiter.check("a").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(limiter.metrics().slow);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("Redis is away"), count("Redis is too far away")), (1, 1), "{text}");
    assert!(text.contains("the deadline of a call is 100ms"), "{text}");
}
