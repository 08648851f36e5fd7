//! Fixed and sliding windows in Redis, against real servers.

use crate::support::server::Server;
use sluicegate::{Algorithm, Fallback, Quota, RedisError, RedisLimiter, Source};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(86_400);

async fn connect(server: &Server, quota: Quota, algorithm: Algorithm) -> RedisLimiter {
    let builder = RedisLimiter::builder(quota).deadline(PATIENT).connect_timeout(PATIENT);
    builder.algorithm(algorithm).connect(&server.url()).await.unwrap()
}

/// Away from midnight, at which a window of a day ends: a test that began just before it waits
/// until it is over.
async fn within_a_day() {
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % DAY.as_secs();
    let left = DAY.as_secs() - today;
    if left < 60 {
        tokio::time::sleep(Duration::from_secs(left + 1)).await;
    }
}

#[tokio::test]
async fn windows_have_all_verbs_and_end_by_the_calendar() {
    within_a_day().await;
    let server = Server::start(&[]);
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let limiter = connect(&server, Quota::per_day(10), algorithm).await;
        assert_eq!(limiter.algorithm(), algorithm);
        let grant = limiter.check("a").await.unwrap();
        assert_eq!((grant.granted(), grant.limit(), grant.remaining()), (1, 10, 9));
        assert_eq!(limiter.check_n("a", 4).await.unwrap().remaining(), 5);
        assert_eq!(limiter.peek("a", 5).await.unwrap().granted(), 5);
        let error = limiter.check_n("a", 6).await.unwrap_err();
        let denied = error.denied().unwrap();
        // The next midnight, by UTC; of a sliding window, some of the day after it.
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % DAY.as_secs();
        let left = DAY.as_secs() - today;
        let wait = denied.retry_after().unwrap().as_secs();
        let until = if algorithm == Algorithm::FixedWindow { left } else { left + 17_280 };
        assert!(until.abs_diff(wait) <= 21, "{algorithm}: {wait} s, and not {until}");
        assert!(limiter.check_n("a", 11).await.unwrap_err().denied().unwrap().is_never());
        assert_eq!(limiter.check_up_to("a", 100).await.unwrap().granted(), 5);
        assert!(limiter.charge("a", 2).await.unwrap() > Duration::ZERO);
        assert_eq!(
            (limiter.available("a").await.unwrap(), limiter.level("a").await.unwrap()),
            (-2, 12)
        );
        limiter.refund("a", 5).await.unwrap();
        assert_eq!(limiter.available("a").await.unwrap(), 3);
        // It goes when it counts no more.
        let ttl: i64 =
            ::redis::cmd("TTL").arg(limiter.key("a")).query(&mut server.client()).unwrap();
        let windows = if algorithm == Algorithm::FixedWindow { 0 } else { DAY.as_secs() };
        assert!((left + windows).abs_diff(ttl as u64) <= 21, "{algorithm}: {ttl}");
        limiter.reset("a").await.unwrap();
        assert_eq!(limiter.available("a").await.unwrap(), 10);
    }
}

/// Alone and together, of whatever they ask.
#[tokio::test]
async fn exactly_the_count_is_admitted_whoever_asks_at_once() {
    within_a_day().await;
    let server = Server::start(&[]);
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let machines = [
            connect(&server, Quota::per_day(300), algorithm).await,
            connect(&server, Quota::per_day(300), algorithm).await,
        ];
        for most in [1, 3] {
            let key = format!("hot {most}");
            let mut tasks = JoinSet::new();
            for i in 0..500 {
                let (limiter, key) = (machines[i % 2].clone(), key.clone());
                let n = i as u64 % most + 1;
                tasks.spawn(async move {
                    match limiter.check_n(key, n).await {
                        Ok(grant) => grant.granted(),
                        Err(RedisError::Denied(_)) => 0,
                        Err(error) => panic!("{error}"),
                    }
                });
            }
            let admitted: u64 = tasks.join_all().await.into_iter().sum();
            let left = machines[0].available(&key).await.unwrap();
            assert_eq!(admitted as i64 + left, 300, "{algorithm}");
            assert!(left < most as i64, "{algorithm}: {left}");
        }
        let calls: u64 = machines.iter().map(|limiter| limiter.metrics().calls).sum();
        assert!(calls < 500, "{calls} calls for 1,000 requests");
    }
}

#[tokio::test]
async fn windows_roll_on_at_the_end_of_their_period() {
    let server = Server::start(&[]);
    let period = Duration::from_millis(200);
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let limiter = connect(&server, Quota::new(3, period).unwrap(), algorithm).await;
        for _ in 0..3 {
            let denied = loop {
                match limiter.check("a").await {
                    Ok(_) => {}
                    Err(error) => break *error.denied().unwrap(),
                }
            };
            // As long as it said, and no longer.
            tokio::time::sleep(denied.retry_after().unwrap()).await;
            assert_eq!(limiter.check("a").await.unwrap().granted(), 1, "{algorithm}");
        }
    }
}

#[tokio::test]
async fn what_no_window_can_be_is_told() {
    let server = Server::start(&[]);
    let nanos = Quota::new(5, Duration::from_nanos(1_500)).unwrap();
    for (quota, field) in [(Quota::per_second(5).burst(6), "burst"), (nanos, "period")] {
        let error = RedisLimiter::builder(quota).fixed_window().connect(&server.url()).await;
        let RedisError::Quota(error) = error.unwrap_err() else { panic!("of the quota") };
        assert_eq!(error.field(), field);
    }
}

#[tokio::test]
async fn a_window_has_a_share_of_its_own_while_redis_is_away() {
    within_a_day().await;
    let mut server = Server::start(&[]);
    let builder = RedisLimiter::builder(Quota::per_day(20)).sliding_window().nodes(4);
    let builder = builder.fallback(Fallback::Local).deadline(Duration::from_millis(100));
    let limiter = builder.connect(&server.url()).await.unwrap();
    server.kill();
    for n in 0..5 {
        let grant = limiter.check("a").await.unwrap();
        assert_eq!((grant.remaining(), grant.source()), (4 - n, Source::Fallback));
    }
    assert!(limiter.check("a").await.is_err());
    server.restart();
    while limiter.is_away() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(limiter.available("a").await.unwrap(), 15);
}
