//! Waits that are given up: a caller that leaves a process's line in Redis costs nobody a token,
//! and those behind it move up in their order.

use crate::support::server::Server;
use futures_util::FutureExt;
use futures_util::task::{ArcWake, waker};
use sluicegate::{Fallback, Quota, RedisBuilder, RedisError, RedisLimiter, Source};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

const MS: Duration = Duration::from_millis(1);

fn patient(quota: Quota) -> RedisBuilder {
    let builder = RedisLimiter::builder(quota).deadline(PATIENT).connect_timeout(PATIENT);
    builder.fallback(Fallback::Error)
}

async fn connect(server: &Server, quota: Quota) -> RedisLimiter {
    patient(quota).connect(&server.url()).await.unwrap()
}

/// A place in front of another process's is kept while that waits, and back when it has gone too.
#[tokio::test]
async fn what_redis_does_not_take_back_is_kept_for_the_next() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(1)).await;
    let other = connect(&server, SLOW.burst(1)).await;
    limiter.check("a").await.unwrap();
    let first = waits(&limiter, "a", 1);
    available_is(&limiter, "a", -1).await;
    let behind = waits(&other, "a", 1);
    available_is(&limiter, "a", -2).await;
    first.abort();
    let calls = limiter.metrics().calls;
    // It has tried, in vain.
    while limiter.metrics().calls == calls {
        sleep(MS).await;
    }
    sleep(10 * MS).await;
    // The place of a day, and not one behind that of two.
    let next = limiter.clone();
    let next = tokio::spawn(async move { next.acquire("a", 1).timeout(SLOW.period()).await });
    sleep(10 * MS).await;
    assert!(!next.is_finished(), "{:?}", next.await);
    available_is(&limiter, "a", -2).await;
    next.abort();
    behind.abort();
    available_is(&limiter, "a", 0).await;
}

/// A task that waits, and says when it was served.
fn waits(limiter: &RedisLimiter, key: &str, n: u64) -> JoinHandle<Result<Instant, RedisError>> {
    let (limiter, key) = (limiter.clone(), key.to_owned());
    tokio::spawn(async move { limiter.acquire(&key, n).await.map(|_| Instant::now()) })
}

/// Until it is so, which may take long on a busy machine.
async fn available_is(limiter: &RedisLimiter, key: &str, expected: i64) {
    let began = Instant::now();
    loop {
        let there = limiter.available(key).await.unwrap();
        if there == expected {
            return;
        }
        assert!(began.elapsed() < PATIENT, "{there} for {expected}");
        sleep(MS).await;
    }
}

/// Whatever the order in which they leave: it was 1, 2 or 3 days later for a newcomer.
#[tokio::test]
async fn a_newcomer_waits_as_if_those_who_left_had_never_come() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(5)).await;
    for (key, order) in [("first", [0, 1, 2, 3]), ("last", [3, 2, 1, 0]), ("odd", [1, 3, 0, 2])] {
        limiter.charge(key, 5).await.unwrap();
        let mut waiting = Vec::new();
        for (missing, n) in [(1, 1), (4, 3), (6, 2), (7, 1)] {
            waiting.push(Some(waits(&limiter, key, n)));
            available_is(&limiter, key, -missing).await;
        }
        let mut left = 7;
        for leaves in order {
            waiting[leaves].take().unwrap().abort();
            left -= [1, 3, 2, 1][leaves];
            available_is(&limiter, key, -left).await;
        }
        let newcomer = limiter.reserve(key, 1).await.unwrap();
        assert!(newcomer.waits() <= SLOW.period() && newcomer.waits() + PATIENT > SLOW.period());
    }
}

/// Those behind one who leaves are served sooner, in the order in which they came, and nobody
/// early.
#[tokio::test]
async fn those_behind_move_up_and_keep_their_order() {
    let server = Server::start(&[]);
    let limiter = connect(&server, Quota::per_second(4).burst(1)).await;
    let mut waiting = Vec::new();
    let began = Instant::now();
    limiter.charge("a", 1).await.unwrap();
    for behind in 1..=6 {
        let calls = limiter.metrics().calls;
        waiting.push(waits(&limiter, "a", 1));
        while limiter.metrics().calls == calls {
            sleep(MS).await;
        }
        assert!(limiter.available("a").await.unwrap() >= -behind);
    }
    for leaves in [4, 0, 2] {
        waiting.remove(leaves).abort();
    }
    let mut served = Vec::new();
    for stays in waiting {
        served.push(stays.await.unwrap().unwrap());
    }
    assert!(served.is_sorted());
    for (nth, served) in (1..).zip(&served) {
        let due = nth * 250 * MS;
        assert!(*served >= began + due, "{nth}: early by {:?}", began + due - *served);
    }
    // The last of three would have been the sixth.
    let last = served[2] - began;
    assert!(last < 1_200 * MS, "{last:?}");
}

