//! Leases of limits in Redis while the server is away or slow, or too much is asked for; and
//! choices that cannot be.

use crate::support::leases::{PATIENT, SLOW, connect, until};
use crate::support::server::Server;
use sluicegate::{Fallback, LeasedLimiter, Quota, RedisError, RedisLimiter};
use std::time::{Duration, Instant};

/// It counts from before it was asked for: what comes when it has ended is given back, and another
/// is fetched.
#[tokio::test]
async fn a_lease_that_comes_too_late_is_given_back() {
    let server = Server::start(&[]);
    let lease_for = Duration::from_millis(50);
    let builder = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT);
    let builder = builder.connect_timeout(PATIENT).leased().lease_for(lease_for);
    let limiter = builder.connect(&server.url()).await.unwrap();
    server.pause();
    let waiter = limiter.clone();
    let waiter = tokio::spawn(async move { waiter.check_n("a", 1).await });
    until("it is asked for", async || limiter.metrics().fetches == 1).await;
    let asked = Instant::now();
    until("it has ended", async || asked.elapsed() > lease_for * 2).await;
    server.go_on();
    assert_eq!(waiter.await.unwrap().unwrap().granted(), 1);
    let stats = limiter.metrics();
    assert!(stats.fetches > 1 && stats.returned > 0, "{stats:?}");
    limiter.shutdown().await;
    assert_eq!(limiter.redis().available("a").await.unwrap(), 99);
}

/// Guards that a waiter looks at the lease before it is told of a denial: it asked while a call was
/// on its way, which brought too little for another, and enough for it. The next call is denied.
#[tokio::test]
async fn who_asked_too_late_for_a_lease_takes_what_it_brought_before_it_is_denied() {
    let server = Server::start(&[]);
    let builder = RedisLimiter::builder(SLOW.burst(10)).deadline(PATIENT);
    let builder = builder.connect_timeout(PATIENT).leased().lease_for(PATIENT);
    let limiter = builder.connect(&server.url()).await.unwrap();
    limiter.redis().check_n("a", 8).await.unwrap();
    server.pause();
    let wait = |n| {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.check_n("a", n).await })
    };
    let many = wait(3);
    until("it is asked for", async || limiter.metrics().fetches == 1).await;
    let one = wait(1);
    // All run in this thread by turns: the second has asked by then.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    server.go_on();
    assert_eq!(one.await.unwrap().unwrap().granted(), 1);
    let error = many.await.unwrap().unwrap_err();
    assert_eq!(error.denied().unwrap().asked(), 3);
    assert_eq!(limiter.metrics().leased, 2);
    assert_eq!(limiter.try_check("a").unwrap().remaining(), 0);
}

/// Guards that a process which stands still beyond a lease's end gives back what is left of it, and
/// spends none: others may have been started in its place.
#[tokio::test]
async fn a_lease_that_ended_while_the_process_stood_still_is_given_back_unspent() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(100), 1).await;
    for _ in 0..20 {
        limiter.check_n("a", 1).await.unwrap();
    }
    let before = limiter.metrics();
    let left = before.leased - before.returned - 20;
    assert!(left > 0, "{before:?}");
    // The only thread that there is; leases hold for a second.
    std::thread::sleep(Duration::from_millis(1_050));
    limiter.check_n("a", 1).await.unwrap();
    let after = limiter.metrics();
    assert_eq!(after.returned - before.returned, left, "{after:?}");
    assert!(after.leased > before.leased, "{after:?}");
}

/// Guards that a call without an answer is counted as one also if the fallback leased in its place.
#[tokio::test]
async fn a_call_that_the_fallback_stands_in_for_is_counted_as_failed() {
    let server = Server::start(&[]);
    let builder = RedisLimiter::builder(SLOW.burst(100)).deadline(Duration::from_millis(50));
    let limiter = builder.connect_timeout(PATIENT).leased().connect(&server.url()).await.unwrap();
    let exact = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT);
    let exact = exact.connect(&server.url()).await.unwrap();
    // The server knows the script from then on.
    exact.check_up_to("b", 1).await.unwrap();
    server.pause();
    assert!(limiter.try_check("a").is_err());
    until("it is leased", async || limiter.metrics().leased == 1).await;
    let stats = limiter.metrics();
    assert_eq!((stats.fetches, stats.failed_fetches, stats.lost), (1, 1, 1));
    // It was right to fear for that one.
    server.go_on();
    until("it is debited", async || exact.available("a").await.unwrap() == 99).await;
}

