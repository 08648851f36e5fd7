//! Striped limiters: the same law and the same answers, with every core's own tokens.

use crate::support::windows_law::{Admission, worst_window};
use sluicegate::{Grant, ManualClock, Quota, RateLimiter, RateLimiterBuilder};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn striped(quota: Quota, stripes: usize) -> (ManualClock, RateLimiter) {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(quota).stripes(stripes).clock(clock.clone());
    (clock, builder.build().unwrap())
}

fn limit(limiter: &RateLimiter) -> u64 {
    limiter.peek(0).unwrap().limit()
}

/// All cores, and at least as many threads as make some wait for a core.
fn threads() -> u64 {
    thread::available_parallelism().map_or(4, |cores| 4.max(cores.get() as u64))
}

/// Runs `take` once in each of several new threads, one after the other, so that leases are left in
/// several stripes.
fn in_turn(threads: usize, take: impl Fn() + Sync) {
    for _ in 0..threads {
        thread::scope(|scope| scope.spawn(&take).join().unwrap());
    }
}

/// Takes single tokens until the first denial.
fn drain(limiter: &RateLimiter) -> u64 {
    std::iter::from_fn(|| limiter.check().ok()).map(|grant| grant.granted()).sum()
}

#[test]
fn nothing_is_stranded_in_other_threads_stripes() {
    for burst in [8, 20, 100, 5_000, 1_000_000] {
        let (_, limiter) = striped(Quota::per_second(1).burst(burst), 8);
        in_turn(5, || assert!(limiter.check().is_ok()));
        assert_eq!(limiter.available(), limit(&limiter) as i64 - 5);
        assert_eq!(drain(&limiter) + 5, limit(&limiter), "burst {burst}");
        assert_eq!(limiter.available(), 0);
    }
}

/// One request may take what is left of centre and stripes together.
#[test]
fn one_large_request_takes_from_everywhere() {
    let (clock, limiter) = striped(Quota::per_second(10).burst(10_000), 8);
    in_turn(8, || assert!(limiter.check_n(7).is_ok()));
    let left = limit(&limiter) - 56;
    assert!(limiter.peek(left).is_ok() && limiter.peek(left + 1).is_err());
    let denied = limiter.check_n(left + 10).unwrap_err();
    assert_eq!(denied.retry_after(), Some(SECOND));
    assert_eq!((denied.remaining(), denied.limit()), (left, limit(&limiter)));
    clock.advance(SECOND - Duration::from_nanos(1));
    assert!(limiter.check_n(left + 10).is_err());
    clock.advance(Duration::from_nanos(1));
    assert!(limiter.check_n(left + 10).is_ok());
    assert_eq!(limiter.available(), 0);
}

#[test]
fn verbs_mean_the_same() {
    let (clock, limiter) = striped(Quota::per_second(10).burst(1_000), 4);
    let limit = limit(&limiter);
    assert_eq!(limit, 752, "four stripes of 62 are withheld");
    in_turn(4, || assert!(limiter.check().is_ok()));
    assert_eq!((limiter.available(), limiter.level()), (limit as i64 - 4, 4));
    limiter.refund(4);
    assert_eq!((limiter.available(), limiter.level()), (limit as i64, 0));
    // Into debt: what the stripes have is spent first, so that nobody is granted on it.
    assert_eq!(limiter.charge(limit + 20), 2 * SECOND);
    assert_eq!((limiter.available(), limiter.level()), (-20, limit + 20));
    in_turn(8, || assert!(limiter.check().is_err()));
    clock.advance(2 * SECOND);
    assert!(limiter.check().is_err());
    clock.advance(SECOND / 10);
    assert!(limiter.check().is_ok() && limiter.check().is_err());
    limiter.reset();
    assert_eq!(limiter.available(), limit as i64);
    in_turn(3, || assert!(limiter.check_n(5).is_ok()));
    assert_eq!(limiter.check_up_to(u64::MAX).map(|grant| grant.granted()), Ok(limit - 15));
    assert!(limiter.check_up_to(1).is_err());
    limiter.reset();
    in_turn(3, || assert!(limiter.check_n(5).is_ok()));
    limiter.reset();
    assert_eq!(drain(&limiter), limit, "stripes are not left with more");
    let never = limiter.check_n(limit + 1).unwrap_err();
    assert_eq!((never.retry_after(), never.is_never()), (None, true));
    assert_eq!(limiter.check_n(0).map(|grant| grant.granted()), Ok(0));
}

#[test]
fn figures_of_grants_are_lower_bounds() {
    let (_, limiter) = striped(Quota::per_second(10).burst(1_000), 4);
    for taken in 1..=limit(&limiter) {
        let grant: Grant = limiter.check().unwrap();
        let left = limit(&limiter) - taken;
        assert!(grant.remaining() <= left, "{} of {left}", grant.remaining());
        assert!(grant.reset_after() >= Duration::from_millis(100 * taken), "{grant:?}");
    }
}

#[test]
fn starts_with_what_it_is_told() {
    let clock = ManualClock::new();
    let builder = |tokens| {
        let builder = RateLimiter::builder(Quota::per_second(10).burst(1_000)).stripes(4);
        builder.clock(clock.clone()).initial(tokens).build()
    };
    assert_eq!(drain(&builder(17).unwrap()), 17);
    assert_eq!(drain(&builder(752).unwrap()), 752);
    assert_eq!(builder(753).unwrap_err().field(), "initial");
}

