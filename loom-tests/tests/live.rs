//! Loom models of a quota that changes: a call sees the old quota on the old line, or the new one on the new.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::model::{Changing, Direct};
use sluicegate::{Carry, Quota};

const SECOND: u64 = 1_000_000_000;
const OLD: Quota = Quota::per_second(8);
const NEW: Quota = Quota::per_second(4).burst(8);
const THIRD: Quota = Quota::per_second(2).burst(8);

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Three seconds after its construction: the units of one second by each quota, and of that moment.
fn changing() -> (Arc<Changing>, u64) {
    let changing = Changing::new(OLD);
    let (_, start) = changing.now();
    changing.pass(1 * SECOND);
    let second = changing.now().1 - start;
    changing.pass(2 * SECOND);
    (Arc::new(changing), second)
}

/// Guards that the generation is looked at again after the clock, and that a line is written before it is meant:
/// else time would be read by one line and decided by another, or by half of one.
#[test]
fn reading_against_two_changes() {
    model(3, || {
        let (changing, second) = changing();
        let (_, then) = changing.now();
        let changer = {
            let changing = changing.clone();
            thread::spawn(move || {
                assert!(changing.change(NEW));
                changing.pass(2 * SECOND);
                assert!(changing.change(THIRD));
                changing.pass(4 * SECOND);
            })
        };
        let reader = {
            let changing = changing.clone();
            thread::spawn(move || [changing.now(), changing.now()])
        };
        changer.join().unwrap();
        for (quota, units) in reader.join().unwrap() {
            let since = units - then;
            // A second of the old line, half of one and a quarter: each only as long as it was in force.
            match quota {
                OLD => assert_eq!(since, 0, "the old line goes on after its end"),
                NEW => assert!(since == 0 || since == second, "{since} by the second line"),
                THIRD => {
                    assert!(since == second || since == 2 * second, "{since} by the third line");
                }
                _ => panic!("a quota that nobody set: {quota}"),
            }
        }
        assert_eq!(changing.now(), (THIRD, then + 2 * second));
    });
}

/// Two threads cache a line that a third one's change has made, while it changes again: guards that only one of them
/// writes a cached line.
#[test]
fn two_readings_against_a_change() {
    model(2, || {
        let (changing, second) = changing();
        let (_, then) = changing.now();
        assert!(changing.change(NEW));
        let spawn = |f: fn(&Changing) -> (Quota, u64)| {
            let changing = changing.clone();
            thread::spawn(move || f(&changing))
        };
        let readers = [spawn(Changing::now), spawn(Changing::now)];
        assert!(changing.change(THIRD));
        for reader in readers {
            let (quota, units) = reader.join().unwrap();
            assert!(quota == NEW || quota == THIRD, "{quota}");
            assert_eq!(units, then, "no time has passed");
        }
        changing.pass(4 * SECOND);
        assert_eq!(changing.now(), (THIRD, then + second));
    });
}

fn direct(quota: Quota, batch: u64) -> Arc<Direct> {
    Arc::new(Direct::new(quota, batch))
}

fn check(limiter: &Arc<Direct>, n: u64) -> thread::JoinHandle<bool> {
    let limiter = limiter.clone();
    thread::spawn(move || limiter.limiter.check_n(n).is_ok())
}

/// Guards that a check is decided by the quota whose time it read: half a second of the new rate is not half a second of
/// the old one.
#[test]
fn set_quota_against_check() {
    model(3, || {
        let limiter = direct(OLD, 0);
        assert!(limiter.limiter.check_n(8).is_ok());
        let checks = check(&limiter, 3);
        limiter.limiter.set_quota(NEW).unwrap();
        limiter.pass(SECOND / 2);
        assert!(!checks.join().unwrap(), "two tokens have flowed");
        assert!(limiter.limiter.check_n(2).is_ok() && limiter.limiter.check().is_err());
    });
}

/// Guards that an idle bucket is brought up to date before its burst grows, and that what is granted meanwhile counts once.
#[test]
fn larger_burst_against_check() {
    for batch in [0, 2] {
        model(3, move || {
            let limiter = direct(Quota::per_second(1).burst(4), batch);
            limiter.pass(60 * SECOND);
            let there = limiter.limiter.available();
            let checks = check(&limiter, 1);
            limiter.limiter.set_quota(Quota::per_second(1).burst(9)).unwrap();
            let granted = i64::from(checks.join().unwrap());
            assert_eq!((granted, limiter.limiter.available()), (1, there - 1));
        });
    }
}

/// What is granted while the bucket is made full counts before or after.
#[test]
fn full_again_against_check() {
    model(3, || {
        let limiter = direct(Quota::per_second(2), 0);
        assert!(limiter.limiter.check_n(2).is_ok());
        let checks = check(&limiter, 1);
        limiter.limiter.set_quota_with(Quota::per_second(3), Carry::Full).unwrap();
        let granted = i64::from(checks.join().unwrap());
        assert_eq!(limiter.limiter.available(), 3 - granted);
    });
}

/// Guards that no lease outlives its quota: one that is on its way is made void by the change, and one that begins after it
/// sees that.
#[test]
fn lease_against_set_quota() {
    model(2, || {
        let limiter = Arc::new(Direct::striped(Quota::per_second(1).burst(64), 2));
        let checks = check(&limiter, 1);
        limiter.limiter.set_quota(Quota::per_second(1).burst(8)).unwrap();
        assert!(checks.join().unwrap());
        let mut there = 0;
        while limiter.limiter.check().is_ok() {
            there += 1;
            assert!(there <= 8, "more than the new burst");
        }
        // The check itself may have been by the new quota.
        assert!(there + 1 >= 6, "all but what is withheld");
    });
}

/// Guards that a lease whose quota no longer stands closes its stripe, and that what a void one
/// brings goes back: the burst is the same, so nothing is lost, and the stripe leases again.
#[test]
fn void_lease_against_set_quota() {
    model(2, || {
        let limiter = Arc::new(Direct::striped(Quota::per_second(16), 2));
        // Of the twelve that are not withheld six are left: no lease is worth more than is missing.
        limiter.limiter.charge(6);
        let checks = check(&limiter, 1);
        limiter.limiter.set_quota(Quota::per_second(8).burst(16)).unwrap();
        assert!(checks.join().unwrap());
        let mut taken = 1;
        while limiter.limiter.check().is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 6, "what there was");
        limiter.pass(60 * SECOND);
        assert!(limiter.limiter.check().is_ok());
        // One is left of the stripe's two, and ten would be of the centre's.
        assert_eq!(limiter.limiter.check().unwrap().remaining(), 1, "from a lease");
    });
}
