//! Law 6: any count, any `Duration`, any cost and any verb; nothing overflows, truncates or panics.
//! And debt and bursts at the ends of what a word can hold.

use crate::support::models;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sluicegate::{Algorithm, Combined, KeyedLimiter, ManualClock, Quota, RateLimiter};
#[cfg(feature = "std")]
use std::thread;
use std::time::Duration;

/// A token of 10 a second.
const STEP: Duration = Duration::from_millis(100);

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];

/// Any number, its ends and the ends of its powers of two more often than others.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(0),
        Just(u64::MAX),
        (0..64_u32, 0..3_u64)
            .prop_map(|(bits, off)| (1_u64 << bits).wrapping_add(off).wrapping_sub(1)),
    ]
}

/// Any permitted quota, the ends more often than others.
fn quotas() -> impl Strategy<Value = Quota> {
    let quota = |(count, period, burst): (u64, u64, u64)| {
        let period = (period % 316_224_000_000_000_001).max(1);
        let most = (u128::from(period) << 40) / 1_000_000_000;
        let count = u128::from(count).clamp(1, most.clamp(1, u128::from(u64::MAX))) as u64;
        models::quota(count, period, burst.clamp(1, 1 << 48))
    };
    (numbers(), numbers(), numbers()).prop_map(quota)
}

fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![
        numbers().prop_map(Duration::from_nanos),
        numbers().prop_map(Duration::from_secs),
        Just(Duration::MAX),
    ]
}

/// Every verb once, every figure of every answer, and what each must be whatever the history.
fn every_verb(limiter: &RateLimiter, n: u64) -> TestCaseResult {
    for answer in [limiter.check(), limiter.peek(n), limiter.check_n(n), limiter.check_up_to(n)] {
        let _ = format!("{answer:?} {limiter:?}");
        match answer {
            Ok(grant) => {
                prop_assert!(grant.granted() <= n.max(1));
                prop_assert!(grant.remaining() <= grant.limit());
            }
            Err(denied) => {
                prop_assert!(!denied.to_string().is_empty());
                prop_assert!(denied.remaining() <= denied.limit());
                prop_assert_eq!(denied.retry_after().is_none(), denied.asked() > denied.limit());
            }
        }
    }
    prop_assert!(limiter.check_n(0).is_ok() && limiter.peek(0).is_ok());
    prop_assert!(limiter.check_up_to(0).is_ok_and(|grant| grant.granted() == 0));
    let limit = limiter.peek(0).map_or(0, |grant| grant.limit()) as i64;
    let before = limiter.available();
    let _ = limiter.charge(n);
    prop_assert!(limiter.available() <= before, "a charge gave");
    limiter.refund(n);
    prop_assert!(limiter.available() <= limit && limiter.level() <= i64::MAX as u64);
    let _ = limiter.charge(u64::MAX);
    limiter.refund(u64::MAX);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3072, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn law_6_nothing_panics_at_any_quota_time_and_cost(
        quota in quotas(),
        algorithm in 0..4_usize,
        batch in prop::option::weighted(0.3, numbers()),
        initial in prop::option::weighted(0.2, numbers()),
        start in times(),
        steps in prop::collection::vec((times(), numbers()), 1..12),
    ) {
        let clock = ManualClock::new();
        clock.set(start);
        let algorithm = ALGORITHMS[algorithm];
        let window = matches!(algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindow);
        // A window's quota must not set a burst, and small counts fit every packing.
        let is_small = window && quota.count() <= 1 << 48;
        let quota = if is_small { quota.burst(quota.count()) } else { quota };
        let mut builder = RateLimiter::builder(quota).clock(clock.clone()).algorithm(algorithm);
        if let Some(size) = batch {
            builder = builder.batch(size % 300);
        }
        if let Some(tokens) = initial {
            builder = builder.initial(tokens % (quota.burst_size() + 2));
        }
        let limiter = match builder.build() {
            Ok(limiter) => limiter,
            Err(error) => {
                prop_assert!(window || batch.is_some() || initial.is_some(), "{error}");
                prop_assert!(!error.to_string().is_empty());
                return Ok(());
            }
        };
        for (time, n) in steps {
            clock.set(time);
            every_verb(&limiter, n)?;
            clock.advance(time);
            every_verb(&limiter, n)?;
            limiter.reset();
            every_verb(&limiter, n)?;
        }
    }

    #[test]
    fn initial_tokens_are_what_is_there_at_the_start(
        quota in quotas(), tokens: u64, leaky: bool, start in 0..1_u64 << 60,
    ) {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let tokens = tokens % (quota.burst_size() + 1);
        let builder = RateLimiter::builder(quota).clock(clock.clone()).initial(tokens);
        let limiter = if leaky { builder.leaky_bucket() } else { builder }.build().unwrap();
        prop_assert_eq!(limiter.available(), tokens as i64);
        prop_assert_eq!(limiter.check_up_to(u64::MAX).map_or(0, |g| g.granted()), tokens);
    }

    /// What may be missing must never be less than a burst, or a charge on an emptied bucket, and
    /// on a full one, takes less than it says.
    #[test]
    fn charge_of_a_burst_empties_a_full_bucket(quota in quotas(), leaky: bool) {
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(quota).clock(clock.clone());
        let limiter = if leaky { builder.leaky_bucket() } else { builder }.build().unwrap();
        prop_assert_eq!(limiter.charge(quota.burst_size()), Duration::ZERO);
        prop_assert_eq!(limiter.available(), 0);
        prop_assert!(limiter.check().is_err());
    }
}

