//! Waiting for a limiter that warms up: tasks and threads, steady callers, and those who give up.

use sluicegate::{Quota, WarmUpLimiter};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn acquire_waits_as_guavas_does() {
    let builder = WarmUpLimiter::builder(Quota::per_second(2), 4 * SECOND);
    let limiter = builder.clock(sluicegate::TokioClock::new()).build().unwrap();
    for wait in [0, 1_375_000, 1_125_000, 875_000, 625_000, 500_000, 500_000] {
        let before = tokio::time::Instant::now();
        assert!(limiter.acquire(1).await.is_ok());
        assert_eq!(before.elapsed().as_micros(), wait);
    }
}

/// At 10/s, over 500 ms, checks every 105 or 120 ms were granted 33 % for ever: each came late, and
/// left the limiter idle. Whoever waits is served by the rate.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn steady_callers_are_served_and_warm_it() {
    for every in [105, 120] {
        let builder = WarmUpLimiter::builder(Quota::per_second(10), SECOND / 2);
        let limiter = builder.clock(sluicegate::TokioClock::new()).build().unwrap();
        let limiter = std::sync::Arc::new(limiter);
        let asked = 60_000 / every;
        let calls = (0..asked).map(|call| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(every * call)).await;
                let before = tokio::time::Instant::now();
                limiter.acquire(1).await.unwrap();
                before.elapsed()
            })
        });
        let mut waited = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            waited.push(call.await.unwrap());
        }
        // Three tokens for the first, and what the ramp costs until it is warm.
        let longest = waited.iter().max().unwrap();
        assert!(*longest <= Duration::from_millis(400), "{every} ms: {longest:?}");
    }
    // And back to back, at the whole rate.
    let builder = WarmUpLimiter::builder(Quota::per_second(10), SECOND / 2);
    let limiter = builder.clock(sluicegate::TokioClock::new()).build().unwrap();
    let start = tokio::time::Instant::now();
    let mut served = 0;
    while start.elapsed() < 60 * SECOND {
        limiter.acquire(1).await.unwrap();
        served += 1;
    }
    assert!(served >= 590, "{served} of 600");
}

/// Whoever leaves the line hands its turn on: the rest is served as if it had never come.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn callers_that_give_up_cost_nobody_a_turn() {
    for clients in [1, 2, 5, 20, 100] {
        let builder = WarmUpLimiter::builder(Quota::per_second(10), SECOND / 2);
        let limiter = builder.clock(sluicegate::TokioClock::new()).build().unwrap();
        let limiter = std::sync::Arc::new(limiter);
        let start = tokio::time::Instant::now();
        let tasks = (0..clients).map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut served = 0;
                while start.elapsed() < 60 * SECOND {
                    let wait = tokio::time::timeout(SECOND, limiter.acquire(1));
                    served += u64::from(wait.await.is_ok());
                }
                served
            })
        });
        let mut served = 0;
        for task in tasks.collect::<Vec<_>>() {
            served += task.await.unwrap();
        }
        // The ramp costs two tokens and a half, and the first one is served at once.
        assert!((590..=611).contains(&served), "{served} of {clients} clients");
        tokio::time::sleep(SECOND).await;
        assert_eq!(limiter.available(), 5, "{clients} clients have left something");
    }
}

/// From the middle, in front of a reservation, and after the turn had come.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn turns_are_handed_on_from_wherever_they_are_given_up() {
    let builder = WarmUpLimiter::builder(Quota::per_second(10), SECOND / 2);
    let limiter = builder.clock(sluicegate::TokioClock::new()).build().unwrap();
    // Warm: a token each, from the moment that this is paid for.
    limiter.charge(10);
    let paid = limiter.reserve(1).unwrap().waits();
    tokio::time::sleep(paid).await;
    let start = tokio::time::Instant::now();
    let mut waits: Vec<_> = (0..6).map(|_| Box::pin(limiter.acquire(1))).collect();
    for wait in &mut waits {
        let _ = futures_util::poll!(wait.as_mut());
    }
    let reserved = limiter.reserve(1).unwrap();
    let promised = reserved.ready_in();
    // The second leaves, and the third when its turn has come and nobody has looked.
    drop(waits.remove(1));
    tokio::time::sleep(SECOND / 10).await;
    drop(waits.remove(1));
    let mut served = Vec::new();
    for wait in waits {
        wait.await.unwrap();
        served.push((start.elapsed().as_secs_f64() * 10.0).round() as u64);
    }
    // Of 0 to 5 two have gone, the last one once a tenth of a second had begun.
    assert_eq!(served, [1, 1, 2, 3], "tenths of a second");
    let left = promised.saturating_sub(start.elapsed());
    assert_eq!(reserved.ready_in(), left, "a reservation keeps its moment");
}

#[test]
fn threads_wait_as_tasks_do() {
    let limiter = WarmUpLimiter::new(Quota::per_second(1_000), SECOND / 100).unwrap();
    let start = std::time::Instant::now();
    for _ in 0..10 {
        limiter.acquire_blocking(1).unwrap();
    }
    // Five on the ramp take its ten milliseconds, and five less one a millisecond each.
    assert!(start.elapsed() >= SECOND * 14 / 1_000, "{:?}", start.elapsed());
    limiter.charge(10);
    let denied = limiter.acquire_blocking_timeout(1, NANOSECOND).unwrap_err();
    assert!(denied.retry_after().unwrap() > Duration::ZERO && !denied.is_never());
}
