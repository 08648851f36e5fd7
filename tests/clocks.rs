//! Clocks that run by themselves keep what their documentation says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use sluicegate::{Clock, CoarseClock, MonotonicClock, QuantaClock, Quota, RateLimiter};
use std::io::ErrorKind;
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
    let (mut last, mut updates, mut in_time) = (coarse.nanos(), 0, 0);
    within_30_s("50 readings as young as the resolution and a wake-up", || {
        let (before, reading, after) = (true_time.nanos(), coarse.nanos(), true_time.nanos());
        assert!(reading <= after, "{} ns ahead", reading - after);
        assert!(reading >= last, "{} ns back", last - reading);
        if reading > last {
            updates += 1;
            // Twice the resolution: how late the system wakes a thread has no bound, so only some
            // of the readings must be this young.
            in_time += u32::from(before.saturating_sub(reading) <= 2_000_000);
        }
        last = reading;
        in_time >= 50
    });
    assert!(updates >= 50);
}

#[test]
fn limiter_on_a_coarse_clock_keeps_the_law_and_admits_again() {
    let _alone = COARSE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let clock = CoarseClock::start(RESOLUTION).unwrap();
    let quota = Quota::per_second(1_000).burst(10);
    let limiter = RateLimiter::builder(quota).clock(clock).build().unwrap();
    let (mut admitted, mut denied) = (0, 0);
    within_30_s("60 admissions of 1,000 a second", || {
        match limiter.check() {
            Ok(grant) => admitted += grant.granted(),
            Err(_) => denied += 1,
        }
        let most = 10.0 + start.elapsed().as_secs_f64() * 1_000.0;
        assert!(admitted as f64 <= most, "{admitted} of {most}");
        admitted >= 60
    });
    assert!(denied > 0);
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
    drop(clock);
    assert_eq!(coarse_threads(), 1, "the limiter holds a clone");
    drop(limiter);
    within_30_s("the thread ends", || coarse_threads() == 0);
}

/// Over half a second both clocks agree to one part in a thousand.
#[test]
fn quanta_counts_the_systems_nanoseconds() {
    let (quanta, system) = (QuantaClock::new(), MonotonicClock::new());
    // A reading of one between two of the other.
    let read = || (system.nanos(), quanta.nanos(), system.nanos());
    let (began, first, begun) = read();
    within_30_s("half a second", || system.nanos() - begun > 500_000_000);
    let (end, last, ended) = read();
    let (least, passed, most) = (end - begun, last - first, ended - began);
    assert!(passed >= least - least / 1_000, "{passed} ns in at least {least}");
    assert!(passed <= most + most / 1_000, "{passed} ns in at most {most}");
}
