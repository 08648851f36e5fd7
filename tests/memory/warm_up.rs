//! Warming up after being idle: Guava's sequences, the figures, and places in line.

use sluicegate::{Denied, Grant, ManualClock, Quota, WarmUpLimiter};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

fn warming(quota: Quota, period: Duration) -> (ManualClock, WarmUpLimiter) {
    let clock = ManualClock::new();
    let builder = WarmUpLimiter::builder(quota, period).clock(clock.clone());
    (clock, builder.build().unwrap())
}

/// What is granted without a wait, or a denial: what a check of other limiters says.
fn at_once(limiter: &WarmUpLimiter, n: u64) -> Result<Grant, Denied> {
    limiter.reserve_within(n, Duration::ZERO).map(|place| place.grant())
}

/// Two a second, over four: eight permits, the threshold at four.
fn guava() -> (ManualClock, WarmUpLimiter) {
    warming(Quota::per_second(2), 4 * SECOND)
}

/// Guava's `acquire`: reserves, and waits until the place is due. The wait in microseconds, not a
/// nanosecond more.
fn acquire(clock: &ManualClock, limiter: &WarmUpLimiter, n: u64) -> u128 {
    let place = limiter.reserve(n).unwrap();
    let wait = place.ready_in();
    assert_eq!(place.waits(), wait);
    assert!(wait.is_zero() || at_once(limiter, 1).is_err());
    clock.advance(wait);
    assert!(place.ready_in().is_zero());
    assert_eq!(wait.subsec_nanos() % 1_000, 0);
    wait.as_micros()
}

fn acquires<const N: usize>(clock: &ManualClock, limiter: &WarmUpLimiter) -> [u128; N] {
    [(); N].map(|()| acquire(clock, limiter, 1))
}

const FROM_COLD: [u128; 8] = [0, 1_375_000, 1_125_000, 875_000, 625_000, 500_000, 500_000, 500_000];

// Guava's RateLimiterTest; its figures are rounded to hundredths of a second.

/// `R0.00, R1.38, R1.13, R0.88, R0.63, R0.50, R0.50, R0.50`, `U0.50`, `U4.00`, and again, `U0.50`,
/// `U2.00`, `R0.00, R0.50, R0.50, ...`.
#[test]
fn guava_warm_up() {
    let (clock, limiter) = guava();
    assert_eq!(acquires(&clock, &limiter), FROM_COLD);
    clock.advance(SECOND / 2);
    clock.advance(4 * SECOND);
    assert_eq!(acquires(&clock, &limiter), FROM_COLD);
    clock.advance(SECOND / 2);
    // Two more seconds to cold: all that is stored is under the threshold.
    clock.advance(2 * SECOND);
    let warm = [0, 500_000, 500_000, 500_000, 500_000, 500_000, 500_000, 500_000];
    assert_eq!(acquires(&clock, &limiter), warm);
}

/// `testWarmUpAndUpdate`, the sequence at 4 a second: `R0.00, R0.72, R0.66, R0.59, R0.53, R0.47,
/// R0.41, R0.34, R0.28, R0.25, R0.25`.
#[test]
fn guava_warm_up_at_twice_the_rate() {
    let (clock, limiter) = warming(Quota::per_second(4), 4 * SECOND);
    let from_cold = [
        0, 718_750, 656_250, 593_750, 531_250, 468_750, 406_250, 343_750, 281_250, 250_000, 250_000,
    ];
    assert_eq!(acquires(&clock, &limiter), from_cold);
    clock.advance(4 * SECOND + SECOND / 4);
    assert_eq!(acquires(&clock, &limiter), from_cold);
}

/// A second before it is cold: six of the eight are stored, two over the threshold.
#[test]
fn half_cooled_it_begins_in_the_middle_of_the_ramp() {
    let (clock, limiter) = guava();
    let _: [u128; 8] = acquires(&clock, &limiter);
    clock.advance(SECOND / 2);
    clock.advance(3 * SECOND);
    assert_eq!(acquires(&clock, &limiter), [0, 875_000, 625_000, 500_000, 500_000]);
}

