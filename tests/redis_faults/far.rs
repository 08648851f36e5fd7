//! A server that is further away than the deadline, and one that is not there when the limiter
//! starts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use crate::support::proxy::Proxy;
use crate::support::server::Server;
use sluicegate::{
    AnyLimiter, Fallback, Grant, LeasedLimiter, Quota, RedisBuilder, RedisError, RedisLimiter,
    Source,
};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

const MS: Duration = Duration::from_millis(1);

fn builder(quota: Quota) -> RedisBuilder {
    RedisLimiter::builder(quota).connect_timeout(PATIENT)
}

fn sourced(answer: Result<Grant, RedisError>) -> (bool, Source) {
    match answer {
        Ok(grant) => (true, grant.source()),
        Err(RedisError::Denied(denied)) => (false, denied.source()),
        Err(error) => panic!("{error:?}"),
    }
}

/// Waits until it is so.
async fn until(met: impl Fn() -> bool) {
    let began = Instant::now();
    while !met() {
        assert!(began.elapsed() < PATIENT);
        tokio::time::sleep(MS).await;
    }
}

/// It connected, and was away for ever: three processes with 10 an hour admitted 30.
#[tokio::test]
async fn a_server_further_away_than_the_deadline_is_an_error_that_names_both() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    for one_way in [3 * MS, 6 * MS, 15 * MS] {
        proxy.delay(one_way);
        let error = builder(Quota::per_hour(10)).connect(&proxy.url()).await.unwrap_err();
        let RedisError::TooFar { round_trip, deadline } = error else { panic!("{error:?}") };
        assert!(round_trip >= 2 * one_way && deadline == 5 * MS, "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("{round_trip:?}")) && text.contains("5ms"), "{text}");
        assert!(error.is_degraded() && !error.may_be_applied(), "{error:?}");
        let leased = LeasedLimiter::builder(Quota::per_hour(10)).connect(&proxy.url()).await;
        assert!(matches!(leased, Err(RedisError::TooFar { .. })), "{leased:?}");
    }
}

#[tokio::test]
async fn a_deadline_in_round_trips_serves_a_server_far_away() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    for one_way in [3 * MS, 15 * MS] {
        proxy.delay(one_way);
        let mut processes = Vec::new();
        for _ in 0..3 {
            let builder = builder(Quota::per_hour(10)).prefix(format!("{one_way:?}"));
            let limiter = builder.deadline_round_trips(100).connect(&proxy.url()).await.unwrap();
            assert!(limiter.metrics().round_trip >= 2 * one_way, "{:?}", limiter.metrics());
            processes.push(limiter);
        }
        let mut admitted = 0;
        for _ in 0..11 {
            for limiter in &processes {
                let (granted, source) = sourced(limiter.check("a").await);
                assert_eq!(source, Source::Redis);
                admitted += u32::from(granted);
            }
        }
        assert_eq!(admitted, 10, "{one_way:?}");
    }
}

/// What happens to the way while the limiter runs.
#[tokio::test]
async fn a_probe_tells_a_slow_server_from_a_dead_one() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    let deadline = 200 * MS;
    let builder = builder(Quota::per_day(1).burst(1_000)).deadline(deadline);
    let limiter = builder.clone().connect(&proxy.url()).await.unwrap();
    let told = builder.clone().fallback(Fallback::Error).connect(&proxy.url()).await.unwrap();
    let follows = builder.deadline_round_trips(50).connect(&proxy.url()).await.unwrap();
    assert!(!limiter.metrics().slow && limiter.metrics().round_trip > Duration::ZERO);

    proxy.delay(150 * MS);
    while !limiter.is_away() {
        sourced(limiter.check("a").await);
    }
    while !told.is_away() {
        assert!(told.check("a").await.is_err());
    }
    while !follows.is_away() && follows.metrics().opened == 0 {
        sourced(follows.check("a").await);
    }
    until(|| limiter.metrics().slow && told.metrics().slow).await;
    let metrics = limiter.metrics();
    assert!(metrics.away && metrics.round_trip >= 300 * MS, "{metrics:?}");
    assert_eq!(sourced(limiter.check("a").await), (true, Source::Fallback));
    let error = told.check("a").await.unwrap_err();
    assert!(
        matches!(error, RedisError::TooFar { deadline: of, .. } if of == deadline),
        "{error:?}"
    );
    // One that may wait longer does.
    until(|| !follows.is_away()).await;
    assert_eq!(sourced(follows.check("a").await), (true, Source::Redis));

    proxy.refuse();
    proxy.cut();
    until(|| !limiter.metrics().slow && !told.metrics().slow).await;
    assert!(limiter.is_away());
    assert_eq!(told.check("a").await.unwrap_err(), RedisError::Away);
    proxy.mend();
    until(|| !limiter.is_away() && !told.is_away()).await;
    assert_eq!(sourced(limiter.check("a").await), (true, Source::Redis));
    assert!(!limiter.metrics().slow && limiter.metrics().round_trip < deadline);
}

