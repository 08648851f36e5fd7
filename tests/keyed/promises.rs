//! Promises of the keyed limiter: one bucket a key, fixed memory, and what a full table does.

use sluicegate::{
    Algorithm, Denied, Grant, KeyedLimiter, ManualClock, Quota, RateLimiter, WhenFull,
};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const ALL: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];

fn keyed(quota: Quota, capacity: usize, policy: WhenFull) -> (KeyedLimiter<u64>, ManualClock) {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(quota, capacity).when_full(policy).clock(clock.clone());
    (builder.seed([1, 2]).build().unwrap(), clock)
}

/// Keys that were granted, of `keys`.
fn granted(limiter: &KeyedLimiter<u64>, keys: std::ops::Range<u64>) -> u64 {
    keys.map(|key| u64::from(limiter.check(&key).is_ok())).sum()
}

/// A small generator, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[cfg(feature = "std")]
#[test]
fn keys_of_any_kind_are_borrowed() {
    use std::net::IpAddr;
    let quota = Quota::per_hour(1);
    let names = KeyedLimiter::<str>::new(quota, 8);
    assert!(names.check("alice").is_ok() && names.check(&String::from("alice")).is_err());
    let bytes = KeyedLimiter::<[u8]>::new(quota, 8);
    assert!(bytes.check(b"ab").is_ok() && bytes.check(&String::from("ab").into_bytes()).is_err());
    let addresses = KeyedLimiter::<IpAddr>::new(quota, 8);
    let (four, six): (IpAddr, IpAddr) = ("1.2.3.4".parse().unwrap(), "::1".parse().unwrap());
    assert!(addresses.check(&four).is_ok() && addresses.check(&six).is_ok());
    assert!(addresses.check(&four).is_err());
    let pairs = KeyedLimiter::<(u32, &str)>::new(quota, 8);
    assert!(pairs.check(&(1, "a")).is_ok() && pairs.check(&(1, "b")).is_ok());
    assert!(pairs.check(&(1, "a")).is_err());
}

/// Law 8 and law 3: on any sequence of verbs every key answers as a direct limiter of its own.
#[test]
fn every_key_answers_as_a_limiter_of_its_own() {
    type Answer = (Result<Grant, Denied>, i64, u64);
    let run = |verb: u64, n: u64, take: &dyn Fn(&str, u64) -> Result<Grant, Denied>| match verb {
        0..5 => take("check", n),
        5 => take("up to", n),
        6 => take("peek", n),
        7 => take("charge", n),
        8 => take("refund", n),
        _ => take("reset", n),
    };
    for algorithm in ALL {
        for seed in 0..20 {
            let mut random = Random(seed * 7919 + algorithm as u64);
            let count = 1 + random.below(40);
            let quota =
                Quota::new(count, Duration::from_millis(1 + random.below(100_000))).unwrap();
            let clock = ManualClock::new();
            let builder = KeyedLimiter::<u64>::builder(quota, 64).algorithm(algorithm);
            let limiter = builder.clock(clock.clone()).seed([1, 2]).build().unwrap();
            let own = || RateLimiter::builder(quota).algorithm(algorithm).clock(clock.clone());
            let owns: Vec<_> = (0..16).map(|_| own().build().unwrap()).collect();
            let mut now = Duration::ZERO;
            for step in 0..2_000 {
                now +=
                    Duration::from_micros(random.below(1 + quota.period().as_micros() as u64 / 4));
                clock.set(now);
                let (key, verb) = (random.below(16), random.below(10));
                let n = random.below(count + 2);
                let own = &owns[key as usize];
                let theirs = run(verb, n, &|verb, n| match verb {
                    "check" => own.check_n(n),
                    "up to" => own.check_up_to(n),
                    "peek" => own.peek(n),
                    verb => {
                        match verb {
                            "charge" => drop(own.charge(n)),
                            "refund" => own.refund(n),
                            _ => own.reset(),
                        }
                        own.peek(0)
                    }
                });
                let ours = run(verb, n, &|verb, n| match verb {
                    "check" => limiter.check_n(&key, n),
                    "up to" => limiter.check_up_to(&key, n),
                    "peek" => limiter.peek(&key, n),
                    verb => {
                        match verb {
                            "charge" => drop(limiter.charge(&key, n)),
                            "refund" => limiter.refund(&key, n),
                            _ => limiter.reset(&key),
                        }
                        limiter.peek(&key, 0)
                    }
                });
                let theirs: Answer = (theirs, own.available(), own.level());
                let ours: Answer = (ours, limiter.available(&key), limiter.level(&key));
                // Debug shows every figure, computed.
                assert_eq!(
                    format!("{ours:?}"),
                    format!("{theirs:?}"),
                    "{algorithm} {quota} seed {seed} step {step} verb {verb} n {n}"
                );
            }
            assert_eq!(limiter.evictions(), 0);
        }
    }
}