/// Guards that whoever shuts it down, and not only the first, knows afterwards that all has come
/// back.
#[tokio::test]
async fn all_who_shut_it_down_wait_until_all_is_given_back() {
    let server = Server::start(&[]);
    let builder = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT);
    let builder = builder.connect_timeout(PATIENT).leased().lease_for(Duration::from_secs(60));
    let limiter = builder.connect(&server.url()).await.unwrap();
    for _ in 0..20 {
        limiter.check_n("a", 1).await.unwrap();
    }
    assert!(limiter.metrics().leased > 20, "{:?}", limiter.metrics());
    server.pause();
    let shut_down = || {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.shutdown().await })
    };
    let first = shut_down();
    until("it takes no more requests", async || {
        limiter.try_check("b").is_err() && limiter.metrics().dropped > 0
    })
    .await;
    let second = shut_down();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished() && !second.is_finished());
    server.go_on();
    second.await.unwrap();
    assert_eq!(limiter.redis().available("a").await.unwrap(), 80);
    first.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_holds_nobody_up_and_is_found_again() {
    let mut server = Server::start(&[]);
    let deadline = Duration::from_millis(100);
    let builder = RedisLimiter::builder(SLOW.burst(1_000)).deadline(deadline);
    let builder = builder.fallback(Fallback::Error);
    let limiter = builder.connect_timeout(PATIENT).leased().connect(&server.url()).await.unwrap();
    until("a lease", async || limiter.check_n("a", 100).await.is_ok()).await;
    server.kill();
    let away = Instant::now();
    // A call, or its deadline, each would take hours.
    for _ in 0..200 {
        for _ in 0..1_000 {
            let _ = limiter.try_check("a");
        }
        tokio::task::yield_now().await;
    }
    assert!(away.elapsed() < PATIENT, "{:?}", away.elapsed());
    let (began, answer) = (Instant::now(), limiter.check_n("b", 1).await);
    let error = answer.unwrap_err();
    assert!(error.is_degraded(), "{error:?}");
    assert!(began.elapsed() < deadline + Duration::from_millis(400), "{:?}", began.elapsed());
    // Of each key one in 10 ms at most.
    let (failed, ms) = (limiter.metrics().failed_fetches, away.elapsed().as_millis() as u64);
    assert!(failed > 0 && failed <= 2 + 2 * ms / 10, "{failed} fetches failed in {ms} ms");
    server.restart();
    until("it is found again", async || limiter.check_n("a", 1).await.is_ok()).await;
}

#[tokio::test]
async fn more_keys_than_the_capacity_are_turned_away_and_counted() {
    let server = Server::start(&[]);
    let builder = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT);
    let builder = builder.connect_timeout(PATIENT).leased().capacity(64);
    let limiter = builder.connect(&server.url()).await.unwrap();
    let mut turned_away = 0;
    for key in 0..80_u32 {
        match limiter.check_n(key.to_le_bytes(), 1).await {
            Ok(grant) => assert_eq!(grant.granted(), 1),
            Err(RedisError::Unavailable(text)) => {
                assert!(text.contains("capacity"), "{text}");
                turned_away += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(turned_away > 0 && limiter.metrics().dropped == turned_away, "{:?}", limiter.metrics());
}

/// The queue of requests has an end. Who finds no room in it is denied for a moment, and asks again
/// after that.
#[tokio::test]
async fn requests_that_find_no_room_are_counted_and_made_again() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(4), 1).await;
    // Nothing awaits, so nobody takes requests out.
    for key in 0..5_000_u32 {
        assert!(limiter.try_check(key.to_le_bytes()).is_err());
    }
    assert_eq!(limiter.metrics().dropped, 5_000 - 4_096);
    for key in [0, 4_095, 4_096, 4_999_u32] {
        let key = key.to_le_bytes();
        until("it has a lease", async || limiter.try_check(key).is_ok()).await;
        assert_eq!(limiter.redis().available(key).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn choices_that_cannot_be_are_refused_by_name() {
    let server = Server::start(&[]);
    let redis = RedisLimiter::builder(SLOW.burst(8)).connect(&server.url()).await.unwrap();
    let over = |builder: sluicegate::LeasedBuilder| builder.over(redis.clone());
    let builder = || LeasedLimiter::builder(SLOW.burst(8));
    assert_eq!(over(builder().nodes(2)).unwrap().max_lease(), 2);
    for nodes in [3, u64::MAX] {
        let error = over(builder().nodes(nodes)).unwrap_err();
        assert!(matches!(error, RedisError::Quota(error) if error.field() == "burst"));
        assert!(error.to_string().contains("RedisLimiter"), "{error}");
    }
    assert!(over(builder().nodes(0)).unwrap_err().is_configuration());
    for lease_for in [Duration::from_millis(9), Duration::from_secs(300), Duration::MAX] {
        assert!(over(builder().lease_for(lease_for)).unwrap_err().is_configuration());
    }
    assert!(over(builder().capacity(0)).unwrap_err().is_configuration());
    let large = RedisLimiter::builder(Quota::per_second(1 << 30)).connect(&server.url()).await;
    assert_eq!(builder().over(large.unwrap()).unwrap().max_lease(), (1 << 20) - 1);
}