/// A burst of more than what debt was held to: the charge was cut off within the burst.
#[test]
fn initial_0_with_a_burst_of_a_century_starts_empty() {
    let clock = ManualClock::new();
    let quota = Quota::per_day(1).burst(40_000);
    let builder = RateLimiter::builder(quota).clock(clock.clone()).initial(0);
    assert_eq!(builder.build().unwrap().available(), 0);
}

/// The same after a take: the charge was dropped.
#[test]
fn charge_after_a_burst_of_a_century_is_not_dropped() {
    let clock = ManualClock::new();
    let quota = Quota::per_day(1).burst(40_000);
    let limiter = RateLimiter::builder(quota).clock(clock.clone()).build().unwrap();
    assert!(limiter.check_n(40_000).is_ok());
    assert_eq!(limiter.charge(5), Duration::from_secs(5 * 86_400));
    assert_eq!(limiter.available(), -5);
}

/// At the end of a 56-bit line, a full burst on top of it must still fit the field.
#[test]
fn burst_of_a_century_in_batches_fits_the_word_at_the_end_of_time() {
    let quota = Quota::per_day(1).burst(40_000);
    for years in [100, 200, 250, 300, 584] {
        let clock = ManualClock::new();
        let limiter = RateLimiter::builder(quota).clock(clock.clone()).batch(2).build().unwrap();
        clock.set(Duration::from_secs(years * 31_557_600));
        assert_eq!(limiter.check_up_to(u64::MAX).map_or(0, |grant| grant.granted()), 39_999);
        assert!(limiter.check().is_err(), "after {years} years");
    }
}

/// Where a unit is several tokens, tokens ahead and a bucket rounded up to whole units came to
/// more than the burst, at one instant.
#[test]
fn batches_at_several_tokens_a_unit_never_exceed_the_burst() {
    for (rate, batch) in [(200_000_000, 2), (1_838_000_000, 150), (1_000_000_000, 64)] {
        for burst in (49_739_800..49_740_000).step_by(7) {
            let clock = ManualClock::new();
            let quota = Quota::per_second(rate).burst(burst);
            let builder = RateLimiter::builder(quota).clock(clock.clone()).batch(batch);
            let limiter = builder.build().unwrap();
            assert!(limiter.check().is_ok());
            clock.advance(Duration::from_secs(10));
            let mut admitted = 0;
            while let Ok(grant) = limiter.check_up_to(u64::MAX) {
                admitted += grant.granted();
            }
            assert!(admitted <= burst, "{admitted} at once, {quota:?} in batches of {batch}");
        }
    }
}

