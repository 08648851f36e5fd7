//! Law 9: memory is fixed at construction; no verb allocates, on any path.

#![cfg(feature = "std")]
#![allow(unsafe_code, reason = "a counting allocator is an unsafe trait; it forwards every call")]

#[cfg(feature = "redis")]
#[path = "support/redis.rs"]
mod server;

use sluicegate::{Algorithm, Combined, KeyedLimiter, Quota, RateLimiter, WhenFull};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    f();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn no_verb_allocates() {
    assert!(allocations(|| drop(black_box(Box::new(1)))) > 0, "the counter counts");
    let algorithms = [
        Algorithm::TokenBucket,
        Algorithm::LeakyBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
    ];
    for algorithm in algorithms {
        let quota = Quota::per_hour(3);
        let limiter = RateLimiter::builder(quota).algorithm(algorithm).build().unwrap();
        let made = allocations(|| {
            for _ in 0..5 {
                if let Err(denied) = black_box(limiter.check()) {
                    black_box((denied.retry_after(), denied.reset_after(), denied.remaining()));
                }
            }
            black_box((limiter.check_up_to(2).is_ok(), limiter.peek(9).is_ok()));
            black_box((limiter.charge(5), limiter.available(), limiter.level()));
            limiter.refund(2);
            limiter.reset();
        });
        assert_eq!(made, 0, "{algorithm}");

        for policy in [WhenFull::Evict, WhenFull::Deny, WhenFull::Share] {
            let builder = KeyedLimiter::<str>::builder(quota, 10).algorithm(algorithm);
            let keyed = builder.when_full(policy).build().unwrap();
            let keys: Vec<_> = (0..1_000).map(|key| format!("user {key}")).collect();
            let mut answers = Vec::with_capacity(keys.len());
            let made = allocations(|| {
                for key in keys.iter().chain(&keys) {
                    black_box(keyed.check(key).is_ok());
                    black_box((keyed.peek(key, 2).is_ok(), keyed.available(key)));
                    black_box(keyed.charge(key, 1));
                    keyed.refund(key, 1);
                }
                keyed.reset(&keys[0]);
                keyed.check_many(&keys, &mut answers);
                black_box((keyed.len(), keyed.evictions()));
            });
            assert_eq!(made, 0, "{algorithm}, {policy:?}");
        }
    }
}

#[test]
fn no_stripe_allocates() {
    let limiter = RateLimiter::builder(Quota::per_hour(1_000)).stripes(4).build().unwrap();
    let made = allocations(|| {
        while black_box(limiter.check()).is_ok() {}
        black_box((limiter.check_up_to(2).is_ok(), limiter.peek(9).is_ok(), limiter.charge(5)));
        limiter.refund(9);
        limiter.reset();
    });
    assert_eq!(made, 0);
}

#[test]
fn no_combined_verb_allocates() {
    let quota = Quota::per_hour(9);
    let users = KeyedLimiter::<str>::new(quota, 10);
    let all = RateLimiter::builder(quota).stripes(2).build().unwrap();
    let late = RateLimiter::new(Quota::per_hour(3));
    let made = allocations(|| {
        for _ in 0..5 {
            let both = Combined::new([all.as_limit(), users.as_limit("a"), late.as_limit()]);
            if let Err(denied) = black_box(both.check()) {
                black_box((denied.which(), denied.retry_after(), denied.remaining()));
            }
            black_box((both.check_up_to(2).is_ok(), both.peek(9).is_ok(), both.available()));
            black_box(both.reserve(1).map(|place| place.ready_in()).is_ok());
        }
        let both = Combined::from_limits([all.as_limit(), users.as_limit("a")]).unwrap();
        black_box(both.charge(2));
        both.refund(1);
    });
    assert_eq!(made, 0);
}

/// What is served from a lease, and what is denied while none is there; asking for one allocates,
/// once.
#[cfg(feature = "redis")]
#[tokio::test]
async fn no_check_of_a_lease_allocates() {
    let server = server::Server::start(&[]);
    let patient = std::time::Duration::from_secs(20);
    let builder = sluicegate::RedisLimiter::builder(Quota::per_hour(1).burst(10_000));
    let builder = builder.deadline(patient).connect_timeout(patient).leased().lease_for(patient);
    let limiter = builder.connect(&server.url()).await.unwrap();
    while limiter.check_n("a", 1).await.unwrap().remaining() < 40 {}
    // Nothing arrives from here on: this thread is the only one. Under a quarter the next lease has
    // been asked for.
    while limiter.try_check("a").unwrap().remaining() > 10 {}
    let made = allocations(|| {
        for granted in [true; 10].into_iter().chain([false; 10]) {
            assert_eq!(black_box(limiter.try_check(black_box("a"))).is_ok(), granted);
        }
        black_box(limiter.try_check_n("a", u64::MAX).is_err());
    });
    assert_eq!(made, 0);
}
