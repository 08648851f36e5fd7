//! The queue of a process: a caller that leaves costs no other caller anything, and the law holds.

use super::kept::Kept;
use super::server::Server;
use super::support::{WindowLaw, quota, ratio};
use super::{Random, START, long};
use crate::quota::Quota;
use crate::redis::RedisError;
use crate::redis::queue::held::Held;
use crate::redis::queue::wait_queue::{Entry, Status, WaitQueue};
use crate::redis::script::place::HandedBack;
use crate::redis::script::units::Units;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::task::Waker;
use core::time::Duration;

/// A call to Redis for a place.
#[derive(Clone, Copy, Debug)]
struct Order {
    id: u64,
    n: u64,
    excess: Option<Held>,
}

/// A process. The test decides when its calls are answered.
struct Process {
    queue: WaitQueue,
    /// The callers that wait, and for how many tokens.
    waiting: BTreeMap<u64, u64>,
    orders: VecDeque<Order>,
}

/// Redis, and the processes that ask it for one key.
struct World {
    units: Units,
    now: u64,
    kept: Kept,
    processes: Vec<Process>,
    /// The times and tokens of all turns that were taken.
    acts: Vec<(u64, u64)>,
}

const US: u64 = 1_000;

impl World {
    fn new(units: Units, processes: usize) -> Self {
        let process = || Process {
            queue: WaitQueue::new(units),
            waiting: BTreeMap::new(),
            orders: VecDeque::new(),
        };
        let processes = (0..processes).map(|_| process()).collect();
        Self { units, now: START, kept: Kept::default(), processes, acts: Vec::new() }
    }

    /// The time of the queues.
    fn local(&self) -> u64 {
        (self.now - START) * US
    }

    fn enter(&mut self, process: usize, n: u64, within: Option<u64>) {
        let limit = within.map_or(u64::MAX, |within| self.local() + within * US);
        let now = self.local();
        let Process { queue, waiting, orders } = &mut self.processes[process];
        let (id, entry) = queue.enter(now, n, limit);
        match entry {
            Entry::Settled => drop(waiting.insert(id, n)),
            Entry::Asks(excess) => {
                waiting.insert(id, n);
                orders.push_back(Order { id, n, excess });
            }
            Entry::TooLate(late) => assert!(within.is_some() && late > 0),
        }
    }

    fn leave(&mut self, process: usize, id: u64) {
        let now = self.local();
        self.processes[process].waiting.remove(&id);
        self.processes[process].queue.leave(id, now);
    }

    fn hand_back(&mut self, process: usize, held: Held) -> bool {
        let units = &self.units;
        let (end, n) = (units.flow(held.end), units.whole(held.cost()));
        assert_eq!(units.cost(n), held.cost(), "whole tokens");
        let line = self.kept.line(units, self.now);
        match units.hand_back(line, end, n) {
            HandedBack::Returned(back) => {
                self.kept.keep(units, self.now, line.debt - back);
                true
            }
            HandedBack::Kept => {
                let now = self.local();
                self.processes[process].queue.keep(held, now);
                false
            }
            HandedBack::Lost => panic!("nobody has reset it"),
        }
    }

    /// Hands back the flow that no caller waits for, if Redis takes it.
    fn tidy(&mut self, process: usize) -> bool {
        while let Some(held) = self.processes[process].queue.take_excess() {
            if !self.hand_back(process, held) {
                return false;
            }
        }
        true
    }

    /// Answers one of the calls in flight, with a place or without.
    fn answer(&mut self, process: usize, which: u64, granted: bool) {
        let orders = &mut self.processes[process].orders;
        let which = which as usize % orders.len().max(1);
        let Some(Order { id, n, excess }) = orders.remove(which) else { return };
        if let Some(excess) = excess {
            self.hand_back(process, excess);
        }
        let now = self.local();
        let queue = &mut self.processes[process].queue;
        if queue.withdraw_call(id) {
            return;
        }
        if !granted {
            return queue.refused(id, now, RedisError::Away);
        }
        let units = &self.units;
        let debt = self.kept.debt(units, self.now);
        let after = units.reserve(debt, n, units.longest_debt()).unwrap();
        self.kept.keep(units, self.now, after);
        let end = units.in_parts(units.end(after, self.now));
        let (start, seen) = (end - units.cost(n), u128::from(self.now));
        queue.granted(Held { start, end, seen, at: now, missing: None }, now);
    }

