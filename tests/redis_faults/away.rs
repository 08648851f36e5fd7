//! Who decides while Redis is away, when that begins, and how it ends.

use crate::support::server::Server;
use sluicegate::{Fallback, Grant, Quota, RedisBuilder, RedisError, RedisLimiter, Source};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);
/// Of calls that are to miss it.
const DEADLINE: Duration = Duration::from_millis(100);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

fn builder(quota: Quota) -> RedisBuilder {
    RedisLimiter::builder(quota).deadline(DEADLINE).connect_timeout(PATIENT)
}

/// Checks until somebody else answers than that.
async fn until_not(limiter: &RedisLimiter, key: &str, source: Source) -> u32 {
    let began = Instant::now();
    let mut calls = 0;
    loop {
        calls += 1;
        let from = match limiter.peek(key, 1).await {
            Ok(grant) => grant.source(),
            Err(RedisError::Denied(denied)) => denied.source(),
            Err(error) => panic!("{error}"),
        };
        if from != source {
            return calls;
        }
        assert!(began.elapsed() < PATIENT, "still {source:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn sourced(answer: Result<Grant, RedisError>) -> (bool, Source) {
    match answer {
        Ok(grant) => (true, grant.source()),
        Err(RedisError::Denied(denied)) => (false, denied.source()),
        Err(error) => panic!("{error}"),
    }
}

/// Local: this node's share, less what is known to be missing; what it grants is charged when Redis
/// is back.
#[tokio::test]
async fn a_local_share_takes_over_and_is_charged_afterwards() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let limiter = builder(SLOW.burst(100)).nodes(10).connect(&server.url()).await.unwrap();
    assert_eq!(sourced(limiter.check_n("known", 50).await), (true, Source::Redis));
    assert_eq!(limiter.available("other").await.unwrap(), 100);

    server.kill();
    // Of those that fail before it is given up the share decides as well.
    let began = Instant::now();
    let mut fast = 0;
    while !limiter.is_away() {
        assert_eq!(sourced(limiter.peek("known", 1).await), (true, Source::Fallback));
        fast += 1;
    }
    assert!(fast <= 5 && began.elapsed() < DEADLINE * 5 + PATIENT, "{fast}");
    let calls = limiter.metrics().calls;
    // Half of the burst was there; its share is half of a share.
    for n in 0..7 {
        assert_eq!(sourced(limiter.check("known").await), (n < 5, Source::Fallback), "{n}");
    }
    let grant = limiter.check_up_to("new", 50).await.unwrap();
    assert_eq!((grant.granted(), grant.limit(), grant.remaining()), (10, 10, 0));
    // More than a share is no "never", if it is not more than the limit.
    for (n, never) in [(11, false), (100, false), (101, true)] {
        let error = limiter.check_n("third", n).await.unwrap_err();
        let denied = error.denied().unwrap();
        assert_eq!((denied.is_never(), denied.source()), (never, Source::Fallback), "{n}");
        assert_eq!(denied.retry_after().is_none(), never);
    }
    assert_eq!(limiter.available("fourth").await.unwrap(), 10);
    assert!(limiter.charge("fourth", 12).await.unwrap() > Duration::ZERO);
    limiter.refund("fourth", 1).await.unwrap();
    assert_eq!(limiter.available("fourth").await.unwrap(), -1);
    assert_eq!(limiter.metrics().calls, calls, "no call is made meanwhile");
    // A reset cannot be done there, says so, and changes nothing here.
    assert_eq!(limiter.reset("fourth").await, Err(RedisError::Away));
    assert_eq!(limiter.available("fourth").await.unwrap(), -1);

    server.restart();
    until_not(&limiter, "unconcerned", Source::Fallback).await;
    assert!(!limiter.is_away());
    for (key, left) in [("known", 45), ("new", 90), ("third", 100), ("fourth", 89)] {
        assert_eq!(limiter.available(key).await.unwrap(), left, "{key}");
        // Once.
        assert_eq!(limiter.available(key).await.unwrap(), left, "{key}");
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.opened, metrics.away), (1, false));
    assert!(metrics.probes >= 1 && metrics.fallbacks > 10 && metrics.failures >= 5, "{metrics:?}");
}

