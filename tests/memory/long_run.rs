//! Law 2: under saturation nothing is lost. What a limiter admits over a long run is the burst and
//! the whole flow, to within one token, at any rate and any polling interval.

use sluicegate::{ManualClock, Quota, RateLimiter};
use std::time::Duration;

const DAY_NS: u64 = 86_400_000_000_000;

/// Takes all there is every `step_ns` until `polls` steps have passed, and compares with the law.
fn saturate(quota: Quota, batch: Option<u64>, leaky: bool, step_ns: u64, polls: u64) {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(quota).clock(clock.clone());
    let builder = if leaky { builder.leaky_bucket() } else { builder };
    let limiter = match batch {
        None => builder.build(),
        Some(size) => builder.batch(size).build(),
    };
    let limiter = limiter.unwrap();
    let burst = limiter.peek(0).unwrap().limit();
    assert_eq!(burst, quota.burst_size() - batch.map_or(0, |size| size - 1));
    let per_step = u128::from(step_ns) * u128::from(quota.count()) / quota.period().as_nanos();
    // The step's tokens, a fraction of one before it, and a fraction of one in it.
    assert!(per_step + 2 <= u128::from(burst), "the bucket would overflow between two polls");
    let mut admitted = 0_u128;
    for poll in 0..=polls {
        clock.set(Duration::from_nanos(poll * step_ns));
        // All at once, and then one by one, as a caller in a loop does.
        while let Ok(grant) = limiter.check_up_to(1 << 40) {
            admitted += u128::from(grant.granted());
        }
        assert!(limiter.check().is_err());
    }
    let time = u128::from(polls) * u128::from(step_ns);
    let law = u128::from(burst) + time * u128::from(quota.count()) / quota.period().as_nanos();
    let case = format!("{quota:?}, batch {batch:?}, every {step_ns} ns, {polls} times");
    assert!(admitted.abs_diff(law) <= 1, "admitted {admitted}, not {law}: {case}");
}

/// Every `step_ns` over `time_ns`, direct, leaky and batched.
fn saturate_all(quota: Quota, step_ns: u64, time_ns: u64) {
    let polls = time_ns / step_ns;
    saturate(quota, None, false, step_ns, polls);
    saturate(quota, None, true, step_ns, polls / 4);
    saturate(quota, Some(2.min(quota.burst_size())), false, step_ns, polls / 4);
    if quota.burst_size() >= 64 {
        saturate(quota, Some(32), false, step_ns, polls / 4);
    }
}

#[test]
fn law_2_one_a_second_loses_nothing() {
    let quota = Quota::per_second(1).burst(5);
    saturate_all(quota, 2_000, 4_000_000_000);
    saturate_all(quota, 333_000, 300 * 1_000_000_000);
    saturate_all(quota, 999_983, 900 * 1_000_000_000);
    saturate_all(quota, 7_777_777, 3_600 * 1_000_000_000);
    saturate_all(quota, 1_000_000_000, DAY_NS);
    saturate_all(quota, 1_000_000_007, 5 * DAY_NS);
}

#[test]
fn law_2_seven_a_minute_loses_nothing() {
    let quota = Quota::per_minute(7).burst(5);
    saturate_all(quota, 333_000, 600 * 1_000_000_000);
    saturate_all(quota, 10_000_019, 2 * 3_600 * 1_000_000_000);
    saturate_all(quota, 1_000_000_000, 10 * DAY_NS);
    saturate_all(quota, 8_571_428_571, 30 * DAY_NS);
}

#[test]
fn law_2_one_a_day_loses_nothing() {
    let quota = Quota::per_day(1).burst(3);
    saturate_all(quota, 9_999_999_967, 60 * DAY_NS);
    saturate_all(quota, 3_600_000_000_000, 3_650 * DAY_NS);
}

#[test]
fn law_2_seven_million_and_three_a_second_loses_nothing() {
    let quota = Quota::per_second(7_000_003).burst(100);
    saturate_all(quota, 13, 2_000_000);
    saturate_all(quota, 2_003, 500_000_000);
    let quota = Quota::per_second(7_000_003).burst(8_000_000);
    saturate_all(quota, 333_333_337, 2 * DAY_NS);
    saturate_all(quota, 1_000_000_000, 3 * DAY_NS);
}

#[test]
fn law_2_a_billion_a_second_loses_nothing() {
    saturate(Quota::per_second(1_000_000_000).burst(1_000), None, false, 1, 200_000);
    let quota = Quota::per_second(1_000_000_000).burst(2_000_000_000);
    saturate(quota, None, false, 333_667, 300_000);
    saturate(quota, None, true, 999_999_937, 3 * 86_400);
}

#[test]
fn law_2_600_million_a_second_loses_nothing() {
    saturate(Quota::per_second(600_000_000).burst(1_000), None, false, 7, 200_000);
    let quota = Quota::per_second(600_000_000).burst(1_000_000_000);
    saturate(quota, None, false, 1_000_000_007, 3 * 86_400);
}

#[test]
fn law_2_a_trillion_a_second_loses_nothing() {
    let quota = Quota::per_second(1_000_000_000_000).burst(2_000_000_000_000);
    saturate(quota, None, false, 1, 100_000);
    saturate(quota, None, false, 333_667, 200_000);
    saturate(quota, None, true, 999_999_937, 2 * 86_400);
}

/// Batched at rates where a unit is several tokens: a draw is rounded up to whole units, and the
/// rest of the draw stays in the word.
#[test]
fn law_2_a_billion_a_second_in_batches_loses_nothing() {
    let quota = Quota::per_second(1_000_000_000).burst(2_000_000_000);
    let clock = ManualClock::new();
    let limiter = RateLimiter::builder(quota).clock(clock.clone()).batch(64).build().unwrap();
    let burst = limiter.peek(0).unwrap().limit();
    let mut admitted = 0;
    for second in 0..=100_000 {
        clock.set(Duration::from_secs(second));
        while let Ok(grant) = limiter.check_up_to(1 << 40) {
            admitted += grant.granted();
        }
    }
    // At this rate a unit is 64 tokens at most; what it holds has not flowed yet or is in the word.
    let law = burst + 100_000 * quota.count();
    assert!(admitted.abs_diff(law) <= 64, "admitted {admitted}, not {law}");
}
