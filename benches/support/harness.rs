//! Interleaved measurement.
//!
//! Every contestant of a case runs one short turn in every round, in an order that changes from
//! round to round. So whatever drifts (the clock rate, the neighbours, the other processes) drifts
//! for all of them. A ratio is taken within each round, between two turns some milliseconds apart.
//! The report gives the median over the rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A loop over one contestant's check. It is compiled for that contestant alone, so that a call
/// costs the same as in its user's own loop.
pub(crate) trait Run: Send + Sync {
    /// Runs the calls number `start` to `start + ops`, and counts the admitted ones.
    fn run(&self, start: u64, ops: u64) -> u64;
}

struct Each<F>(F);

impl<F: Fn(u64) -> bool + Send + Sync> Run for Each<F> {
    #[inline(never)]
    fn run(&self, start: u64, ops: u64) -> u64 {
        let mut admitted = 0;
        for call in start..start + ops {
            admitted += u64::from((self.0)(call));
        }
        admitted
    }
}

/// The kind of a row, for the verdict under a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A limiter of this crate.
    Ours,
    /// A limiter that a user might choose instead.
    Peer,
    /// A part of the work, which no limiter can undercut.
    Floor,
}

pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) run: Box<dyn Run>,
    /// The number of threads that call it at once, if it differs from that of its case.
    pub(crate) threads: Option<usize>,
}

impl Contestant {
    /// Makes a contestant. `admit` gets the number of the call, and returns whether it was
    /// admitted.
    pub(crate) fn new(
        name: &'static str,
        kind: Kind,
        admit: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { name, kind, run: Box::new(Each(admit)), threads: None }
    }

    /// Makes a contestant with a loop of its own, for work whose calls depend on one another.
    pub(crate) fn chain(name: &'static str, kind: Kind, run: impl Run + 'static) -> Self {
        Self { name, kind, run: Box::new(run), threads: None }
    }

    /// Lets so many threads call the contestant at once.
    pub(crate) fn on(self, threads: usize) -> Self {
        Self { threads: Some(threads), ..self }
    }
}

/// The answers that every turn of every contestant must give. Any other ends the run.
#[derive(Clone)]
pub(crate) enum Expect {
    AllAdmitted,
    NoneAdmitted,
    /// Call number i is admitted if the mark at i modulo their count is set.
    Marked(Arc<[bool]>),
}

impl Expect {
    fn admitted(&self, start: u64, ops: u64) -> u64 {
        match self {
            Self::AllAdmitted => ops,
            Self::NoneAdmitted => 0,
            Self::Marked(marks) => {
                let marks = marks.iter().cycle().skip((start % marks.len() as u64) as usize);
                marks.zip(0..ops).filter(|(mark, _)| **mark).count() as u64
            }
        }
    }
}

/// The length of a turn.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    /// The calls that fit into this time.
    Lasting(Duration),
    /// This number of calls, with the same numbers for all contestants of a round. They come after
    /// `lead` calls that are not timed, and that bring the contestant's own memory back into the
    /// caches.
    Calls { timed: u64, lead: u64 },
}

/// Calls before each timed turn of a fixed time, which warm caches and branch predictors.
const LEAD: u64 = 10_000;
/// Calls between two looks at the clock. They hide its 25 ns.
const CHUNK: u64 = 512;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: String,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) expect: Expect,
    pub(crate) threads: usize,
    pub(crate) turn: Turn,
    /// The contestant that the table's ratios refer to.
    pub(crate) baseline: &'static str,
    pub(crate) goals: Vec<Goal>,
}

/// A goal: `row` costs at most `most` times what `against` costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) row: &'static str,
    pub(crate) most: f64,
    pub(crate) against: &'static str,
}

/// The nanoseconds of a call on a thread, for each contestant in each round.
pub(crate) struct Measured {
    pub(crate) nanos: Vec<Vec<f64>>,
    /// The share of a processor that each thread had.
    pub(crate) share: f64,
    /// The share of the turns in which other processes took more than a twentieth.
    pub(crate) disturbed: f64,
}

impl Case {
    /// # Panics
    ///
    /// A contestant admits another number of calls than expected.
    pub(crate) fn measure(&self, rounds: usize) -> Measured {
        let count = self.contestants.len();
        let mut nanos = vec![Vec::with_capacity(rounds); count];
        let mut total = Spent::default();
        let mut disturbed = 0;
        let mut starts = vec![0; count];
        for round in 0..rounds {
            for turn in 0..count {
                // Rotated, and every other round backwards, so that every contestant follows every
                // other.
                let turn = if round % 2 == 0 { turn } else { count - 1 - turn };
                let index = (turn + round) % count;
                let threads = self.threads(&self.contestants[index]);
                let mut spent = self.turn(&self.contestants[index], &mut starts[index]);
                for _ in 1..tries(threads) {
                    if !spent.disturbed() {
                        break;
                    }
                    spent = self.turn(&self.contestants[index], &mut starts[index]);
                }
                disturbed += usize::from(spent.disturbed());
                // A single thread never waits for another, so its processor time is the cost, less
                // what other processes take. Threads that wait for each other must be charged for
                // it.
                let time = if threads == 1 { spent.processor } else { spent.wall };
                nanos[index].push(time / spent.calls as f64);
                total.add(spent);
            }
        }
        let disturbed = disturbed as f64 / (rounds * count) as f64;
        Measured { nanos, share: total.processor / total.wall, disturbed }
    }