/// Law 8 under contention: first touches of the same keys by four threads at once. By this seed
/// none of them finds its slots taken.
#[test]
fn concurrent_first_touches_give_a_key_one_bucket() {
    for algorithm in ALL {
        let clock = ManualClock::new();
        let quota = Quota::per_hour(3);
        let builder = KeyedLimiter::<u64>::builder(quota, 40_000).algorithm(algorithm).seed([1, 2]);
        let limiter = builder.clock(clock).build().unwrap();
        let barrier = Barrier::new(4);
        let admitted: u64 = thread::scope(|scope| {
            let thread = || {
                barrier.wait();
                (0..2).map(|_| granted(&limiter, 0..20_000)).sum::<u64>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(thread)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(limiter.evictions(), 0);
        assert_eq!(admitted, 3 * 20_000, "{algorithm}");
        assert_eq!(limiter.len(), 20_000);
    }
}

/// A slot whose bucket is full again is free: a thousand times the capacity of keys, over time.
#[test]
fn full_buckets_are_forgotten_without_loss() {
    let (limiter, clock) = keyed(Quota::per_second(1), 1_000, WhenFull::Evict);
    for round in 0..1_000_u64 {
        assert_eq!(granted(&limiter, round * 500..(round + 1) * 500), 500);
        assert_eq!(limiter.len(), 500);
        clock.advance(Duration::from_secs(1));
        assert!(limiter.is_empty());
    }
    assert_eq!(limiter.evictions(), 0);
}

/// The commonest defect of the field: state that is forgotten too early, so that a limited key is
/// fresh again (rater and others admitted 3,800 instead of 101 with a short TTL).
#[test]
fn an_exhausted_bucket_is_not_forgotten_before_it_is_full() {
    let (limiter, clock) = keyed(Quota::per_second(1).burst(100), 1_000, WhenFull::Evict);
    assert!(limiter.check_n(&7, 100).is_ok());
    let mut admitted = 0;
    for _ in 0..1_000 {
        clock.advance(Duration::from_millis(10));
        admitted += u64::from(limiter.check(&7).is_ok());
        granted(&limiter, 1_000..1_010);
    }
    assert_eq!(admitted, 10);
}

#[test]
fn memory_is_24_bytes_a_key_at_any_capacity() {
    for capacity in [1_000, 1_024, 99_991, 1_000_000, 1_500_000] {
        let (limiter, _) = keyed(Quota::per_hour(1), capacity, WhenFull::Evict);
        assert_eq!(limiter.capacity(), capacity);
        // Whatever the capacity: the limiter, what belongs to no key, and the last line's rest.
        let fixed = 3_072;
        assert!(limiter.memory() <= 24 * capacity + fixed, "{capacity}: {}", limiter.memory());
    }
}

#[test]
fn at_most_3_in_1000_first_touches_find_their_lines_full_at_capacity() {
    for (capacity, seed) in [(50_000, 1), (200_003, 2), (1_000_000, 3)] {
        let builder = KeyedLimiter::<u64>::builder(Quota::per_day(1), capacity);
        let limiter = builder.clock(ManualClock::new()).seed([seed, 99]).build().unwrap();
        // Whoever finds eight empty buckets is denied, and forgets none of them.
        let denied = capacity as u64 - granted(&limiter, 0..capacity as u64);
        assert!(denied as f64 / capacity as f64 <= 0.003, "{capacity}: {denied}");
        assert_eq!((limiter.len() as u64 + denied, limiter.evictions()), (capacity as u64, 0));
    }
}

/// An abuser's empty bucket is the last to be forgotten.
#[test]
fn when_full_evict_spares_the_emptiest_buckets() {
    let (limiter, _) = keyed(Quota::per_hour(100), 400, WhenFull::Evict);
    for abuser in 0..20_u64 {
        assert!(limiter.check_n(&abuser, 100).is_ok());
    }
    // Fifty times the capacity of newcomers, each of whom takes a little.
    assert_eq!(granted(&limiter, 1_000..21_000), 20_000);
    assert!(limiter.evictions() > 19_000);
    for abuser in 0..20_u64 {
        assert!(limiter.check(&abuser).is_err(), "abuser {abuser} was forgotten");
    }
}

#[test]
fn when_full_deny_forgets_nobody_and_says_when_there_is_room() {
    let (limiter, clock) = keyed(Quota::per_second(1).burst(10), 100, WhenFull::Deny);
    let first: Vec<_> = (0..1_000_u64).filter(|key| limiter.check_n(key, 10).is_ok()).collect();
    assert!((100..=152).contains(&first.len()), "{}", first.len());
    assert_eq!((limiter.evictions(), limiter.len()), (0, first.len()));
    for key in &first {
        assert!(!limiter.check(key).unwrap_err().is_table_full());
    }
    let newcomer = (0..1_000_u64).find(|key| !first.contains(key)).unwrap();
    let denied = limiter.check(&newcomer).unwrap_err();
    assert!(denied.is_table_full() && denied.remaining() == 0);
    assert_eq!(denied.retry_after(), Some(Duration::from_secs(10)));
    assert!(limiter.peek(&newcomer, 1).unwrap_err().is_table_full());
    assert_eq!(limiter.charge(&newcomer, 1), Duration::from_secs(10));
    assert!(limiter.peek(&newcomer, 11).unwrap_err().is_never());
    clock.advance(Duration::from_nanos(9_999_999_999));
    assert!(limiter.check(&newcomer).is_err());
    clock.advance(Duration::from_nanos(1));
    assert!(limiter.check(&newcomer).is_ok());
}

#[test]
fn when_full_share_gives_keys_without_a_slot_one_bucket() {
    let (limiter, _) = keyed(Quota::per_hour(1_000), 100, WhenFull::Share);
    let (mut own, mut shared) = (Vec::new(), Vec::new());
    for key in 0..1_000_u64 {
        let slots = limiter.len();
        let left = limiter.check(&key).unwrap().remaining() as i64;
        // Each key that shares takes of what the others left. A key that gets a slot later begins
        // no fuller, since it may have shared before.
        let of_shared = 999 - shared.len() as i64;
        if limiter.len() > slots {
            assert!((of_shared..=999).contains(&left), "{key}: {left}");
            own.push(key);
        } else {
            assert_eq!(left, of_shared, "{key}");
            shared.push(key);
        }
    }
    assert_eq!((limiter.evictions(), limiter.len()), (0, own.len()));
    assert!(own.len() >= 100, "{}", own.len());
    let left = 1_000 - shared.len() as i64;
    assert_eq!(limiter.available(&shared[0]), left);
    // What it took of that nobody knows, so it brings nothing back.
    limiter.reset(&shared[0]);
    limiter.refund(&shared[0], 1);
    assert_eq!(limiter.available(&shared[0]), left);
    assert_eq!(limiter.available(&own[0]), 999);
}

#[test]
fn looking_at_a_key_makes_no_bucket() {
    let (limiter, _) = keyed(Quota::per_hour(5), 100, WhenFull::Evict);
    assert_eq!(limiter.peek(&1, 2).unwrap().remaining(), 3);
    assert!(limiter.peek(&1, 6).unwrap_err().is_never());
    assert!(limiter.check_n(&1, 6).unwrap_err().is_never());
    assert_eq!(limiter.check_n(&1, 0).unwrap().remaining(), 5);
    assert_eq!((limiter.available(&1), limiter.level(&1)), (5, 0));
    limiter.refund(&1, 3);
    limiter.reset(&1);
    assert_eq!(limiter.charge(&1, 0), Duration::ZERO);
    assert!(limiter.is_empty());
    assert_eq!(limiter.charge(&1, 10), Duration::from_secs(5 * 720));
    assert_eq!((limiter.available(&1), limiter.len()), (-5, 1));
}

#[cfg(feature = "std")]
#[test]
fn builder_refuses_what_cannot_be() {
    let quota = Quota::per_second(10);
    let field = |builder: sluicegate::KeyedBuilder<u64>| builder.build().unwrap_err().field();
    assert_eq!(field(KeyedLimiter::builder(quota, 0)), "capacity");
    assert_eq!(field(KeyedLimiter::builder(quota, usize::MAX)), "capacity");
    assert_eq!(field(KeyedLimiter::builder(quota.burst(5), 9).fixed_window()), "burst");
    assert_eq!(field(KeyedLimiter::builder(Quota::per_second(8_192), 9).sliding_window()), "count");
    assert!(
        KeyedLimiter::<u64>::builder(Quota::per_second(8_191), 9).sliding_window().build().is_ok()
    );
}
