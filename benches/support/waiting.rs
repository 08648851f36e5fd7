//! One run of tasks that wait, and its figures.

use sluicegate::{Quota, RateLimiter};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

const TASKS: u64 = 1_000;
const PERMITS: u64 = 100_000;
/// Permits a second.
const RATE: u64 = 100_000;
/// The permits of a millisecond, which is as finely as timers count.
const BURST: u64 = RATE / 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Sluicegate,
    /// The refill interval is as short as its timers allow.
    LeakyBucketOf1Ms,
    LeakyBucketOf10Ms,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] =
        [Self::Sluicegate, Self::LeakyBucketOf1Ms, Self::LeakyBucketOf10Ms];
}

enum Limiter {
    Ours(Box<RateLimiter>),
    Theirs(leaky_bucket::RateLimiter),
}

impl Limiter {
    fn new(peer: Peer) -> Self {
        match peer {
            Peer::Sluicegate => {
                let quota = Quota::per_second(RATE).burst(BURST);
                Self::Ours(Box::new(RateLimiter::new(quota)))
            }
            Peer::LeakyBucketOf1Ms => Self::leaky_bucket(1),
            Peer::LeakyBucketOf10Ms => Self::leaky_bucket(10),
        }
    }

    fn leaky_bucket(interval: u64) -> Self {
        let refill = (BURST * interval) as usize;
        Self::Theirs(
            leaky_bucket::RateLimiter::builder()
                .max(refill)
                .initial(BURST as usize)
                .refill(refill)
                .interval(Duration::from_millis(interval))
                .fair(true)
                .build(),
        )
    }
}

/// Counts the polls of a future.
struct Counted<'a, F> {
    inner: Pin<&'a mut F>,
    polls: &'a AtomicU64,
}

impl<F: Future> Future for Counted<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Relaxed);
        self.inner.as_mut().poll(cx)
    }
}

pub(crate) struct Run {
    runtime: Runtime,
}

/// The costs of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) wall: Duration,
    cpu: Duration,
    /// Polls beyond the first of each permit.
    wakes: u64,
    late_mean: Duration,
    late_p99: Duration,
}

impl Run {
    pub(crate) fn new(threads: usize) -> Self {
        let mut builder = if threads == 1 {
            tokio::runtime::Builder::new_current_thread()
        } else {
            tokio::runtime::Builder::new_multi_thread()
        };
        let runtime = builder.worker_threads(threads).enable_time().build().unwrap();
        Self { runtime }
    }

    pub(crate) fn of(&self, peer: Peer) -> Figures {
        self.runtime.block_on(async {
            let limiter = Arc::new(Limiter::new(peer));
            let polls = Arc::new(AtomicU64::new(0));
            let barrier = Arc::new(Barrier::new(TASKS as usize + 1));
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let (limiter, polls, barrier) =
                        (limiter.clone(), polls.clone(), barrier.clone());
                    tokio::spawn(async move {
                        barrier.wait().await;
                        let mut released = Vec::with_capacity((PERMITS / TASKS) as usize);
                        for _ in 0..PERMITS / TASKS {
                            match &*limiter {
                                Limiter::Ours(limiter) => {
                                    let inner = pin!(limiter.acquire(1));
                                    assert!(Counted { inner, polls: &polls }.await.is_ok());
                                }
                                Limiter::Theirs(limiter) => {
                                    let inner = pin!(limiter.acquire(1));
                                    Counted { inner, polls: &polls }.await;
                                }
                            }
                            released.push(Instant::now());
                        }
                        released
                    })
                })
                .collect();
            let (start, cpu) = (Instant::now(), cpu());
            barrier.wait().await;
            let mut released = Vec::with_capacity(PERMITS as usize);
            for task in tasks {
                released.extend(task.await.unwrap());
            }
            let (wall, cpu) = (start.elapsed(), self::cpu() - cpu);
            assert_eq!(released.len() as u64, PERMITS);
            released.sort_unstable();
            let due =
                |i: u64| Duration::from_nanos(i.saturating_sub(BURST - 1) * (1_000_000_000 / RATE));
            let mut late: Vec<Duration> = released
                .iter()
                .zip(0..)
                .map(|(at, i)| (*at - start).saturating_sub(due(i)))
                .collect();
            late.sort_unstable();
            let late_mean = late.iter().sum::<Duration>() / PERMITS as u32;
            let late_p99 = late[late.len() * 99 / 100];
            let wakes = polls.load(Relaxed) - PERMITS;
            Figures { wall, cpu, wakes, late_mean, late_p99 }
        })
    }
}

/// Reads the processor time of all threads of the process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Figures {
    pub(crate) const HEAD: &str = "\
        | | wall | CPU | wake-ups | release after its due time, mean | p99 |\n\
        | --- | --- | --- | --- | --- | --- |";

    pub(crate) fn row(peer: Peer, all: &[Self]) -> String {
        let of = |figure: fn(&Self) -> f64, unit: &str| {
            let mut values: Vec<f64> = all.iter().map(figure).collect();
            values.sort_unstable_by(f64::total_cmp);
            let [least, median, most] = [0, values.len() / 2, values.len() - 1].map(|i| values[i]);
            format!("{median:.2} {unit} ({least:.2} to {most:.2})")
        };
        format!(
            "| {peer:?} | {} | {} | {} | {} | {} |",
            of(|run| run.wall.as_secs_f64() * 1e3, "ms"),
            of(|run| run.cpu.as_secs_f64() * 1e3, "ms"),
            of(|run| run.wakes as f64 / 1e3, "k"),
            of(|run| run.late_mean.as_secs_f64() * 1e3, "ms"),
            of(|run| run.late_p99.as_secs_f64() * 1e3, "ms"),
        )
    }
}
