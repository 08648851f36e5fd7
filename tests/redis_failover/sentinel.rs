//! A limiter in a Redis server that sentinels watch, while the master dies, stands still, and comes
//! back as a replica.

use crate::support::fakes;
use crate::support::sentinel::{PASSWORD, Watched, until};
use crate::support::server::{self, Server};
use crate::support::stalls::Watch;
use sluicegate::{Fallback, Quota, RedisError, RedisLimiter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(90);
/// Of calls that are to miss it.
const DEADLINE: Duration = Duration::from_millis(100);
/// What a call may take longer than its deadline, on such a machine.
const LATE: Duration = Duration::from_millis(700);

const BURST: u64 = 50;

/// So slow that no test takes long enough for a token to flow.
const QUOTA: Quota = Quota::per_day(1).burst(BURST);

async fn connect(url: &str, deadline: Duration) -> RedisLimiter {
    let builder = RedisLimiter::builder(QUOTA).deadline(deadline).connect_timeout(PATIENT);
    // The connection alone: no breaker, nobody who decides in its place.
    let builder = builder.failures(u32::MAX).fallback(Fallback::Error);
    builder.connect(url).await.unwrap()
}

/// More than once by `ci/faults.sh`.
fn rounds() -> usize {
    std::env::var("SLUICEGATE_FAULT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// Asks until it is done, each time no longer than the deadline and a little. Replicas answer too,
/// but to what changes nothing.
async fn recovers(limiter: &RedisLimiter) {
    let began = Instant::now();
    loop {
        let watch = Watch::start();
        let answer = limiter.charge("b", 1).await;
        assert!(watch.is_within(DEADLINE + LATE), "{answer:?}");
        match answer {
            Ok(_) => return,
            Err(error) => assert!(error.is_degraded() && began.elapsed() < PATIENT, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_master_is_found_and_a_burst_more_is_admitted_at_most() {
    for round in 0..2 * rounds() {
        let mut watched = Watched::start(Duration::from_millis(700));
        let url = format!("redis-sentinel://:{PASSWORD}@{}/main", watched.hosts());
        let limiter = connect(&url, DEADLINE).await;
        recovers(&limiter).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (limiter, stop) = (limiter.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                let (mut admitted, mut failed) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    match limiter.check("a").await {
                        Ok(_) => admitted += 1,
                        Err(RedisError::Denied(_)) => {}
                        Err(error) if error.is_degraded() => failed += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                    // So that the bucket is not empty when it happens.
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                (admitted, failed)
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        if round % 2 == 0 {
            watched.servers[0].kill();
        } else {
            watched.servers[0].pause();
        }
        let promoted = tokio::task::spawn_blocking(move || {
            until("nobody is promoted", || watched.replication(1).contains("role:master"));
            watched
        });
        let mut watched = promoted.await.unwrap();
        recovers(&limiter).await;
        if round % 2 == 0 {
            watched.servers[0].restart();
        } else {
            watched.servers[0].go_on();
        }
        // Sentinels take 10 s to make a replica of a master that comes back.
        if rounds() > 1 {
            let demoted = tokio::task::spawn_blocking(move || {
                until("it is no replica", || watched.replication(0).contains("role:slave"));
                watched
            });
            watched = demoted.await.unwrap();
            recovers(&limiter).await;
        }
        stop.store(true, Ordering::Relaxed);
        let (mut admitted, mut failed) = (0, 0);
        while let Some(task) = tasks.join_next().await {
            let (more, lost) = task.unwrap();
            (admitted, failed) = (admitted + more, failed + lost);
        }
        // And what is left.
        while limiter.check("a").await.map(|_| admitted += 1).is_ok() {}
        // A machine that stands still for a second looks like a dead master to the sentinels.
        let most = BURST * (1 + watched.elections());
        assert!(admitted <= most && failed > 0, "{admitted} of {most}, {failed} failed");
        drop(watched);
    }
}

/// A master that lives on as a replica says so, and the sentinels are asked who is the master now.
#[tokio::test]
async fn a_master_that_is_demoted_is_left() {
    let login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
    let servers = [Server::start(&login), Server::start(&login)];
    let client = |server: usize| {
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", servers[server].port());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    };
    let master = Arc::new(AtomicU16::new(servers[0].port()));
    let sentinel = fakes::sentinel(Arc::clone(&master));
    let url = format!("redis-sentinel://:{PASSWORD}@127.0.0.1:{sentinel}/main");
    let limiter = connect(&url, DEADLINE).await;
    for (now, was) in [(1, 0), (0, 1), (1, 0)] {
        recovers(&limiter).await;
        master.store(servers[now].port(), Ordering::Relaxed);
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut client(now)).unwrap();
        let mut replicate = redis::cmd("REPLICAOF");
        replicate.arg("127.0.0.1").arg(servers[now].port());
        replicate.exec(&mut client(was)).unwrap();
        let error = limiter.charge("b", 1).await.unwrap_err();
        assert!(error.to_string().contains("READONLY"), "{error}");
    }
    recovers(&limiter).await;
}

/// What connecting fails with, which never says what the URL does.
async fn refused(url: &str) -> RedisError {
    let builder = RedisLimiter::builder(QUOTA).connect_timeout(PATIENT);
    let error = builder.connect(url).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
    error
}

#[tokio::test]
async fn the_master_is_asked_by_its_login_and_mistakes_are_told() {
    let watched = Watched::start(PATIENT);
    let hosts = watched.hosts();
    let says = |error: &RedisError, words: &str| {
        assert!(error.to_string().contains(words), "{error}");
    };
    let limiter = connect(&format!("redis-sentinel://:{PASSWORD}@{hosts}/main/3"), PATIENT).await;
    assert_eq!(limiter.check("a").await.unwrap().remaining(), BURST - 1);
    let mut client = watched.client(0);
    redis::cmd("SELECT").arg(3).exec(&mut client).unwrap();
    assert_eq!(redis::cmd("DBSIZE").query::<u64>(&mut client).unwrap(), 1);
    let shown = format!("{limiter:?}");
    assert!(shown.contains("`main` of the sentinels") && !shown.contains(PASSWORD), "{shown}");

    let error = refused(&format!("redis-sentinel://:{PASSWORD}@{hosts}/other")).await;
    assert!(error.is_configuration(), "{error:?}");
    says(&error, "no service `other`");
    let error = refused(&format!("redis-sentinel://:wrong@{hosts}/main")).await;
    assert!(error.is_configuration(), "{error:?}");
    says(&error, "the master that the sentinels name");
    says(&error, "refuses the login");
    let plain = Server::start(&[]);
    let error = refused(&format!("redis-sentinel://127.0.0.1:{}/main", plain.port())).await;
    assert!(error.is_configuration(), "{error:?}");
    says(&error, "is no sentinel");
    let nobody = server::free_port();
    let error = refused(&format!("redis-sentinel://:{PASSWORD}@127.0.0.1:{nobody}/main")).await;
    assert!(matches!(error, RedisError::Connection(_)), "{error:?}");
    says(&error, "cannot connect to");
    for bad in ["", "a", "a/", "a//1", "/main", "a,,b/main", "a/main/x", "hunter2@/main"] {
        let error = refused(&format!("redis-sentinel://{bad}")).await;
        assert!(error.is_configuration(), "{bad}: {error:?}");
        says(&error, "redis-sentinel://[[user]:password@]");
    }
    // The port that sentinels have.
    let error = refused("redis-sentinel://127.0.0.1/main").await;
    says(&error, "127.0.0.1:26379");
}