/// By default a limiter does not start without its server; by option the fallback decides until
/// that comes.
#[tokio::test]
async fn a_limiter_starts_without_its_server_if_it_may() {
    let mut server = Server::start(&[]);
    server.kill();
    let builder = builder(Quota::per_day(1).burst(100)).deadline(PATIENT).nodes(10);
    let refused = builder.clone().connect(&server.url()).await.unwrap_err();
    assert!(matches!(refused, RedisError::Connection(_)), "{refused:?}");
    let builder = builder.start_away(true);
    let limiter = builder.clone().connect(&server.url()).await.unwrap();
    let error = builder.clone().fallback(Fallback::Error).connect(&server.url()).await.unwrap();
    let closed = builder.clone().fallback(Fallback::Closed).connect(&server.url()).await.unwrap();
    assert!(limiter.is_away() && limiter.metrics().opened == 1);
    for n in 0..12 {
        assert_eq!(sourced(limiter.check("a").await), (n < 10, Source::Fallback), "{n}");
    }
    assert_eq!(error.check("a").await.unwrap_err(), RedisError::Away);
    assert_eq!(sourced(closed.check("a").await), (false, Source::FailClosed));
    assert_eq!(limiter.metrics().calls, 0);

    server.restart();
    until(|| !limiter.is_away() && !error.is_away() && !closed.is_away()).await;
    // What was granted meanwhile is charged.
    assert_eq!(limiter.available("a").await.unwrap(), 90);
    assert_eq!(sourced(error.check("a").await), (true, Source::Redis));
    assert_eq!(sourced(closed.check("a").await), (true, Source::Redis));
}

/// What does not pass by itself is told at once.
#[tokio::test]
async fn a_limiter_that_may_start_away_is_told_of_mistakes() {
    let server = Server::start(&["--requirepass", "right"]);
    let builder = builder(Quota::per_day(1)).start_away(true);
    let wrong = format!("redis://:wrong@127.0.0.1:{}", server.port());
    for url in [wrong.as_str(), "redis://localhost/x", "http://localhost"] {
        let error = builder.clone().connect(url).await.unwrap_err();
        assert!(error.is_configuration(), "{error:?}");
    }
    // A server that is too far now may come nearer.
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    proxy.delay(50 * MS);
    let limiter = builder.deadline(80 * MS).connect(&proxy.url()).await.unwrap();
    assert!(limiter.is_away() && limiter.metrics().slow, "{:?}", limiter.metrics());
    proxy.mend();
    until(|| !limiter.is_away()).await;
    assert!(!limiter.metrics().slow);
}

#[tokio::test]
async fn leases_and_urls_start_without_their_server_too() {
    let mut server = Server::start(&[]);
    server.kill();
    let quota = Quota::per_day(1).burst(100);
    let builder = RedisLimiter::builder(quota).deadline(PATIENT).connect_timeout(PATIENT);
    assert!(builder.clone().connect(&server.url()).await.is_err());
    let leased = builder.start_away(true).leased().connect(&server.url()).await.unwrap();
    let grant = leased.check_n("a", 1).await.unwrap();
    assert_eq!(grant.source(), Source::Fallback);

    let open = async |options: &str| {
        let url = format!("{}?deadline=20s&{options}", server.url());
        AnyLimiter::open(&url, quota).await
    };
    assert!(open("prefix=any").await.is_err());
    let odd = open("start_away=perhaps").await.unwrap_err().to_string();
    assert!(odd.contains("start_away must be true or false"), "{odd}");
    let odd = open("round_trips=many").await.unwrap_err().to_string();
    assert!(odd.contains("round_trips must be a number"), "{odd}");
    let exact = open("prefix=any&round_trips=3&start_away=true").await.unwrap();
    let lease = open("prefix=lease&mode=lease&start_away=true").await.unwrap();
    for limiter in [&exact, &lease] {
        assert_eq!(limiter.check("a").await.unwrap().source(), Source::Fallback);
    }
    server.restart();
    let began = Instant::now();
    loop {
        let sources = [
            exact.check("b").await.map(|grant| grant.source()),
            lease.check("b").await.map(|grant| grant.source()),
            leased.check_n("b", 1).await.map(|grant| grant.source()).map_err(Into::into),
        ];
        match sources {
            [Ok(Source::Redis), Ok(Source::Lease), Ok(Source::Lease)] => break,
            [Ok(_), Ok(_), Ok(_)] => {}
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < PATIENT);
        tokio::time::sleep(10 * MS).await;
    }
}

#[cfg(feature = "redis-cluster")]
#[tokio::test]
async fn a_limiter_starts_without_its_cluster_too() {
    let mut server = Server::start_for_cluster(&[]);
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("ADDSLOTSRANGE").arg(0).arg(16_383).exec(&mut server.client()).unwrap();
    server.kill();
    let url = format!("redis-cluster://127.0.0.1:{}", server.port());
    let builder = builder(Quota::per_day(1).burst(100)).deadline(PATIENT);
    assert!(builder.clone().connect(&url).await.is_err());
    let limiter = builder.start_away(true).connect(&url).await.unwrap();
    assert_eq!(sourced(limiter.check("a").await), (true, Source::Fallback));
    server.restart();
    until(|| !limiter.is_away()).await;
    assert_eq!(sourced(limiter.check("a").await), (true, Source::Redis));
    assert_eq!(limiter.available("a").await.unwrap(), 98);
    assert!(limiter.metrics().round_trip > Duration::ZERO);
}
