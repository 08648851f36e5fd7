//! The file of a shared table that is removed or replaced: whoever has it open can tell, and
//! whoever opens it gets the one at the path.

use rustix::fs::FlockOperation;
use sluicegate::{KeyedLimiter, ManualClock, Quota, SharedError};
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const QUOTA: Quota = Quota::per_hour(10);

fn open(path: &Path) -> Result<KeyedLimiter<str>, SharedError> {
    KeyedLimiter::open_shared(path, QUOTA, 100)
}

fn in_folder(test: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    test(&folder.path().join("table"));
}

#[test]
fn removed_and_replaced_files_are_told() {
    in_folder(|path| {
        let (first, second) = (open(path).unwrap(), open(path).unwrap());
        assert!(first.is_current() && second.is_current());
        fs::remove_file(path).unwrap();
        assert!(!first.is_current() && !second.is_current());
        // Both still count together, and the one at the path apart from them.
        assert!(first.check_n("key", 10).is_ok() && second.check("key").is_err());
        let anew = open(path).unwrap();
        assert!(anew.is_current() && !first.is_current());
        assert!(anew.check_n("key", 10).is_ok());

        let aside = path.with_extension("old");
        fs::rename(path, &aside).unwrap();
        assert!(!anew.is_current(), "renamed");
        fs::rename(&aside, path).unwrap();
        assert!(anew.is_current(), "and back");
        fs::copy(path, &aside).unwrap();
        fs::rename(&aside, path).unwrap();
        assert!(!anew.is_current(), "replaced by a copy");
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(&aside, path).unwrap();
        assert!(!anew.is_current(), "replaced by a link");
    });
}

/// A folder in which the path leads nowhere is no error of the limiter's.
#[test]
fn removed_folder_is_told_and_a_table_in_memory_is_always_current() {
    let folder = tempfile::tempdir().unwrap();
    let limiter = open(&folder.path().join("table")).unwrap();
    folder.close().unwrap();
    assert!(!limiter.is_current() && limiter.check("key").is_ok());
    let memory = KeyedLimiter::<str>::builder(QUOTA, 10).clock(ManualClock::new()).build().unwrap();
    assert!(memory.is_current());
}

/// Until something comes true, without a sleep to guess.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        thread::yield_now();
    }
}

/// How many files this process has open at the path.
#[cfg(target_os = "linux")]
fn opened_at(path: &Path) -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target == path).count()
}

/// The opener has the old file and waits for its lock, somebody removes it and makes another one:
/// the opener had a limit of its own.
#[cfg(target_os = "linux")]
#[test]
fn opener_of_a_file_that_is_removed_meanwhile_gets_the_one_at_the_path() {
    for replaced in [false, true] {
        in_folder(|path| {
            let maker = File::create(path).unwrap();
            rustix::fs::flock(&maker, FlockOperation::LockExclusive).unwrap();
            thread::scope(|scope| {
                let opener = scope.spawn(|| open(path).unwrap());
                wait_for("the opener has the file", || opened_at(path) == 2);
                fs::remove_file(path).unwrap();
                let other = replaced.then(|| open(path).unwrap());
                drop(maker);
                let limiter = opener.join().unwrap();
                let other = other.unwrap_or_else(|| open(path).unwrap());
                assert!(limiter.is_current() && other.is_current());
                assert!(limiter.check_n("key", 10).is_ok() && other.check("key").is_err());
            });
        });
    }
}

/// An opener that waits for a file's lock does not wait once the file is gone, and does not wait
/// for ever.
#[cfg(target_os = "linux")]
#[test]
fn opener_does_not_wait_for_a_file_that_is_gone() {
    in_folder(|path| {
        let maker = File::create(path).unwrap();
        rustix::fs::flock(&maker, FlockOperation::LockExclusive).unwrap();
        thread::scope(|scope| {
            let opener = scope.spawn(|| open(path).unwrap());
            wait_for("the opener has the file", || opened_at(path) == 2);
            fs::remove_file(path).unwrap();
            // Its maker has it still.
            assert!(opener.join().unwrap().is_current());
        });
        drop(maker);
    });
}

/// Files that go as fast as they come: a table at the path, or an error that says so.
#[test]
fn opening_against_a_remover_ends() {
    in_folder(|path| {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = fs::remove_file(path);
                }
            });
            for _ in 0..300 {
                match open(path) {
                    Ok(_) | Err(SharedError::Replaced) => {}
                    Err(other) => {
                        done.store(true, Ordering::Relaxed);
                        panic!("{other}");
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(SharedError::Replaced.to_string().contains("removed or replaced"));
    });
}
