//! Waits that are given up cost nobody a token: from wherever in line, at whatever moment, of every
//! kind of limiter.

use sluicegate::{Combined, KeyedLimiter, Quota, RateLimiter, TokioClock};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A limiter of either kind, as a client of one line sees it.
trait Wait {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>>;
    fn check(&self) -> bool;
}

impl Wait for RateLimiter {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        let acquire = self.acquire(n);
        Box::pin(async { acquire.await.is_ok() })
    }
    fn check(&self) -> bool {
        self.check().is_ok()
    }
}

impl Wait for KeyedLimiter<str> {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        let acquire = self.acquire("key", n);
        Box::pin(async { acquire.await.is_ok() })
    }
    fn check(&self) -> bool {
        self.check("key").is_ok()
    }
}

/// A direct limiter together with one that never denies.
struct Both(RateLimiter, RateLimiter);

impl Wait for Both {
    fn acquire(&self, n: u64) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        let acquire = Combined::new([self.0.as_limit(), self.1.as_limit()]).acquire(n);
        Box::pin(async { acquire.await.is_ok() })
    }
    fn check(&self) -> bool {
        self.0.check().is_ok()
    }
}

/// Every kind of limiter of this rate, with a burst of at most as many tokens.
fn kinds(rate: u64, burst: u64) -> Vec<(&'static str, Rc<dyn Wait>)> {
    let quota = Quota::per_second(rate).burst(burst);
    let direct = |quota| RateLimiter::builder(quota).clock(TokioClock::new());
    let keyed = || KeyedLimiter::<str>::builder(quota, 100).clock(TokioClock::new());
    let queue = direct(quota).leaky_bucket().queue(5_000).delay_free(burst - 1);
    let wide = direct(Quota::per_second(1_000_000)).build().unwrap();
    let mut kinds: Vec<(&str, Rc<dyn Wait>)> = vec![
        ("direct", Rc::new(direct(quota).build().unwrap())),
        ("keyed", Rc::new(keyed().build().unwrap())),
        ("queue", Rc::new(queue.build().unwrap())),
        ("combined", Rc::new(Both(direct(quota).build().unwrap(), wide))),
    ];
    if burst >= 8 {
        kinds.push(("batched", Rc::new(direct(quota).batch(4).build().unwrap())));
        kinds.push(("striped", Rc::new(direct(quota).stripes(2).build().unwrap())));
    }
    kinds
}

/// Clients that each loop with so much patience, for so long: how many of their calls were served.
async fn served(limiter: &Rc<dyn Wait>, clients: usize, patience: Duration, time: Duration) -> u64 {
    let (served, end) = (Rc::new(Cell::new(0)), Instant::now() + time);
    let local = LocalSet::new();
    for _ in 0..clients {
        let (limiter, served) = (limiter.clone(), served.clone());
        local.spawn_local(async move {
            while Instant::now() < end {
                if timeout(patience, limiter.acquire(1)).await == Ok(true) {
                    served.set(served.get() + 1);
                }
            }
        });
    }
    local.await;
    served.get()
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn impatient_clients_are_served_what_flows() {
    for clients in [2, 5, 20, 100, 1_000] {
        for (kind, limiter) in kinds(10, 1) {
            let start = Instant::now();
            let served = served(&limiter, clients, SECOND, 60 * SECOND).await;
            let flowed = start.elapsed().as_millis() as u64 / 100 + 1;
            assert!(served <= flowed, "{kind}, {clients} clients: {served} of {flowed}");
            assert!(served * 100 >= flowed * 98, "{kind}, {clients} clients: {served} of {flowed}");
        }
    }
}

/// A task that waits for a token and for other events: each event drops the wait, and no token with
/// it.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_loop_that_selects_gets_the_whole_rate() {
    for every in [7, 50, 90, 130] {
        for (kind, limiter) in kinds(10, 1).into_iter().chain(kinds(100, 10)) {
            let rate = if limiter.check() && limiter.check() { 100 } else { 10 };
            let (start, mut served, mut events) = (Instant::now(), 0, 0);
            let mut ticks = tokio::time::interval(MS * every);
            while start.elapsed() < 30 * SECOND {
                tokio::select! {
                    true = limiter.acquire(1) => served += 1,
                    _ = ticks.tick() => events += 1,
                }
            }
            assert!(events as u128 * u128::from(every) >= 29_000);
            let flowed = 30 * rate;
            let least = flowed * 98 / 100;
            assert!(
                (least..=flowed + 10).contains(&served),
                "{kind}, {every} ms: {served} of {flowed}"
            );
        }
    }
}

