//! Waiting on tokio's paused clock, and in threads: in order, woken once, given back when dropped.

use futures_util::{SinkExt, Stream, StreamExt, stream};
use sluicegate::{Denied, Grant, KeyedLimiter, ManualClock, Quota, RateLimiter, TokioClock};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const MS: Duration = Duration::from_millis(1);

fn limiter(quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(TokioClock::new()).build().unwrap()
}

/// Counts the polls of a future.
struct Polls<F> {
    inner: Pin<Box<F>>,
    polls: Rc<Cell<u64>>,
}

impl<F: Future> Future for Polls<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.set(self.polls.get() + 1);
        self.inner.as_mut().poll(cx)
    }
}

/// A generator good enough to choose by (xorshift64).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Ten thousand wait, half of them are dropped at random: those who stay are served in their order,
/// as if the others had never come, and each is woken once.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn ten_thousand_wait_in_order_and_are_woken_once() {
    const TASKS: u64 = 10_000;
    let limiter = Rc::new(limiter(Quota::per_second(1_000).burst(10)));
    let local = tokio::task::LocalSet::new();
    let served = Rc::new(RefCell::new(Vec::new()));
    let polls = Rc::new(Cell::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for i in 0..TASKS {
        let (limiter, served, polls) = (limiter.clone(), served.clone(), polls.clone());
        tasks.push(local.spawn_local(async move {
            let acquire = limiter.acquire(1);
            Polls { inner: Box::pin(acquire), polls }.await.unwrap();
            served.borrow_mut().push((i, start.elapsed()));
        }));
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let dropped = local
        .run_until(async {
            // Until all have been polled once: who has not stands nowhere yet.
            while polls.get() < TASKS {
                tokio::task::yield_now().await;
            }
            let mut dropped = Vec::new();
            while dropped.len() < TASKS as usize / 2 {
                let i = random(&mut seed) % TASKS;
                if i >= 10 && !dropped.contains(&i) {
                    tasks[i as usize].abort();
                    dropped.push(i);
                }
            }
            dropped
        })
        .await;
    local.await;
    let served = served.take();
    let expected: Vec<u64> = (0..TASKS).filter(|i| !dropped.contains(i)).collect();
    assert_eq!(served.iter().map(|(i, _)| *i).collect::<Vec<_>>(), expected);
    for ((i, at), rank) in served.iter().zip(0_u32..) {
        let due = MS * rank.saturating_sub(9);
        assert!(*at >= due && *at <= due + MS, "{i}, the {rank}th who stayed, at {at:?}");
    }
    // Ten are ready at the first poll, all others are polled once more, but for those that are
    // dropped.
    assert_eq!(polls.get(), TASKS + (TASKS - 10 - dropped.len() as u64));
    // And nothing is lost: as many were taken as flowed, and from now on each token that flows is
    // there.
    assert_eq!(start.elapsed(), MS * (expected.len() - 10) as u32);
    assert_eq!(limiter.available(), 0);
    let mut taken = expected.len() as u64;
    for _ in 0..30_000 {
        tokio::time::advance(MS / 3).await;
        taken += limiter.check_up_to(u64::MAX).map_or(0, |grant| grant.granted());
    }
    let flowed = start.elapsed().as_nanos() as u64 / 1_000_000;
    assert!((flowed + 9..=flowed + 10).contains(&taken), "{taken} of {flowed}");
}

/// Nothing is lost: under saturation with waits that are dropped, as many are served as the rate
/// allows.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn long_run_rate_is_exact_though_waits_are_dropped() {
    let limiter = limiter(Quota::per_second(700).burst(3));
    let start = Instant::now();
    let (mut served, mut seed) = (0_u64, 88_172_645_463_325_252);
    while start.elapsed() < Duration::from_secs(100) {
        let patience = Duration::from_micros(random(&mut seed) % 4_000);
        // Dropped while it waits.
        if let Ok(answer) = timeout(patience, limiter.acquire(1)).await {
            answer.unwrap();
            served += 1;
        }
    }
    // A place given up by the only one who waits is free at once; so only what it idled is lost,
    // and that is what the burst saves up.
    assert!((69_990..=3 + 70_000).contains(&served), "{served}");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn nothing_is_taken_before_the_first_poll() {
    let limiter = limiter(Quota::per_second(1).burst(2));
    let first = limiter.acquire(2);
    assert_eq!(limiter.available(), 2);
    assert_eq!(limiter.acquire(1).await.unwrap().remaining(), 1);
    let mut first = pin!(first);
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(limiter.available(), -1);
    let grant = first.as_mut().await.unwrap();
    assert_eq!((grant.granted(), grant.remaining()), (2, 0));
    assert_eq!(first.await.unwrap(), grant, "asked again, it answers the same");
    assert_eq!(limiter.available(), 0);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn dropped_it_gives_its_place_up() {
    let limiter = limiter(Quota::per_second(1).burst(1));
    assert!(limiter.check().is_ok());
    {
        let mut waits = pin!(limiter.acquire(1));
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(limiter.available(), -1);
    }
    assert_eq!(limiter.available(), 0);
    let start = Instant::now();
    let lost = tokio::select! {
        answer = limiter.acquire(1) => answer.is_ok(),
        () = tokio::time::sleep(MS * 500) => false,
    };
    assert!(!lost && start.elapsed() == MS * 500);
    limiter.acquire(1).await.unwrap();
    assert_eq!(start.elapsed(), MS * 1_000);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn what_comes_too_late_is_not_waited_for() {
    let limiter = limiter(Quota::per_second(1).burst(1));
    let start = Instant::now();
    limiter.acquire(1).timeout(Duration::ZERO).await.unwrap();
    let denied = limiter.acquire(1).timeout(MS * 999).await.unwrap_err();
    assert_eq!((denied.retry_after(), start.elapsed()), (Some(MS), Duration::ZERO));
    limiter.acquire(1).timeout(MS * 1_000).await.unwrap();
    assert_eq!(start.elapsed(), MS * 1_000);
    assert!(limiter.acquire(2).await.unwrap_err().is_never());
    assert_eq!(start.elapsed(), MS * 1_000);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn jitter_delays_within_its_bounds_and_keeps_the_place() {
    let limiter = limiter(Quota::per_second(10).burst(1));
    let start = Instant::now();
    let (mut earliest, mut latest) = (Duration::MAX, Duration::ZERO);
    for i in 0..200 {
        limiter.acquire(1).jitter(MS * 50).await.unwrap();
        let late = start.elapsed() - MS * 100 * i;
        assert!(late <= MS * 51, "{late:?}");
        (earliest, latest) = (earliest.min(late), latest.max(late));
    }
    assert!(latest - earliest > MS * 25, "{earliest:?} to {latest:?}");
    // It never takes longer than the timeout.
    for _ in 0..50 {
        let start = Instant::now();
        let answer = limiter.acquire(1).timeout(MS * 110).jitter(Duration::MAX).await;
        assert!(answer.is_ok() && start.elapsed() <= MS * 111);
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn keys_have_lines_of_their_own() {
    let builder = KeyedLimiter::<str>::builder(Quota::per_second(1).burst(1), 100);
    let users = builder.clock(TokioClock::new()).build().unwrap();
    let start = Instant::now();
    let three = |key: &'static str| {
        let users = &users;
        async move {
            for _ in 0..3 {
                users.acquire(key, 1).await.unwrap();
            }
            start.elapsed()
        }
    };
    let (alice, bob) = tokio::join!(three("alice"), three("bob"));
    assert_eq!((alice, bob), (MS * 2_000, MS * 2_000));
    assert!(users.acquire("alice", 1).timeout(MS * 10).await.is_err());
}

/// A quota that changes moves the places of those who wait.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_slower_quota_keeps_waiters_longer() {
    let builder = KeyedLimiter::<str>::builder(Quota::per_second(10).burst(1), 100);
    let users = builder.clock(TokioClock::new()).build().unwrap();
    assert!(users.check("a").is_ok());
    let start = Instant::now();
    let (first, second, ()) = tokio::join!(
        async { users.acquire("a", 1).await.map(|_| start.elapsed()) },
        async { users.acquire("a", 1).await.map(|_| start.elapsed()) },
        async {
            tokio::time::sleep(MS * 50).await;
            users.set_quota(Quota::per_second(1).burst(1)).unwrap();
        },
    );
    // Half a token had flowed at the old rate.
    assert_eq!(first.unwrap(), MS * 550);
    assert_eq!(second.unwrap(), MS * 1_550);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn streams_and_sinks_are_throttled() {
    let limiter = limiter(Quota::per_second(10).burst(3));
    let start = Instant::now();
    let mut items = Box::pin(limiter.throttle(stream::iter(0..23)));
    assert_eq!(items.size_hint(), (23, Some(23)));
    let mut seen = Vec::new();
    while let Some(item) = items.next().await {
        seen.push((item, start.elapsed()));
    }
    for (i, (item, at)) in seen.iter().enumerate() {
        assert_eq!((*item, *at), (i, MS * 100 * i.saturating_sub(2) as u32));
    }
    let sent = RefCell::new(Vec::new());
    let sink = futures_util::sink::unfold((), |(), item: u32| {
        sent.borrow_mut().push((item, start.elapsed()));
        async { Ok::<(), std::convert::Infallible>(()) }
    });
    let mut sink = Box::pin(limiter.throttle_sink(sink));
    let began = start.elapsed();
    for item in 0..5 {
        sink.send(item).await.unwrap();
    }
    sink.close().await.unwrap();
    assert_eq!(start.elapsed() - began, MS * 500);
    assert_eq!(sent.borrow().iter().map(|(item, _)| *item).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

/// A line that is full delays a stream, and loses none of its items.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_full_line_delays_a_stream() {
    let builder = RateLimiter::builder(Quota::per_second(10).burst(1)).max_waiting(1);
    let limiter = builder.clock(TokioClock::new()).build().unwrap();
    let collect =
        |items: std::ops::Range<u32>| limiter.throttle(stream::iter(items)).collect::<Vec<_>>();
    let (a, b, c) = tokio::join!(collect(0..10), collect(10..20), collect(20..30));
    assert_eq!([a, b, c].concat(), (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_without_waits_lets_others_run() {
    let limiter = Arc::new(RateLimiter::new(Quota::per_second(1 << 30)));
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let other = {
        let done = done.clone();
        tokio::spawn(async move { done.store(true, std::sync::atomic::Ordering::Relaxed) })
    };
    for _ in 0..10_000 {
        limiter.acquire(1).await.unwrap();
    }
    assert!(done.load(std::sync::atomic::Ordering::Relaxed));
    other.await.unwrap();
}

/// Threads wait as tasks do: in turn, none before its moment.
#[test]
fn threads_wait_in_turn() {
    let limiter = RateLimiter::new(Quota::per_second(200).burst(1));
    let start = std::time::Instant::now();
    let mut ends: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let _grant: Grant = limiter.acquire_blocking(1).unwrap();
                    start.elapsed()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    ends.sort_unstable();
    for (end, i) in ends.iter().zip(0_u32..) {
        // The counter of the limiter may be a few parts in a million off the system's clock.
        assert!(*end + MS / 100 >= MS * 5 * i, "{i} after {end:?}");
    }
    assert!(limiter.acquire_blocking(2).unwrap_err().is_never());
    let users = KeyedLimiter::<str>::new(Quota::per_second(100).burst(1), 10);
    assert!(users.acquire_blocking("a", 1).is_ok() && users.acquire_blocking("a", 1).is_ok());
    // So slow that no token flows before the next line.
    let slow = Quota::per_day(1).burst(1);
    let limiter = RateLimiter::new(slow);
    assert!(limiter.acquire_blocking_timeout(1, Duration::ZERO).is_ok());
    let denied: Denied = limiter.acquire_blocking_timeout(1, Duration::ZERO).unwrap_err();
    assert!(denied.retry_after().is_some());
    let users = KeyedLimiter::<str>::new(slow, 10);
    assert!(users.acquire_blocking_timeout("a", 1, Duration::ZERO).is_ok());
    assert!(users.acquire_blocking_timeout("a", 1, Duration::ZERO).is_err());
}

#[test]
fn futures_go_between_threads() {
    fn send<T: Send>(_: &T) {}
    let limiter = RateLimiter::new(Quota::per_second(1));
    send(&limiter.acquire(1));
}

/// A flag of whether it was called.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// What was due by then was granted, and nobody was told.
#[test]
fn a_wait_outside_of_a_runtime_takes_no_wake_up_with_it() {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(Quota::per_second(1).burst(1)).clock(clock.clone());
    let limiter = limiter.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert!(limiter.check().is_ok());
    let flag = Arc::new(Flag::default());
    let waker = flag.clone().into();
    let mut first = pin!(limiter.acquire(1));
    let inside = runtime.enter();
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(inside);
    clock.advance(Duration::from_secs(1));
    let outside = catch_unwind(AssertUnwindSafe(|| {
        let _ = pin!(limiter.acquire(1)).poll(&mut Context::from_waker(Waker::noop()));
    }));
    assert!(outside.is_err());
    let _inside = runtime.enter();
    let mut next = pin!(limiter.acquire(1));
    assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(flag.0.load(Relaxed));
    assert!(first.poll(&mut Context::from_waker(&waker)).is_ready());
}

/// A timeout holds, also if the quota changes; what comes too late is given up.
#[cfg(feature = "tokio")]
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_slower_quota_lets_timeouts_end() {
    let builder = RateLimiter::builder(Quota::per_second(1).burst(1));
    let limiter = builder.clock(TokioClock::new()).build().unwrap();
    assert!(limiter.check().is_ok());
    let start = Instant::now();
    let (answer, ()) = tokio::join!(limiter.acquire(1).timeout(2_000 * MS), async {
        tokio::time::sleep(500 * MS).await;
        limiter.set_quota(Quota::per_hour(1).burst(1)).unwrap();
    });
    let denied = answer.unwrap_err();
    assert!(start.elapsed() < 2_000 * MS && !denied.is_never(), "{:?}", start.elapsed());
    assert!(limiter.available() >= 0, "its place is given up");
}
