//! Several limits as one: against exact models, against each limit asked alone, and what a denial
//! costs.

use sluicegate::{
    Algorithm, Combined, CombinedError, KeyedLimiter, Limit, ManualClock, Quota, RateLimiter,
    WhenFull,
};
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn direct(clock: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(clock.clone()).build().unwrap()
}

pub(super) fn keyed<K: std::hash::Hash + ?Sized>(
    clock: &ManualClock,
    quota: Quota,
) -> KeyedLimiter<K> {
    KeyedLimiter::builder(quota, 100).clock(clock.clone()).build().unwrap()
}

/// Flask-Limiter's `5/minute;1/hour` burns the minute: denied by the hour, a request has been
/// counted by the minute.
#[test]
fn what_the_hour_denies_the_minute_does_not_pay_for() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::TokenBucket] {
        let clock = ManualClock::new();
        let build = |quota| {
            let builder = RateLimiter::builder(quota).algorithm(algorithm);
            builder.clock(clock.clone()).build().unwrap()
        };
        let (minute, hour) = (build(Quota::per_minute(5)), build(Quota::per_hour(1)));
        assert!(Combined::new([minute.as_limit(), hour.as_limit()]).check().is_ok());
        for limits in [[minute.as_limit(), hour.as_limit()], [hour.as_limit(), minute.as_limit()]] {
            let both = Combined::new(limits);
            for _ in 0..10 {
                let denied = both.check().unwrap_err();
                assert!(denied.retry_after().unwrap() >= Duration::from_secs(3_500));
            }
            assert_eq!((minute.available(), hour.available()), (4, 0));
        }
    }
}

#[test]
fn the_answer_says_which_limit_it_is_of() {
    let clock = ManualClock::new();
    let users = keyed::<str>(&clock, Quota::per_second(2));
    let tenants = keyed::<u32>(&clock, Quota::per_minute(60).burst(3));
    let all = direct(&clock, Quota::per_second(100));
    let of = |user| Combined::new([users.as_limit(user), tenants.as_limit(&7), all.as_limit()]);
    let grant = of("a").check().unwrap();
    assert_eq!((grant.which(), grant.limit(), grant.remaining(), grant.granted()), (0, 2, 1, 1));
    let grant = of("b").check_n(2).unwrap();
    assert_eq!((grant.which(), grant.remaining(), grant.granted()), (0, 0, 2));
    // Both the user and the tenant have none: the tenant's is the longer wait.
    let denied = of("b").check().unwrap_err();
    assert_eq!((denied.which(), denied.limit(), denied.remaining()), (1, 3, 0));
    assert_eq!(denied.retry_after(), Some(SECOND));
    assert_eq!(denied.reset_after(), SECOND * 3);
    // The tenant alone.
    let denied = of("a").check().unwrap_err();
    assert_eq!((denied.which(), denied.retry_after()), (1, Some(SECOND)));
    assert_eq!((users.available("a"), all.available()), (1, 97));
    // More than a limit's burst is never, which is longer than any wait.
    let denied = of("c").check_n(3).unwrap_err();
    assert!(denied.is_never() && denied.retry_after().is_none());
    assert_eq!((denied.which(), denied.asked(), denied.limit()), (0, 3, 2));
    assert_eq!(denied.remaining(), 0, "the tenant's, who denies as well");
    assert_eq!(denied.to_string(), "a request of 3 exceeds the limit of 2");
    assert_eq!(of("c").peek(3).unwrap_err(), denied);
    assert_eq!(users.available("c"), 2);
}

#[test]
fn ties_go_to_the_limit_that_was_given_first() {
    let clock = ManualClock::new();
    let pair = [1, 2].map(|_| direct(&clock, Quota::per_second(1)));
    for limits in [[&pair[0], &pair[1]], [&pair[1], &pair[0]]] {
        let both = Combined::new(limits.map(Limit::from));
        assert_eq!(both.peek(1).unwrap().which(), 0);
        assert_eq!(both.peek(2).unwrap_err().which(), 0);
    }
}

#[test]
fn the_same_limit_twice_is_debited_twice() {
    let clock = ManualClock::new();
    let users = keyed::<str>(&clock, Quota::per_second(5));
    let other = direct(&clock, Quota::per_second(100));
    let twice = Combined::new([users.as_limit("a"), other.as_limit(), users.as_limit("a")]);
    assert_eq!(twice.available(), 2);
    assert!(twice.check_n(2).is_ok());
    assert_eq!((users.available("a"), other.available()), (1, 98));
    let denied = twice.check().unwrap_err();
    assert_eq!((denied.which(), denied.asked()), (0, 2));
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(200)));
    assert_eq!((users.available("a"), other.available()), (1, 98));
    assert_eq!(users.available("b"), 5);
    assert_eq!(twice.reserve(1).unwrap().ready_in(), Duration::from_millis(200));
    twice.refund(1);
    assert_eq!((users.available("a"), other.available()), (3, 99));
    // Of burst 1 it can never be.
    let single = direct(&clock, Quota::per_second(1));
    assert!(Combined::new([single.as_limit(); 2]).check().unwrap_err().is_never());
}

