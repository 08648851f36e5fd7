//! Loom models of a quota that changes: a call sees the old quota on the old segment, or the new
//! one on the new.
#![cfg(sluicegate_loom)]

use loom::sync::Arc;
use loom::thread;
use sluicegate::model::{Changing, Clocks, Direct};
use sluicegate::{Carry, Quota};

const SECOND: u64 = 1_000_000_000;
const OLD: Quota = Quota::per_second(8);
const NEW: Quota = Quota::per_second(4).burst(8);
const THIRD: Quota = Quota::per_second(2).burst(8);
const FOURTH: Quota = Quota::per_second(1).burst(8);

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Returns a limiter three seconds after its construction, and the units of that moment.
fn changing(clock: Clocks) -> (Arc<Changing>, u64) {
    let changing = Changing::new(OLD, clock);
    let (_, start) = changing.now();
    changing.pass(1 * SECOND);
    let second = changing.now().1 - start;
    changing.pass(2 * SECOND);
    (Arc::new(changing), second)
}

fn spawn<R: 'static>(
    changing: &Arc<Changing>,
    f: impl FnOnce(&Changing) -> R + 'static,
) -> thread::JoinHandle<R> {
    let changing = changing.clone();
    thread::spawn(move || f(&changing))
}

/// Guards the law: between two readings flows what the clock shows, by the rates that were in
/// force, and no more. No thread reads a time of the old segment that the new one counts too, and
/// so a segment begins after it is seen.
fn time_is_counted_once(old: Quota, new: Quota) {
    model(3, move || {
        let changing = Arc::new(Changing::new(old, Clocks::Counter));
        let (_, start) = changing.now();
        changing.pass(SECOND);
        let token = (changing.now().1 - start) / old.count();
        let changer = spawn(&changing, move |changing| assert!(changing.change(new)));
        let passing = spawn(&changing, |changing| changing.pass(SECOND));
        let began = changing.nanos();
        let first = changing.now();
        let between = [changing.nanos(), changing.nanos()];
        let last = changing.now();
        let ended = changing.nanos();
        let (slow, fast) = (old.count().min(new.count()), old.count().max(new.count()));
        assert!(last.1 >= first.1, "time goes back from {first:?} to {last:?}");
        let (flowed, most) = (last.1 - first.1, (ended - began) / SECOND * fast * token);
        assert!(flowed <= most, "{flowed} units in a time of {most}");
        assert!(flowed >= (between[1] - between[0]) / SECOND * slow * token, "{flowed} units");
        changer.join().unwrap();
        passing.join().unwrap();
        let (quota, end) = changing.now();
        assert_eq!(quota, new);
        let flowed = end - start;
        let (least, most) = (old.count() + slow, old.count() + fast);
        assert!((least * token..=most * token).contains(&flowed), "{flowed} units");
    });
}

#[test]
fn time_is_counted_once_when_the_rate_goes_up() {
    time_is_counted_once(FOURTH, OLD);
}

#[test]
fn time_is_counted_once_when_the_rate_goes_down() {
    time_is_counted_once(OLD, FOURTH);
}

/// Guards the same for two processes, one of which changes the quota again: all compute with the
/// beginning that was stored, and read it with the segment that it belongs to.
#[test]
fn two_processes_begin_one_segment() {
    model(2, || {
        let (changing, second) = changing(Clocks::Counter);
        let (_, then) = changing.now();
        let changer = spawn(&changing, |changing| assert!(changing.change(NEW)));
        let passing = spawn(&changing, |changing| changing.pass(2 * SECOND));
        let seen = changing.now_elsewhere();
        changer.join().unwrap();
        passing.join().unwrap();
        let (here, there) = (changing.now(), changing.now_elsewhere());
        assert_eq!(here, there);
        assert!(seen.1 <= here.1, "time goes back from {seen:?} to {here:?}");
        let since = here.1 - then;
        assert!(since == second || since == 2 * second, "{since}");
    });
}