#[test]
fn stripes_are_for_buckets_alone() {
    let field = |builder: RateLimiterBuilder| builder.build().unwrap_err().field();
    let quota = Quota::per_second(1_000);
    assert_eq!(field(RateLimiter::builder(quota).striped().fixed_window()), "striped");
    assert_eq!(field(RateLimiter::builder(quota).striped().sliding_window()), "striped");
    assert_eq!(field(RateLimiter::builder(quota).striped().batch(8)), "striped");
    assert!(RateLimiter::builder(quota).striped().leaky_bucket().build().is_ok());
    // Too small a burst to share: the whole of it, exactly.
    let (_, small) = striped(Quota::per_second(7), 4);
    assert_eq!(drain(&small), 7);
}

/// On a clock that stands still the limit is all there is, exactly, whoever takes it, in whatever
/// amounts.
#[test]
fn exactly_the_limit_among_threads_while_the_clock_stands() {
    for (burst, stripes) in [(100, 2), (10_000, 4), (200_000, 4), (200_000, 1), (50_000, 64)] {
        let (_, limiter) = striped(Quota::per_second(1).burst(burst), stripes);
        let barrier = Barrier::new(threads() as usize);
        let take = || {
            barrier.wait();
            let mut admitted = 0;
            loop {
                let before = admitted;
                for n in [1, 3, 1, 40, 2, 1] {
                    admitted += limiter.check_n(n).map_or(0, |grant| grant.granted());
                }
                admitted += limiter.check_up_to(2).map_or(0, |grant| grant.granted());
                if admitted == before {
                    return admitted;
                }
            }
        };
        let admitted: u64 = thread::scope(|scope| {
            let racers: Vec<_> = (0..threads()).map(|_| scope.spawn(take)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        // A thread may be denied what another holds in its hand and gives back.
        let left = drain(&limiter);
        assert_eq!(admitted + left, limit(&limiter), "burst {burst}, {stripes} stripes");
    }
}

/// Charges and refunds come out even.
#[test]
fn charges_and_refunds_among_threads_lose_nothing() {
    let (_, limiter) = striped(Quota::per_second(1).burst(100_000), 4);
    thread::scope(|scope| {
        for thread in 0..threads() {
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
    assert_eq!(limiter.available(), limit(&limiter) as i64);
}

/// The law over every window of what four threads were granted, with threads that come and go.
#[test]
fn law_1_striped_among_threads() {
    for (rate, burst) in [(1_000_000, 200), (200_000, 20_000), (20_000_000, 4_000_000)] {
        let limiter = RateLimiter::builder(Quota::per_second(rate).burst(burst)).stripes(4);
        let limiter = limiter.build().unwrap();
        let (start, done) = (Instant::now(), AtomicBool::new(false));
        let time = Duration::from_millis(300);
        let take = |thread: u64| {
            let mut log = Vec::new();
            for turn in thread.. {
                let before = start.elapsed();
                if before > time || done.load(Ordering::Relaxed) {
                    break;
                }
                let answer = match turn % 8 {
                    0 => limiter.check_n(3),
                    1 => limiter.check_up_to(5),
                    2 if turn % 64 == 2 => limiter.check_n(burst / 4),
                    _ => limiter.check(),
                };
                let after = start.elapsed().as_nanos() as u64;
                if let Ok(grant) = answer {
                    let before = before.as_nanos() as u64;
                    log.push(Admission { before, after, granted: grant.granted() });
                }
                // Idle for a while now and then, with tokens in its stripe.
                if turn % 4_096 == 0 {
                    thread::yield_now();
                }
            }
            log
        };
        let log: Vec<Admission> = thread::scope(|scope| {
            let take = &take;
            let racers: Vec<_> = (0..threads()).map(|i| scope.spawn(move || take(i))).collect();
            racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
        });
        let per_nano = rate as f64 / 1e9;
        // The limiter's clock and the log's drift apart by the calibration: a few parts in 10^5.
        let drift = per_nano * time.as_nanos() as f64 / 1_000.0;
        let worst = worst_window(&log, per_nano);
        assert!(worst <= burst as f64 + drift + 1.0, "{worst} in a window, burst {burst}");
        let admitted: u64 = log.iter().map(|admission| admission.granted).sum();
        assert!(admitted >= limit(&limiter).min(burst / 2), "{admitted} admitted");
    }
}

/// Law 2: under saturation all that flows is admitted.
#[test]
fn law_2_nothing_is_lost_over_a_long_run() {
    let (clock, limiter) = striped(Quota::per_second(7_000_003).burst(1_000), 4);
    let mut admitted = drain(&limiter);
    for _ in 0..10_000 {
        clock.advance(Duration::from_micros(10));
        admitted += drain(&limiter);
    }
    // 0.1 s of flow.
    let due = limit(&limiter) + 700_000;
    assert!(admitted.abs_diff(due) <= 1, "{admitted} of {due}");
}

/// Leases of a large burst outlived it.
#[test]
fn no_lease_outlives_its_quota() {
    for _ in 0..100 {
        let (_, limiter) = striped(Quota::per_second(1_000_000_000), 8);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _ = limiter.check();
                    }
                });
            }
            for _ in 0..100 {
                let _ = limiter.check();
            }
            limiter.set_quota(Quota::per_second(8)).unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        let granted = (0..1_000).filter(|_| limiter.check().is_ok()).count();
        assert!(granted <= 8, "{granted} of 8");
    }
}