/// Tokens that come back while callers wait are for the next who comes, and those behind are not
/// later for it.
#[tokio::test]
async fn a_refund_while_callers_wait_is_not_lost() {
    let server = Server::start(&[]);
    let limiter = connect(&server, Quota::per_second(4).burst(1)).await;
    let began = Instant::now();
    limiter.charge("a", 1).await.unwrap();
    let mut waiting = JoinSet::new();
    for refund in [0, 0, 0, 1, 0] {
        limiter.refund("a", refund).await.unwrap();
        let calls = limiter.metrics().calls;
        let waits = limiter.clone();
        waiting.spawn(async move { waits.acquire("a", 1).await.unwrap() });
        while limiter.metrics().calls == calls {
            sleep(MS).await;
        }
    }
    assert_eq!(waiting.join_all().await.len(), 5);
    let took = began.elapsed();
    assert!(took >= 1_000 * MS && took < 1_200 * MS, "{took:?}");
}

/// A leaky bucket as a queue is paid in instalments, over its burst too.
#[tokio::test]
async fn a_queue_is_waited_in_and_left() {
    let server = Server::start(&[]);
    let builder = patient(SLOW).leaky_bucket().queue(4);
    let queue = builder.connect(&server.url()).await.unwrap();
    assert_eq!(queue.acquire("a", 1).await.unwrap().granted(), 1);
    let (first, last) = (waits(&queue, "a", 3), waits(&queue, "a", 1));
    available_is(&queue, "a", -4).await;
    let full = queue.acquire("a", 1).await.unwrap_err();
    assert!(full.denied().is_some(), "{full:?}");
    first.abort();
    available_is(&queue, "a", -1).await;
    let again = waits(&queue, "a", 3);
    available_is(&queue, "a", -4).await;
    last.abort();
    again.abort();
    available_is(&queue, "a", 0).await;
    let never = queue.acquire("a", 6).await.unwrap_err();
    assert!(never.denied().is_some_and(|denied| denied.is_never()), "{never:?}");
}

/// What an answer brings whose caller has left is not lost.
#[tokio::test]
async fn one_who_leaves_before_the_answer_costs_nobody_a_token() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(2)).await;
    let direct = connect(&server, SLOW.burst(2)).await;
    direct.charge("a", 2).await.unwrap();
    limiter.available("a").await.unwrap();
    server.pause();
    for _ in 0..5 {
        // Sent, and not answered.
        let waits = limiter.acquire("a", 1);
        assert!(timeout(20 * MS, waits).await.is_err());
    }
    server.go_on();
    available_is(&direct, "a", 0).await;
}

#[tokio::test]
async fn who_leaves_makes_room_at_once() {
    let server = Server::start(&[]);
    let builder = patient(SLOW.burst(1)).max_waiting(2);
    let limiter = builder.connect(&server.url()).await.unwrap();
    limiter.check("a").await.unwrap();
    let (first, second) = (waits(&limiter, "a", 1), waits(&limiter, "a", 1));
    available_is(&limiter, "a", -2).await;
    let full = limiter.acquire("a", 1).await.unwrap_err();
    assert!(full.denied().is_some_and(|denied| !denied.is_never()), "{full:?}");
    let late = limiter.acquire("a", 1).timeout(SLOW.period()).await.unwrap_err();
    assert!(late.denied().is_some(), "{late:?}");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let calls = limiter.metrics().calls;
    let mut third = Box::pin(limiter.acquire("a", 1));
    assert!((&mut third).now_or_never().is_none());
    assert_eq!(limiter.metrics().calls, calls, "it has the place of the one that left");
    // Within two days there is a place, and within one there is not.
    drop(third);
    let late = limiter.acquire("a", 1).timeout(SLOW.period()).await.unwrap_err();
    let late = late.denied().unwrap().retry_after().unwrap();
    assert!(late <= SLOW.period() && late + PATIENT > SLOW.period(), "{late:?}");
    let in_time = limiter.acquire("a", 1).timeout(SLOW.period() * 2);
    assert!(in_time.now_or_never().is_none());
    second.abort();
    available_is(&limiter, "a", 0).await;
}

/// Nobody acts at the place of one who reserved and cancelled, unless somebody waits: then it is
/// not lost.
#[tokio::test]
async fn a_reservation_that_is_given_up_goes_to_those_who_wait() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(1)).await;
    for cancels in [true, false] {
        let key = format!("{cancels}");
        limiter.check(&key).await.unwrap();
        let place = limiter.reserve(&key, 1).await.unwrap();
        let waiting = waits(&limiter, &key, 1);
        available_is(&limiter, &key, -2).await;
        if cancels {
            assert_eq!(place.cancel().await.unwrap(), 1);
        } else {
            drop(place);
        }
        // Its own is what comes back.
        available_is(&limiter, &key, -1).await;
        waiting.abort();
        available_is(&limiter, &key, 0).await;
    }
}

