//! A limiter that warms up, among threads.

use sluicegate::{ManualClock, Quota, WarmUpLimiter};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// On a clock that stands still.
fn warming(quota: Quota, period: Duration) -> WarmUpLimiter {
    WarmUpLimiter::builder(quota, period).clock(ManualClock::new()).build().unwrap()
}

/// Law 1 on the default clock: what the limit and the flow allow, and no more.
#[cfg(feature = "std")]
#[test]
fn law_1_among_threads() {
    use crate::support::windows_law::{Admission, worst_window};
    use std::time::Instant;

    const THREADS: u64 = 4;
    let (rate, time) = (1e-4, Duration::from_millis(300));
    let limiter = WarmUpLimiter::new(Quota::per_second(100_000), Duration::from_millis(1)).unwrap();
    let (start, barrier) = (Instant::now(), Barrier::new(THREADS as usize));
    let take = |thread: u64| {
        let mut log = Vec::new();
        barrier.wait();
        for turn in thread.. {
            let before = start.elapsed();
            if before > time {
                break;
            }
            let n = if turn % 8 == 0 { 3 } else { 1 };
            let answer = limiter.reserve_within(n, Duration::ZERO).map(|place| place.grant());
            let after = start.elapsed().as_nanos() as u64;
            if let Ok(grant) = answer {
                let before = before.as_nanos() as u64;
                log.push(Admission { before, after, granted: grant.granted() });
            }
        }
        log
    };
    let log: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || take(thread))).collect();
        racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
    });
    // Three at most at once, a unit of time, and what the clocks may drift apart.
    let drift = rate * time.as_nanos() as f64 / 1_000.0;
    let worst = worst_window(&log, rate);
    assert!(log.len() > 100 && worst <= 3.0 + drift + 1.0, "{worst} in a window");
}

/// On a clock that stands still threads get the places that one alone would, each once.
#[test]
fn threads_stand_in_one_line() {
    const THREADS: usize = 4;
    let barrier = Barrier::new(THREADS);
    let line = |limiter: &WarmUpLimiter, places| -> Vec<Duration> {
        let place = |_| {
            let place = limiter.reserve(1).unwrap();
            let wait = place.waits();
            std::mem::forget(place);
            wait
        };
        (0..places).map(place).collect()
    };
    let (quota, period, places) = (Quota::per_second(100), 12 * SECOND, 50_000);
    let expected = line(&warming(quota, period), THREADS * places);
    let shared = warming(quota, period);
    let stand = || {
        barrier.wait();
        line(&shared, places)
    };
    let mut found: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..THREADS).map(|_| scope.spawn(stand)).collect();
        racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
    });
    found.sort_unstable();
    assert!(found == expected, "a place was had twice");
    assert!(shared.reserve_within(1, Duration::ZERO).is_err());
}
