//! A change of the quota that is stopped: whoever sets it stops at each of its readings of the
//! clock in turn, others go on, and a key that is touched first meanwhile has no more than the law
//! gives it, by the higher of both rates.

use sluicegate::{Clock, KeyedLimiter, Quota, RateLimiter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Stop = Box<dyn FnOnce() + Send>;

/// A clock by hand, one of whose readings takes a while.
#[derive(Clone, Default)]
struct Stopping(Arc<State>);

#[derive(Default)]
struct State {
    nanos: AtomicU64,
    readings: AtomicU64,
    stop: Mutex<Option<(u64, Stop)>>,
    /// Whether the reading shows when it ended, and not when it began.
    late: AtomicBool,
}

impl Stopping {
    fn advance(&self, nanos: u64) {
        self.0.nanos.fetch_add(nanos, SeqCst);
    }

    fn now(&self) -> u64 {
        self.0.nanos.load(SeqCst)
    }

    /// Runs `stop` in the reading after so many more.
    fn stop_after(&self, readings: u64, late: bool, stop: Stop) {
        self.0.late.store(late, SeqCst);
        *self.0.stop.lock().unwrap() = Some((self.0.readings.load(SeqCst) + readings, stop));
    }

    /// Whether there was no such reading.
    fn was_not_stopped(&self) -> bool {
        self.0.stop.lock().unwrap().take().is_some()
    }
}

impl Clock for Stopping {
    fn nanos(&self) -> u64 {
        let began = self.now();
        let reading = self.0.readings.fetch_add(1, SeqCst);
        let due = {
            let mut stop = self.0.stop.lock().unwrap();
            stop.take_if(|(at, _)| *at <= reading)
        };
        if let Some((_, stop)) = due {
            stop();
        }
        if self.0.late.load(SeqCst) { self.now() } else { began }
    }
}

/// A limiter of any kind, for one key.
trait Kind: Send + Sync {
    fn check(&self) -> bool;
    fn set_quota(&self, quota: Quota);
}

impl Kind for RateLimiter {
    fn check(&self) -> bool {
        self.check().is_ok()
    }

    fn set_quota(&self, quota: Quota) {
        self.set_quota(quota).unwrap();
    }
}

impl Kind for KeyedLimiter<u64> {
    fn check(&self) -> bool {
        self.check(&7).is_ok()
    }

    fn set_quota(&self, quota: Quota) {
        self.set_quota(quota).unwrap();
    }
}

/// How long somebody stops before others take all there is, and after that.
const STOP: u64 = 300_000;

type Make = fn(Quota, Stopping) -> Arc<dyn Kind>;

fn drain(limiter: &dyn Kind) -> u64 {
    (0..10_000).take_while(|_| limiter.check()).count() as u64
}

/// A change that is stopped in this reading: how many are admitted, and how long that takes, in
/// nanoseconds; `None` if it has not so many readings.
fn change_stopped(
    make: Make,
    [fast, old, new]: [Quota; 3],
    reading: u64,
    late: bool,
) -> Option<(u64, u64)> {
    let clock = Stopping::default();
    clock.advance(1_000_000_000);
    let limiter = make(fast, clock.clone());
    if old != fast {
        limiter.set_quota(old);
    }
    clock.advance(5_000_000_000);
    let [admitted, began] = [0, 0].map(|zero| Arc::new(AtomicU64::new(zero)));
    let stop = {
        let (limiter, clock) = (limiter.clone(), clock.clone());
        let (admitted, began) = (admitted.clone(), began.clone());
        move || {
            clock.advance(STOP);
            began.store(clock.now(), SeqCst);
            admitted.fetch_add(drain(&*limiter), SeqCst);
            clock.advance(STOP);
            admitted.fetch_add(drain(&*limiter), SeqCst);
        }
    };
    clock.stop_after(reading, late, Box::new(stop));
    limiter.set_quota(new);
    if clock.was_not_stopped() {
        return None;
    }
    admitted.fetch_add(drain(&*limiter), SeqCst);
    clock.advance(STOP);
    admitted.fetch_add(drain(&*limiter), SeqCst);
    Some((admitted.load(SeqCst), clock.now() - began.load(SeqCst)))
}

/// `at_once` is what the algorithm may admit at one moment.
fn every_stop_keeps_the_law(make: Make, fast: Quota, slow: Quota, at_once: u64) {
    let rate = fast.count() as f64 / fast.period().as_nanos() as f64;
    for (old, new) in [(slow, fast), (fast, slow)] {
        for late in [false, true] {
            let mut stops = 0;
            while let Some((admitted, time)) = change_stopped(make, [fast, old, new], stops, late) {
                let most = at_once as f64 + rate * time as f64;
                let what = format!("stopped in reading {stops} of {old} to {new}");
                assert!(admitted as f64 <= most, "{admitted} of {most}, {what}");
                // All but what batches and stripes hold back.
                let least = old.burst_size().min(new.burst_size()) / 2;
                assert!(admitted >= least, "{admitted} of {least}, {what}");
                stops += 1;
            }
            // The moment of the change, and the beginning of the line.
            assert!((2..20).contains(&stops), "{stops} readings");
        }
    }
}

const FAST: Quota = Quota::per_second(1_000_000).burst(100);
const SLOW: Quota = Quota::per_second(1_000).burst(100);

#[test]
fn direct_limiter_keeps_the_law() {
    let make: Make =
        |quota, clock| Arc::new(RateLimiter::builder(quota).clock(clock).build().unwrap());
    every_stop_keeps_the_law(make, FAST, SLOW, 100);
    every_stop_keeps_the_law(make, FAST, SLOW.burst(20), 100);
    every_stop_keeps_the_law(make, FAST.burst(20), SLOW, 100);
}

#[test]
fn batches_keep_the_law() {
    let make: Make = |quota, clock| {
        Arc::new(RateLimiter::builder(quota).batch(16).clock(clock).build().unwrap())
    };
    every_stop_keeps_the_law(make, FAST, SLOW, 100);
}

#[test]
fn stripes_keep_the_law() {
    let make: Make = |quota, clock| {
        Arc::new(RateLimiter::builder(quota).stripes(2).clock(clock).build().unwrap())
    };
    every_stop_keeps_the_law(make, FAST, SLOW, 100);
}

#[test]
fn first_touch_of_a_key_keeps_the_law() {
    let make: Make = |quota, clock| {
        Arc::new(KeyedLimiter::<u64>::builder(quota, 10).clock(clock).build().unwrap())
    };
    every_stop_keeps_the_law(make, FAST, SLOW, 100);
    every_stop_keeps_the_law(make, FAST, SLOW.burst(20), 100);
    every_stop_keeps_the_law(make, FAST.burst(20), SLOW, 100);
}

/// Twice the count: a fixed window's law at its boundary, and a sliding one's estimate of a window
/// whose length changes.
#[test]
fn windows_keep_the_law() {
    let hundred = |period| Quota::new(100, period).unwrap();
    let fast = hundred(Duration::from_millis(1));
    let slow = hundred(Duration::from_secs(1));
    let fixed: Make = |quota, clock| {
        Arc::new(RateLimiter::builder(quota).fixed_window().clock(clock).build().unwrap())
    };
    every_stop_keeps_the_law(fixed, fast, slow, 200);
    let sliding: Make = |quota, clock| {
        let builder = KeyedLimiter::<u64>::builder(quota, 10).sliding_window();
        Arc::new(builder.clock(clock).build().unwrap())
    };
    every_stop_keeps_the_law(sliding, fast, slow, 100);
}

/// What comes at intervals comes twice at the end of one.
#[test]
fn intervals_keep_their_law() {
    let hundred = |period| Quota::new(100, period).unwrap();
    let fast = hundred(Duration::from_micros(100));
    let slow = hundred(Duration::from_millis(100));
    let make: Make = |quota, clock| {
        let builder = RateLimiter::builder(quota).refill_at_intervals();
        Arc::new(builder.clock(clock).build().unwrap())
    };
    every_stop_keeps_the_law(make, fast, slow, 200);
}
