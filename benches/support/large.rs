//! Large tables of this crate: against one another, and against reads of their memory.

use crate::harness::{Case, Contestant, Expect, Goal, Kind, Run, Turn};
use crate::keys::{Pace, VISITS, Visits, mix, quota};
use sluicegate::KeyedLimiter;
use std::hint::black_box;
use std::sync::Arc;

/// Checks keys in blocks of so many.
struct InBlocks<const BLOCK: usize> {
    limiter: Arc<KeyedLimiter<u64>>,
    order: Arc<[u64]>,
}

impl<const BLOCK: usize> Run for InBlocks<BLOCK> {
    #[inline(never)]
    fn run(&self, start: u64, ops: u64) -> u64 {
        let (mut answers, mut admitted) = (Vec::with_capacity(BLOCK), 0);
        let (mut call, end) = (start, start + ops);
        while call < end {
            let from = call as usize % VISITS;
            let until = (from + BLOCK.min((end - call) as usize)).min(VISITS);
            self.limiter.check_many(black_box(&self.order[from..until]), &mut answers);
            admitted += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
            call += (until - from) as u64;
        }
        admitted
    }
}

/// Compares one limiter's `check` with its `check_many`.
pub(crate) fn many_at_once(keys: u64, threads: usize, turn: Turn) -> Case {
    let visits = Visits::to(keys, mix, Pace::BackToBack);
    let limiter = Arc::new(KeyedLimiter::<u64>::new(quota(), keys as usize));
    let order = visits.order.clone();
    let check = {
        let limiter = limiter.clone();
        visits.enter("check", Kind::Ours, move |key| limiter.check(black_box(key)).is_ok())
    };
    let [a, b, c] = [(); 3].map(|()| (limiter.clone(), order.clone()));
    let blocks = [
        Contestant::chain(
            "check_many of 8",
            Kind::Ours,
            InBlocks::<8> { limiter: a.0, order: a.1 },
        ),
        Contestant::chain(
            "check_many of 64",
            Kind::Ours,
            InBlocks::<64> { limiter: b.0, order: b.1 },
        ),
        Contestant::chain(
            "check_many of 1024",
            Kind::Ours,
            InBlocks::<1024> { limiter: c.0, order: c.1 },
        ),
    ];
    Case {
        name: "keyed many",
        about: format!("{keys} keys, all known, in random order, every call admitted;"),
        contestants: [check].into_iter().chain(blocks).collect(),
        expect: Expect::AllAdmitted,
        threads,
        turn,
        baseline: "check",
        goals: vec![Goal { row: "check_many of 64", most: 0.5, against: "check" }],
    }
}

/// Compares a table in the process's memory with the same table in a file.
#[cfg(unix)]
pub(crate) fn shared(keys: u64, threads: usize, turn: Turn) -> Case {
    use sluicegate::MonotonicClock;

    let visits = Visits::to(keys, mix, Pace::BackToBack);
    let own = KeyedLimiter::<u64>::new(quota(), keys as usize);
    let clock = MonotonicClock::new();
    let monotonic = KeyedLimiter::<u64>::builder(quota(), keys as usize).clock(clock).build();
    let monotonic = monotonic.expect("a valid quota");
    // The folder is removed with the case. The mapping needs no name by then.
    let folder = tempfile::tempdir_in(memory_files()).expect("a folder for the table");
    let file = folder.path().join("table");
    let shared = KeyedLimiter::<u64>::open_shared(file, quota(), keys as usize);
    let shared = shared.expect("a table in a file");
    Case {
        name: "keyed shared",
        about: format!("{keys} keys, all known, in random order, every call admitted;"),
        contestants: vec![
            visits.enter("in the process", Kind::Ours, move |key| own.check(key).is_ok()),
            visits.enter("the same, MonotonicClock", Kind::Ours, move |key| {
                monotonic.check(key).is_ok()
            }),
            visits.enter("in a file", Kind::Ours, move |key| shared.check(key).is_ok()),
        ],
        expect: Expect::AllAdmitted,
        threads,
        turn,
        baseline: "in the process",
        goals: vec![Goal { row: "in a file", most: 1.3, against: "in the process" }],
    }
}

/// Finds a folder whose files are in memory, if there is one.
#[cfg(unix)]
fn memory_files() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// Reads one word of a random line after the other, in as many bytes as the table has.
struct Reads {
    lines: Arc<[[u64; 8]]>,
    /// Whether the place of each read depends on the last one's figure.
    chained: bool,
}

impl Run for Reads {
    #[inline(never)]
    fn run(&self, start: u64, ops: u64) -> u64 {
        let (mut sum, count) = (0, self.lines.len() as u64);
        for call in start..start + ops {
            let number = mix(call + if self.chained { sum } else { 0 });
            let place = (u128::from(number) * u128::from(count)) >> 64;
            sum = sum.wrapping_add(self.lines[place as usize][0]);
        }
        black_box(sum);
        ops
    }
}

/// Compares ten million keys with reads of the same amount of memory.
pub(crate) fn largest(keys: u64, threads: usize, turn: Turn) -> Case {
    let visits = Visits::to(keys, mix, Pace::BackToBack);
    let limiter = KeyedLimiter::<u64>::new(quota(), keys as usize);
    let (bytes, each) = (limiter.memory(), limiter.memory() as f64 / keys as f64);
    // Not zeros, which the system might map to one page.
    let lines: Arc<[_]> = (0..bytes as u64 / 64).map(|line| [line & 1; 8]).collect();
    let reads = |chained| Reads { lines: lines.clone(), chained };
    Case {
        name: "keyed largest",
        about: format!("{keys} keys, all known, in random order, {each:.2} bytes a key;"),
        contestants: vec![
            visits.enter("check", Kind::Ours, move |key| limiter.check(key).is_ok()),
            Contestant::chain("a random read, each after the last", Kind::Floor, reads(true)),
            Contestant::chain("a random read, several at once", Kind::Floor, reads(false)),
        ],
        expect: Expect::AllAdmitted,
        threads,
        turn,
        baseline: "a random read, each after the last",
        goals: vec![Goal {
            row: "check",
            most: 3.0,
            against: "a random read, each after the last",
        }],
    }
}