/// Idle is what is later than the next request could have come, and no more than what is stored.
#[test]
fn a_limiter_is_cold_at_any_time_after_long_enough() {
    let (clock, limiter) = guava();
    for _ in 0..3 {
        clock.advance(365 * 86_400 * SECOND);
        assert_eq!(acquires(&clock, &limiter), FROM_COLD);
        limiter.reset();
        assert_eq!(acquires(&clock, &limiter), FROM_COLD);
    }
}

/// `testTimeToWarmUpIsHonouredEvenWithWeights`: the upper half takes the warm-up period, in
/// whatever portions.
#[test]
fn guava_weights_take_the_same_time() {
    for (count, seconds) in [(4, 1), (2, 1), (1, 1), (1, 2), (1, 10)] {
        let quota = Quota::new(count, seconds * SECOND).unwrap();
        let period = (20 * seconds * SECOND) / count as u32;
        for weights in [&[10][..], &[5, 5], &[1, 2, 3, 4], &[9, 1], &[1; 10]] {
            let (clock, limiter) = warming(quota, period);
            for n in weights {
                acquire_any(&clock, &limiter, *n);
            }
            acquire_any(&clock, &limiter, 1);
            // Each is rounded up by a unit at most.
            let late = clock.now().checked_sub(period).expect("the whole period");
            assert!(late <= period / 10_000, "{weights:?} at {quota}: {late:?}");
        }
    }
}

#[test]
fn figures_say_what_is_owed() {
    let (clock, limiter) = guava();
    assert_eq!((limiter.available(), limiter.quota()), (8, Quota::per_second(2)));
    assert_eq!(limiter.period(), 4 * SECOND);
    let grant = at_once(&limiter, 0).unwrap();
    assert_eq!((grant.limit(), grant.remaining(), grant.reset_after()), (8, 8, Duration::ZERO));
    let grant = at_once(&limiter, 1).unwrap();
    assert_eq!((grant.granted(), grant.limit(), grant.remaining()), (1, 8, 0));
    assert_eq!(grant.reset_after(), SECOND * 11 / 8);
    // 2.75 tokens, rounded up.
    assert_eq!(limiter.available(), -3);
    let denied = at_once(&limiter, 8).unwrap_err();
    assert_eq!((denied.limit(), denied.remaining()), (8, 0));
    assert_eq!(
        (denied.retry_after(), denied.reset_after()),
        (Some(SECOND * 11 / 8), SECOND * 11 / 8)
    );
    assert!(at_once(&limiter, 9).unwrap_err().is_never());
    assert!(limiter.reserve(9).unwrap_err().is_never());
    // The answer of a place is that of the moment at which it is due.
    let place = limiter.reserve(1).unwrap();
    assert_eq!((place.waits(), place.grant().reset_after()), (SECOND * 11 / 8, SECOND * 9 / 8));
    assert_eq!((place.grant().granted(), place.grant().remaining()), (1, 0));
    assert_eq!(place.cancel(), 1);
    clock.advance(SECOND * 11 / 8 - NANOSECOND);
    assert!(at_once(&limiter, 8).is_err());
    clock.advance(NANOSECOND);
    assert_eq!(at_once(&limiter, 8).unwrap().granted(), 8);
    assert!(format!("{limiter:?}").starts_with("WarmUpLimiter { quota: "), "{limiter:?}");
}

#[test]
fn charges_and_refunds_move_what_is_owed() {
    let (clock, limiter) = guava();
    // From cold four tokens cost eight, and the next are warm.
    assert_eq!(limiter.charge(4), 4 * SECOND);
    assert_eq!(limiter.charge(1), 4 * SECOND + SECOND / 2);
    limiter.refund(3);
    assert_eq!(at_once(&limiter, 1).unwrap_err().retry_after(), Some(3 * SECOND));
    limiter.refund(100);
    // Still warm.
    assert_eq!(acquires(&clock, &limiter), [0, 500_000, 500_000]);
    assert_eq!(limiter.charge(0), SECOND / 2);
}