#[test]
fn limits_count_what_they_count() {
    let clock = ManualClock::new();
    let requests = direct(&clock, Quota::per_second(10));
    let bytes = direct(&clock, Quota::per_second(1_000));
    let both = |size| Combined::new([requests.as_limit(), bytes.as_limit().costing(size)]);
    assert_eq!((both(300).available(), both(0).available()), (3, 10));
    let grant = both(300).check_n(3).unwrap();
    assert_eq!((grant.which(), grant.granted(), grant.remaining()), (1, 3, 100));
    let denied = both(300).check().unwrap_err();
    assert_eq!((denied.which(), denied.asked(), denied.remaining()), (1, 300, 100));
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(200)));
    assert_eq!(both(30).check_up_to(9).unwrap().granted(), 3);
    assert_eq!((requests.available(), bytes.available()), (4, 10));
    assert!(both(u64::MAX).check_n(2).unwrap_err().is_never());
    assert_eq!(both(0).check().unwrap().which(), 0);
    assert_eq!(both(20).charge(2), Duration::from_millis(30));
    assert_eq!((requests.available(), bytes.available(), both(20).available()), (1, -30, -2));
}

#[test]
fn lists_of_run_time_have_their_limits() {
    let clock = ManualClock::new();
    let limiters: Vec<_> = (0..9).map(|_| direct(&clock, Quota::per_second(3))).collect();
    assert_eq!(Combined::from_limits([]).unwrap_err(), CombinedError::None);
    let all = limiters.iter().map(RateLimiter::as_limit);
    assert_eq!(Combined::from_limits(all.clone()).unwrap_err(), CombinedError::TooMany);
    let eight = Combined::from_limits(all.take(8)).unwrap();
    assert!(eight.check_n(2).is_ok());
    let left: Vec<_> = limiters.iter().map(RateLimiter::available).collect();
    assert_eq!(left, [1, 1, 1, 1, 1, 1, 1, 1, 3]);
    assert_eq!(CombinedError::TooMany.to_string(), "at most 8 limits can be combined");
    fn plain<T: Copy + Send + Sync>(_: T) {}
    plain(eight);
}

#[test]
fn a_full_table_is_told() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u32>::builder(Quota::per_second(1), 1).when_full(WhenFull::Deny);
    let users = builder.clock(clock.clone()).build().unwrap();
    let all = direct(&clock, Quota::per_second(1_000));
    let of = |user| Combined::new([all.as_limit(), users.as_limit(&user)]);
    let denied = (0..100).find_map(|user| of(user).check().err()).unwrap();
    assert!(denied.is_table_full());
    assert_eq!(denied.which(), 1);
    let admitted = users.len() as i64;
    assert_eq!(all.available(), 1_000 - admitted);
}

/// A denial that one limit sees at a look writes nothing to those that are debited before it: here
/// a new key would make another one give way.
#[test]
fn a_denial_makes_no_bucket() {
    #[repr(C)]
    struct InOrder {
        users: KeyedLimiter<u32>,
        all: RateLimiter,
    }
    let clock = ManualClock::new();
    let quota = Quota::per_second(1).burst(1_000);
    let builder = KeyedLimiter::builder(quota, 1).clock(clock.clone());
    let limiters =
        InOrder { users: builder.build().unwrap(), all: direct(&clock, Quota::per_second(1)) };
    (0..100).for_each(|user| assert!(limiters.users.check(&user).is_ok()));
    assert!(limiters.all.check().is_ok());
    let evictions = limiters.users.evictions();
    assert!(evictions > 0, "the table is full");
    for user in 100..200 {
        let both = Combined::new([limiters.all.as_limit(), limiters.users.as_limit(&user)]);
        assert_eq!(both.check().unwrap_err().which(), 0);
        assert!(both.reserve_within(1, Duration::ZERO).is_err());
    }
    assert_eq!(limiters.users.evictions(), evictions);
}

/// Each look finds a token, and it is the same one: that is found out by debits, and nothing is
/// lost.
#[test]
fn two_keys_that_share_a_bucket_are_denied_at_no_cost() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u32>::builder(Quota::per_second(1), 1).when_full(WhenFull::Share);
    let users = builder.clock(clock.clone()).build().unwrap();
    let all = direct(&clock, Quota::per_second(9));
    // Eight slots, and the others share a bucket.
    for user in 0..8 {
        let _ = users.charge(&user, 1_000);
    }
    let three = Combined::new([all.as_limit(), users.as_limit(&300), users.as_limit(&301)]);
    assert!(three.peek(1).is_ok());
    assert_eq!(three.check().unwrap_err().retry_after(), Some(SECOND));
    assert!(three.reserve_within(1, Duration::ZERO).is_err());
    assert_eq!((all.available(), users.available(&300), users.available(&301)), (9, 1, 1));
    assert!(three.reserve(1).is_ok_and(|place| place.ready_in() == SECOND));
    assert_eq!((all.available(), users.available(&300)), (9, 1));
}
