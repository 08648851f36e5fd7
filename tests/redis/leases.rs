//! Leases of limits in Redis, against real servers: what is admitted, what comes back, and how
//! often Redis is asked.

use crate::support::leases::{PATIENT, SLOW, connect, until};
use crate::support::server::Server;
use crate::support::windows_law::{Admission, worst_window};
use sluicegate::{Clock, MonotonicClock, Quota, RedisError, RedisLimiter};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often scripts have been run since the server's figures were last set back.
fn scripts(server: &Server) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(&mut server.client()).unwrap();
    let calls = |line: &str| -> Option<u64> {
        let figures = line.trim().strip_prefix("cmdstat_eval")?;
        figures.split("calls=").nth(1)?.split(',').next()?.parse().ok()
    };
    info.lines().filter_map(calls).sum()
}

#[tokio::test]
async fn first_request_waits_for_its_lease_and_is_admitted() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(20), 2).await;
    assert_eq!((limiter.max_lease(), limiter.max_overshoot(), limiter.nodes()), (5, 10, 2));
    let grant = limiter.check_n("alice", 1).await.unwrap();
    assert_eq!((grant.granted(), grant.limit(), grant.remaining()), (1, 20, 0));
    assert_eq!(grant.reset_after(), SLOW.period() * 20);
    assert_eq!(limiter.redis().available("alice").await.unwrap(), 19);

    // Who does not wait is told when to come back, and is then admitted.
    let denied = limiter.try_check("bob").unwrap_err();
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(5)));
    until("bob has a lease", async || limiter.try_check("bob").is_ok()).await;

    // More than a lease ever has is never there; nothing is.
    for n in [6, u64::MAX] {
        assert!(limiter.try_check_n("alice", n).unwrap_err().is_never());
        let error = limiter.check_n("alice", n).await.unwrap_err();
        assert!(error.denied().unwrap().is_never());
    }
    assert_eq!(limiter.try_check_n("carol", 0).unwrap().granted(), 0);
    assert_eq!(limiter.check_n("carol", 0).await.unwrap().granted(), 0);
    assert_eq!(limiter.try_check_up_to("carol", 0).unwrap().granted(), 0);
    assert_eq!(limiter.redis().available("carol").await.unwrap(), 20);
}

#[tokio::test]
async fn all_who_wait_for_a_key_share_a_call() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(4_000), 1).await;
    limiter.redis().available("warm").await.unwrap();
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut server.client()).unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..1_000 {
        let limiter = limiter.clone();
        tasks.spawn(async move { limiter.check_n("a", 1).await.map(|_| ()) });
    }
    for answer in tasks.join_all().await {
        answer.unwrap();
    }
    let calls = scripts(&server);
    assert!(calls <= 20, "{calls} calls for a thousand who waited");
    limiter.shutdown().await;
    assert_eq!(limiter.redis().available("a").await.unwrap(), 3_000);
}

/// Two nodes with many tasks each, on a bucket that does not fill: what one has given back the
/// other can have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_together_admit_exactly_the_burst() {
    let server = Server::start(&[]);
    let nodes =
        [connect(&server, SLOW.burst(100), 2).await, connect(&server, SLOW.burst(100), 2).await];
    let mut tasks = JoinSet::new();
    for task in 0..32 {
        let limiter = nodes[task % 2].clone();
        tasks.spawn(async move {
            let mut admitted = 0;
            for _ in 0..50 {
                match limiter.check_n("a", 1).await {
                    Ok(grant) => admitted += grant.granted(),
                    Err(RedisError::Denied(_)) => tokio::task::yield_now().await,
                    Err(failure) => panic!("{failure}"),
                }
            }
            admitted
        });
    }
    let mut admitted: u64 = tasks.join_all().await.into_iter().sum();
    assert!(admitted <= 100, "{admitted}");
    // What the one still holds the other can have when it has come back.
    nodes[0].shutdown().await;
    until("all of the burst is admitted", async || {
        while let Ok(grant) = nodes[1].check_n("a", 1).await {
            admitted += grant.granted();
        }
        admitted >= 100
    })
    .await;
    assert_eq!(admitted, 100);
    assert_eq!(nodes[0].metrics().lost + nodes[1].metrics().lost, 0);
}

/// From a log of admissions with their times, for every window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_1_every_window_admits_at_most_burst_and_flow_and_leases() {
    let server = Server::start(&[]);
    let quota = Quota::per_second(2_000).burst(400);
    let mut tasks = JoinSet::new();
    let mut overshoot = 0;
    for _ in 0..2 {
        let limiter = connect(&server, quota, 2).await;
        overshoot = limiter.max_overshoot();
        for _ in 0..2 {
            let limiter = limiter.clone();
            tasks.spawn(async move {
                let clock = MonotonicClock::new();
                let (began, mut log) = (clock.nanos(), Vec::new());
                while clock.nanos() - began < 1_500_000_000 {
                    let before = clock.nanos();
                    if limiter.try_check("a").is_ok() {
                        log.push(Admission { before, after: clock.nanos(), granted: 1 });
                    } else {
                        tokio::task::yield_now().await;
                    }
                }
                log
            });
        }
    }
    let log: Vec<_> = tasks.join_all().await.concat();
    assert_eq!(overshoot, 200);
    let worst = worst_window(&log, 2_000.0 / 1e9);
    assert!(worst <= 600.0 + 1e-3, "{worst} in a window");
    // The burst, and most of a second and a half's flow.
    assert!(log.len() > 2_000, "{} admitted", log.len());
}