    fn answer_all(&mut self, random: &mut Random) {
        for process in 0..self.processes.len() {
            while !self.processes[process].orders.is_empty() {
                self.answer(process, random.next(), random.below(8) > 0);
                self.take_turns();
            }
        }
    }

    /// Lets all callers take their turn whose moment has come.
    fn take_turns(&mut self) {
        let now = self.local();
        for process in 0..self.processes.len() {
            self.processes[process].queue.serve(now);
            let mut last = None;
            for (id, n) in self.processes[process].waiting.clone() {
                let Process { queue, waiting, orders } = &mut self.processes[process];
                match queue.poll_turn(id, Waker::noop()) {
                    Status::Waits => last = Some(id),
                    Status::Asks => orders.push_back(Order { id, n, excess: None }),
                    Status::Failed(_) => drop(waiting.remove(&id)),
                    Status::Turn(_) => {
                        assert_eq!(last, None, "first come, first served");
                        waiting.remove(&id);
                        self.acts.push((self.now, n));
                    }
                }
            }
        }
    }

    /// The time at which the next caller is due, by Redis' clock, rounded up.
    fn next_due(&self) -> Option<u64> {
        let due = self.processes.iter().filter_map(|process| process.queue.next_due()).min();
        due.map(|due| START + due.div_ceil(US))
    }

    /// Goes on to a time, and serves every caller on the way when it is due.
    fn go_on_to(&mut self, time: u64) {
        loop {
            self.take_turns();
            match self.next_due() {
                Some(due) if due <= time => self.now = due.max(self.now),
                _ => break,
            }
        }
        self.now = time;
        self.take_turns();
    }

    fn somebody(&self, process: usize, random: &mut Random) -> Option<u64> {
        let waiting = &self.processes[process].waiting;
        let nth = random.below(waiting.len().max(1) as u64) as usize;
        waiting.keys().nth(nth).copied()
    }

    /// No stretch of time has more than the burst and the flow. A process may hand flow on up to 10
    /// ms after it was due; the places of other processes behind it do not know of that.
    fn assert_law(&self, quota: &Quota) {
        let late = ratio(self.processes.len() as u64 - 1, 10);
        let mut law = WindowLaw::new(quota, quota.burst_size(), &late);
        for &(at, n) in &self.acts {
            law.admit((at - START) * US, n).unwrap();
        }
    }
}

/// A bucket that only the callers have asked that were served or still wait.
#[derive(Clone, Copy)]
struct Ideal {
    /// The time at which it would be full, in microseconds.
    full: u64,
    token: u64,
    burst: u64,
}

impl Ideal {
    fn due(&self, n: u64, now: u64) -> u64 {
        (self.full + n * self.token).saturating_sub(self.burst * self.token).max(now)
    }

    fn act(&mut self, n: u64, at: u64) {
        self.full = self.full.max(at) + n * self.token;
    }
}

/// In one process callers leave from anywhere in the queue. The others are served as if those had
/// never come, and so are callers that ask Redis for the same key elsewhere.
#[test]
fn who_leaves_had_never_come() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for case in 0..4_000 * long() {
        let burst = [1, 1, 2, 5][random.below(4) as usize];
        let most = if random.below(2) == 0 { 1 } else { burst };
        let quota = quota(10, 1_000_000_000, burst);
        let units = Units::new(&quota).unwrap();
        let mut world = World::new(units, 1);
        let mut ideal = Ideal { full: START, token: 100_000, burst };
        for step in 0..80 {
            let about = alloc::format!("case {case} step {step}");
            let acted = world.acts.len();
            match random.below(8) {
                0..=2 => {
                    world.enter(0, random.below(most) + 1, None);
                    world.answer(0, 0, true);
                }
                3..=5 => {
                    if let Some(id) = world.somebody(0, &mut random) {
                        world.leave(0, id);
                    }
                }
                6 => world.go_on_to(world.now + random.below(150_000)),
                _ => world.go_on_to(world.now + random.below(2_000_000)),
            }
            world.take_turns();
            assert!(world.tidy(0), "{about}: nobody is behind");
            for &(at, n) in &world.acts[acted..] {
                assert_eq!(at, ideal.due(n, at), "{about}: early");
                ideal.act(n, at);
            }
            let mut line = ideal;
            for (nth, &n) in world.processes[0].waiting.values().enumerate() {
                let due = line.due(n, world.now);
                if nth == 0 {
                    assert_eq!(world.next_due(), Some(due), "{about}");
                }
                line.act(n, due);
            }
            let debt = world.kept.debt(&units, world.now);
            assert_eq!(debt, line.full.saturating_sub(world.now).into(), "{about}");
        }
        world.assert_law(&quota);
    }
}

