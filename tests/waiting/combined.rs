//! Places in several lines: all or none, given back when nobody acts on them, and waiting for them.

use crate::support::models::{WindowLaw, cases, exact, nanos, unit_of_direct};
use proptest::prelude::*;
use sluicegate::{
    Combined, CombinedReservation, KeyedLimiter, Limit, ManualClock, Quota, RateLimiter,
};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(100);

fn direct(clock: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(clock.clone()).build().unwrap()
}

#[test]
fn a_place_is_taken_in_all_lines_or_in_none() {
    let clock = ManualClock::new();
    let fast = direct(&clock, Quota::per_second(10).burst(4));
    let builder = RateLimiter::builder(Quota::per_second(10).burst(1)).max_waiting(2);
    let short = builder.clock(clock.clone()).build().unwrap();
    let users = KeyedLimiter::<str>::builder(Quota::per_second(5).burst(1), 10);
    let users = users.clock(clock.clone()).seed([1, 2]).build().unwrap();
    let all = || Combined::new([fast.as_limit(), short.as_limit(), users.as_limit("a")]);
    let left = || (fast.available(), short.available(), users.available("a"));
    let first = all().reserve(1).unwrap();
    assert_eq!((first.ready_in(), left()), (Duration::ZERO, (3, 0, 0)));
    let second = all().reserve(1).unwrap();
    assert_eq!((second.ready_in(), second.waits(), second.tokens()), (STEP * 2, STEP * 2, 1));
    let _third = Combined::new([short.as_limit()]).reserve(1).unwrap();
    assert_eq!(left(), (2, -2, -1));
    // The short line is full, so nothing is taken anywhere.
    let denied = all().reserve(1).unwrap_err();
    assert_eq!((denied.which(), denied.retry_after(), left()), (1, Some(STEP), (2, -2, -1)));
    // Two deny: the longest wait, and the tightest rest.
    let denied = all().reserve_within(1, STEP * 3 / 2).unwrap_err();
    assert_eq!((denied.which(), denied.retry_after()), (2, Some(STEP * 5 / 2)));
    assert_eq!((denied.remaining(), left()), (0, (2, -2, -1)));
    assert!(all().reserve(2).unwrap_err().is_never());
    clock.advance(STEP * 2);
    assert_eq!((second.ready_in(), second.grant().granted()), (Duration::ZERO, 1));
    drop(second);
    assert_eq!(left(), (4, 0, 0), "spent, and flowed again");
}

#[test]
fn given_up_it_comes_back_everywhere() {
    let clock = ManualClock::new();
    let (fast, slow) = (
        direct(&clock, Quota::per_second(10).burst(5)),
        direct(&clock, Quota::per_second(1).burst(2)),
    );
    let both = Combined::new([fast.as_limit(), slow.as_limit()]);
    let left = || (fast.available(), slow.available());
    assert!(both.check_n(2).is_ok());
    let place = both.reserve(2).unwrap();
    assert_eq!((place.ready_in(), left()), (STEP * 20, (1, -2)));
    place.cancel();
    assert_eq!(left(), (3, 0));
    // While it waits the fast one is full again but for two: had it not waited, it would be as
    // full.
    let place = both.reserve(2).unwrap();
    clock.advance(STEP * 3);
    assert_eq!(left(), (4, -2));
    drop(place);
    assert_eq!(left(), (5, 0));
    // Somebody took in between what would not have been there: then it does not come back.
    let place = both.reserve(2).unwrap();
    clock.advance(STEP * 5);
    assert!(fast.check_n(5).is_ok());
    drop(place);
    assert_eq!(left(), (0, 0));
}

/// Another's place behind stays where it is, and nobody is admitted in its stead.
#[test]
fn who_stands_behind_keeps_his_place() {
    let clock = ManualClock::new();
    let (shared, slow) =
        (direct(&clock, Quota::per_second(10).burst(1)), direct(&clock, Quota::per_second(1)));
    assert!(slow.check().is_ok());
    let both = Combined::new([shared.as_limit(), slow.as_limit()]).reserve(1).unwrap();
    let behind = shared.reserve(1).unwrap();
    assert_eq!((both.ready_in(), behind.ready_in()), (STEP * 10, STEP));
    drop(both);
    assert_eq!((shared.available(), slow.available(), behind.ready_in()), (-1, 0, STEP));
    clock.advance(STEP);
    assert!(shared.check().is_err(), "that moment is taken");
}

#[test]
fn costs_known_afterwards_are_settled_everywhere() {
    let clock = ManualClock::new();
    let (a, b) = (direct(&clock, Quota::per_second(10)), direct(&clock, Quota::per_second(20)));
    let both = Combined::new([a.as_limit(), b.as_limit().costing(2)]);
    assert_eq!(both.reserve(6).unwrap().settle(1), Duration::ZERO);
    assert_eq!((a.available(), b.available()), (9, 18));
    assert_eq!(both.reserve(6).unwrap().settle(10), STEP);
    assert_eq!((a.available(), b.available()), (-1, -2));
    assert_eq!(both.reserve(6).unwrap().settle(0), Duration::ZERO);
    assert_eq!((a.available(), b.available()), (-1, -2));
}

