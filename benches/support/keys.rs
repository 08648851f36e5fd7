//! The contestants on many keys, all on the same quota, keys and order.

use crate::buckets::{FloatBucket, FloatRate};
use crate::harness::{Case, Contestant, Expect, Goal, Kind, Turn};
use dashmap::DashMap;
use sluicegate::{KeyedLimiter, Quota};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// A quota that admits a billion calls of each key.
const COUNT: u32 = 100;
const BURST: u32 = 1_000_000_000;

pub(crate) fn quota() -> Quota {
    Quota::per_second(COUNT.into()).burst(BURST.into())
}

pub(crate) fn governor_quota() -> governor::Quota {
    let [count, burst] = [COUNT, BURST].map(|n| NonZeroU32::new(n).expect("over 0"));
    governor::Quota::per_second(count).allow_burst(burst)
}

/// Spreads numbers over all 64 bits, one to one (the finalizer of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The `number`th key: 21 to 24 bytes.
pub(crate) fn text(number: u64) -> String {
    let kind = ["user", "session", "api-key", "address"][number as usize % 4];
    format!("{kind}:{:016x}", mix(number))
}

/// Visits to keys, in the order of the calls.
///
/// They lie in memory in that order, so that reading the next one costs no cache miss. A server has
/// its request's key at hand, and the limiter is what is measured. Every key comes once in as many
/// visits as there are keys, shuffled anew each time.
/// many visits as there are keys, shuffled anew each time.
#[derive(Clone)]
pub(crate) struct Visits<K> {
    pub(crate) order: Arc<[K]>,
    keys: u64,
    key: fn(u64) -> K,
    pace: Pace,
}

/// The least number of visits, even for few keys.
pub(crate) const VISITS: usize = 1 << 20;

impl<K> Visits<K> {
    pub(crate) fn to(keys: u64, key: fn(u64) -> K, pace: Pace) -> Self {
        let mut order: Vec<u64> = (0..keys).collect();
        let mut draws = 0;
        let mut visits = Vec::with_capacity(VISITS);
        while visits.len() < VISITS {
            for last in (1..order.len()).rev() {
                draws += 1;
                let other = (u128::from(mix(draws)) * (last as u128 + 1)) >> 64;
                order.swap(last, other as usize);
            }
            let room = VISITS - visits.len();
            visits.extend(order.iter().take(room).map(|number| key(*number)));
        }
        Self { order: visits.into(), keys, key, pace }
    }

    /// Lets a contestant visit every key once, before the measurement.
    pub(crate) fn enter(
        &self,
        name: &'static str,
        kind: Kind,
        admit: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Contestant
    where
        K: Send + Sync + 'static,
    {
        // The order differs from that of the visits. Otherwise a map's own copies of the keys would
        // lie in the order of the visits.
        let known = (0..self.keys).all(|number| admit(&(self.key)(number)));
        assert!(known, "{name}: the first touch of a key is admitted");
        let order = self.order.clone();
        match self.pace {
            Pace::BackToBack => {
                Contestant::new(name, kind, move |call| admit(&order[call as usize % VISITS]))
            }
            Pace::Apart => Contestant::new(name, kind, move |call| {
                finish();
                admit(&order[call as usize % VISITS])
            }),
        }
    }
}

/// Whether a processor may begin a call while it still waits for the memory of the call before.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// It may, as in a loop over many keys. The fewer instructions a call has, the more calls
    /// overlap.
    BackToBack,
    /// It may not, as in a server, which does other things between two calls.
    Apart,
}

/// Waits until every earlier instruction is done. A fence of the language would not do that: it
/// orders accesses to memory, but processors begin later loads on speculation.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "there is no safe way to an instruction that serializes")]
fn finish() {
    // SAFETY: every x86-64 processor has the instruction, and it touches nothing.
    unsafe { std::arch::x86_64::_mm_lfence() }
}

/// The nearest that the language offers.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn finish() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

fn sluicegate<K: Borrow<Q>, Q: Hash + ?Sized + 'static>(
    keys: u64,
) -> impl Fn(&K) -> bool + Send + Sync {
    let limiter = KeyedLimiter::<Q>::new(quota(), keys as usize);
    move |key| black_box(&limiter).check(black_box(key.borrow())).is_ok()
}

fn governor<K: Hash + Eq + Clone + Send + Sync + 'static, S>(
    hasher: S,
) -> impl Fn(&K) -> bool + Send + Sync
where
    S: BuildHasher + Default + Clone + Send + Sync + 'static,
{
    let clock = governor::clock::DefaultClock::default();
    let limiter =
        governor::RateLimiter::dashmap_with_clock_and_hasher(governor_quota(), clock, hasher);
    move |key| black_box(&limiter).check_key(black_box(key)).is_ok()
}

