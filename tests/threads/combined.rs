//! Combined limits under threads: nothing is lost, and no limit admits more than it has.

use sluicegate::{Combined, KeyedLimiter, ManualClock, Quota, RateLimiter};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Four threads ask for overlapping limits in different orders, until nobody is admitted: then each
/// limit has exactly what was not admitted, at a time that stands still.
#[test]
fn tokens_are_conserved() {
    for striped in [false, true] {
        let clock = ManualClock::new();
        let direct = |burst| {
            let builder = RateLimiter::builder(Quota::per_second(1).burst(burst));
            let builder = if striped { builder.stripes(4) } else { builder };
            builder.clock(clock.clone()).build().unwrap()
        };
        let limiters = [40_000, 30_000, 20_000].map(direct);
        let users = KeyedLimiter::<u32>::builder(Quota::per_second(1).burst(9_000), 10);
        let users = users.clock(clock.clone()).build().unwrap();
        let before = limiters.each_ref().map(RateLimiter::available);
        let taken = [const { AtomicU64::new(0) }; 4];
        thread::scope(|scope| {
            for thread in 0..4_usize {
                let (limiters, users, taken) = (&limiters, &users, &taken);
                scope.spawn(move || {
                    let [a, b, c] = limiters.each_ref().map(RateLimiter::as_limit);
                    let user = users.as_limit(&7);
                    let (limits, which): (_, &[usize]) = match thread {
                        0 => (Combined::new([a, b, c]), &[0, 1, 2]),
                        1 => (Combined::new([c, user, b]), &[2, 3, 1]),
                        2 => (Combined::new([user, a]), &[3, 0]),
                        _ => (Combined::new([b, a]), &[1, 0]),
                    };
                    let mut n = 1;
                    // Somebody else may hold for a moment what he gives back: ask as long as there
                    // is something.
                    while limits.available() > 0 {
                        n = n % 3 + 1;
                        if limits.check_n(n).is_ok() {
                            for i in which {
                                taken[*i].fetch_add(n, Relaxed);
                            }
                        }
                    }
                });
            }
        });
        for ((limiter, taken), before) in limiters.iter().zip(&taken).zip(before) {
            assert_eq!(limiter.available(), before - taken.load(Relaxed) as i64, "{striped}");
        }
        assert_eq!(users.available(&7), 9_000 - taken[3].load(Relaxed) as i64);
        assert!(taken.iter().all(|taken| taken.load(Relaxed) > 0));
    }
}

/// Law 1 of each limit while time passes, with singles and places that are given up in between.
#[test]
fn no_limit_admits_more_than_its_burst_and_flow() {
    let clock = ManualClock::new();
    let direct = |rate: u64| {
        let builder = RateLimiter::builder(Quota::per_second(rate).burst(50));
        builder.clock(clock.clone()).build().unwrap()
    };
    let (limiters, rates) = ([direct(1_000), direct(700), direct(1_300)], [1_000, 700, 1_300]);
    let taken = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        for thread in 0..4_usize {
            let (limiters, taken, clock) = (&limiters, &taken, &clock);
            scope.spawn(move || {
                let limits = limiters.each_ref().map(RateLimiter::as_limit);
                let (mine, next) = (thread % 3, (thread + 1) % 3);
                let two = Combined::new([limits[mine], limits[next]]);
                for i in 0..20_000_u64 {
                    if thread == 0 {
                        clock.advance(Duration::from_micros(50));
                    }
                    if two.check_n(1 + i % 3).is_ok() {
                        taken[mine].fetch_add(1 + i % 3, Relaxed);
                        taken[next].fetch_add(1 + i % 3, Relaxed);
                    }
                    if i % 5 == 0 && limiters[next].check().is_ok() {
                        taken[next].fetch_add(1, Relaxed);
                    }
                    // Never acted on: what is not due yet is undone.
                    if let Ok(place) = two.reserve_within(2, Duration::from_millis(5))
                        && place.waits().is_zero()
                    {
                        taken[mine].fetch_add(2, Relaxed);
                        taken[next].fetch_add(2, Relaxed);
                        std::mem::forget(place);
                    }
                }
            });
        }
    });
    // One second has passed.
    for ((limiter, taken), rate) in limiters.iter().zip(&taken).zip(rates) {
        let taken = taken.load(Relaxed);
        assert!(taken <= 50 + rate, "{taken} of {rate}");
        assert!(limiter.available() <= 50);
    }
    // How much of it was admitted is for the scheduler to say; the burst was, at least once.
    assert!(taken.iter().any(|taken| taken.load(Relaxed) >= 50), "{taken:?}");
    // And whatever was undone, nobody is left with a debt: with the next burst's flow all is there
    // again.
    clock.advance(Duration::from_secs(1));
    assert_eq!(limiters.each_ref().map(RateLimiter::available), [50; 3]);
}