/// Guards that the generation is loaded again after the clock, and that a change is written before
/// the generation is raised. Otherwise time would be read by one segment and decided by another, or
/// by half of one.
#[test]
fn reading_against_two_changes() {
    model(3, || {
        let (changing, second) = changing(Clocks::Counter);
        let (_, then) = changing.now();
        let changer = spawn(&changing, |changing| {
            assert!(changing.change(NEW));
            changing.pass(2 * SECOND);
            assert!(changing.change(THIRD));
            changing.pass(4 * SECOND);
        });
        let reader = spawn(&changing, |changing| [changing.now(), changing.now()]);
        changer.join().unwrap();
        for (quota, units) in reader.join().unwrap() {
            let since = units - then;
            // A second of the old segment, half of one and a quarter: each only as long as it was
            // in force.
            match quota {
                OLD => assert_eq!(since, 0, "the old segment goes on after its end"),
                // The first segment ends where the second one is first seen.
                NEW => assert!(since == 0 || since == second, "{since} by the second segment"),
                THIRD => {
                    assert!(since == second || since == 2 * second, "{since} by the third segment");
                }
                _ => panic!("a quota that nobody set: {quota}"),
            }
        }
        assert_eq!(changing.now(), (THIRD, then + 2 * second));
    });
}

/// Guards that only one thread writes a cached segment: two threads cache the segment that a third
/// one's change has made, while it changes again.
#[test]
fn two_readings_against_a_change() {
    model(2, || {
        let (changing, second) = changing(Clocks::Word);
        let (_, then) = changing.now();
        assert!(changing.change(NEW));
        let readers = [0, 1].map(|_| spawn(&changing, Changing::now_elsewhere));
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

/// Asserts that a moment after several changes, in which no time has passed, is right by any of
/// them. Whichever of the overwritten words a reader sees, all of them are read anew.
fn one_of((quota, units): (Quota, u64), then: u64) {
    assert!([NEW, THIRD, FOURTH].contains(&quota), "by {quota}");
    assert_eq!(units, then, "no time has passed");
}

/// Runs a model with few preemptions. Each word that a reader may see late doubles the schedules; a
/// missing fence fails in one of the first thousand.
fn many_words(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(1);
    builder.max_permutations = Some(20_000);
    builder.check(f);
}

/// Guards the fence before a change is written: one thread reads it for the first time, and another
/// one, which has not raised the generation before, writes the next but one in its place.
#[test]
fn first_reading_against_the_next_change_but_one() {
    many_words(|| {
        let (changing, _) = changing(Clocks::Word);
        assert!(changing.change(NEW));
        changing.pass(2 * SECOND);
        let (_, then) = changing.now();
        let reader = spawn(&changing, Changing::now_elsewhere);
        assert!(changing.change(THIRD));
        let changer = spawn(&changing, |changing| assert!(changing.change(FOURTH)));
        changer.join().unwrap();
        one_of(reader.join().unwrap(), then);
    });
}

/// Guards the fence before a segment is cached: one thread reads it, and another one, which has not
/// changed anything, caches the next but one in its place.
#[test]
fn reading_against_the_next_cached_segment_but_one() {
    many_words(|| {
        let (changing, _) = changing(Clocks::Word);
        assert!(changing.change(NEW));
        changing.pass(2 * SECOND);
        let (_, then) = changing.now_elsewhere();
        let reader = spawn(&changing, Changing::now_elsewhere);
        assert!(changing.change(THIRD) && changing.change(FOURTH));
        let next = spawn(&changing, Changing::now_elsewhere);
        assert_eq!(next.join().unwrap(), (FOURTH, then));
        one_of(reader.join().unwrap(), then);
    });
}

/// Guards that a segment is not cached in the place of a later one: a thread that was stopped
/// before it had cached it would overwrite what others read, and they see no later generation than
/// theirs.
#[test]
fn late_reading_against_a_cached_segment() {
    model(2, || {
        let (changing, _) = changing(Clocks::Word);
        assert!(changing.change(NEW));
        let late = changing.slope();
        changing.pass(2 * SECOND);
        assert!(changing.change(THIRD) && changing.change(FOURTH));
        let (_, then) = changing.now();
        let late = spawn(&changing, move |changing| changing.cache(late));
        assert_eq!(changing.now(), (FOURTH, then));
        late.join().unwrap();
    });
}

/// Guards that threads change the quota one after the other, and each goes on from the one before.
#[test]
fn two_threads_change_the_quota() {
    model(2, || {
        let (changing, _) = changing(Clocks::Word);
        let (_, then) = changing.now();
        let changers = [NEW, THIRD].map(|quota| spawn(&changing, move |it| it.change(quota)));
        assert_eq!(changing.now().1, then);
        // One of them gives up if it meets the other.
        let changed = changers.map(|changer| u64::from(changer.join().unwrap()));
        let (quota, units) = changing.now();
        assert!(units == then && [NEW, THIRD].contains(&quota));
        assert_eq!(changing.changes(), changed.iter().sum::<u64>());
    });
}

/// Guards the checksum: if any word of a change is not the one that was announced, there is no
/// segment, and the first quota is in force.
#[test]
fn harmed_change_makes_no_segment() {
    for word in 0..11 {
        model(0, move || {
            let (changing, _) = changing(Clocks::Counter);
            let (_, then) = changing.now();
            assert!(changing.change(NEW));
            assert!(changing.harm(word) && !changing.harm(11));
            assert_eq!(changing.now_elsewhere(), (OLD, then), "word {word}");
        });
    }
}

/// Guards that a beginning far ahead, which no clock shows, is refused, and that one before the
/// last segment's counts as that one's.
#[test]
fn absurd_beginning() {
    model(0, || {
        let (changing, second) = changing(Clocks::Counter);
        assert!(changing.change(NEW));
        let (_, then) = changing.now();
        changing.pass(2 * SECOND);
        assert!(changing.change(THIRD));
        for ahead in [1 << 51, 1 << 62] {
            changing.begin_at(ahead);
            assert_eq!(changing.now_elsewhere(), (OLD, then + 2 * second), "at {ahead}");
        }
        changing.begin_at(0);
        assert_eq!(changing.now_elsewhere(), (THIRD, then + second / 2));
    });
}

/// Guards that the clock of another core, a little behind the one that a segment began by, does not
/// read a huge time.
#[test]
fn clock_behind_a_beginning() {
    model(0, || {
        let (changing, _) = changing(Clocks::Counter);
        let (_, then) = changing.now();
        assert!(changing.change(NEW));
        changing.step_back(5);
        for seen in [changing.now(), changing.now_elsewhere()] {
            assert_eq!(seen, (NEW, then));
        }
        assert!(changing.change(THIRD));
        assert_eq!(changing.now(), (THIRD, then));
    });
}

fn direct(quota: Quota, batch: u64) -> Arc<Direct> {
    Arc::new(Direct::new(quota, batch))
}

fn check(limiter: &Arc<Direct>, n: u64) -> thread::JoinHandle<bool> {
    let limiter = limiter.clone();
    thread::spawn(move || limiter.limiter.check_n(n).is_ok())
}

/// Guards that a check is decided by the quota whose time it read: half a second of the new rate is
/// not half a second of the old one.
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

/// Guards that an idle bucket is brought up to date before its burst grows, and that what is
/// granted meanwhile counts once.
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

/// Guards that what is granted while the bucket is made full counts before or after.
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

/// Guards that no lease outlives its quota: one that is on its way is made void by the change, and
/// one that begins after it sees that.
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
        assert!(there + 1 >= 6, "all but what is withheld: {there}");
    });
}

/// Guards that a lease whose quota is no longer current closes its stripe, and that what a void one
/// brings goes back: the burst is the same, so nothing is lost, and the stripe leases again.
#[test]
fn void_lease_against_set_quota() {
    model(2, || {
        let limiter = Arc::new(Direct::striped(Quota::per_second(16), 2));
        // Six of the twelve that are not withheld are left: no lease is worth more than is missing.
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
        // One of the stripe's two is left; the centre would have ten.
        assert_eq!(limiter.limiter.check().unwrap().remaining(), 1, "from a lease");
    });
}
