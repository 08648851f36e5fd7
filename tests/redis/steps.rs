//! A limiter in Redis when the server's clock is set, its data is lost, and callers leave.

use crate::support::server::Server;
use sluicegate::{Fallback, Quota, RedisError, RedisLimiter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1).burst(100);

const DAY: u64 = 86_400_000_000;

async fn connect(server: &Server, quota: Quota) -> RedisLimiter {
    let builder = RedisLimiter::builder(quota).deadline(PATIENT).connect_timeout(PATIENT);
    // The connection alone: no breaker, nobody who decides in its place.
    builder.failures(u32::MAX).fallback(Fallback::Error).connect(&server.url()).await.unwrap()
}

async fn until(met: impl Fn() -> bool) {
    let began = Instant::now();
    while !met() {
        assert!(began.elapsed() < PATIENT);
        tokio::task::yield_now().await;
    }
}

/// Microseconds since 1970, by the server's clock.
fn now(client: &mut redis::Connection) -> u64 {
    let time: (u64, u64) = redis::cmd("TIME").query(client).unwrap();
    time.0 * 1_000_000 + time.1
}

/// What a clock leaves that is set back by a day, just after the bucket was emptied: a key that is
/// full a day late, and expires as late. In every form that a value has.
#[tokio::test]
async fn after_a_clock_is_set_back_nobody_waits_longer_than_a_burst_takes_to_fill() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (quota, rest) in [
        (Quota::per_second(100).burst(50), ""),
        (Quota::per_second(7).burst(3), ":3"),
        // Debt of as long as the burst takes, which was over the burst when it was noted.
        (Quota::per_second(100).burst(50), ":0:500000"),
    ] {
        let limiter = connect(&server, quota).await;
        let fill = quota.period().as_micros() as u64 * quota.burst_size();
        let fill = Duration::from_micros(fill.div_ceil(quota.count()));
        // Whether or not others ask in vain meanwhile.
        for asks in [false, true] {
            let key = format!("{rest} {asks}");
            let full = now(&mut client) + DAY;
            let value = format!("{full}{rest}");
            redis::cmd("SET").arg(limiter.key(&key)).arg(value).exec(&mut client).unwrap();
            let began = Instant::now();
            let none = limiter.check(&key).await.unwrap_err();
            let denied = *none.denied().unwrap();
            assert!(denied.reset_after() <= fill, "{denied:?}");
            assert!(denied.retry_after().unwrap() <= fill, "{denied:?}");
            loop {
                if asks && let Err(error) = limiter.check_n(&key, quota.burst_size() + 1).await {
                    assert!(error.denied().is_some(), "{error}");
                }
                let answer = limiter.check_n(&key, quota.burst_size()).await;
                let waited = began.elapsed();
                match answer {
                    Ok(_) => {
                        // The server had counted from a moment after this began.
                        assert!(
                            waited + Duration::from_millis(1) >= fill,
                            "{waited:?} for {fill:?}"
                        );
                        break;
                    }
                    Err(RedisError::Denied(denied)) => {
                        assert!(denied.retry_after().unwrap() <= fill, "{denied:?}");
                    }
                    Err(failure) => panic!("{failure}"),
                }
                assert!(waited < PATIENT, "still denied after {waited:?}, {quota}");
                tokio::time::sleep(fill / 20).await;
            }
        }
    }
}

/// What a clock leaves that is set forward: buckets that were empty are long full. And what it
/// leaves when it is set back to what it was: they are not empty for longer than others.
#[tokio::test]
async fn a_clock_set_forward_is_one_burst_more_at_most() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let limiter = connect(&server, SLOW).await;
    let burst = SLOW.burst_size();
    limiter.check_n("a", burst).await.unwrap();
    limiter.check("a").await.unwrap_err();
    let long_ago = now(&mut client) - DAY;
    redis::cmd("SET").arg(limiter.key("a")).arg(long_ago).exec(&mut client).unwrap();
    let mut admitted = 0;
    for _ in 0..2 * burst {
        admitted += u64::from(limiter.check("a").await.is_ok());
    }
    assert_eq!(admitted, burst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loss_of_data_in_a_storm_is_one_burst_more_at_most() {
    const FLUSHES: u64 = 20;
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW).await;
    let burst = SLOW.burst_size();
    let [admitted, denied] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (limiter, done) = (limiter.clone(), done.clone());
        let (admitted, denied) = (admitted.clone(), denied.clone());
        tasks.spawn(async move {
            while !done.load(Relaxed) {
                let answer = match task % 4 {
                    0 => limiter.check_up_to("a", 3).await,
                    n => limiter.check_n("a", n).await,
                };
                match answer {
                    Ok(grant) => admitted.fetch_add(grant.granted(), Relaxed),
                    Err(RedisError::Denied(_)) => denied.fetch_add(1, Relaxed),
                    Err(failure) => panic!("{failure}"),
                };
            }
        });
    }
    let mut client = server.client();
    for flush in 1..=FLUSHES {
        // Lost when it is worth most: when it says that nothing is left.
        until(|| admitted.load(Relaxed) >= flush * burst).await;
        redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    }
    // The last one is emptied too, and stays so.
    let before = denied.load(Relaxed);
    until(|| denied.load(Relaxed) >= before + 1_000).await;
    done.store(true, Relaxed);
    tasks.join_all().await;
    let admitted = admitted.load(Relaxed);
    assert_eq!(admitted, (FLUSHES + 1) * burst);
}

/// Those who leave before their answer may have been charged: what is missing is at least what was
/// admitted. What they gave back is never more than was missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_leave_are_charged_at_least_what_was_admitted() {
    const TASKS: u64 = 32;
    const CALLS: u64 = 50;
    let server = Server::start(&[]);
    let burst = 2 * TASKS * CALLS;
    let limiter = connect(&server, SLOW.burst(burst)).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let (mut admitted, mut left) = (0, 0);
            for call in 0..CALLS {
                // None, some or all of the time that an answer takes.
                let patience = Duration::from_micros(task * call % 7 * 500);
                match tokio::time::timeout(patience, limiter.check("charged")).await {
                    Ok(answer) => admitted += answer.unwrap().granted(),
                    Err(_) => left += 1,
                }
                let back = limiter.refund("given back", 1 + call);
                let _ = tokio::time::timeout(patience, back).await;
                if call % 2 == 0 {
                    let _ = tokio::time::timeout(patience, limiter.check("given back")).await;
                }
                if call % 10 == 0 {
                    assert!(limiter.available("given back").await.unwrap() <= burst as i64);
                }
            }
            (admitted, left)
        });
    }
    let sums = tasks.join_all().await;
    let admitted: u64 = sums.iter().map(|sum| sum.0).sum();
    let left: u64 = sums.iter().map(|sum| sum.1).sum();
    assert!(admitted > 0 && left > 0, "{admitted}, {left}");
    let charged = burst - limiter.available("charged").await.unwrap() as u64;
    assert!((admitted..=admitted + left).contains(&charged), "{charged}, {admitted}, {left}");
    assert!(limiter.available("given back").await.unwrap() <= burst as i64);
}
