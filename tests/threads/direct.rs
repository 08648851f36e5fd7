//! The window law among threads: on the default clock, and exactly on one that stands still.

use crate::support::windows_law::{Admission, worst_window};
use sluicegate::{ManualClock, Quota, RateLimiter};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 4;

/// Lets every thread take as fast as it can for `time`, in turn single tokens and several.
fn hammer(limiter: &RateLimiter, time: Duration) -> Vec<Admission> {
    let (start, barrier) = (Instant::now(), Barrier::new(THREADS));
    let take = |thread: u64| {
        let mut log = Vec::new();
        barrier.wait();
        for turn in thread.. {
            let before = start.elapsed();
            if before > time {
                break;
            }
            let answer = match turn % 8 {
                0 => limiter.check_n(3),
                1 => limiter.check_up_to(5),
                _ => limiter.check(),
            };
            let after = start.elapsed().as_nanos() as u64;
            if let Ok(grant) = answer {
                let before = before.as_nanos() as u64;
                log.push(Admission { before, after, granted: grant.granted() });
            }
        }
        log
    };
    thread::scope(|scope| {
        let racers: Vec<_> =
            (0..THREADS as u64).map(|thread| scope.spawn(move || take(thread))).collect();
        racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
    })
}

/// The law holds on the limiter's clock; the log is on the system's. Both may drift apart by the
/// calibration of the first, which is good to a few parts in 10^5.
fn law_1(limiter: &RateLimiter, rate: f64, burst: u64) {
    let time = Duration::from_millis(350);
    let log = hammer(limiter, time);
    let admitted: u64 = log.iter().map(|admission| admission.granted).sum();
    assert!(admitted >= burst, "{admitted} admitted");
    let drift = rate * time.as_nanos() as f64 / 1_000.0;
    let worst = worst_window(&log, rate);
    assert!(worst <= burst as f64 + drift + 1.0, "{worst} in a window, over a burst of {burst}");
}

/// 200 us of flow: a thread that loses its core for longer loses nobody's tokens but its own turn.
const QUOTA: Quota = Quota::per_second(1_000_000).burst(200);

#[test]
fn law_1_token_bucket_among_threads() {
    law_1(&RateLimiter::new(QUOTA), 1e-3, 200);
}

#[test]
fn law_1_leaky_bucket_among_threads() {
    law_1(&RateLimiter::builder(QUOTA).leaky_bucket().build().unwrap(), 1e-3, 200);
}

#[test]
fn law_1_batches_among_threads() {
    let limiter = RateLimiter::builder(QUOTA).batch(64).build().unwrap();
    // With all that is drawn ahead: the whole burst, as the quota says it.
    law_1(&limiter, 1e-3, 200);
}

#[test]
fn law_1_sliding_window_among_threads() {
    let quota = Quota::new(200, Duration::from_micros(200)).unwrap();
    law_1(&RateLimiter::builder(quota).sliding_window().build().unwrap(), 1e-3, 200);
}

/// Up to twice the count across a boundary: the count, and the count in each window after.
#[test]
fn law_1_fixed_window_among_threads() {
    let quota = Quota::new(200, Duration::from_micros(200)).unwrap();
    law_1(&RateLimiter::builder(quota).fixed_window().build().unwrap(), 1e-3, 400);
}

/// On a clock that stands still no token flows, so that the burst is all there is, exactly.
#[test]
fn exactly_the_burst_among_threads_while_the_clock_stands() {
    let quota = Quota::per_second(100_000);
    let clock = ManualClock::new();
    clock.set(Duration::from_secs(1));
    let builder = || RateLimiter::builder(quota).clock(clock.clone());
    for (limiter, burst) in [
        (builder().build(), 100_000),
        (builder().leaky_bucket().build(), 100_000),
        (builder().fixed_window().build(), 100_000),
        (builder().sliding_window().build(), 100_000),
        (builder().batch(64).build(), 100_000 - 63),
        (builder().batch(255).build(), 100_000 - 254),
        (builder().initial(777).build(), 777),
    ] {
        let limiter = limiter.unwrap();
        let barrier = Barrier::new(THREADS);
        let take = || {
            barrier.wait();
            let mut admitted = 0;
            while let Ok(grant) = limiter.check() {
                admitted += grant.granted();
                admitted += limiter.check_n(3).map_or(0, |grant| grant.granted());
                admitted += limiter.check_up_to(2).map_or(0, |grant| grant.granted());
            }
            admitted
        };
        let admitted: u64 = thread::scope(|scope| {
            let racers: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(admitted, burst, "{limiter:?}");
    }
}

/// What is taken and given back among threads is all there again in the end.
#[test]
fn refunds_and_charges_among_threads_lose_nothing() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1_000);
    let builder = || RateLimiter::builder(quota).clock(clock.clone());
    for limiter in [
        builder().build(),
        builder().fixed_window().build(),
        builder().sliding_window().build(),
        builder().batch(8).build(),
    ] {
        let limiter = limiter.unwrap();
        let limit = limiter.peek(0).unwrap().limit() as i64;
        thread::scope(|scope| {
            for thread in 0..THREADS as u64 {
                let limiter = &limiter;
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        let n = 1 + (turn + thread) % 7;
                        if turn % 3 == 0 {
                            let _ = limiter.charge(n);
                            limiter.refund(n);
                        } else if limiter.check_n(n).is_ok() {
                            limiter.refund(n);
                        }
                    }
                });
            }
        });
        assert_eq!(limiter.available(), limit, "{limiter:?}");
    }
}
