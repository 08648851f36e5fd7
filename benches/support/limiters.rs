//! The contestants on one limiter, all on the same quota.

use crate::buckets::{FloatBucket, FloatRate, WholeBucket, WholeRate};
use crate::harness::{Case, Contestant, Expect, Goal, Kind, Turn};
use sluicegate::{CoarseClock, ManualClock, Quota, RateLimiter};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The numbers of a quota, from which every contestant makes its own.
#[derive(Clone, Copy)]
struct Terms {
    count: u32,
    period: Duration,
    burst: u32,
}

/// Admits every call: four billion in a row, which is as many as governor's 32 bits hold.
const ADMIT: Terms =
    Terms { count: 1_000_000, period: Duration::from_secs(1), burst: 4_000_000_000 };
/// Admits the first call and then none for an hour.
const DENY: Terms = Terms { count: 1, period: Duration::from_secs(3_600), burst: 1 };

impl Terms {
    fn quota(self) -> Quota {
        let quota = Quota::new(self.count.into(), self.period).expect("a valid quota");
        quota.burst(self.burst.into())
    }

    fn governor(self) -> governor::Quota {
        let quota = governor::Quota::with_period(self.period / self.count);
        let burst = NonZeroU32::new(self.burst).expect("a burst over 0");
        quota.expect("a period over 0").allow_burst(burst)
    }

    fn float(self) -> FloatRate {
        let per_second = f64::from(self.count) / self.period.as_secs_f64();
        FloatRate { per_second, burst: self.burst.into() }
    }

    fn whole(self) -> WholeRate {
        let interval = self.period.as_nanos() as u64 / u64::from(self.count);
        WholeRate { interval, tolerance: interval * u64::from(self.burst - 1) }
    }
}

/// The check of one limiter.
trait Check: Fn() -> bool + Send + Sync + 'static {}

impl<F: Fn() -> bool + Send + Sync + 'static> Check for F {}

fn sluicegate(terms: Terms) -> impl Check {
    let limiter = RateLimiter::new(terms.quota());
    move || black_box(&limiter).check().is_ok()
}

fn sluicegate_batch(terms: Terms) -> impl Check {
    let limiter = RateLimiter::builder(terms.quota()).batch(64).build().expect("room for batches");
    move || black_box(&limiter).check().is_ok()
}

fn sluicegate_striped(terms: Terms) -> impl Check {
    let limiter = RateLimiter::builder(terms.quota()).striped().build().expect("a bucket");
    move || black_box(&limiter).check().is_ok()
}

fn sluicegate_coarse(terms: Terms) -> impl Check {
    let clock = CoarseClock::start(Duration::from_millis(1)).expect("a thread for the clock");
    let limiter = RateLimiter::builder(terms.quota()).clock(clock).build().expect("a valid quota");
    move || black_box(&limiter).check().is_ok()
}

fn sluicegate_frozen(terms: Terms) -> impl Check {
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(terms.quota()).clock(clock).build().expect("a valid quota");
    move || black_box(&limiter).check().is_ok()
}

fn governor(terms: Terms) -> impl Check {
    let limiter = governor::RateLimiter::direct(terms.governor());
    move || black_box(&limiter).check().is_ok()
}

fn governor_coarse(terms: Terms) -> impl Check {
    let clock = governor::clock::QuantaUpkeepClock::from_interval(Duration::from_millis(1));
    let clock = clock.expect("the process's only upkeep thread");
    let limiter = governor::RateLimiter::direct_with_clock(terms.governor(), clock);
    move || black_box(&limiter).check().is_ok()
}

fn governor_frozen(terms: Terms) -> impl Check {
    let clock = governor::clock::FakeRelativeClock::default();
    let limiter = governor::RateLimiter::direct_with_clock(terms.governor(), clock);
    move || black_box(&limiter).check().is_ok()
}

fn ratelimit(terms: Terms) -> impl Check {
    let burst = terms.burst.into();
    let limiter = ratelimit::Ratelimiter::builder(terms.count.into())
        .period(terms.period)
        .max_tokens(burst)
        .initial_available(burst)
        .build()
        .expect("a valid quota");
    move || black_box(&limiter).try_wait().is_ok()
}

fn std_mutex(terms: Terms) -> impl Check {
    let (rate, bucket) = (terms.float(), Mutex::new(FloatBucket::full(terms.float())));
    move || {
        // Reading the clock before taking the lock keeps the lock short.
        let now = Instant::now();
        black_box(&bucket).lock().unwrap_or_else(PoisonError::into_inner).take(rate, now)
    }
}

