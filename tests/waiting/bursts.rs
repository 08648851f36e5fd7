//! What the documentation of `Quota::burst` says to those who wait.

use sluicegate::{Quota, RateLimiter, TokioClock};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const RUN: Duration = Duration::from_secs(2);

/// A limiter with nothing saved up.
fn empty(rate: u64, burst: u64) -> Arc<RateLimiter> {
    let builder = RateLimiter::builder(Quota::per_second(rate).burst(burst)).initial(0);
    Arc::new(builder.clock(TokioClock::new()).build().unwrap())
}

/// Ten milliseconds of flow outlast a timer's ticks, at any rate.
#[tokio::test(start_paused = true)]
async fn one_task_gets_the_rate_with_ten_milliseconds_of_burst() {
    for rate in [100, 1_000, 3_333, 10_000, 50_000] {
        let (limiter, start) = (empty(rate, (rate / 100).max(1)), Instant::now());
        let mut taken = 0;
        while start.elapsed() < RUN {
            limiter.acquire(1).await.unwrap();
            taken += 1;
        }
        // The first ten milliseconds' tokens are saved up for the end.
        let flowed = rate * RUN.as_secs();
        assert!(taken >= flowed * 99 / 100, "{taken} of {flowed} at {rate}/s");
    }
}

/// Many at once lose nothing, with a burst of one.
#[tokio::test(start_paused = true)]
async fn many_tasks_get_the_rate_with_any_burst() {
    let (limiter, start) = (empty(10_000, 1), Instant::now());
    let tasks = (0..200).map(|_| {
        let limiter = limiter.clone();
        tokio::spawn(async move {
            let mut taken = 0;
            while start.elapsed() < RUN {
                limiter.acquire(1).await.unwrap();
                taken += 1;
            }
            taken
        })
    });
    let mut taken = 0;
    for task in tasks.collect::<Vec<_>>() {
        taken += task.await.unwrap();
    }
    assert!(taken >= 19_800, "{taken} of 20,000");
}
