//! Processes that fork while other threads of theirs are at work in a limiter.
#![cfg(all(unix, feature = "shared"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(unsafe_code, reason = "there is no safe fork")]

use sluicegate::{Clock, CoarseClock, Combined, KeyedLimiter, Quota, RateLimiter, Reservation};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
}

const FORKS: usize = 60;
/// Longer than a child can take that does not hang.
const DEADLINE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(1);
const QUOTAS: [Quota; 2] = [Quota::per_second(1_000).burst(50), Quota::per_second(900).burst(50)];

/// Runs `child` in a forked child. It must come to its end.
fn in_child(child: impl FnOnce()) {
    // SAFETY: the child runs nothing of its parent's but what is tested, and `_exit`; the system's
    // allocator goes on in it.
    let pid = unsafe { fork() };
    if pid == 0 {
        let failed = catch_unwind(AssertUnwindSafe(child)).is_err();
        // SAFETY: no destructor of the parent's runs.
        unsafe { _exit(failed.into()) };
    }
    assert!(pid > 0, "no fork");
    let (ended, has_ended) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if has_ended.recv_timeout(DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
            }
        });
        let mut status = 0;
        // SAFETY: a child of this process, waited for once.
        assert_eq!(unsafe { waitpid(pid, &raw mut status, 0) }, pid);
        drop(ended);
        assert_eq!(status, 0, "the child hung, and was killed (9), or panicked (256)");
    });
}

/// Forks over and over while each of `busy` runs over and over in a thread of its own.
fn fork_beside(busy: &[&(dyn Fn() + Sync)], child: impl Fn()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for busy in busy {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    busy();
                }
            });
        }
        let forks = catch_unwind(AssertUnwindSafe(|| (0..FORKS).for_each(|_| in_child(&child))));
        stop.store(true, Relaxed);
        forks.unwrap();
    });
}

/// The child drops what it has inherited, as it would at its end.
fn drop_in_child<T>(inherited: &T) {
    // SAFETY: of the child's copy, which nothing else uses before it ends.
    drop(unsafe { core::ptr::read(inherited) });
}

/// Another process may be changing it just then, which is an error after a while.
fn change(limiter: &KeyedLimiter<str>) {
    let changed = (0..100).any(|i| limiter.set_quota(QUOTAS[i % 2]).is_ok());
    assert!(changed, "somebody changed the quota all the time");
}

fn shared(path: &std::path::Path) -> KeyedLimiter<str> {
    KeyedLimiter::open_shared(path, QUOTAS[0], 100).unwrap()
}

/// Every verb of a keyed limiter that takes a lock somewhere.
fn use_keyed(limiter: &KeyedLimiter<str>) {
    for key in ["a", "b", "c"] {
        let _ = limiter.check(key);
        limiter.reset(key);
        let _ = limiter.reserve(key, 60);
        if let Ok(place) = limiter.reserve(key, 50) {
            let _ = place.cancel();
        }
        let _ = limiter.acquire_blocking_timeout(key, 50, SHORT);
        limiter.refund(key, 1);
    }
}

#[test]
fn no_child_hangs_that_is_forked_during_a_change_of_the_quota() {
    let folder = tempfile::tempdir().unwrap();
    let limiter = shared(&folder.path().join("table"));
    let one = || _ = limiter.set_quota(QUOTAS[1]);
    let other = || _ = limiter.set_quota(QUOTAS[0]);
    fork_beside(&[&one, &other], || {
        let _ = limiter.check("a");
        change(&limiter);
        drop_in_child(&limiter);
    });
}

#[test]
fn no_child_hangs_that_is_forked_while_others_wait_and_reset() {
    let folder = tempfile::tempdir().unwrap();
    let files = shared(&folder.path().join("table"));
    let memory = KeyedLimiter::<str>::new(QUOTAS[0], 100);
    for limiter in [files, memory] {
        let reset = || ["a", "b", "c"].iter().for_each(|key| limiter.reset(key));
        let wait = || use_keyed(&limiter);
        fork_beside(&[&reset, &reset, &wait, &wait], || {
            use_keyed(&limiter);
            change(&limiter);
            use_keyed(&limiter);
            drop_in_child(&limiter);
        });
    }
}

#[test]
fn no_child_hangs_with_a_limiter_without_keys() {
    let limiter = RateLimiter::new(QUOTAS[0]);
    let keyed = KeyedLimiter::<str>::new(QUOTAS[0], 100);
    let wait = || {
        limiter.reset();
        let _ = limiter.check_n(50);
        if let Ok(place) = limiter.reserve(30) {
            let _ = place.cancel();
        }
        let _ = limiter.acquire_blocking_timeout(30, SHORT);
        let both = Combined::new([limiter.as_limit(), keyed.as_limit("a")]);
        if let Ok(place) = both.reserve(20) {
            place.cancel();
        }
    };
    let change = || _ = limiter.set_quota(QUOTAS[1]);
    fork_beside(&[&wait, &wait, &change], || {
        wait();
        limiter.set_quota(QUOTAS[0]).unwrap();
        wait();
        drop_in_child(&limiter);
        drop_in_child(&keyed);
    });
}

/// What waits in the parent, or was given up there, is the parent's: both would hand the same
/// tokens on.
#[test]
fn a_place_that_was_given_up_is_not_the_childs_too() {
    let folder = tempfile::tempdir().unwrap();
    let quota = Quota::per_hour(1).burst(10);
    let limiter = KeyedLimiter::<str>::open_shared(folder.path().join("table"), quota, 100);
    let limiter = limiter.unwrap();
    assert!(limiter.check_n("a", 10).is_ok());
    let hours = |place: &Reservation<'_>| place.ready_in().as_secs_f64() / 3_600.0;
    let (first, second) = (limiter.reserve("a", 5).unwrap(), limiter.reserve("a", 5).unwrap());
    assert_eq!(first.cancel(), 5);
    in_child(|| {
        let behind = limiter.reserve("a", 5).unwrap();
        assert!(hours(&behind) > 14.9, "{}", hours(&behind));
        core::mem::forget(behind);
    });
    let gap = limiter.reserve("a", 5).unwrap();
    assert!((4.9..5.1).contains(&hours(&gap)), "{}", hours(&gap));
    let last = limiter.reserve("a", 5).unwrap();
    assert!((19.9..20.1).contains(&hours(&last)), "{}", hours(&last));
    drop((second, gap, last));
}

#[test]
fn a_coarse_clock_goes_on_in_a_child() {
    let clock = CoarseClock::start(SHORT).unwrap();
    let goes_on = || {
        let start = clock.nanos();
        while clock.nanos() <= start + 2_000_000 {
            thread::yield_now();
        }
    };
    in_child(|| {
        clock.resume().unwrap();
        goes_on();
        in_child(|| {
            let limiter = RateLimiter::builder(QUOTAS[0]).clock(clock.clone()).build().unwrap();
            assert!(limiter.check().is_ok());
            goes_on();
        });
        goes_on();
    });
    clock.resume().unwrap();
    goes_on();
}