/// The slope is rounded up, so that a unit may read as flowed a part of a nanosecond before it has;
/// a wait that was measured from where the unit truly begins was then a nanosecond short.
#[test]
fn retry_after_is_not_a_nanosecond_short_where_the_slope_was_rounded_up() {
    let month = Quota::new(10, Duration::from_secs(30 * 86_400)).unwrap();
    let cases = [
        (Quota::per_minute(7), Algorithm::TokenBucket, 587_839_907_003_040_041, 1_946_854_268, 1),
        (Quota::per_second(7_000_003), Algorithm::TokenBucket, 335_244_116_684_331_016, 30, 1),
        (month, Algorithm::SlidingWindow, 0, 3_055_819_125_069_140, 10),
    ];
    for (quota, algorithm, taken, later, n) in cases {
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(quota).clock(clock.clone()).algorithm(algorithm);
        let limiter = builder.build().unwrap();
        clock.set(Duration::from_nanos(taken));
        assert!(limiter.check_n(quota.count()).is_ok());
        clock.advance(Duration::from_nanos(later));
        let wait = limiter.peek(n).unwrap_err().retry_after().unwrap();
        clock.advance(wait);
        assert!(limiter.peek(n).is_ok(), "{n} denied after {wait:?}, {quota:?}, {algorithm}");
    }
}
/// Where a limiter with instalments counts to: the debt of 56 bits at 10/s is some 2^54 units, and
/// a place ends before it.
#[test]
fn what_no_line_can_ever_hold_is_denied_for_good() {
    let quota = Quota::per_second(10).burst(5);
    let clock = ManualClock::new();
    let direct = RateLimiter::builder(quota).instalments().clock(clock.clone()).build().unwrap();
    let keyed = KeyedLimiter::<str>::builder(quota, 9).instalments().clock(clock).seed([1, 2]);
    let keyed = keyed.build().unwrap();
    for n in [1 << 40, 1 << 62, u64::MAX] {
        let both = Combined::new([direct.as_limit(), keyed.as_limit("a")]);
        let all = [
            direct.reserve(n).unwrap_err(),
            direct.reserve_within(n, Duration::MAX).unwrap_err(),
            keyed.reserve("a", n).unwrap_err(),
            both.reserve(n).unwrap_err(),
        ];
        #[cfg(feature = "std")]
        let all = all.into_iter().chain([
            direct.acquire_blocking(n).unwrap_err(),
            direct.acquire_blocking_timeout(n, Duration::MAX).unwrap_err(),
            keyed.acquire_blocking("a", n).unwrap_err(),
            both.acquire_blocking(n).unwrap_err(),
        ]);
        for denied in all {
            assert_eq!((denied.is_never(), denied.retry_after()), (true, None), "{n}");
        }
    }
    assert_eq!((direct.available(), keyed.available("a")), (5, 5));
}

/// Behind so many that the line has no room, a place is there when it has, and not a nanosecond
/// earlier.
#[test]
fn room_in_a_line_that_is_full_is_told_to_the_nanosecond() {
    let quota = Quota::per_second(10).burst(5);
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(quota).instalments().clock(clock.clone()).build().unwrap();
    let mut places = Vec::new();
    let mut size = 1 << 34;
    while size > 0 {
        match limiter.reserve(size) {
            Ok(place) => places.push(place),
            Err(_) => size /= 2,
        }
    }
    let denied = limiter.reserve(1_000).unwrap_err();
    let wait = denied.retry_after().unwrap();
    assert!(wait > STEP * 998 && wait < STEP * 1_001, "{wait:?}");
    clock.advance(wait - Duration::from_nanos(1));
    let denied = limiter.reserve(1_000).unwrap_err();
    assert_eq!(denied.retry_after(), Some(Duration::from_nanos(1)));
    clock.advance(Duration::from_nanos(1));
    places.push(limiter.reserve(1_000).unwrap());
}

