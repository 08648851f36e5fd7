//! Several limits of a key in Redis, all or nothing, against real servers and the local `Combined`.

use crate::support::server::Server;
use sluicegate::{
    Combined, Denied, Fallback, KeyedLimiter, ManualClock, Quota, RedisBuilder, RedisError,
    RedisLimiter, Source,
};
use std::time::Duration;
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

fn patient(quotas: &[Quota]) -> RedisBuilder {
    let builder = RedisLimiter::builder(quotas[0]).deadline(PATIENT).connect_timeout(PATIENT);
    let builder = builder.fallback(Fallback::Error);
    quotas[1..].iter().fold(builder, |builder, &quota| builder.and(quota))
}

async fn connect(server: &Server, quotas: &[Quota]) -> RedisLimiter {
    patient(quotas).connect(&server.url()).await.unwrap()
}

/// Whether a wait is one that a local limiter had said, rounded up to the microsecond, or as much
/// less as a test may have taken.
#[track_caller]
fn about(wait: Duration, local: Duration) {
    let local = local + Duration::from_nanos(999);
    assert!(wait <= local && wait + PATIENT >= local, "{wait:?} for {local:?}");
}

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, RedisError>) -> Denied {
    *answer.unwrap_err().denied().unwrap()
}

fn local(quotas: &[Quota]) -> Vec<KeyedLimiter<str>> {
    let clock = ManualClock::new();
    let build = |&quota: &Quota| KeyedLimiter::builder(quota, 10).clock(clock.clone()).build();
    quotas.iter().map(build).collect::<Result<_, _>>().unwrap()
}

/// A choice by chance (xorshift64).
fn below(random: &mut u64, n: u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random % n
}

/// Of rates that never have two limits wait equally long.
#[tokio::test]
async fn several_limits_answer_as_local_ones_combined() {
    let server = Server::start(&[]);
    let quotas = [Quota::per_day(103).burst(9), SLOW.burst(12), Quota::per_day(101).burst(15)];
    let limiter = connect(&server, &quotas).await;
    assert_eq!((limiter.quotas(), limiter.quota()), (quotas.to_vec(), quotas[0]));
    let limits = local(&quotas);
    let combined =
        || Combined::from_limits(limits.iter().map(|limit| limit.as_limit("a"))).unwrap();
    let mut random = 0x9E37_79B9_7F4A_7C15;
    for step in 0..600 {
        let (n, verb) = (below(&mut random, 11), below(&mut random, 16));
        let (there, here) = match verb {
            0..=4 => (limiter.check_n("a", n).await, combined().check_n(n)),
            5..=8 => (limiter.check_up_to("a", n).await, combined().check_up_to(n)),
            9 | 10 => (limiter.peek("a", n).await, combined().peek(n)),
            11 => {
                let (there, here) = (limiter.charge("a", n / 3).await, combined().charge(n / 3));
                about(there.unwrap(), here);
                continue;
            }
            12 if n == 0 => {
                limiter.reset("a").await.unwrap();
                limits.iter().for_each(|limit| limit.reset("a"));
                continue;
            }
            _ => {
                limiter.refund("a", n / 2).await.unwrap();
                combined().refund(n / 2);
                continue;
            }
        };
        let about_step = format!("step {step}: {there:?} for {here:?}");
        match (there, here) {
            (Ok(there), Ok(here)) => {
                assert_eq!(
                    (there.granted(), there.which(), there.limit(), there.remaining()),
                    (here.granted(), here.which(), here.limit(), here.remaining()),
                    "{about_step}"
                );
                about(there.reset_after(), here.reset_after());
            }
            (Err(RedisError::Denied(there)), Err(here)) => {
                assert_eq!(
                    (there.asked(), there.which(), there.limit(), there.remaining()),
                    (here.asked(), here.which(), here.limit(), here.remaining()),
                    "{about_step}"
                );
                assert_eq!(there.is_never(), here.is_never(), "{about_step}");
                about(
                    there.retry_after().unwrap_or_default(),
                    here.retry_after().unwrap_or_default(),
                );
            }
            _ => panic!("{about_step}"),
        }
        assert_eq!(limiter.available("a").await.unwrap(), combined().available(), "step {step}");
        let level = limits.iter().map(|limit| limit.level("a")).max().unwrap();
        assert_eq!(limiter.level("a").await.unwrap(), level, "step {step}");
    }
}