/// A thousand ask once and leave: the next waits as if they had never come.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_newcomer_waits_as_if_those_who_left_had_never_come() {
    for (kind, limiter) in kinds(10, 1) {
        served(&limiter, 1_000, SECOND, MS).await;
        let start = Instant::now();
        assert!(limiter.acquire(1).await);
        assert!(start.elapsed() <= 100 * MS + MS, "{kind}: {:?}", start.elapsed());
    }
}

/// Whoever stays is served in order, at the moments of those who left, is never early, and no check
/// comes between.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn those_who_stay_move_up_and_are_served_in_order() {
    for (kind, limiter) in kinds(10, 1) {
        assert!(limiter.check());
        let (local, order) = (LocalSet::new(), Rc::new(RefCell::new(Vec::new())));
        let start = Instant::now();
        for i in 0..60_u32 {
            let (limiter, order) = (limiter.clone(), order.clone());
            local.spawn_local(async move {
                // Two of three lose their patience, one after the other.
                let patience = if i % 3 == 0 { 100 * SECOND } else { MS * (40 + 17 * i) };
                if timeout(patience, limiter.acquire(1)).await == Ok(true) {
                    order.borrow_mut().push((i, start.elapsed()));
                }
            });
        }
        let checks = limiter.clone();
        local.spawn_local(async move {
            // Between the moments, when a token has half flowed.
            sleep(MS * 50).await;
            for _ in 0..20 {
                assert!(!checks.check(), "somebody waits");
                sleep(MS * 100).await;
            }
        });
        local.await;
        let order = order.take();
        assert!(order.is_sorted(), "{kind}: {order:?}");
        assert!(order.iter().filter(|(i, _)| i % 3 == 0).count() == 20, "{kind}: all who stay");
        for ((_, at), rank) in order.iter().zip(1_u32..) {
            let due = MS * 100 * rank;
            assert!((due..=due + MS).contains(at), "{kind}: the {rank}th at {at:?}");
        }
    }
}

/// Those who left leave their room in a line that has an end.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_full_line_has_room_at_once() {
    let builder = RateLimiter::builder(Quota::per_second(10).burst(1)).max_waiting(3);
    let limiter = builder.clock(TokioClock::new()).build().unwrap();
    assert!(limiter.check().is_ok());
    let mut waits: Vec<_> = (0..3).map(|_| Box::pin(limiter.acquire(1))).collect();
    for wait in &mut waits {
        assert!(futures_util::poll!(wait).is_pending());
    }
    assert!(limiter.acquire(1).await.is_err());
    drop(waits.remove(0));
    let mut last = Box::pin(limiter.acquire(1));
    assert!(futures_util::poll!(&mut last).is_pending());
    let start = Instant::now();
    for wait in waits.into_iter().chain([last]) {
        wait.await.unwrap();
    }
    assert_eq!(start.elapsed(), 300 * MS);
}

/// A place that was granted, and not acted on, goes to the next; and so it does while the jitter
/// runs, or a sink is ready.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn what_was_granted_and_not_handed_out_goes_to_the_next() {
    let limiter = RateLimiter::builder(Quota::per_second(1).burst(1)).clock(TokioClock::new());
    let limiter = limiter.build().unwrap();
    assert!(limiter.check().is_ok());
    let mut first = Box::pin(limiter.acquire(1));
    let mut second = Box::pin(limiter.acquire(1));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    sleep(SECOND).await;
    drop(first);
    second.await.unwrap();
    // With nobody behind it, the bucket has it.
    let mut alone = Box::pin(limiter.acquire(1));
    assert!(futures_util::poll!(&mut alone).is_pending());
    sleep(SECOND).await;
    assert_eq!(limiter.available(), 0);
    drop(alone);
    assert_eq!(limiter.available(), 1);
    let mut late = Box::pin(limiter.acquire(1).jitter(1_000 * SECOND));
    assert!(futures_util::poll!(&mut late).is_pending());
    assert_eq!(limiter.available(), 0);
    drop(late);
    assert_eq!(limiter.available(), 1);
    let mut sink = Box::pin(limiter.throttle_sink(futures_util::sink::drain::<u8>()));
    std::future::poll_fn(|cx| futures_util::Sink::poll_ready(sink.as_mut(), cx)).await.unwrap();
    assert_eq!(limiter.available(), 0);
    drop(sink);
    assert_eq!(limiter.available(), 1);
}

