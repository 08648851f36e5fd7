//! A limiter in Redis, against real servers: what it answers, what it keeps there, and how many it
//! admits.

use crate::support::server::Server;
use sluicegate::{Algorithm, Fallback, KeyedLimiter, ManualClock, Quota, RedisError, RedisLimiter};
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

/// Whether a wait is one that a local limiter had said, or as much less as a test may have taken.
#[track_caller]
fn about(wait: Duration, local: Duration) {
    assert!(wait <= local && wait + PATIENT >= local, "{wait:?} for {local:?}");
}

#[tokio::test]
async fn verbs_answer_as_those_of_a_local_limiter() {
    let server = Server::start(&[]);
    let quota = SLOW.burst(10);
    let limiter = connect(&server, quota).await;
    let builder = KeyedLimiter::<str>::builder(quota, 10);
    let local = builder.clock(ManualClock::new()).build().unwrap();
    assert_eq!((limiter.quota(), limiter.algorithm()), (quota, Algorithm::TokenBucket));
    for n in [0, 1, 11, 4, 0, u64::MAX, 6, 5, 1] {
        for check in [false, true] {
            let (there, here) = if check {
                (limiter.check_n("a", n).await, local.check_n("a", n))
            } else {
                (limiter.peek("a", n).await, local.peek("a", n))
            };
            match (there, here) {
                (Ok(there), Ok(here)) => {
                    assert_eq!(
                        (there.granted(), there.limit(), there.remaining()),
                        (here.granted(), here.limit(), here.remaining())
                    );
                    about(there.reset_after(), here.reset_after());
                }
                (Err(RedisError::Denied(there)), Err(here)) => {
                    assert_eq!(
                        (there.asked(), there.limit(), there.remaining(), there.is_never()),
                        (here.asked(), here.limit(), here.remaining(), here.is_never())
                    );
                    about(there.reset_after(), here.reset_after());
                    assert_eq!(there.retry_after().is_none(), here.retry_after().is_none());
                    if let (Some(there), Some(here)) = (there.retry_after(), here.retry_after()) {
                        about(there, here);
                    }
                }
                (there, here) => panic!("{there:?} for {here:?}"),
            }
            assert_eq!(limiter.available("a").await.unwrap(), local.available("a"));
            assert_eq!(limiter.level("a").await.unwrap(), local.level("a"));
        }
    }
}

#[tokio::test]
async fn what_is_there_is_granted_charged_and_given_back() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(10)).await;
    assert_eq!(limiter.check_up_to("a", 7).await.unwrap().granted(), 7);
    assert_eq!(limiter.check_up_to("a", 7).await.unwrap().granted(), 3);
    assert_eq!(limiter.check_up_to("a", 0).await.unwrap().granted(), 0);
    let none = limiter.check_up_to("a", 7).await.unwrap_err();
    about(none.denied().unwrap().retry_after().unwrap(), SLOW.period());

    about(limiter.charge("a", 2).await.unwrap(), SLOW.period() * 2);
    assert_eq!(limiter.available("a").await.unwrap(), -2);
    about(limiter.charge("a", 0).await.unwrap(), SLOW.period() * 2);
    limiter.refund("a", 5).await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), 3);
    assert_eq!(limiter.charge("a", 1).await.unwrap(), Duration::ZERO);
    limiter.refund("a", u64::MAX).await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), 10);

    limiter.charge("a", u64::MAX).await.unwrap();
    assert!(limiter.available("a").await.unwrap() < -50_000);
    assert_eq!(limiter.available("b").await.unwrap(), 10);
    limiter.reset("a").await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), 10);
    // Whatever bytes a key has.
    let odd: [&[u8]; 4] = [b"", b"a}b{", b"\0\xff", b" \r\n"];
    for (n, key) in odd.iter().enumerate() {
        limiter.charge(key, n as u64 + 1).await.unwrap();
    }
    for (n, key) in odd.iter().enumerate() {
        assert_eq!(limiter.available(key).await.unwrap(), 9 - n as i64);
    }
}

