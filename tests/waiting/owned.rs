//! Places and futures that own their limiter, places that are awaited, and waits by a limiter of
//! any store.

use sluicegate::{
    AnyLimiter, Combined, KeyedLimiter, ManualClock, Quota, RateLimiter, Reservation, TokioClock,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

fn direct(quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(TokioClock::new()).build().unwrap()
}

fn keyed(quota: Quota) -> KeyedLimiter<[u8]> {
    KeyedLimiter::builder(quota, 10).clock(TokioClock::new()).build().unwrap()
}

/// Runs a task of its own, as servers do: what it holds must be `Send` and borrow nothing.
async fn task<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(task).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_place_keeps_its_limiter() {
    let quota = Quota::per_second(10).burst(2);
    let (all, users) = (Arc::new(direct(quota)), Arc::new(keyed(quota)));
    let places: [Reservation<'static>; 2] =
        [all.clone().reserve_owned(2).unwrap(), users.clone().reserve_owned(b"a", 2).unwrap()];
    for place in places {
        assert!(place.ready_in().is_zero());
        let _ = place.settle(1);
    }
    assert_eq!((all.available(), users.available(b"a")), (1, 1));
    let place = all.clone().reserve_owned(2).unwrap();
    assert_eq!(place.ready_in(), 100 * MS);
    drop(all);
    assert_eq!(task(async move { place.cancel() }).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_wait_keeps_its_limiter() {
    let quota = Quota::per_second(10).burst(1);
    let (all, users) = (Arc::new(direct(quota)), Arc::new(keyed(quota)));
    let begin = Instant::now();
    task(all.clone().acquire_owned(1)).await.unwrap();
    task(users.clone().acquire_owned(b"a", 1)).await.unwrap();
    assert!(begin.elapsed().is_zero());
    task(all.clone().acquire_owned(1)).await.unwrap();
    task(users.clone().acquire_owned(b"a", 1)).await.unwrap();
    assert_eq!(begin.elapsed(), 100 * MS);
    assert!(task(all.acquire_owned(1).timeout(99 * MS)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_place_can_be_awaited() {
    let (fast, slow) = (direct(Quota::per_second(100).burst(1)), direct(Quota::per_second(10)));
    let begin = Instant::now();
    assert_eq!(fast.reserve(1).unwrap().ready().await.granted(), 1);
    assert!(begin.elapsed().is_zero());
    assert_eq!(fast.reserve(1).unwrap().ready().await.granted(), 1);
    assert_eq!(begin.elapsed(), 10 * MS);
    // A wait that is dropped gives its place up.
    let place = fast.reserve(1).unwrap();
    assert!(tokio::time::timeout(5 * MS, place.ready()).await.is_err());
    assert_eq!(fast.reserve(1).unwrap().ready_in(), 5 * MS);
    let both = Combined::new([fast.as_limit(), slow.as_limit()]);
    tokio::time::sleep(1_000 * MS).await;
    let begin = Instant::now();
    assert_eq!(both.reserve(1).unwrap().ready().await.granted(), 1);
    let place = both.reserve(1).unwrap();
    assert_eq!(place.ready_in(), 10 * MS);
    assert_eq!(place.cancel(), 1);
    assert_eq!(both.reserve(1).unwrap().ready().await.granted(), 1);
    assert_eq!(begin.elapsed(), 10 * MS);
    assert_eq!(both.reserve(0).unwrap().cancel(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_of_any_store_waits_as_its_own_do() {
    let quota = Quota::per_second(10).burst(1);
    let stores = [AnyLimiter::from(direct(quota)), AnyLimiter::from(Arc::new(keyed(quota)))];
    for any in stores {
        any.acquire("a", 1).await.unwrap();
        let begin = Instant::now();
        let error = any.acquire("a", 1).timeout(99 * MS).await.unwrap_err();
        assert_eq!(error.denied().unwrap().retry_after(), Some(MS));
        any.acquire("a", 1).timeout(100 * MS).jitter(MS).await.unwrap();
        assert_eq!(begin.elapsed(), 100 * MS, "the jitter is within the timeout");
        assert_eq!(any.reserve("a", 1).await.unwrap().ready().await.granted(), 1);
        assert_eq!(begin.elapsed(), 200 * MS);
    }
}

/// A direct limiter has one bucket, whatever the key.
#[tokio::test]
async fn a_direct_limiter_of_any_store_is_one_for_all_keys() {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(Quota::per_second(1).burst(5)).clock(clock.clone());
    let any = AnyLimiter::from(limiter.build().unwrap());
    assert_eq!(any.check_n("a", 3).await.unwrap().remaining(), 2);
    assert_eq!(any.check_up_to("b", 9).await.unwrap().granted(), 2);
    let denied = any.peek("c", 1).await.unwrap_err();
    assert_eq!(denied.denied().unwrap().retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(any.charge("d", 1).await.unwrap(), Duration::from_secs(1));
    assert_eq!((any.available("e").await.unwrap(), any.level("f").await.unwrap()), (-1, 6));
    any.refund("g", 1).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(any.available("h").await.unwrap(), 1);
    any.reset("i").await.unwrap();
    assert_eq!((any.available("j").await.unwrap(), any.quota().burst_size()), (5, 5));
    assert!(any.is_current());
}