#[tokio::test]
async fn what_is_not_spent_comes_back_when_the_lease_ends() {
    let server = Server::start(&[]);
    let builder = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT);
    let builder = builder.connect_timeout(PATIENT).leased().lease_for(Duration::from_millis(300));
    let limiter = builder.connect(&server.url()).await.unwrap();
    // A lease of more than one: at once the next one is wanted.
    for _ in 0..20 {
        limiter.check_n("a", 1).await.unwrap();
    }
    let leased = limiter.metrics().leased;
    assert!(leased > 20, "{leased} leased");
    until("it comes back", async || limiter.redis().available("a").await.unwrap() == 80).await;
    until("it is counted", async || limiter.metrics().returned == leased - 20).await;
    // And can be had again, here as well, and only once.
    let mut admitted = 20;
    until("all of the burst is admitted", async || {
        while limiter.check_n("a", 1).await.is_ok() {
            admitted += 1;
        }
        admitted >= 100
    })
    .await;
    assert_eq!(admitted, 100);
    assert_eq!((limiter.metrics().lost, limiter.metrics().evicted), (0, 0));
}

#[tokio::test]
async fn all_comes_back_at_a_shutdown_and_when_the_last_handle_is_dropped() {
    let server = Server::start(&[]);
    let exact = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT);
    let exact = exact.connect(&server.url()).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for shut_down in [true, false] {
        let limiter = connect(&server, SLOW.burst(100), 1).await;
        for key in ["a", "b", "c"] {
            for _ in 0..10 {
                limiter.check_n(key, 1).await.unwrap();
            }
        }
        let clone = limiter.clone();
        if shut_down {
            limiter.shutdown().await;
            assert_eq!(exact.available("a").await.unwrap(), 90);
            clone.shutdown().await;
            assert!(clone.try_check("a").is_err() && clone.try_check("new").is_err());
            let error = clone.check_n("a", 1).await.unwrap_err();
            assert!(matches!(&error, RedisError::Unavailable(text) if text.contains("shut down")));
            let (stats, spent) = (clone.metrics(), 30);
            assert_eq!((stats.leased - stats.returned, stats.lost), (spent, 0));
        }
        drop((limiter, clone));
        for key in ["a", "b", "c"] {
            until(key, async || exact.available(key).await.unwrap() == 90).await;
            exact.reset(key).await.unwrap();
        }
        until("its tasks end", async || tasks() == before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_asks_once_for_thousands_of_decisions() {
    let server = Server::start(&[]);
    let limiter = connect(&server, Quota::per_second(100_000_000).burst(4_000_000), 1).await;
    limiter.check_n("a", 1).await.unwrap();
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut server.client()).unwrap();
    let mut admitted = 0_u64;
    let began = Instant::now();
    while admitted < 500_000 {
        for _ in 0..1_000 {
            admitted += u64::from(limiter.try_check("a").is_ok());
        }
        tokio::task::yield_now().await;
        assert!(began.elapsed() < PATIENT, "{admitted} admitted");
    }
    let calls = scripts(&server);
    assert!(calls > 0 && calls * 1_000 < admitted, "{calls} calls for {admitted} admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_that_is_denied_costs_few_calls() {
    let server = Server::start(&[]);
    let limiter = connect(&server, Quota::per_second(500).burst(2_000), 1).await;
    let drained = Instant::now();
    limiter.redis().check_n("a", 2_000).await.unwrap();
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut server.client()).unwrap();
    let (mut decisions, mut admitted) = (0_u64, 0_u64);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        for _ in 0..100 {
            admitted += u64::from(limiter.try_check("a").is_ok());
        }
        decisions += 100;
        tokio::task::yield_now().await;
    }
    let (calls, ms) = (scripts(&server), began.elapsed().as_millis() as u64);
    assert!(calls * 5 <= ms + 50, "{calls} calls in {ms} ms for {decisions} decisions");
    // It is not starved by that either.
    let (flowed, most) = (ms / 2, drained.elapsed().as_millis() as u64 / 2 + 1);
    assert!(admitted <= most && admitted * 2 >= flowed, "{admitted} of {flowed} admitted");
}

/// Of a slow bucket the whole wait is told, though it is asked about again before.
#[tokio::test]
async fn a_denial_says_how_long_redis_has_said() {
    let server = Server::start(&[]);
    let limiter = connect(&server, Quota::per_hour(60).burst(4), 1).await;
    for _ in 0..2 {
        limiter.check_n("a", 2).await.unwrap();
    }
    let error = limiter.check_n("a", 1).await.unwrap_err();
    let wait = error.denied().unwrap().retry_after().unwrap();
    let minute = Duration::from_secs(60);
    assert!(wait <= minute && wait + PATIENT >= minute, "{wait:?}");
    // From memory, in ticks and seconds rounded up.
    let denied = limiter.try_check("a").unwrap_err();
    let (wait, up) = (denied.retry_after().unwrap(), Duration::from_millis(1_005));
    assert!(wait <= minute + up && wait + PATIENT >= minute, "{wait:?}");
    assert_eq!((denied.remaining(), denied.limit()), (0, 4));
}

/// There are some, and fewer than are wanted: they stay for who wants fewer.
#[tokio::test]
async fn a_denial_of_many_tells_when_the_last_of_them_is_there() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(100), 1).await;
    limiter.redis().check_n("a", 70).await.unwrap();
    let error = limiter.check_n("a", 50).await.unwrap_err();
    let denied = error.denied().unwrap();
    let (wait, days) = (denied.retry_after().unwrap(), SLOW.period() * 20);
    assert!(wait <= days && wait + PATIENT >= days, "{wait:?}");
    assert_eq!((denied.asked(), denied.remaining()), (50, 30));
    assert_eq!(limiter.try_check_n("a", 30).unwrap().remaining(), 0);
}
