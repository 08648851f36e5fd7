//! Clocks keep what their documentation says, and limiters hold whatever steps a clock makes.

use sluicegate::{
    Algorithm, Clock, CoarseClock, KeyedLimiter, ManualClock, MonotonicClock, Quota, RateLimiter,
};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const RESOLUTION: Duration = Duration::from_millis(1);

/// Only one test has coarse clocks at a time: one of them counts their threads.
static COARSE: Mutex<()> = Mutex::new(());

/// Until `done`, or the end of patience.
fn within_30_s(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        thread::yield_now();
    }
}

#[test]
fn coarse_clock_is_never_ahead_and_keeps_up() {
    let _alone = COARSE.lock().unwrap_or_else(PoisonError::into_inner);
    let (coarse, true_time) = (CoarseClock::start(RESOLUTION).unwrap(), MonotonicClock::new());
    let (mut last, mut in_time) = (coarse.nanos(), 0);
    within_30_s("50 readings replaced within the resolution and a wake-up", || {
        let (reading, after) = (coarse.nanos(), true_time.nanos());
        assert!(reading <= after, "{} ns ahead", reading - after);
        assert!(reading >= last, "{} ns back", last - reading);
        // A reading is oldest when the next one takes its place. Twice the resolution: how late the
        // system wakes a thread has no bound, so only some must be replaced this soon.
        in_time += u32::from(reading > last && reading - last <= 2_000_000);
        last = reading;
        in_time >= 50
    });
}

#[test]
fn limiter_on_a_coarse_clock_keeps_the_law_and_admits_again() {
    let _alone = COARSE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let clock = CoarseClock::start(RESOLUTION).unwrap();
    let quota = Quota::per_second(1_000).burst(10);
    let limiter = RateLimiter::builder(quota).clock(clock).build().unwrap();
    let (mut admitted, mut denied) = (0, 0);
    within_30_s("60 admissions of 1,000 a second, and a denial", || {
        // More at a time than the burst: on a busy machine tokens flow while this thread does not
        // run.
        for _ in 0..100 {
            match limiter.check() {
                Ok(grant) => admitted += grant.granted(),
                Err(_) => denied += 1,
            }
            let most = 10.0 + start.elapsed().as_secs_f64() * 1_000.0;
            assert!(admitted as f64 <= most, "{admitted} of {most}");
        }
        admitted >= 60 && denied > 0
    });
}

#[test]
fn coarse_clock_of_no_resolution_is_refused() {
    let error = CoarseClock::start(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("over zero"), "{error}");
}

/// The kernel cuts names of threads to 15 bytes.
#[cfg(target_os = "linux")]
fn coarse_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("sluicegate-cloc"))
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn coarse_clocks_thread_ends_with_its_last_clone() {
    let _alone = COARSE.lock().unwrap_or_else(PoisonError::into_inner);
    within_30_s("the threads of earlier clocks end", || coarse_threads() == 0);
    // So long that only the last clone's drop can wake it.
    let clock = CoarseClock::start(Duration::from_secs(3_600)).unwrap();
    let limiter = RateLimiter::builder(Quota::per_second(1)).clock(clock.clone()).build().unwrap();
    within_30_s("the thread has its name", || coarse_threads() == 1);
    // So that it is asleep by now. If it is not, it ends all the same.
    thread::sleep(Duration::from_millis(50));
    drop(clock);
    assert_eq!(coarse_threads(), 1, "the limiter holds a clone");
    drop(limiter);
    within_30_s("the thread ends", || coarse_threads() == 0);
}

/// Over half a second both clocks agree to one part in a thousand.
#[cfg(feature = "quanta")]
#[test]
fn quanta_counts_the_systems_nanoseconds() {
    let (quanta, system) = (sluicegate::QuantaClock::new(), MonotonicClock::new());
    // A reading of one between two of the other.
    let read = || (system.nanos(), quanta.nanos(), system.nanos());
    let (began, first, begun) = read();
    within_30_s("half a second", || system.nanos() - begun > 500_000_000);
    let (end, last, ended) = read();
    let (least, passed, most) = (end - begun, last - first, ended - began);
    assert!(passed >= least - least / 1_000, "{passed} ns in at least {least}");
    assert!(passed <= most + most / 1_000, "{passed} ns in at most {most}");
}

/// Every reading, whichever copy's and whichever thread's, is at or after those that came before.
#[test]
fn monotonic_clock_is_one_for_all_and_never_steps_back() {
    let (one, other) = (MonotonicClock::new(), MonotonicClock::new());
    let start = Instant::now();
    let first = one.nanos();
    let begun = start.elapsed();
    let latest = AtomicU64::new(first);
    thread::scope(|scope| {
        for clock in [one, other] {
            let latest = &latest;
            scope.spawn(move || {
                for _ in 0..50_000 {
                    let before = latest.load(Ordering::SeqCst);
                    let now = clock.nanos();
                    assert!(now >= before, "{} ns back", before - now);
                    latest.fetch_max(now, Ordering::SeqCst);
                }
            });
        }
    });
    let least = start.elapsed() - begun;
    let passed = Duration::from_nanos(other.nanos() - first);
    let most = start.elapsed();
    // A microsecond for standard libraries that read another of the system's clocks.
    let slack = Duration::from_micros(1);
    assert!(passed + slack >= least && passed <= most + slack, "{passed:?}, {least:?} to {most:?}");
}