    fn threads(&self, contestant: &Contestant) -> usize {
        contestant.threads.unwrap_or(self.threads)
    }

    /// Runs one turn from call number `start` on, and moves `start` past it.
    fn turn(&self, contestant: &Contestant, start: &mut u64) -> Spent {
        let (first, threads) = (*start, self.threads(contestant));
        let barrier = Barrier::new(threads);
        let mut total = Spent::default();
        if threads == 1 {
            total = self.play(contestant, first, &barrier);
        } else {
            std::thread::scope(|scope| {
                let play = |thread: u64| self.play(contestant, first + thread * SPREAD, &barrier);
                let threads: Vec<_> =
                    (0..threads as u64).map(|t| scope.spawn(move || play(t))).collect();
                for thread in threads {
                    total.add(thread.join().expect("a contestant panicked"));
                }
            });
        }
        *start = first + total.most_calls;
        total
    }

    /// Runs one thread's part of a turn.
    fn play(&self, contestant: &Contestant, first: u64, barrier: &Barrier) -> Spent {
        let lead = if let Turn::Calls { lead, .. } = self.turn { lead } else { LEAD };
        self.verify(contestant, first, lead, contestant.run.run(first, lead));
        let first = first + lead;
        let ready = held_up();
        barrier.wait();
        let (started, processor) = (Instant::now(), processor_nanos());
        let (mut calls, mut admitted) = (0, 0);
        match self.turn {
            Turn::Lasting(time) => {
                while started.elapsed() < time {
                    admitted += contestant.run.run(first + calls, CHUNK);
                    calls += CHUNK;
                }
            }
            Turn::Calls { timed, .. } => {
                admitted = contestant.run.run(first, timed);
                calls = timed;
            }
        }
        let wall = started.elapsed().as_nanos() as f64;
        let processor = match (processor, processor_nanos()) {
            (Some(before), Some(after)) => (after - before) as f64,
            _ => wall,
        };
        let held_up = (held_up() - ready) as f64;
        self.verify(contestant, first, calls, admitted);
        Spent { calls, most_calls: lead + calls, wall, processor, held_up }
    }

    /// # Panics
    ///
    /// Another number of calls was admitted than expected.
    pub(crate) fn verify(&self, contestant: &Contestant, first: u64, calls: u64, admitted: u64) {
        let expected = self.expect.admitted(first, calls);
        assert_eq!(admitted, expected, "{}: {} of {calls} calls", self.name, contestant.name);
    }
}

/// The number of tries of a turn until other processes leave it alone. If another process has one
/// of two processors, two threads take turns on the other and do not contend at all.
fn tries(threads: usize) -> usize {
    if threads == 1 { 1 } else { 4 }
}

/// The distance between the first calls of two threads, so that they don't visit the same keys in
/// step.
pub(crate) const SPREAD: u64 = 500_009;

#[derive(Clone, Copy, Default)]
struct Spent {
    calls: u64,
    most_calls: u64,
    wall: f64,
    processor: f64,
    /// The time without a processor, which is not the contestant's fault.
    held_up: f64,
}

impl Spent {
    /// Tells whether other processes took more than a twentieth of the time.
    fn disturbed(&self) -> bool {
        self.held_up > 0.05 * self.wall
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.most_calls = self.most_calls.max(other.most_calls);
        self.wall += other.wall;
        self.processor += other.processor;
        self.held_up += other.held_up;
    }
}

/// Lets the threads of a turn start together. Waking sleepers would take longer than thousands of
/// calls.
pub(crate) struct Barrier {
    missing: AtomicUsize,
}

impl Barrier {
    pub(crate) fn new(threads: usize) -> Self {
        Self { missing: AtomicUsize::new(threads) }
    }

    pub(crate) fn wait(&self) {
        self.missing.fetch_sub(1, Ordering::Relaxed);
        let mut spins = 0_u32;
        while self.missing.load(Ordering::Relaxed) > 0 {
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(1 << 20) {
                std::thread::yield_now();
            }
        }
    }
}

/// Reads the time that this thread has run, where the system tells.
fn processor_nanos() -> Option<u64> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }
    #[cfg(not(unix))]
    None
}

/// Reads the nanoseconds for which this thread was ready to run and had no processor, where the
/// system tells.
fn held_up() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|waited| waited.parse().ok()).unwrap_or(0)
}