#[test]
fn a_wait_follows_the_quotas() {
    let clock = ManualClock::new();
    let users = KeyedLimiter::<str>::builder(Quota::per_second(1), 10).clock(clock.clone());
    let users = users.seed([1, 2]).build().unwrap();
    let all = direct(&clock, Quota::per_second(2).burst(1));
    let both = Combined::new([users.as_limit("a"), all.as_limit()]);
    assert!(both.check().is_ok());
    let place = both.reserve(1).unwrap();
    assert_eq!(place.ready_in(), STEP * 10);
    users.set_quota(Quota::per_second(10).burst(1)).unwrap();
    assert_eq!((place.ready_in(), place.waits()), (STEP * 5, STEP * 10));
}

/// A larger burst shifts the line back: what had been full since must stay known, and gets nothing
/// back.
#[test]
fn what_was_full_before_a_larger_burst_gets_nothing_back() {
    let clock = ManualClock::new();
    let users = KeyedLimiter::<str>::builder(Quota::per_second(1).burst(5), 10);
    let users = users.clock(clock.clone()).seed([1, 2]).build().unwrap();
    let late = direct(&clock, Quota::per_hour(1));
    assert!(late.check().is_ok());
    let place = Combined::new([users.as_limit("a"), late.as_limit()]).reserve(1).unwrap();
    clock.advance(STEP * 10);
    assert!(users.check("a").is_ok());
    users.set_quota(Quota::per_second(1).burst(10)).unwrap();
    assert_eq!(users.available("a"), 4);
    drop(place);
    assert_eq!(users.available("a"), 4, "one that was never debited would have as much");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(600), ..ProptestConfig::default() })]

    /// Law 1 of each limit, whatever is given up: at the moments that places are due there, those
    /// who act take no more than the burst and what flows.
    #[test]
    fn no_limit_admits_more_than_its_burst_and_flow(
        bursts in (1..5_u64, 1..5_u64),
        ops in proptest::collection::vec((0..12_u8, 1..5_u64, any::<usize>(), 0..20_u64), 1..50),
    ) {
        let clock = ManualClock::new();
        let quotas = [Quota::per_second(2).burst(bursts.0), Quota::per_second(1).burst(bursts.1)];
        let limiters = quotas.map(|quota| direct(&clock, quota));
        let both = Combined::new(limiters.each_ref().map(Limit::from));
        let mut now = 0_u64;
        let mut admitted = [Vec::new(), Vec::new()];
        let mut waiting: Vec<([u64; 2], u64, CombinedReservation<'_>)> = Vec::new();
        for (op, n, which, eighths) in ops {
            let n = n.min(bursts.0).min(bursts.1);
            let limiter = &limiters[which % 2];
            match op {
                0..2 => {
                    now += eighths * 125_000_000;
                    clock.set(Duration::from_nanos(now));
                }
                2 => {
                    if limiter.check_n(n).is_ok() {
                        admitted[which % 2].push((now, n));
                    }
                }
                3 => {
                    if both.check_n(n).is_ok() {
                        admitted.iter_mut().for_each(|admitted| admitted.push((now, n)));
                    }
                }
                4..8 if !waiting.is_empty() => {
                    let (due, n, place) = waiting.swap_remove(which % waiting.len());
                    if place.ready_in().is_zero() {
                        admitted[0].push((due[0], n));
                        admitted[1].push((due[1], n));
                    }
                    drop(place);
                }
                8 => {
                    // In one line alone, behind and before others.
                    let place = limiter.reserve(n).unwrap();
                    admitted[which % 2].push((now + nanos(place.ready_in()), n));
                    std::mem::forget(place);
                }
                _ => {
                    // When each is due alone; a place that is given up at once leaves no trace.
                    // It may be one that somebody has given up, before the end of the line.
                    let due = limiters.each_ref().map(|limiter| match limiter.peek(n) {
                        Ok(_) => now,
                        Err(_) => now + nanos(limiter.reserve(n).unwrap().ready_in()),
                    });
                    waiting.push((due, n, both.reserve(n).unwrap()));
                }
            }
        }
        // And then somebody takes all that there is, as it comes, until the last place has long
        // been due.
        for _ in 0..1_000 {
            for (limiter, admitted) in limiters.iter().zip(&mut admitted) {
                while limiter.check().is_ok() {
                    admitted.push((now, 1));
                }
            }
            now += 250_000_000;
            clock.set(Duration::from_nanos(now));
        }
        for (due, n, place) in waiting {
            admitted[0].push((due[0], n));
            admitted[1].push((due[1], n));
            prop_assert!(due.iter().all(|due| *due > now) || place.ready_in().is_zero());
            drop(place);
        }
        let bursts = [bursts.0, bursts.1];
        for ((admitted, quota), burst) in admitted.iter_mut().zip(&quotas).zip(bursts) {
            admitted.sort_unstable();
            let mut law = WindowLaw::new(quota, burst, &(unit_of_direct(quota) * exact(4)));
            for (at, n) in admitted {
                prop_assert_eq!(law.admit(*at, *n), Ok(()));
            }
        }
    }
}