/// In several processes calls are answered late, or not at all. No caller is forgotten, and no
/// stretch of time has too much.
#[test]
fn whatever_becomes_of_calls_everybody_is_served_and_the_law_stands() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for case in 0..3_000 * long() {
        let burst = [1, 2, 3, 5][random.below(4) as usize];
        let quota = quota(10, 1_000_000_000, burst);
        let units = Units::new(&quota).unwrap();
        let mut world = World::new(units, 1 + random.below(3) as usize);
        // With several processes all callers ask for the same: one that asks for less, behind one
        // for more that leaves, may be late.
        let (least, most) = match random.below(2) {
            0 if world.processes.len() == 1 => (1, burst),
            0 => (burst, burst),
            _ => (1, 1),
        };
        for _ in 0..120 {
            let process = random.below(world.processes.len() as u64) as usize;
            match random.below(10) {
                0..=2 => {
                    let within = (random.below(4) == 0).then(|| random.below(3_000_000));
                    world.enter(process, least + random.below(most - least + 1), within);
                }
                3 | 4 => {
                    if let Some(id) = world.somebody(process, &mut random) {
                        world.leave(process, id);
                    }
                }
                5 | 6 => world.answer(process, random.next(), random.below(8) > 0),
                // No process hands anything back while it asks.
                7 if world.processes[process].orders.is_empty() => drop(world.tidy(process)),
                way => {
                    // The places of other processes do not wait for calls of this one.
                    if world.processes.len() > 1 {
                        world.answer_all(&mut random);
                    }
                    let longest = if way == 8 { 150_000 } else { 1_000_000 };
                    world.go_on_to(world.now + random.below(longest));
                }
            }
            world.take_turns();
        }
        for _ in 0..1_000 {
            world.answer_all(&mut random);
            world.go_on_to(world.now + 100_000);
        }
        for process in &world.processes {
            assert!(
                process.waiting.is_empty(),
                "case {case}: {:?} {:?}",
                process.waiting,
                process.queue
            );
        }
        world.assert_law(&quota);
    }
}

/// A turn that was not taken goes to the next caller, from then on.
#[test]
fn what_was_granted_and_never_taken_goes_to_the_next() {
    let quota = quota(10, 1_000_000_000, 1);
    let units = Units::new(&quota).unwrap();
    let mut world = World::new(units, 1);
    for _ in 0..5 {
        world.enter(0, 1, None);
        world.answer(0, 0, true);
    }
    world.go_on_to(START);
    assert_eq!(world.acts, [(START, 1)]);
    // The second caller is due, but does not notice. It leaves 30 ms later.
    world.now = START + 100_000;
    let now = world.local();
    world.processes[0].queue.serve(now);
    world.now += 30_000;
    world.leave(0, 1);
    world.take_turns();
    // The last caller leaves too. Its token comes back, but not so early that others could act
    // before a token has flowed.
    world.leave(0, 4);
    assert!(world.tidy(0));
    let debt = world.kept.debt(&units, world.now);
    assert!(debt >= 200_000, "the third and the fourth: {debt}");
    world.go_on_to(START + 1_000_000);
    // The third caller acts at once, and the fourth only when a token has flowed since.
    assert_eq!(world.acts[1..], [(START + 130_000, 1), (START + 230_000, 1)]);
    world.assert_law(&quota);
}

/// A queue takes no memory when its callers are gone, and its flow has been handed back.
#[tokio::test]
async fn a_line_is_forgotten_with_its_callers() {
    const PATIENT: Duration = Duration::from_secs(20);
    let server = Server::start(&[]);
    let builder = crate::RedisLimiter::builder(Quota::per_day(1)).deadline(PATIENT);
    let limiter = builder.connect_timeout(PATIENT).connect(&server.url()).await.unwrap();
    let queues = &limiter.requests.queues;
    let mut waiting = Vec::new();
    for key in 0..20 {
        limiter.acquire(alloc::format!("{key}"), 1).await.unwrap();
        let limiter = limiter.clone();
        waiting.push(tokio::spawn(async move {
            limiter.acquire(alloc::format!("{key}"), 1).await.map(|_| ())
        }));
    }
    let until = async |count: usize| {
        let waiting = async {
            while queues.count() != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENT, waiting).await.unwrap();
    };
    until(20).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until(0).await;
    assert_eq!(limiter.available("7").await.unwrap(), 0);
}