/// A caller waits on when the runtime of the caller before it ends.
#[test]
fn callers_outlive_the_runtime_of_another() {
    let server = Server::start(&[]);
    let (own, other) = (runtime(), runtime());
    let quota = Quota::new(1, Duration::from_secs(1)).unwrap().burst(1);
    let limiter = own.block_on(connect(&server, quota));
    own.block_on(limiter.charge("a", 1)).unwrap();
    let (first, second) = (limiter.clone(), limiter.clone());
    let first = other.spawn(async move { first.acquire("a", 1).await.map(|_| ()) });
    own.block_on(available_is(&limiter, "a", -1));
    let second = own.spawn(async move { second.acquire("a", 1).await.map(|_| ()) });
    own.block_on(available_is(&limiter, "a", -2));
    first.abort();
    let first = own.block_on(first);
    drop(other);
    let second = own.block_on(async { timeout(PATIENT, second).await.unwrap().unwrap() });
    assert!(second.is_ok() && first.is_err(), "{first:?} {second:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// Nobody hangs who asks a limiter whose runtime has ended, or stands in its line when it ends.
#[test]
fn a_wait_ends_with_the_runtime_of_the_limiter() {
    let server = Server::start(&[]);
    let (of_limiter, own) = (runtime(), runtime());
    let limiter = of_limiter.block_on(connect(&server, Quota::per_second(2).burst(1)));
    of_limiter.block_on(limiter.charge("a", 1)).unwrap();
    let stands = limiter.clone();
    let stands = own.spawn(async move { stands.acquire("a", 1).await.map(|_| ()) });
    of_limiter.block_on(available_is(&limiter, "a", -1));
    drop(of_limiter);
    own.block_on(async {
        assert_eq!(timeout(PATIENT, stands).await.unwrap().unwrap(), Ok(()));
        let error = timeout(PATIENT, limiter.acquire("a", 1)).await.unwrap().unwrap_err();
        assert!(matches!(error, RedisError::Connection(_)), "{error:?}");
    });
}

/// While Redis is away callers wait for this node's share, or have what the policy says.
#[tokio::test]
async fn while_redis_is_away_callers_wait_for_the_share() {
    let mut server = Server::start(&[]);
    server.kill();
    let builder = patient(Quota::per_second(4).burst(2)).nodes(2).start_away(true);
    let connect = async |fallback| {
        let builder = builder.clone().fallback(fallback);
        builder.connect(&server.url()).await.unwrap()
    };
    let (local, open) = (connect(Fallback::Local).await, connect(Fallback::Open).await);
    let (closed, error) = (connect(Fallback::Closed).await, connect(Fallback::Error).await);
    let began = Instant::now();
    for _ in 0..3 {
        let grant = local.acquire("a", 1).await.unwrap();
        assert_eq!((grant.granted(), grant.source()), (1, Source::Fallback));
    }
    assert!(began.elapsed() >= 1_000 * MS, "{:?}", began.elapsed());
    let late = local.acquire("a", 1).timeout(10 * MS).await.unwrap_err();
    assert!(late.denied().is_some_and(|late| late.source() == Source::Fallback), "{late:?}");
    let over = local.acquire("a", 2).await.unwrap_err();
    assert!(over.denied().is_some_and(|over| !over.is_never()), "it exceeds the share alone");
    assert_eq!(open.acquire("a", 2).await.unwrap().source(), Source::FailOpen);
    let closed = closed.acquire("a", 1).await.unwrap_err();
    assert_eq!(closed.denied().unwrap().source(), Source::FailClosed);
    assert_eq!(error.acquire("a", 1).await.unwrap_err(), RedisError::Away);
}

struct Woken(AtomicU64);

impl ArcWake for Woken {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.fetch_add(1, Relaxed);
    }
}

/// However many wait, and whoever leaves: one who is served is woken for that alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_woken_once() {
    let server = Server::start(&[]);
    let limiter = connect(&server, Quota::per_second(50).burst(1)).await;
    limiter.charge("a", 1).await.unwrap();
    type Waits<'a> =
        Pin<Box<dyn Future<Output = Result<sluicegate::Grant, RedisError>> + Send + 'a>>;
    let mut waiting: Vec<(Waits<'_>, Arc<Woken>)> = Vec::new();
    for _ in 0..40 {
        let woken = Arc::new(Woken(AtomicU64::new(0)));
        let mut waits: Waits<'_> = Box::pin(limiter.acquire("a", 1));
        let calls = limiter.metrics().calls;
        let waker = waker(Arc::clone(&woken));
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // Until it has asked for its place, so that they are in order.
        while limiter.metrics().calls == calls {
            sleep(MS).await;
        }
        waiting.push((waits, woken));
    }
    let mut nth = 0;
    waiting.retain(|_| {
        nth += 1;
        nth % 3 > 0
    });
    let began = Instant::now();
    while waiting.iter().any(|(_, woken)| woken.0.load(Relaxed) == 0) {
        assert!(began.elapsed() < PATIENT);
        sleep(MS).await;
    }
    assert!(!waiting.is_empty());
    for (mut waits, woken) in waiting {
        let waker = waker(Arc::clone(&woken));
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        assert_eq!(woken.0.load(Relaxed), 1);
    }
}