#[cfg(feature = "tokio")]
mod futures {
    use super::*;
    use sluicegate::TokioClock;
    use std::pin::pin;
    use tokio::time::Instant;

    fn limiter(quota: Quota) -> RateLimiter {
        RateLimiter::builder(quota).clock(TokioClock::new()).build().unwrap()
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn acquired_when_the_last_is_due_and_given_back_when_dropped() {
        let fast = limiter(Quota::per_second(10).burst(2));
        let slow = limiter(Quota::per_second(1));
        let both = Combined::new([fast.as_limit(), slow.as_limit()]);
        let start = Instant::now();
        let unpolled = both.acquire(1);
        assert_eq!((fast.available(), slow.available()), (2, 1));
        drop(unpolled);
        assert_eq!(both.acquire(1).await.unwrap().which(), 1);
        {
            let mut waits = pin!(both.acquire(1));
            assert!(futures_util::poll!(&mut waits).is_pending());
            assert_eq!((fast.available(), slow.available()), (0, -1));
        }
        assert_eq!((fast.available(), slow.available()), (1, 0), "dropped, it gives all back");
        let mut waits = pin!(both.acquire(1));
        let grant = waits.as_mut().await.unwrap();
        assert_eq!((start.elapsed(), grant.granted(), grant.remaining()), (STEP * 10, 1, 0));
        assert_eq!(waits.await.unwrap(), grant, "asked again, it answers the same");
        // What cannot come in time fails at once.
        let denied = both.acquire(1).timeout(STEP * 9).await.unwrap_err();
        assert_eq!((denied.which(), denied.retry_after()), (1, Some(STEP)));
        assert_eq!(start.elapsed(), STEP * 10);
        assert!(both.acquire(1).timeout(STEP * 10).jitter(STEP).await.is_ok());
        assert_eq!(start.elapsed(), STEP * 20);
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_slower_quota_is_waited_for() {
        let users = KeyedLimiter::<str>::builder(Quota::per_second(2).burst(1), 9);
        let users = users.clock(TokioClock::new()).build().unwrap();
        let all = limiter(Quota::per_second(1));
        let start = Instant::now();
        let both = Combined::new([users.as_limit("a"), all.as_limit()]);
        assert!(both.check().is_ok());
        let mut waits = pin!(both.acquire(1));
        assert!(futures_util::poll!(&mut waits).is_pending());
        users.set_quota(Quota::new(1, STEP * 30).unwrap()).unwrap();
        waits.await.unwrap();
        assert_eq!(start.elapsed(), STEP * 30);
    }

    /// Nothing is lost and nobody overtakes: as many as the slower limit lets through.
    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn many_wait_for_two_limits_in_order() {
        let a = limiter(Quota::per_second(100).burst(3));
        let b = limiter(Quota::per_second(50).burst(5));
        let start = Instant::now();
        let orders = [[a.as_limit(), b.as_limit()], [b.as_limit(), a.as_limit()]];
        let waits: Vec<_> = (0..105).map(|i| Combined::new(orders[i % 2]).acquire(1)).collect();
        let served = futures_util::future::join_all(waits.into_iter().map(|wait| async {
            wait.await.unwrap();
            start.elapsed()
        }));
        let served = served.await;
        assert!(served.is_sorted());
        assert_eq!(*served.last().unwrap(), Duration::from_secs(2));
    }
}

/// On the system's clock: the wait is known before it begins.
#[cfg(feature = "std")]
#[test]
fn a_thread_sleeps_until_all_are_due() {
    let (a, b) = (
        RateLimiter::new(Quota::per_second(1_000).burst(1)),
        RateLimiter::new(Quota::per_second(500).burst(1)),
    );
    let both = Combined::new([a.as_limit(), b.as_limit()]);
    let granted: u64 = (0..4).map(|_| both.acquire_blocking(1).unwrap().granted()).sum();
    assert_eq!(granted, 4);
    // An hour, so that no machine is too slow for it.
    let hourly = RateLimiter::new(Quota::per_hour(1));
    let all = Combined::new([a.as_limit(), hourly.as_limit()]);
    assert_eq!(all.acquire_blocking(1).unwrap().granted(), 1);
    assert!(all.acquire_blocking_timeout(1, Duration::ZERO).is_err());
    assert!(both.acquire_blocking(2).unwrap_err().is_never());
}