fn std_mutex_tsc(terms: Terms) -> impl Check {
    let (rate, clock) = (terms.whole(), quanta::Clock::new());
    let bucket = Mutex::new(WholeBucket::default());
    move || {
        let now = clock.delta_as_nanos(0, clock.raw());
        black_box(&bucket).lock().unwrap_or_else(PoisonError::into_inner).take(rate, now)
    }
}

fn parking_lot_mutex(terms: Terms) -> impl Check {
    let rate = terms.float();
    let bucket = parking_lot::Mutex::new(FloatBucket::full(rate));
    move || {
        let now = Instant::now();
        black_box(&bucket).lock().take(rate, now)
    }
}

fn parking_lot_mutex_tsc(terms: Terms) -> impl Check {
    let (rate, clock) = (terms.whole(), quanta::Clock::new());
    let bucket = parking_lot::Mutex::new(WholeBucket::default());
    move || {
        let now = clock.delta_as_nanos(0, clock.raw());
        black_box(&bucket).lock().take(rate, now)
    }
}

/// Reads the time stamp counter.
fn counter(_: Terms) -> impl Check {
    let clock = quanta::Clock::new();
    move || black_box(&clock).raw() != 0
}

/// Loads a word and swaps it, until the swap succeeds.
fn swap(_: Terms) -> impl Check {
    let word = crossbeam_utils::CachePadded::new(AtomicU64::new(0));
    move || add(black_box(&word), 1)
}

/// Does both, the swap with the counter's reading.
fn counter_and_swap(_: Terms) -> impl Check {
    let clock = quanta::Clock::new();
    let word = crossbeam_utils::CachePadded::new(AtomicU64::new(0));
    move || add(black_box(&word), black_box(&clock).raw())
}

#[inline(always)]
fn add(word: &AtomicU64, value: u64) -> bool {
    let sum = |seen: u64| Some(seen.wrapping_add(value));
    word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
}

/// The calls that are admitted.
#[derive(Clone)]
enum Share {
    All,
    None,
    /// Half of the calls, in this order: there are two limiters, and one is exhausted.
    Half(Arc<[bool]>),
}

impl Share {
    fn enter<C: Check>(&self, kind: Kind, name: &'static str, build: fn(Terms) -> C) -> Contestant {
        let exhausted = || {
            let check = build(DENY);
            assert!(check() && !check(), "{name}: a burst of one");
            check
        };
        match self {
            Self::All => {
                let check = build(ADMIT);
                Contestant::new(name, kind, move |_| check())
            }
            Self::None => {
                let check = exhausted();
                Contestant::new(name, kind, move |_| check())
            }
            Self::Half(marks) => {
                let (checks, marks) = ([exhausted(), build(ADMIT)], marks.clone());
                Contestant::new(name, kind, move |call| {
                    checks[usize::from(marks[call as usize % MARKS])]()
                })
            }
        }
    }

    fn expect(&self) -> Expect {
        match self {
            Self::All => Expect::AllAdmitted,
            Self::None => Expect::NoneAdmitted,
            Self::Half(marks) => Expect::Marked(marks.clone()),
        }
    }

    /// Lists all contestants, each on its library's default clock.
    fn field(&self) -> Vec<Contestant> {
        vec![
            self.enter(Kind::Ours, "sluicegate", sluicegate),
            self.enter(Kind::Peer, "governor", governor),
            self.enter(Kind::Peer, "ratelimit", ratelimit),
            self.enter(Kind::Peer, "std Mutex, Instant", std_mutex),
            self.enter(Kind::Peer, "std Mutex, TSC", std_mutex_tsc),
            self.enter(Kind::Peer, "parking_lot Mutex, Instant", parking_lot_mutex),
            self.enter(Kind::Peer, "parking_lot Mutex, TSC", parking_lot_mutex_tsc),
        ]
    }
}

/// More marks than a branch predictor learns.
const MARKS: usize = 1 << 16;

fn goal(row: &'static str, most: f64, against: &'static str) -> Goal {
    Goal { row, most, against }
}

