//! Another quota for a table that several limiters have open.

use sluicegate::{KeyedLimiter, Quota};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn change_reaches_everybody_in_a_shared_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let (first, second) = (Quota::per_hour(10), Quota::per_hour(25));
    let open = |quota| KeyedLimiter::<u64>::open_shared(&path, quota, 100);
    let (a, b) = (open(first).unwrap(), open(first).unwrap());
    assert!(a.check_n(&1, 10).is_ok() && b.check(&1).is_err());
    a.set_quota(second).unwrap();
    assert_eq!((a.quota(), b.quota()), (second, second));
    assert!(b.check(&1).is_err());
    assert_eq!((b.available(&1), b.available(&2)), (0, 25));
    assert!(b.check_n(&2, 25).is_ok() && a.check(&2).is_err());
    // Who comes later may have the old or the new one in its configuration, and no other.
    for quota in [first, second] {
        assert_eq!(open(quota).unwrap().quota(), second);
    }
    let error = open(Quota::per_hour(11)).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the table's quota is 25/hour");
    drop((a, b));
    let alone = open(first).unwrap();
    assert_eq!((alone.quota(), alone.available(&2)), (second, 0));
}

/// Record locks do not keep threads of one process apart.
#[test]
fn a_table_that_is_opened_twice_changes_its_quota_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    let first = Quota::per_second(7);
    let open = || KeyedLimiter::<u8>::open_shared(&path, first, 10).unwrap();
    let (a, b) = (open(), open());
    a.set_quota(Quota::per_second(8)).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for limiter in [&a, &b] {
            let stop = &stop;
            scope.spawn(move || {
                for i in (0..20).cycle() {
                    if stop.load(Relaxed) {
                        return;
                    }
                    // Another one may be at it for long.
                    let _ = limiter.set_quota(Quota::per_second(10 + i));
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            assert_ne!(a.quota(), first);
        }
        stop.store(true, Relaxed);
    });
}