/// A map of buckets, as users write it by hand.
fn dashmap<K, Q>() -> impl Fn(&K) -> bool + Send + Sync
where
    K: Borrow<Q> + Hash + Eq + Clone + Send + Sync + 'static,
    Q: Hash + Eq + ?Sized,
{
    let rate = FloatRate { per_second: COUNT.into(), burst: BURST.into() };
    let buckets = DashMap::<K, FloatBucket>::new();
    move |key| {
        let now = Instant::now();
        if let Some(mut bucket) = black_box(&buckets).get_mut(black_box(key.borrow())) {
            return bucket.take(rate, now);
        }
        buckets.entry(key.clone()).or_insert_with(|| FloatBucket::full(rate)).take(rate, now)
    }
}

struct Shape {
    name: &'static str,
    about: String,
    keys: u64,
    goal: Option<f64>,
    pace: Pace,
}

fn case<K, Q>(shape: Shape, key: fn(u64) -> K, threads: usize, turn: Turn) -> Case
where
    K: Borrow<Q> + Hash + Eq + Clone + Send + Sync + 'static,
    Q: Hash + Eq + ?Sized + 'static,
{
    let visits = Visits::to(shape.keys, key, shape.pace);
    let std = std::hash::RandomState::new();
    let goal = |most| Goal { row: "sluicegate", most, against: "governor, DashMap" };
    Case {
        name: shape.name,
        about: shape.about,
        contestants: vec![
            visits.enter("sluicegate", Kind::Ours, sluicegate::<K, Q>(shape.keys)),
            visits.enter("governor, DashMap", Kind::Peer, governor(std)),
            visits.enter(
                "governor, DashMap, ahash",
                Kind::Peer,
                governor(ahash::RandomState::new()),
            ),
            visits.enter("DashMap of f64 buckets", Kind::Peer, dashmap::<K, Q>()),
            visits.enter("reading the key", Kind::Floor, |key| {
                black_box(key);
                true
            }),
        ],
        expect: Expect::AllAdmitted,
        threads,
        turn,
        baseline: "governor, DashMap",
        goals: if threads == 1 { shape.goal.map(goal).into_iter().collect() } else { Vec::new() },
    }
}

/// The keys of a large case.
#[derive(Clone, Copy)]
pub(crate) struct Many(pub(crate) u64);

impl Many {
    pub(crate) fn of_u64(self, threads: usize, turn: Turn) -> Case {
        let about = format!("{} keys, all known, in random order, every call admitted;", self.0);
        let (name, pace) = ("keyed u64", Pace::BackToBack);
        let shape = Shape { name, about, keys: self.0, goal: Some(0.4), pace };
        case::<u64, u64>(shape, mix, threads, turn)
    }

    pub(crate) fn of_u64_apart(self, threads: usize, turn: Turn) -> Case {
        let about = "As keyed u64, but no call begins before the last one has ended;".into();
        let (name, pace) = ("keyed u64 apart", Pace::Apart);
        let shape = Shape { name, about, keys: self.0, goal: None, pace };
        case::<u64, u64>(shape, mix, threads, turn)
    }

    pub(crate) fn of_str(self, threads: usize, turn: Turn) -> Case {
        let about = format!("As keyed u64, with {} texts of 21 to 24 bytes;", self.0);
        let (name, pace) = ("keyed str", Pace::BackToBack);
        let shape = Shape { name, about, keys: self.0, goal: Some(0.6), pace };
        case::<String, str>(shape, text, threads, turn)
    }

    pub(crate) fn of_str_apart(self, threads: usize, turn: Turn) -> Case {
        let about = "As keyed str, but no call begins before the last one has ended;".into();
        let (name, pace) = ("keyed str apart", Pace::Apart);
        let shape = Shape { name, about, keys: self.0, goal: None, pace };
        case::<String, str>(shape, text, threads, turn)
    }
}

pub(crate) fn hot(threads: usize, turn: Turn) -> Case {
    let about = "1,000 keys, all known and in the caches, in random order, every call admitted;";
    let (name, pace) = ("keyed hot", Pace::BackToBack);
    let shape = Shape { name, about: about.into(), keys: 1_000, goal: None, pace };
    case::<u64, u64>(shape, mix, threads, turn)
}

/// Compares one key of a keyed limiter with a limiter of its own.
pub(crate) fn one(threads: usize, turn: Turn) -> Case {
    let visits = Visits::to(1, mix, Pace::BackToBack);
    let striped = sluicegate::RateLimiter::builder(quota()).striped().build();
    let striped = striped.expect("a bucket");
    Case {
        name: "keyed one",
        about: "One key of 1,000, every call admitted;".into(),
        contestants: vec![
            visits.enter("sluicegate", Kind::Ours, sluicegate::<u64, u64>(1_000)),
            visits.enter("governor, DashMap", Kind::Peer, governor(std::hash::RandomState::new())),
            visits.enter("a striped limiter of its own", Kind::Ours, move |_| {
                black_box(&striped).check().is_ok()
            }),
        ],
        expect: Expect::AllAdmitted,
        threads,
        turn,
        baseline: "governor, DashMap",
        goals: Vec::new(),
    }
}