#[tokio::test]
async fn open_grants_what_fits_at_all_and_closed_denies_until_the_next_probe() {
    let mut server = Server::start(&[]);
    let quota = SLOW.burst(10);
    let open = builder(quota).fallback(Fallback::Open).connect(&server.url()).await.unwrap();
    let closed = builder(quota).fallback(Fallback::Closed).connect(&server.url()).await.unwrap();
    server.kill();
    for _ in 0..20 {
        assert_eq!(sourced(open.check_n("a", 10).await), (true, Source::FailOpen));
        assert_eq!(sourced(closed.check("a").await), (false, Source::FailClosed));
    }
    assert!(open.is_away() && closed.is_away());
    assert_eq!(open.check_up_to("a", 1_000).await.unwrap().granted(), 10);
    for limiter in [&open, &closed] {
        let never = limiter.check_n("a", 11).await.unwrap_err();
        assert!(never.denied().unwrap().is_never());
        assert_eq!(limiter.check_n("a", 0).await.unwrap().granted(), 0);
        // They keep no account, and say so.
        assert_eq!(limiter.charge("a", 1).await, Err(RedisError::Away));
        assert_eq!(limiter.available("a").await, Err(RedisError::Away));
    }
    let later = closed.check("a").await.unwrap_err();
    let later = later.denied().unwrap().retry_after().unwrap();
    assert!(later > Duration::ZERO && later <= Duration::from_secs(5), "{later:?}");
    server.restart();
    until_not(&open, "a", Source::FailOpen).await;
    until_not(&closed, "a", Source::FailClosed).await;
    assert_eq!(sourced(open.check_n("a", 10).await), (true, Source::Redis));
}

/// A denial is no failure, and a fault of the configuration is told, whatever the policy.
#[tokio::test]
async fn answers_that_are_no_grants_open_nothing() {
    let server = Server::start(&[]);
    let limiter = builder(SLOW.burst(1)).fallback(Fallback::Open).connect(&server.url()).await;
    let limiter = limiter.unwrap();
    limiter.check("a").await.unwrap();
    let foreign = limiter.key("foreign");
    ::redis::cmd("LPUSH").arg(&foreign).arg(1).exec(&mut server.client()).unwrap();
    for _ in 0..50 {
        assert_eq!(sourced(limiter.check("a").await), (false, Source::Redis));
        assert!(limiter.check("foreign").await.unwrap_err().is_configuration());
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.opened, metrics.failures, metrics.fallbacks), (0, 0, 0));
}

/// A server that can be connected to and read, but not written to, is away.
#[tokio::test]
async fn a_probe_writes() {
    let server = Server::start(&[]);
    let limiter = builder(SLOW.burst(5)).connect(&server.url()).await.unwrap();
    let set = |value: &str| {
        let mut command = ::redis::cmd("CONFIG");
        command.arg("SET").arg("min-replicas-to-write").arg(value).exec(&mut server.client())
    };
    set("1").unwrap();
    while !limiter.is_away() {
        assert_eq!(sourced(limiter.check_n("a", 1).await).1, Source::Fallback);
    }
    let began = Instant::now();
    while limiter.metrics().probes < 3 {
        assert!(limiter.is_away() && began.elapsed() < PATIENT);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    set("0").unwrap();
    until_not(&limiter, "b", Source::Fallback).await;
    // What was granted meanwhile was charged.
    assert_eq!(limiter.available("a").await.unwrap(), 0);
}

/// While Redis is away nobody waits for it, and one connection at a time is tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_probe_at_a_time_and_no_other_call() {
    let mut server = Server::start(&[]);
    let builder = builder(SLOW.burst(5)).connect_timeout(DEADLINE);
    let limiter = builder.connect(&server.url()).await.unwrap();
    server.kill();
    // In its place somebody who lets everybody wait, and counts those who do at once.
    let listener = TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    let most = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&most);
    std::thread::spawn(move || {
        let mut open: Vec<std::net::TcpStream> = Vec::new();
        for stream in listener.incoming().flatten() {
            stream.set_nonblocking(true).unwrap();
            open.push(stream);
            open.retain(|stream| !is_closed(stream));
            seen.fetch_max(open.len() as u32, Ordering::Relaxed);
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let mut slowest = Duration::ZERO;
            let began = Instant::now();
            while limiter.metrics().probes < 4 && began.elapsed() < PATIENT {
                let away = limiter.is_away();
                let asked = Instant::now();
                assert_eq!(sourced(limiter.check("a").await).1, Source::Fallback);
                if away {
                    slowest = slowest.max(asked.elapsed());
                }
                tokio::task::yield_now().await;
            }
            slowest
        });
    }
    let slowest = tasks.join_all().await.into_iter().max().unwrap();
    assert!(slowest < DEADLINE, "{slowest:?}");
    assert!(limiter.metrics().probes >= 4 && limiter.metrics().opened == 1);
    // The limiter's own connection may still be knocking beside the probe's.
    assert!(most.load(Ordering::Relaxed) <= 3, "{most:?}");
}

fn is_closed(stream: &std::net::TcpStream) -> bool {
    let mut byte = [0];
    loop {
        match std::io::Read::read(&mut { stream }, &mut byte) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// The probes end with the limiter.
#[tokio::test]
async fn a_limiter_that_is_dropped_probes_no_more() {
    let mut server = Server::start(&[]);
    let limiter = builder(SLOW).failures(1).connect(&server.url()).await.unwrap();
    server.kill();
    let _ = limiter.check("a").await;
    assert!(limiter.is_away());
    drop(limiter);
    let began = Instant::now();
    let handle = tokio::runtime::Handle::current();
    while handle.metrics().num_alive_tasks() > 0 {
        assert!(began.elapsed() < PATIENT, "{}", handle.metrics().num_alive_tasks());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