/// A reservation keeps its moment; what was given up in front of it comes back when nobody stands
/// behind.
#[test]
fn places_that_are_given_up_come_back_with_their_cost_and_their_permits() {
    let (clock, limiter) = guava();
    let _first = limiter.reserve(1).unwrap();
    let second = limiter.reserve(2).unwrap();
    let third = limiter.reserve(1).unwrap();
    let owed = limiter.available();
    let due = third.ready_in();
    assert_eq!(second.cancel(), 2);
    assert_eq!((limiter.available(), third.ready_in()), (owed, due));
    assert_eq!(third.cancel(), 1);
    // As if neither had come.
    assert_eq!(limiter.available(), -3);
    let again = [limiter.reserve(1).unwrap(), limiter.reserve(1).unwrap()];
    assert_eq!(again.each_ref().map(|place| place.ready_in()), [SECOND * 11 / 8, SECOND * 20 / 8]);
    drop(again);
    let last = limiter.reserve(8).unwrap();
    let again = (last.ready_in(), limiter.available());
    assert_eq!(last.settle(8), Duration::ZERO);
    assert_eq!(limiter.available(), again.1);
    // Nobody gives back what is due.
    let place = limiter.reserve(1).unwrap();
    clock.advance(place.ready_in());
    assert_eq!(place.cancel(), 0);
}

/// Of an estimate that was too high the last in line keeps what he used, at the price of that
/// alone.
#[test]
fn settling_before_the_place_is_due_reserves_anew() {
    let (_, limiter) = guava();
    let _first = limiter.reserve(1).unwrap();
    let estimate = limiter.reserve(3).unwrap();
    assert_eq!(estimate.settle(1), Duration::ZERO);
    assert_eq!(limiter.reserve(1).unwrap().ready_in(), SECOND * 20 / 8);
}

#[test]
fn a_line_is_as_long_as_max_waiting() {
    let clock = ManualClock::new();
    let builder = WarmUpLimiter::builder(Quota::per_second(2), 4 * SECOND).clock(clock.clone());
    let limiter = builder.max_waiting(3).build().unwrap();
    assert!(limiter.reserve(1).unwrap().ready_in().is_zero());
    std::mem::forget(limiter.reserve(1).unwrap());
    let denied = limiter.reserve(1).unwrap_err();
    assert_eq!(denied.retry_after(), Some(SECOND));
    assert_eq!(limiter.reserve_within(1, SECOND).unwrap_err().retry_after(), Some(SECOND * 3 / 2));
    clock.advance(SECOND - NANOSECOND);
    assert!(limiter.reserve(1).is_err());
    clock.advance(NANOSECOND);
    assert_eq!(limiter.reserve(1).unwrap().ready_in(), SECOND * 3 / 2);
}

/// Warm, and asked without a pause, it admits its rate to the nanosecond, however long.
#[test]
fn long_run_rate_is_exact_once_it_is_warm() {
    let day = 86_400 * SECOND;
    for (quota, period, n) in [
        (Quota::new(7, 3 * SECOND).unwrap(), 10 * SECOND, 1),
        (Quota::new(12_347, SECOND).unwrap(), 2 * SECOND, 11),
        (Quota::per_day(1), day / 24, 1),
        (Quota::per_day(1), 10 * day, 3),
    ] {
        let (clock, limiter) = warming(quota, period);
        clock.set(Duration::from_nanos(1_234_567_891));
        let stored = at_once(&limiter, 0).unwrap().limit();
        for _ in 0..stored.div_ceil(n) + 1 {
            acquire_any(&clock, &limiter, n);
        }
        let warm = clock.now();
        // Ten years at most.
        let turns = 1_000.min(
            10 * 365 * quota.count() * (day.as_nanos() / quota.period().as_nanos()) as u64 / n,
        );
        for _ in 0..turns {
            acquire_any(&clock, &limiter, n);
        }
        let flowed = u128::from(turns * n) * quota.period().as_nanos();
        let took = (clock.now() - warm).as_nanos();
        // Both ends are rounded to nanoseconds.
        assert!(took.abs_diff(flowed / u128::from(quota.count())) <= 1, "{quota}: {took}");
    }
}

fn acquire_any(clock: &ManualClock, limiter: &WarmUpLimiter, n: u64) {
    let place = limiter.reserve(n).unwrap();
    clock.advance(place.ready_in());
    assert!(place.ready_in().is_zero());
}

