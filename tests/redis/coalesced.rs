//! Checks of one key that come at the same time and go together; and how many may be on their way.

use crate::support::server::Server;
use sluicegate::{Fallback, Quota, RedisError, RedisLimiter, Source};
use std::time::Duration;
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

async fn connect(server: &Server, quota: Quota) -> RedisLimiter {
    let builder = RedisLimiter::builder(quota).deadline(PATIENT).connect_timeout(PATIENT);
    builder.fallback(Fallback::Error).connect(&server.url()).await.unwrap()
}

/// Of all that ask at once exactly the burst is granted, by a few scripts.
#[tokio::test]
async fn a_hot_key_costs_few_scripts_and_admits_exactly_the_burst() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(700)).await;
    let mut tasks = JoinSet::new();
    for _ in 0..1_000 {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            match limiter.check("hot").await {
                Ok(grant) => Some(grant.remaining()),
                Err(RedisError::Denied(_)) => None,
                Err(error) => panic!("{error}"),
            }
        });
    }
    let mut remaining: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    // Each saw the bucket as it left it.
    remaining.sort_unstable();
    assert_eq!(remaining, (0..700).collect::<Vec<_>>());
    assert_eq!(limiter.available("hot").await.unwrap(), 0);
    let metrics = limiter.metrics();
    // One alone, and then 999 in scripts of at most 512; all had asked before the first was
    // answered.
    assert_eq!((metrics.calls, metrics.combined), (4, 999), "{metrics:?}");
}

/// In the order of their coming, all or none each, those who ask for too much aside.
#[tokio::test]
async fn who_comes_first_is_served_first_whatever_he_asks() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(20)).await;
    let asked = [3, 1, 9, 30, 5, 4, 2, 0, 2, 1, 21, 1];
    let mut tasks = tokio::task::JoinSet::new();
    for (i, n) in asked.into_iter().enumerate() {
        let limiter = limiter.clone();
        tasks.spawn(async move { (i, n, limiter.check_n("a", n).await) });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(i, ..)| *i);
    let mut left = 20;
    for (i, n, answer) in answers {
        match answer {
            Ok(grant) => {
                assert!(n <= left, "{i}");
                if n > 0 {
                    left -= n;
                    assert_eq!((grant.granted(), grant.remaining()), (n, left), "{i}");
                }
            }
            Err(RedisError::Denied(denied)) => {
                assert!(n > left && denied.is_never() == (n > 20), "{i}: {denied:?}");
                assert_eq!(denied.asked(), n);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(left, 0);
    assert_eq!(limiter.available("a").await.unwrap(), 0);
}

/// Those who give up take nothing with them: neither others' turn, nor tokens if they were not
/// sent.
#[tokio::test]
async fn who_gives_up_holds_nobody_up() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(1_000)).await;
    for round in 0..20 {
        let key = format!("{round}");
        // Whoever is on his way stays there.
        server.pause();
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let (limiter, key) = (limiter.clone(), key.clone());
            tasks.push(tokio::spawn(async move { limiter.check_n(key, 10).await.map(|_| ()) }));
        }
        // All have asked: the first is on its way, the others wait for it.
        while limiter.metrics().combined < 9 * (round as u64 + 1) {
            tokio::task::yield_now().await;
        }
        for dropped in [0, 3, 4, round % 10] {
            tasks[dropped].abort();
        }
        tokio::task::yield_now().await;
        server.go_on();
        let mut granted = 0;
        for task in tasks {
            match task.await {
                Ok(answer) => granted += answer.map(|()| 10).unwrap(),
                Err(error) => assert!(error.is_cancelled()),
            }
        }
        let taken = 1_000 - limiter.available(&key).await.unwrap();
        assert!(granted >= 60, "{granted}");
        // The first may have been sent, and no other of them.
        assert!([granted, granted + 10].contains(&taken), "{granted} of {taken}");
    }
}

#[tokio::test]
async fn what_fails_fails_for_all_who_went_together() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(5)).await;
    ::redis::cmd("LPUSH").arg(limiter.key("a")).arg(1).exec(&mut server.client()).unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let limiter = limiter.clone();
        tasks.spawn(async move { limiter.check("a").await.unwrap_err() });
    }
    for error in tasks.join_all().await {
        assert!(error.is_configuration(), "{error}");
    }
}

#[tokio::test]
async fn one_more_than_may_be_on_their_way_is_told_so() {
    let server = Server::start(&[]);
    let builder = RedisLimiter::builder(SLOW.burst(1_000)).deadline(PATIENT).max_pending(10);
    let errors = builder.clone().fallback(Fallback::Error).connect(&server.url()).await.unwrap();
    let local = builder.prefix("other").connect(&server.url()).await.unwrap();
    for (limiter, keys) in [(&errors, 1), (&errors, 64), (&local, 1)] {
        let mut tasks = JoinSet::new();
        for i in 0..64 {
            let limiter = limiter.clone();
            tasks.spawn(async move { limiter.check(format!("{}", i % keys)).await });
        }
        let answers = tasks.join_all().await;
        let overloaded = |answer: &Result<_, _>| *answer == Err(RedisError::Overloaded(10));
        let by = |source| {
            move |answer: &Result<sluicegate::Grant, _>| {
                answer.as_ref().is_ok_and(|grant| grant.source() == source)
            }
        };
        let redis = answers.iter().filter(|answer| by(Source::Redis)(answer)).count();
        let fallback = answers.iter().filter(|answer| by(Source::Fallback)(answer)).count();
        let refused = answers.iter().filter(|answer| overloaded(answer)).count();
        assert_eq!(redis + fallback + refused, 64);
        assert_eq!(redis, 10);
        assert_eq!(refused > 0, std::ptr::eq(limiter, &errors));
        // They have left room again, and no sign that Redis was away.
        assert_eq!(limiter.check("later").await.unwrap().source(), Source::Redis);
        assert!(!limiter.is_away());
    }
}