/// A key expires in the first millisecond in which its bucket is full, and is no longer there when
/// it is.
#[tokio::test]
async fn a_key_is_kept_until_its_bucket_is_full() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let day = Duration::from_secs(86_400);
    for quota in [SLOW, Quota::per_day(7), Quota::new(11, day * 30).unwrap().burst(400)] {
        let limiter = connect(&server, quota).await;
        for n in [1, 3] {
            limiter.charge("a", n).await.unwrap();
            let key = limiter.key("a");
            let kept: String = redis::cmd("GET").arg(&key).query(&mut client).unwrap();
            let mut numbers = kept.split(':').map(|number| number.parse::<u64>().unwrap());
            let full = numbers.next().unwrap() + numbers.next().unwrap_or(0).min(1);
            let expires: u64 = redis::cmd("PEXPIRETIME").arg(&key).query(&mut client).unwrap();
            assert_eq!(expires, full.div_ceil(1_000), "{quota}, {kept}");
        }
        limiter.refund("a", 4).await.unwrap();
        let there: bool = redis::cmd("EXISTS").arg(limiter.key("a")).query(&mut client).unwrap();
        assert!(!there, "{quota}");
    }
    let limiter = connect(&server, Quota::per_second(1_000)).await;
    limiter.charge("a", 20).await.unwrap();
    let full: u64 = redis::cmd("GET").arg(limiter.key("a")).query(&mut client).unwrap();
    loop {
        let there: bool = redis::cmd("EXISTS").arg(limiter.key("a")).query(&mut client).unwrap();
        let time: (u64, u64) = redis::cmd("TIME").query(&mut client).unwrap();
        let now = time.0 * 1_000_000 + time.1;
        if !there {
            assert!(now > full, "forgotten {} us before it is full", full - now);
            break;
        }
    }
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn keys_are_of_a_prefix_and_a_quota() {
    let server = Server::start(&[]);
    let api = RedisLimiter::builder(SLOW.burst(5)).prefix("api").deadline(PATIENT);
    let leaky = api.clone().leaky_bucket().connect(&server.url()).await.unwrap();
    let api = api.connect(&server.url()).await.unwrap();
    let (other, more) =
        (connect(&server, SLOW.burst(5)).await, connect(&server, SLOW.burst(6)).await);
    assert_eq!(api.key("alice"), b"api:b1/1d/5{:alice}");
    api.check_n("alice", 2).await.unwrap();
    let there = [&api, &leaky, &other, &more].map(|limiter| limiter.available("alice"));
    let [api, leaky_there, other, more] = there;
    let there = (api.await.unwrap(), leaky_there.await.unwrap());
    assert_eq!((there, other.await.unwrap(), more.await.unwrap()), ((3, 3), 5, 6));
    assert_eq!(
        (leaky.algorithm(), leaky.level("alice").await.unwrap()),
        (Algorithm::LeakyBucket, 2)
    );
}

/// Two limiters with a connection each, as two machines have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_several_machines_admit_exactly_the_burst() {
    let server = Server::start(&[]);
    let machines =
        [connect(&server, SLOW.burst(100)).await, connect(&server, SLOW.burst(100)).await];
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let limiter = machines[task % 2].clone();
        tasks.spawn(async move {
            let mut admitted = 0;
            for call in 0..20 {
                let answer = match call % 3 {
                    0 => limiter.check_up_to("a", 2).await,
                    _ => limiter.check("a").await,
                };
                match answer {
                    Ok(grant) => admitted += grant.granted(),
                    Err(RedisError::Denied(denied)) => assert_eq!(denied.remaining(), 0),
                    Err(failure) => panic!("{failure}"),
                }
            }
            admitted
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<u64>(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_is_lost_is_one_burst_more_at_most() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(50)).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let mut admitted = 0;
            for _ in 0..50 {
                admitted += u64::from(limiter.check("a").await.is_ok());
            }
            admitted
        });
    }
    redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
    let admitted = tasks.join_all().await.into_iter().sum::<u64>();
    assert!((50..=100).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn a_script_that_is_forgotten_is_sent_again_and_debits_once() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let limiter = connect(&server, SLOW.burst(100)).await;
    for n in 1..10 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
        assert_eq!(limiter.check("a").await.unwrap().remaining(), 100 - n);
    }
    // In the midst of many calls, none of which may fail for it.
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let limiter = limiter.clone();
        tasks.spawn(async move { limiter.check("a").await.map(|_| ()) });
    }
    for _ in 0..20 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
        tokio::task::yield_now().await;
    }
    let done = tasks.join_all().await.into_iter().collect::<Result<Vec<_>, _>>();
    assert_eq!(done.unwrap().len(), 50);
    assert_eq!(limiter.available("a").await.unwrap(), 41);
}

/// A call that is dropped may have been sent: it is charged, or it is not, and it troubles no
/// other.
#[tokio::test]
async fn dropped_calls_debit_at_most_once_and_disturb_nobody() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(1_000)).await;
    for n in 0..100 {
        let call = limiter.charge("dropped", 1);
        let _ = tokio::time::timeout(Duration::from_micros(n), call).await;
        assert_eq!(limiter.check_n("kept", 2).await.unwrap().remaining(), 1_000 - 2 * (n + 1));
    }
    let left = limiter.available("dropped").await.unwrap();
    assert!((900..=1_000).contains(&left), "{left}");
}