/// A slow quota with a warm-up of less than a token: the limit is one, which costs up to half a
/// token more.
#[test]
fn less_than_a_token_is_stored() {
    let hour = 3_600 * SECOND;
    let (clock, limiter) = warming(Quota::per_day(1), hour);
    let grant = at_once(&limiter, 1).unwrap();
    assert_eq!((grant.limit(), at_once(&limiter, 2).unwrap_err().is_never()), (1, true));
    let wait = grant.reset_after();
    // 1/24 of a token is stored; half of that is the extra.
    let exact = 24 * hour + hour / 2;
    assert!(wait >= exact - SECOND / 100 && wait <= exact + SECOND / 100, "{wait:?}");
    clock.advance(wait);
    assert_eq!(at_once(&limiter, 1).unwrap().reset_after(), 24 * hour);
    let (clock, limiter) = warming(Quota::per_second(5), Duration::ZERO);
    assert_eq!(acquires(&clock, &limiter), [0, 200_000, 200_000]);
    clock.advance(100 * SECOND);
    assert_eq!(acquires(&clock, &limiter), [0, 200_000, 200_000]);
}

/// The debt and the warmth stay, in tokens; from then on the ramp is that of the new rate. A reset
/// is cold, and owes nothing.
#[test]
fn another_rate_keeps_debt_and_warmth() {
    let clock = ManualClock::new();
    let builder = WarmUpLimiter::builder(Quota::per_second(2), 4 * SECOND).clock(clock.clone());
    let limiter = builder.build().unwrap();
    let acquire = || {
        let place = limiter.reserve(1).unwrap();
        let wait = place.ready_in();
        clock.advance(wait);
        drop(place);
        wait.as_millis()
    };
    // Two tokens warm.
    assert_eq!([acquire(), acquire()], [0, 1_375]);
    limiter.set_quota(Quota::per_second(4)).unwrap();
    assert_eq!(limiter.quota(), Quota::per_second(4));
    // 2.25 tokens are owed; of 16 that are stored now, 6 more than half, then 5, 4 ...
    let ramp = |above: f64| ((1.0 + 2.0 * (2.0 * above - 1.0) / 16.0) * 250.0) as u128;
    assert_eq!([acquire(), acquire(), acquire()], [562, ramp(6.0), ramp(5.0)]);
    limiter.reset();
    assert_eq!([acquire(), acquire(), acquire()], [0, ramp(8.0), ramp(7.0)]);
    // What a later rate stores must fit the word of the first.
    for (quota, field) in
        [(Quota::per_second(40_000), "count"), (Quota::per_second(2).burst(1), "burst")]
    {
        assert_eq!(limiter.set_quota(quota).unwrap_err().field(), field);
    }
    assert_eq!(limiter.quota(), Quota::per_second(4));
}

/// What stores nothing may change its rate, and a change takes nothing from those who may still
/// give up.
#[test]
fn changed_rates_keep_small_warm_ups_and_places() {
    let (clock, limiter) = warming(Quota::per_second(10), Duration::ZERO);
    assert!(at_once(&limiter, 1).is_ok());
    limiter.set_quota(Quota::per_second(20)).unwrap();
    assert_eq!(limiter.quota(), Quota::per_second(20));
    clock.advance(SECOND);
    assert!(at_once(&limiter, 1).is_ok());
    let wait = at_once(&limiter, 1).unwrap_err().retry_after().unwrap();
    assert!(wait.abs_diff(SECOND / 20) < SECOND / 10_000, "{wait:?}");

    let (_, limiter) = warming(Quota::per_second(100), 60 * SECOND);
    assert!(at_once(&limiter, 1).is_ok());
    let place = limiter.reserve(1).unwrap();
    limiter.set_quota(Quota::per_second(200)).unwrap();
    assert_eq!(place.cancel(), 1);
}

/// No more than that is owed for charges; what reservations owe is their own.
#[test]
fn debt_of_charges_is_bounded() {
    let clock = ManualClock::new();
    let builder = WarmUpLimiter::builder(Quota::per_second(2), 4 * SECOND).clock(clock.clone());
    let limiter = builder.max_debt(3).build().unwrap();
    for _ in 0..1_000 {
        assert!(limiter.charge(1) <= SECOND * 3 / 2);
    }
    assert_eq!(limiter.available(), -3);
    let places = [limiter.reserve(1).unwrap(), limiter.reserve(1).unwrap()];
    let owed = limiter.available();
    assert!(owed < -3);
    limiter.charge(5);
    assert_eq!(limiter.available(), owed);
    drop(places);
}