/// Each limit has the bucket that it has alone, and all are in one slot.
#[tokio::test]
async fn a_denial_by_one_leaves_the_others_as_they_are() {
    let server = Server::start(&[]);
    let quotas = [SLOW.burst(5), SLOW.burst(8), Quota::per_hour(1).burst(3)];
    let limiter = connect(&server, &quotas).await;
    let mut alone = Vec::new();
    for quota in quotas {
        alone.push(connect(&server, &[quota]).await);
    }
    assert!(alone.iter().all(|limit| limit.key("a").ends_with(b"{:a}")));
    assert_eq!(limiter.key("a"), alone[0].key("a"));

    assert_eq!(limiter.check_n("a", 2).await.unwrap().remaining(), 1);
    let first = denied(limiter.check_n("a", 2).await);
    assert_eq!((first.which(), first.remaining(), first.limit()), (2, 1, 3));
    about(first.retry_after().unwrap(), Duration::from_secs(3_600));
    assert!(denied(limiter.check_n("a", 4).await).is_never());
    // Whoever is denied by all waits for the slowest.
    let all = denied(limiter.check_n("a", 100).await);
    assert!(all.is_never() && all.which() == 0, "{all:?}");
    alone[1].charge("a", 6).await.unwrap();
    let slowest = denied(limiter.check_n("a", 2).await);
    assert_eq!((slowest.which(), slowest.remaining()), (1, 0));
    about(slowest.retry_after().unwrap(), SLOW.period() * 2);
    let left = [alone[0].available("a"), alone[1].available("a"), alone[2].available("a")];
    let [a, b, c] = left;
    assert_eq!((a.await.unwrap(), b.await.unwrap(), c.await.unwrap()), (3, 0, 1));
    // A key of something else is a fault, and nothing is taken.
    let mut client = server.client();
    redis::cmd("SET").arg(alone[2].key("b")).arg("else").exec(&mut client).unwrap();
    assert!(limiter.check("b").await.unwrap_err().is_configuration());
    assert_eq!(alone[0].available("b").await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_several_machines_take_of_all_or_none() {
    let server = Server::start(&[]);
    let quotas = [SLOW.burst(1_000), SLOW.burst(100), SLOW.burst(300)];
    let machines = [connect(&server, &quotas).await, connect(&server, &quotas).await];
    let alone = connect(&server, &quotas[2..]).await;
    let mut tasks = JoinSet::new();
    for task in 0..32 {
        let (limiter, alone) = (machines[task % 2].clone(), alone.clone());
        tasks.spawn(async move {
            let (mut admitted, mut besides) = (0, 0);
            for call in 0..20 {
                let answer = match call % 4 {
                    0 => limiter.check_up_to("a", 3).await,
                    1 => limiter.check_n("a", 2).await,
                    2 => limiter.check("a").await,
                    _ => {
                        besides += u64::from(alone.check("a").await.is_ok());
                        continue;
                    }
                };
                match answer {
                    Ok(grant) => admitted += grant.granted(),
                    Err(RedisError::Denied(_)) => {}
                    Err(failure) => panic!("{failure}"),
                }
            }
            (admitted, besides)
        });
    }
    let sums = tasks.join_all().await.into_iter();
    let (admitted, besides) = sums.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert_eq!(admitted, 100, "what the lowest has");
    let [calls_a, calls_b] = [0, 1].map(|machine| machines[machine].metrics().calls);
    assert_eq!(calls_a + calls_b, 32 * 15, "a round trip for each");
    for (quota, left) in quotas.into_iter().zip([1_000 - admitted, 0, 300 - admitted - besides]) {
        let alone = connect(&server, &[quota]).await;
        assert_eq!(alone.available("a").await.unwrap(), left as i64, "{quota}");
    }
}

#[tokio::test]
async fn what_cannot_be_several_is_refused_and_what_waits_asks_again() {
    let server = Server::start(&[]);
    let nine: Vec<_> = (1..10).map(|burst| SLOW.burst(burst)).collect();
    let [a, b] = [SLOW.burst(1), SLOW.burst(2)];
    for builder in [patient(&nine), patient(&[a, b, a]), patient(&[a, b]).leaky_bucket().queue(3)] {
        let error = builder.connect(&server.url()).await.unwrap_err();
        assert!(error.is_configuration(), "{error}");
    }
    let leased = patient(&[SLOW.burst(1_000), SLOW]).leased().connect(&server.url()).await;
    assert!(leased.unwrap_err().is_configuration());
    assert!(patient(&nine[..8]).connect(&server.url()).await.is_ok());

    let quotas = [Quota::per_second(50).burst(1), Quota::per_second(1_000)];
    let limiter = connect(&server, &quotas).await;
    let mut client = server.client();
    let mut time = || {
        let (seconds, us): (u64, u64) = redis::cmd("TIME").query(&mut client).unwrap();
        Duration::from_micros(seconds * 1_000_000 + us)
    };
    let began = time();
    for _ in 0..4 {
        assert_eq!(limiter.acquire("a", 1).await.unwrap().granted(), 1);
    }
    let took = time().saturating_sub(began);
    assert!(took >= Duration::from_millis(3 * 20), "{took:?}");
    assert!(limiter.reserve("a", 1).await.unwrap_err().is_configuration());
    let slow = connect(&server, &[SLOW, Quota::per_second(1_000)]).await;
    slow.charge("a", 1).await.unwrap();
    assert_eq!(denied(slow.acquire("a", 1).timeout(PATIENT).await).which(), 0);
}

#[tokio::test]
async fn while_redis_is_away_all_shares_decide_or_the_policy() {
    let mut server = Server::start(&[]);
    let quotas = [SLOW.burst(20), SLOW.burst(8)];
    let mut limiters = Vec::new();
    for policy in [Fallback::Local, Fallback::Open, Fallback::Closed, Fallback::Error] {
        let builder = patient(&quotas).fallback(policy).nodes(2);
        limiters.push(builder.connect(&server.url()).await.unwrap());
    }
    let [local, open, closed, error] = &limiters[..] else { panic!("four policies") };
    // What Redis said last is what each share begins with.
    assert_eq!(local.check_n("a", 2).await.unwrap().source(), Source::Redis);
    server.kill();
    let half = local.check_n("a", 3).await.unwrap();
    assert_eq!((half.source(), half.which(), half.remaining()), (Source::Fallback, 1, 0));
    let full = denied(local.check("a").await);
    assert_eq!((full.source(), full.which()), (Source::Fallback, 1));
    let over = denied(local.check_n("b", 5).await);
    assert!(!over.is_never() && over.which() == 1, "{over:?}");
    assert!(denied(local.check_n("b", 9).await).is_never());
    assert_eq!(local.check_up_to("b", 100).await.unwrap().granted(), 4);
    assert_eq!((local.available("b").await.unwrap(), local.level("a").await.unwrap()), (0, 4));
    about(local.charge("b", 1).await.unwrap(), SLOW.period() * 2);
    local.refund("b", 1).await.unwrap();

    let granted = open.check_up_to("a", 100).await.unwrap();
    assert_eq!((granted.granted(), granted.which()), (8, 1));
    assert_eq!(granted.source(), Source::FailOpen);
    assert!(denied(open.check_n("a", 9).await).is_never());
    let refused = denied(closed.check("a").await);
    assert_eq!((refused.source(), refused.is_never()), (Source::FailClosed, false));
    assert!(error.check("a").await.unwrap_err().is_degraded());

    // What the shares granted is charged of every limit.
    server.restart();
    let began = std::time::Instant::now();
    while local.check_n("a", 0).await.unwrap().source() != Source::Redis {
        assert!(began.elapsed() < PATIENT, "Redis stays away");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (quota, left) in quotas.into_iter().zip([17, 5]) {
        let alone = connect(&server, &[quota]).await;
        assert_eq!(alone.available("a").await.unwrap(), left, "{quota}");
    }
}

/// Windows of several lengths, all or nothing.
#[tokio::test]
async fn windows_of_several_lengths_are_one_limit() {
    let server = Server::start(&[]);
    let quotas = [
        Quota::new(10, Duration::from_secs(3_600_000)).unwrap(),
        Quota::new(25, Duration::from_secs(36_000_000)).unwrap(),
    ];
    for builder in [patient(&quotas).fixed_window(), patient(&quotas).sliding_window()] {
        let limiter = builder.connect(&server.url()).await.unwrap();
        let grant = limiter.check_n("a", 7).await.unwrap();
        assert_eq!((grant.remaining(), grant.which()), (3, 0));
        let error = limiter.check_n("a", 4).await.unwrap_err();
        assert_eq!(error.denied().unwrap().which(), 0);
        assert_eq!(limiter.check_up_to("a", 100).await.unwrap().granted(), 3);
        // What was denied by one has cost the other nothing.
        let there = limiter.check("a").await.unwrap_err();
        assert_eq!(
            (there.denied().unwrap().remaining(), limiter.level("a").await.unwrap()),
            (0, 10)
        );
        limiter.refund("a", 5).await.unwrap();
        assert_eq!(limiter.available("a").await.unwrap(), 5);
        limiter.charge("a", 20).await.unwrap();
        assert_eq!(limiter.available("a").await.unwrap(), -15);
        limiter.reset("a").await.unwrap();
        assert_eq!(limiter.available("a").await.unwrap(), 10);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let limiter = limiter.clone();
            tasks.spawn(async move { limiter.check("b").await.is_ok() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|granted| *granted).count(), 10);
    }
}
