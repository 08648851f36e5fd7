//! What the crate does without default features: no standard library, a user's clock, a user's
//! seed.

use sluicegate::{AnyLimiter, Clock, Combined, KeyedLimiter, Quota, RateLimiter, Tiers};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A timer of the user's own, in nanoseconds.
#[derive(Clone, Default)]
struct Timer(Arc<AtomicU64>);

impl Timer {
    fn set(&self, time: Duration) {
        self.0.store(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for Timer {
    fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn limiters_run_on_a_users_clock() {
    let timer = Timer::default();
    timer.set(Duration::from_secs(1_000));
    let quota = Quota::per_second(2).burst(3);
    let direct = RateLimiter::builder(quota).clock(timer.clone()).build().unwrap();
    let builder = KeyedLimiter::<str>::builder(quota, 10).clock(timer.clone());
    let keyed = builder.seed([1, 2]).build().unwrap();
    let both = |n| {
        let answers = (direct.check_n(n), keyed.check_n("a", n));
        assert_eq!(answers.0.is_ok(), answers.1.is_ok());
        answers.0.is_ok()
    };
    assert!(both(3) && !both(1));
    timer.set(Duration::from_millis(1_000_500));
    assert!(both(1) && !both(1));
    // Set back: no time flows until it has caught up.
    timer.set(Duration::ZERO);
    assert!(!both(1));
    timer.set(Duration::from_millis(1_000_999));
    assert!(!both(1));
    timer.set(Duration::from_secs(1_001));
    assert!(both(1) && !both(1));
}

#[test]
fn limits_are_combined_without_std() {
    let timer = Timer::default();
    let quota = Quota::per_second(2).burst(3);
    let direct = RateLimiter::builder(quota).clock(timer.clone()).build().unwrap();
    let builder = KeyedLimiter::builder(quota.burst(2), 10).clock(timer.clone());
    let users = Tiers::<str>::builder().limiter("free", builder.seed([1, 2]).build().unwrap());
    let users = users.build().unwrap();
    let free = users.tier("free").unwrap();
    let both = Combined::new([direct.as_limit(), free.as_limit("a")]);
    assert!(both.check_n(2).is_ok());
    assert_eq!(both.check().unwrap_err().which(), 1);
    assert_eq!(both.reserve(1).unwrap().ready_in(), Duration::from_millis(500));
    assert_eq!((direct.available(), free.available("a")), (1, 0));
}

/// Code over whichever store runs on one that is built here, without the feature `url`.
#[tokio::test]
async fn a_limiter_that_is_built_becomes_any_limiter() {
    let timer = Timer::default();
    let quota = Quota::per_second(2).burst(3);
    let builder = KeyedLimiter::<[u8]>::builder(quota, 10).clock(timer.clone()).seed([1, 2]);
    let keyed = Arc::new(builder.leaky_bucket().build().unwrap());
    let any = AnyLimiter::from(keyed.clone());
    assert_eq!((any.quota(), any.algorithm()), (quota, keyed.algorithm()));
    assert_eq!(any.check_n("a", 2).await.unwrap().remaining(), 1);
    assert_eq!(any.reserve("a", 2).await.unwrap().ready_in(), Duration::from_millis(500));
    let error = any.check_n("a", 2).await.unwrap_err();
    assert_eq!(error.denied().unwrap().retry_after(), Some(Duration::from_millis(500)));
    assert_eq!((keyed.available(b"a"), any.available("b").await.unwrap()), (1, 3));
}

#[cfg(not(feature = "std"))]
#[test]
fn what_the_build_cannot_give_must_be_given() {
    let quota = Quota::per_second(1);
    assert_eq!(RateLimiter::builder(quota).build().unwrap_err().field(), "clock");
    let keyed = KeyedLimiter::<str>::builder(quota, 10);
    assert_eq!(keyed.clock(Timer::default()).build().unwrap_err().field(), "seed");
    let keyed = KeyedLimiter::<str>::builder(quota, 10);
    assert_eq!(keyed.seed([1, 2]).build().unwrap_err().field(), "clock");
}
