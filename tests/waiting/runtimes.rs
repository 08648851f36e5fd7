//! Waits for one limiter in several runtimes and threads.

use sluicegate::{Quota, RateLimiter};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A runtime that ends while its tasks wait gives all of it to those who wait elsewhere, and to the
/// bucket.
#[test]
fn a_runtime_that_ends_loses_nothing() {
    let limiter = Arc::new(RateLimiter::new(Quota::per_second(20).burst(1)));
    assert!(limiter.check().is_ok());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let waits = |limiter: &Arc<RateLimiter>| {
        let limiter = limiter.clone();
        async move { limiter.acquire(1).await.map(|_| ()) }
    };
    for _ in 0..200 {
        first.spawn(waits(&limiter));
    }
    first.block_on(async {
        while limiter.available() > -150 {
            tokio::task::yield_now().await;
        }
    });
    let here = second.spawn(waits(&limiter));
    second.block_on(async { tokio::task::yield_now().await });
    drop(first);
    assert!(limiter.available() >= -1);
    let start = Instant::now();
    second.block_on(here).unwrap().unwrap();
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
}

/// Nor does one whose thread is busy hold up those who wait on others.
#[test]
fn a_busy_runtime_delays_nobody_elsewhere() {
    let limiter = RateLimiter::new(Quota::per_second(20).burst(1));
    let start = Instant::now();
    assert!(limiter.check().is_ok());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (busy, other) = (runtime(), runtime());
    let mut first = Box::pin(limiter.acquire(1));
    // Its timer is never looked at again.
    busy.block_on(async { assert!(futures_util::poll!(&mut first).is_pending()) });
    other.block_on(limiter.acquire(1)).unwrap();
    assert!((95 * MS..10 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    // Nor a thread, which has a timer of its own.
    limiter.acquire_blocking(1).unwrap();
    assert!((145 * MS..10 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    // The first one's moment has long come. It may be polled anywhere.
    other.block_on(first).unwrap();
}

/// A wait may go on in another runtime than it began in, also when that one has ended.
#[test]
fn a_wait_goes_on_in_another_runtime() {
    let limiter = RateLimiter::new(Quota::per_second(20).burst(1));
    let start = Instant::now();
    assert!(limiter.check().is_ok());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut wait = Box::pin(limiter.acquire(1));
    let mut behind = Box::pin(limiter.acquire(1));
    let first = runtime();
    first.block_on(async { assert!(futures_util::poll!(&mut wait).is_pending()) });
    first.block_on(async { assert!(futures_util::poll!(&mut behind).is_pending()) });
    drop(first);
    let second = runtime();
    second.block_on(wait).unwrap();
    second.block_on(behind).unwrap();
    assert!((90 * MS..10 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
}

/// Threads whose quota is raised while they sleep act by the new one, in their order.
#[test]
fn threads_follow_a_raised_quota() {
    let limiter = RateLimiter::new(Quota::per_minute(10).burst(1));
    assert!(limiter.check().is_ok());
    let start = Instant::now();
    let denied = thread::scope(|scope| {
        let waits: Vec<_> = (0..3).map(|_| scope.spawn(|| limiter.acquire_blocking(1))).collect();
        while limiter.available() > -3 {
            thread::yield_now();
        }
        // Behind the others.
        let patient = scope.spawn(|| limiter.acquire_blocking_timeout(1, 10_000 * SECOND * 3));
        while limiter.available() > -4 {
            thread::yield_now();
        }
        // For the one with a timeout a slower quota comes too late, and it says so at once.
        limiter.set_quota(Quota::new(1, 20_000 * SECOND).unwrap()).unwrap();
        let denied = patient.join().unwrap();
        limiter.set_quota(Quota::per_second(100).burst(1)).unwrap();
        waits.into_iter().for_each(|wait| assert!(wait.join().unwrap().is_ok()));
        denied.unwrap_err()
    });
    assert!(denied.retry_after().unwrap() > 10_000 * SECOND, "{denied}");
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
}
