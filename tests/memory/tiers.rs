//! Named tiers: each a limiter of its own, chosen per call, changed live.

use sluicegate::{Combined, KeyedLimiter, ManualClock, Quota, RateLimiter, Tiers};
use std::time::Duration;

fn tiers(clock: &ManualClock) -> Tiers<str> {
    let limiter = |quota| {
        KeyedLimiter::builder(quota, 100).clock(clock.clone()).seed([1, 2]).build().unwrap()
    };
    let builder = Tiers::builder().limiter("free", limiter(Quota::per_second(2)));
    builder.limiter("pro", limiter(Quota::per_second(10))).build().unwrap()
}

#[test]
fn the_tier_is_part_of_the_keys_identity() {
    let clock = ManualClock::new();
    let users = tiers(&clock);
    let admitted =
        |tier, key| (0..20).filter(|_| users.tier(tier).unwrap().check(key).is_ok()).count();
    assert_eq!((admitted("free", "a"), admitted("free", "b"), admitted("pro", "a")), (2, 2, 10));
    clock.advance(Duration::from_millis(500));
    // Each flows at its own rate.
    assert_eq!((admitted("free", "a"), admitted("pro", "a"), admitted("pro", "b")), (1, 5, 10));
}

#[test]
fn a_tier_is_raised_live_and_the_others_are_not() {
    let clock = ManualClock::new();
    let users = tiers(&clock);
    let available = |tier: &str, key| users.tier(tier).unwrap().available(key);
    assert!(users.tier("free").unwrap().check_n("a", 2).is_ok());
    users.set_quota("free", Quota::per_second(4)).unwrap();
    assert_eq!(users.tier("free").unwrap().quota(), Quota::per_second(4));
    assert_eq!(users.tier("pro").unwrap().quota(), Quota::per_second(10));
    assert_eq!((available("free", "a"), available("free", "b"), available("pro", "a")), (0, 4, 10));
    clock.advance(Duration::from_millis(500));
    assert_eq!(available("free", "a"), 2);
}

#[test]
fn all_verbs_come_with_the_tier() {
    let clock = ManualClock::new();
    let users = tiers(&clock);
    let all = RateLimiter::builder(Quota::per_second(3)).clock(clock.clone()).build().unwrap();
    let pro = users.tier("pro").unwrap();
    let both = Combined::new([pro.as_limit("a"), all.as_limit()]);
    assert_eq!(both.check_n(2).unwrap().which(), 1);
    assert_eq!(both.check_n(2).unwrap_err().which(), 1);
    assert_eq!((pro.available("a"), all.available()), (8, 1));
    assert_eq!(pro.reserve("a", 10).unwrap().ready_in(), Duration::from_millis(200));
}

#[test]
fn tiers_are_found_by_name_and_listed_in_order() {
    let users = tiers(&ManualClock::new());
    assert_eq!(users.names().collect::<Vec<_>>(), ["free", "pro"]);
    for (name, limiter) in users.iter() {
        assert!(std::ptr::eq(users.tier(name).unwrap(), limiter));
    }
    assert!(users.tier("Free").is_err() && users.tier("").is_err());
    let tables: usize = users.iter().map(|(_, limiter)| limiter.memory()).sum();
    assert!(users.memory() > tables && users.memory() < tables + 100);
    let debug = format!("{users:?}");
    assert!(
        debug.contains("\"free\": KeyedLimiter") && debug.contains("Quota(10/second)"),
        "{debug}"
    );
}

#[cfg(feature = "std")]
#[test]
fn what_is_wrong_is_told() {
    use sluicegate::{TiersBuilder, TiersError};
    use std::error::Error;

    let users = tiers(&ManualClock::new());
    let unknown = users.tier("gold").unwrap_err();
    assert_eq!((unknown.name(), unknown.known().count()), ("gold", 2));
    assert_eq!(unknown.to_string(), "no tier \"gold\"; there are: free, pro");
    let error = users.set_quota("gold", Quota::per_second(1)).unwrap_err();
    assert_eq!(error, TiersError::Unknown(unknown.clone()));
    assert_eq!(error.to_string(), unknown.to_string());
    assert!(error.source().is_some());
    let error = users.set_quota("free", Quota::per_second(1 << 40)).unwrap_err();
    assert!(matches!(&error, TiersError::Quota { tier, .. } if tier == "free"), "{error}");
    assert!(error.to_string().starts_with("tier \"free\": burst must be lower"), "{error}");
    assert_eq!(users.tier("free").unwrap().quota(), Quota::per_second(2));

    let named = |names: &[&str], capacity| {
        let start: TiersBuilder<u32> = Tiers::builder();
        let quota = Quota::per_second(1);
        names.iter().fold(start, |tiers, name| tiers.tier(*name, quota, capacity)).build()
    };
    let error = |names: &[&str], capacity| named(names, capacity).unwrap_err().to_string();
    assert_eq!(error(&[], 1), "there must be at least one tier");
    assert_eq!(error(&["a", ""], 1), "a tier's name must not be empty");
    assert_eq!(error(&["a", "b", "a"], 1), "two tiers are named \"a\"");
    assert_eq!(error(&["a"], 0), "tier \"a\": capacity must be from 1 to 2^40 keys");
    let two = named(&["a", "b"], 7).unwrap();
    assert_eq!(two.tier("b").unwrap().capacity(), 7);
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&two);
}
