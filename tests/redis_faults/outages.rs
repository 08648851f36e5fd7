//! Outages that end by themselves, as a limiter's caller sees them, with its breaker and its
//! fallback: what it admits, how long it takes, and that it finds back.

use crate::support::proxy::{self, Proxy};
use crate::support::server::{self, Server};
use sluicegate::{Quota, RedisError, RedisLimiter, Source};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_millis(50);
/// What a call may take longer than its deadline, on such a machine.
const LATE: Duration = Duration::from_millis(450);

const BURST: u64 = 60;
const NODES: u64 = 3;

/// More than once by `ci/faults.sh`.
fn rounds() -> usize {
    std::env::var("SLUICEGATE_FAULT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

async fn connect(url: &str) -> RedisLimiter {
    // So slow that no token flows while a test runs.
    let builder = RedisLimiter::builder(Quota::per_day(1).burst(BURST)).nodes(NODES);
    builder.deadline(DEADLINE).connect_timeout(PATIENT).connect(url).await.unwrap()
}

/// What one check came to; it takes no longer than its deadline.
async fn check(limiter: &RedisLimiter, key: &str) -> (bool, Source) {
    let began = Instant::now();
    let answer = limiter.check(key).await;
    assert!(began.elapsed() < DEADLINE + LATE, "{:?}", began.elapsed());
    match answer {
        Ok(grant) => (true, grant.source()),
        Err(RedisError::Denied(denied)) => (false, denied.source()),
        Err(error) => panic!("{error}"),
    }
}

/// Goes away by `begin`, comes back by `end`: the limiter notices both, and admits of a key, in
/// all, the burst and what was lost on the way.
async fn outage(
    limiter: &RedisLimiter,
    key: &str,
    begin: impl AsyncFnOnce(),
    end: impl AsyncFnOnce(),
) {
    let mut admitted = 0;
    for _ in 0..BURST / 2 {
        let (granted, source) = check(limiter, key).await;
        assert_eq!((granted, source), (true, Source::Redis));
        admitted += 1;
    }
    begin().await;
    let (began, mut calls) = (Instant::now(), 0);
    while !limiter.is_away() {
        assert!(began.elapsed() < PATIENT, "it has not been noticed");
        admitted += u64::from(check(limiter, key).await.0);
        calls += 1;
    }
    assert!(calls <= 5, "{calls} calls in a row failed before it was given up");
    // The rest of this node's share, at once.
    let began = Instant::now();
    for _ in 0..100 {
        let (granted, source) = check(limiter, key).await;
        assert_eq!(source, Source::Fallback);
        admitted += u64::from(granted);
    }
    assert!(began.elapsed() < DEADLINE * 20, "{:?} for 100 decisions", began.elapsed());
    // A half was left in Redis, and so in the share, which is a third.
    assert_eq!(admitted, BURST / 2 + BURST / NODES / 2);
    end().await;
    let began = Instant::now();
    while limiter.is_away() {
        assert!(began.elapsed() < PATIENT, "it has not been found again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // What was granted meanwhile is charged, so that the rest is the rest. Calls without an answer
    // may have been charged besides.
    for _ in 0..BURST {
        let (granted, source) = check(limiter, key).await;
        assert_eq!(source, Source::Redis);
        admitted += u64::from(granted);
    }
    assert!((BURST - calls..=BURST).contains(&admitted), "{admitted} of {BURST}");
    limiter.reset(key).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_is_stood_in_for_and_found_again() {
    let server = Server::start(&[]);
    let limiter = connect(&server.url()).await;
    for round in 0..rounds() {
        let begin = async || server.pause();
        // For ten seconds in the long form.
        let end = async || {
            tokio::time::sleep(Duration::from_secs(if round == 1 { 10 } else { 0 })).await;
            server.go_on();
        };
        outage(&limiter, &format!("{round}"), begin, end).await;
    }
}

/// Nobody tells that the old connection is dead: a probe finds that a new one is not.
#[tokio::test]
async fn a_half_open_connection_is_left_for_one_that_answers() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    let limiter = connect(&proxy.url()).await;
    for round in 0..rounds() {
        outage(&limiter, &format!("{round}"), async || proxy.abandon(), async || {}).await;
    }
}

#[tokio::test]
async fn a_network_that_loses_everything_and_then_nothing() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    let limiter = connect(&proxy.url()).await;
    for way in [proxy::Way::Requests, proxy::Way::Replies] {
        let begin = async || proxy.swallow(way);
        outage(&limiter, &format!("{way:?}"), begin, async || proxy.mend()).await;
    }
}

/// Full, read-only, short of replicas: each is noticed, stood in for, and over when it is over.
#[tokio::test]
async fn a_server_that_refuses_to_write_is_stood_in_for_until_it_writes() {
    let server = Server::start(&[]);
    let limiter = connect(&server.url()).await;
    let tell = |words: &[&str]| {
        let mut command = ::redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.exec(&mut server.client()).unwrap();
    };
    let config = |name: &str, value: &str| tell(&["CONFIG", "SET", name, value]);
    let begin = async || config("min-replicas-to-write", "1");
    outage(&limiter, "replicas", begin, async || config("min-replicas-to-write", "0")).await;
    let begin = async || config("maxmemory", "1");
    outage(&limiter, "memory", begin, async || config("maxmemory", "0")).await;
    // A replica of nobody who answers, and so one that keeps what it has.
    let nobody = server::free_port().to_string();
    let begin = async || tell(&["REPLICAOF", "127.0.0.1", &nobody]);
    outage(&limiter, "replica", begin, async || tell(&["REPLICAOF", "NO", "ONE"])).await;
}