#[test]
fn clones_of_a_manual_clock_share_its_time_which_ends_at_584_years() {
    let clock = ManualClock::new();
    let clone = clock.clone();
    assert_eq!((clone.now(), clone.nanos()), (Duration::ZERO, 0));
    clock.set(Duration::new(5, 7));
    clone.advance(Duration::from_nanos(3));
    assert_eq!((clock.now(), clock.nanos()), (Duration::new(5, 10), 5_000_000_010));
    clone.set(Duration::from_secs(1));
    assert_eq!(clock.now(), Duration::from_secs(1));
    clone.advance(Duration::MAX);
    assert_eq!(clock.nanos(), u64::MAX);
    clone.advance(Duration::from_nanos(1));
    assert_eq!(clock.nanos(), u64::MAX, "it wrapped");
    clone.set(Duration::ZERO);
    clone.set(Duration::MAX);
    assert_eq!(clock.nanos(), u64::MAX);
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A limiter whose clock jumps to and fro answers as one whose clock goes on, and stands at the
/// latest time while the other is behind: to the figure, and also below the time of its
/// construction.
#[test]
fn clock_that_jumps_grants_what_one_held_at_its_latest_time_does() {
    let quota = Quota::per_second(20);
    let mut steps_back = 0;
    for (turn, algorithm) in [
        Algorithm::TokenBucket,
        Algorithm::LeakyBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
    ]
    .into_iter()
    .cycle()
    .take(40)
    .enumerate()
    {
        let mut random = Random(turn as u64 + 1);
        let (jumping, held) = (ManualClock::new(), ManualClock::new());
        let mut latest = random.below(1 << 33);
        jumping.set(Duration::from_nanos(latest));
        held.set(Duration::from_nanos(latest));
        let direct = [&jumping, &held].map(|clock| {
            let builder = RateLimiter::builder(quota).algorithm(algorithm).clock(clock.clone());
            builder.build().unwrap()
        });
        let keyed = [&jumping, &held].map(|clock| {
            let builder = KeyedLimiter::<u64>::builder(quota, 4).algorithm(algorithm);
            builder.clock(clock.clone()).seed([1, 2]).build().unwrap()
        });
        for step in 0..1_000 {
            // Half of the steps are small, and end a little before or after the latest time.
            let to = match random.below(2) {
                0 => random.below(1 << 34),
                _ => (latest + random.below(100_000_000)).saturating_sub(40_000_000),
            };
            steps_back += u32::from(to < latest);
            latest = latest.max(to);
            jumping.set(Duration::from_nanos(to));
            held.set(Duration::from_nanos(latest));
            let n = 1 + random.below(6);
            let [one, other] = [0, 1].map(|i| format!("{:?}", direct[i].check_n(n)));
            assert_eq!(one, other, "{algorithm}, turn {turn}, step {step}");
            let key = random.below(3);
            let [one, other] = [0, 1].map(|i| format!("{:?}", keyed[i].check_n(&key, n)));
            assert_eq!(one, other, "{algorithm}, keyed, turn {turn}, step {step}");
        }
    }
    assert!(steps_back > 1_000, "{steps_back} steps back");
}

/// Threads that set their clock to and fro within two seconds: a burst and two seconds of flow, and
/// no more, are there for all of them.
#[test]
fn clock_that_jumps_among_threads_grants_a_burst_and_what_flowed_until_its_latest_time() {
    let quota = Quota::per_second(1_000).burst(50);
    for batch in [None, Some(8)] {
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(quota).clock(clock.clone());
        let builder = if let Some(size) = batch { builder.batch(size) } else { builder };
        let direct = builder.build().unwrap();
        let keyed = KeyedLimiter::<u64>::builder(quota, 4).clock(clock.clone()).build().unwrap();
        let (granted, to_key) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 1..=4 {
                let (clock, direct, keyed) = (&clock, &direct, &keyed);
                let (granted, to_key) = (&granted, &to_key);
                scope.spawn(move || {
                    let mut random = Random(thread);
                    for step in 0..20_000 {
                        // The range widens, or nearly all would flow in the first moments.
                        clock.set(Duration::from_nanos(random.below(100_000 * (step + 1))));
                        granted.fetch_add(u64::from(direct.check().is_ok()), Ordering::Relaxed);
                        to_key.fetch_add(u64::from(keyed.check(&7).is_ok()), Ordering::Relaxed);
                    }
                });
            }
        });
        for granted in [granted, to_key].map(AtomicU64::into_inner) {
            // Most of it, too: somebody is always there to take it before the bucket is full.
            assert!((1_000..=2_050).contains(&granted), "{granted}, in batches of {batch:?}");
        }
    }
}