pub(crate) fn admit(threads: usize, turn: Turn) -> Case {
    let share = Share::All;
    let mut contestants = share.field();
    contestants.insert(1, share.enter(Kind::Ours, "sluicegate, batch(64)", sluicegate_batch));
    contestants.insert(2, share.enter(Kind::Ours, "sluicegate, striped", sluicegate_striped));
    contestants.push(share.enter(Kind::Floor, "counter read", counter));
    contestants.push(share.enter(Kind::Floor, "compare-and-swap", swap));
    contestants.push(share.enter(Kind::Floor, "counter read, then swap", counter_and_swap));
    let goals = if threads == 1 {
        vec![
            goal("sluicegate", 1.1, "governor"),
            goal("sluicegate", 0.33, "std Mutex, Instant"),
            goal("sluicegate, batch(64)", 0.35, "governor"),
        ]
    } else if threads == 2 {
        vec![goal("sluicegate, striped", 0.2, "governor")]
    } else {
        Vec::new()
    };
    Case {
        name: "direct admit",
        about: "One limiter of 1,000,000/s and a burst of 4,000,000,000, every call admitted;"
            .into(),
        contestants,
        expect: share.expect(),
        threads,
        turn,
        baseline: "governor",
        goals,
    }
}

/// Compares one limiter of each kind for each number of threads, in one interleaved run.
pub(crate) fn scaling(threads: &[usize], turn: Turn) -> Case {
    let share = Share::All;
    let (mut contestants, mut goals) = (Vec::new(), Vec::new());
    // Rows are named at run time. A bench's few names may live as long as it does.
    let name = |kind: &str, threads: usize| -> &'static str {
        format!("{kind}, {threads} thread{}", if threads == 1 { "" } else { "s" }).leak()
    };
    for threads in threads.iter().copied() {
        let rows = [
            share.enter(Kind::Ours, name("striped", threads), sluicegate_striped),
            share.enter(Kind::Ours, name("sluicegate", threads), sluicegate),
            share.enter(Kind::Peer, name("governor", threads), governor),
            share.enter(Kind::Floor, name("compare-and-swap", threads), swap),
        ];
        contestants.extend(rows.map(|row| row.on(threads)));
        let one = name("striped", threads.min(1));
        if threads > 1 && goals.is_empty() {
            goals.push(goal(name("striped", threads), 1.2, one));
        }
    }
    let baseline = contestants[0].name;
    let about =
        "As direct admit; nanoseconds a call of each thread, for several numbers of threads;";
    let (name, about, expect) = ("direct scaling", about.into(), share.expect());
    Case { name, about, contestants, expect, threads: 1, turn, baseline, goals }
}

pub(crate) fn denied(threads: usize, turn: Turn) -> Case {
    let share = Share::None;
    Case {
        name: "direct denied",
        about: "One limiter of 1/hour and a burst of 1, every call denied;".into(),
        contestants: share.field(),
        expect: share.expect(),
        threads,
        turn,
        baseline: "governor",
        goals: vec![goal("sluicegate", 1.1, "governor")],
    }
}

pub(crate) fn half_denied(threads: usize, turn: Turn) -> Case {
    // The top bits of a linear congruential generator have no pattern for a branch predictor.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let marks = (0..MARKS).map(|_| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        state >> 63 == 1
    });
    let share = Share::Half(marks.collect());
    Case {
        name: "direct half denied",
        about: "The limiters of both cases above, called in one random order;".into(),
        contestants: share.field(),
        expect: share.expect(),
        threads,
        turn,
        baseline: "governor",
        goals: Vec::new(),
    }
}

pub(crate) fn coarse_clock(threads: usize, turn: Turn) -> Case {
    let share = Share::All;
    Case {
        name: "direct coarse clock",
        about: "As direct admit, on clocks that a thread updates every millisecond;".into(),
        contestants: vec![
            share.enter(Kind::Ours, "sluicegate, CoarseClock", sluicegate_coarse),
            share.enter(Kind::Peer, "governor, QuantaUpkeepClock", governor_coarse),
            share.enter(Kind::Floor, "compare-and-swap", swap),
        ],
        expect: share.expect(),
        threads,
        turn,
        baseline: "governor, QuantaUpkeepClock",
        goals: Vec::new(),
    }
}

pub(crate) fn frozen_clock(threads: usize, turn: Turn) -> Case {
    let share = Share::All;
    Case {
        name: "direct frozen clock",
        about: "As direct admit, on clocks for tests that stand still: what is left is arithmetic;"
            .into(),
        contestants: vec![
            share.enter(Kind::Ours, "sluicegate, ManualClock", sluicegate_frozen),
            share.enter(Kind::Peer, "governor, FakeRelativeClock", governor_frozen),
            share.enter(Kind::Floor, "compare-and-swap", swap),
        ],
        expect: share.expect(),
        threads,
        turn,
        baseline: "governor, FakeRelativeClock",
        goals: Vec::new(),
    }
}