/// A thousand wait at 100 a second, and after two seconds it is 1,000: from then on as many act as
/// flow, and newcomers come behind.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_raised_quota_keeps_the_law_when_they_act() {
    let limiter = RateLimiter::builder(Quota::per_second(100).burst(1)).clock(TokioClock::new());
    let limiter = Rc::new(limiter.build().unwrap());
    let (local, acts) = (LocalSet::new(), Rc::new(RefCell::new(Vec::new())));
    let start = Instant::now();
    for i in 0..1_000 {
        let (limiter, acts) = (limiter.clone(), acts.clone());
        local.spawn_local(async move {
            while start.elapsed() < 9 * SECOND {
                limiter.acquire(1).await.unwrap();
                acts.borrow_mut().push((start.elapsed(), i));
            }
        });
    }
    let other = limiter.clone();
    local.spawn_local(async move {
        sleep(2 * SECOND).await;
        other.set_quota(Quota::per_second(1_000).burst(1)).unwrap();
        // It comes last, though it comes when the rate has changed.
        let before = start.elapsed();
        spawn_local(async move {
            other.acquire(1).await.unwrap();
            assert!(start.elapsed() - before >= 799 * MS, "{:?}", start.elapsed());
        });
    });
    local.await;
    let acts = acts.take();
    let within = |from: u64, to: u64| {
        let (from, to) = (SECOND * from as u32, SECOND * to as u32);
        acts.iter().filter(|(at, _)| *at > from && *at <= to).count()
    };
    let after = within(2, 9);
    assert!((6_998..=7_001).contains(&after), "{after} of 7,001");
    // In no millisecond more than it flowed, and one that a timer was late by.
    for (i, (at, _)) in acts.iter().enumerate() {
        let since = &acts[i.saturating_sub(50)];
        let window = (*at - since.0).as_millis() as usize;
        assert!(i < 50 || window + 2 >= 50, "50 in {window} ms");
    }
}

/// Windows, too: those behind take the room that is left, window by window.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn windows_are_filled_by_those_who_stay() {
    let fixed =
        || RateLimiter::builder(Quota::per_second(5)).fixed_window().clock(TokioClock::new());
    let sliding =
        || RateLimiter::builder(Quota::per_second(5)).sliding_window().clock(TokioClock::new());
    let keyed = || KeyedLimiter::<str>::builder(Quota::per_second(5), 9).clock(TokioClock::new());
    let kinds: [(&str, Rc<dyn Wait>); 4] = [
        ("fixed", Rc::new(fixed().build().unwrap())),
        ("sliding", Rc::new(sliding().build().unwrap())),
        ("keyed fixed", Rc::new(keyed().fixed_window().build().unwrap())),
        ("keyed sliding", Rc::new(keyed().sliding_window().build().unwrap())),
    ];
    for (kind, limiter) in kinds {
        for clients in [2, 20, 100] {
            let start = Instant::now();
            let served = served(&limiter, clients, 1_300 * MS, 60 * SECOND).await;
            let flowed = 5 * (start.elapsed().as_secs() + 1);
            assert!(served <= flowed, "{kind}, {clients} clients: {served} of {flowed}");
            assert!(served * 100 >= flowed * 95, "{kind}, {clients} clients: {served} of {flowed}");
        }
    }
}

/// Alarms go by the limiter's clock of the step that sets them: they had gone by that of a step
/// before, and rung late.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn what_a_reservation_leaves_is_served_at_its_moment() {
    let limiter = RateLimiter::builder(Quota::per_second(10).burst(3)).clock(TokioClock::new());
    let limiter = limiter.build().unwrap();
    assert!(limiter.check_n(2).is_ok());
    let start = Instant::now();
    let given_up = limiter.reserve(3).unwrap();
    let mut waits: Vec<_> = [1, 1, 3].map(|n| Box::pin(limiter.acquire(n))).into();
    for wait in &mut waits {
        assert!(futures_util::poll!(wait).is_pending());
    }
    sleep(100 * MS).await;
    assert_eq!(given_up.cancel(), 3);
    for (wait, due) in waits.into_iter().zip([100, 100, 400]) {
        wait.await.unwrap();
        assert_eq!(start.elapsed(), due * MS);
    }
}