/// Of more than the burst the rest takes its time behind nobody, too.
#[test]
fn a_cost_over_the_burst_that_no_wait_allows_is_never_granted() {
    let quota = Quota::per_second(10).burst(5);
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(quota).instalments().clock(clock.clone()).build().unwrap();
    let within = |n, steps| limiter.reserve_within(n, STEP * steps).map(drop);
    assert!(within(12, 6).unwrap_err().is_never() && within(12, 0).unwrap_err().is_never());
    assert!(within(12, 7).is_ok(), "what has to flow");
    assert!(limiter.check_n(4).is_ok());
    assert_eq!(within(12, 7).unwrap_err().retry_after(), Some(STEP * 4));
    assert!(within(12, 6).unwrap_err().is_never());
    clock.advance(STEP * 4 - Duration::from_nanos(1));
    assert_eq!(within(12, 7).unwrap_err().retry_after(), Some(Duration::from_nanos(1)));
    clock.advance(Duration::from_nanos(1));
    assert!(within(12, 7).is_ok());
    // It waits, all the same, for a caller that has the time.
    #[cfg(feature = "std")]
    thread::scope(|scope| {
        let waits = scope.spawn(|| limiter.acquire_blocking(7));
        while limiter.available() > -2 && !waits.is_finished() {
            thread::yield_now();
        }
        clock.advance(STEP * 2);
        assert_eq!(waits.join().unwrap().unwrap().granted(), 7);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Law 5 of places: after the time that a denial names there is one, a nanosecond earlier there
    /// is none, and without such a time there is none when all is back.
    #[test]
    fn law_5_a_place_is_there_when_a_denial_said(
        (per, count, burst) in (
            prop_oneof![Just(1_000_u64), Just(60_000), Just(86_400_000)], 1..2_000_u64, 1..50_u64,
        ),
        which in 0..5_usize,
        most in prop_oneof![Just(u64::MAX), 0..100_u64],
        before in prop::collection::vec((0..120_u64, 0..3_000_u64), 0..6),
        n in prop_oneof![1..120_u64, 1..1_u64 << 62],
        within in prop::option::of(prop_oneof![Just(0), 0..20_000_u64, any::<u64>()]),
    ) {
        let quota = Quota::new(count, Duration::from_millis(per)).unwrap();
        let quota = if which < 3 { quota.burst(burst) } else { quota };
        let clock = ManualClock::new();
        let builder = RateLimiter::builder(quota).max_waiting(most).clock(clock.clone());
        let limiter = match which {
            0 => builder,
            1 => builder.instalments(),
            2 => builder.leaky_bucket().queue(burst),
            3 => builder.fixed_window(),
            _ => builder.sliding_window(),
        }
        .build()
        .unwrap();
        let mut places = Vec::new();
        for (n, millis) in before {
            places.extend(limiter.reserve(n));
            clock.advance(Duration::from_millis(millis));
        }
        let reserve = || match within {
            Some(millis) => limiter.reserve_within(n, Duration::from_millis(millis)),
            None => limiter.reserve(n),
        };
        let Err(denied) = reserve() else { return Ok(()) };
        prop_assert_eq!(denied.is_never(), denied.retry_after().is_none());
        let Some(wait) = denied.retry_after() else {
            clock.advance(denied.reset_after() + Duration::from_secs(100));
            prop_assert!(reserve().is_err_and(|denied| denied.is_never()));
            return Ok(());
        };
        prop_assert!(!wait.is_zero());
        clock.advance(wait - Duration::from_nanos(1));
        let retry_after = reserve().err().map(|denied| denied.retry_after());
        prop_assert_eq!(retry_after, Some(Some(Duration::from_nanos(1))));
        clock.advance(Duration::from_nanos(1));
        prop_assert!(reserve().is_ok(), "{:?} after {:?}", denied, wait);
    }
}

#[test]
fn the_level_of_the_deepest_debt_is_a_number() {
    let quota = Quota::new(55, Duration::from_nanos(1)).unwrap();
    let limiter = KeyedLimiter::<u8>::builder(quota, 8)
        .clock(ManualClock::new())
        .seed([1, 2])
        .build()
        .unwrap();
    limiter.charge(&8, u64::MAX);
    assert!(limiter.level(&8) > 1 << 60);
}
