//! Tests of limiters whose time stamp counter restarts while they are in use, as some machines'
//! counters do in a suspend.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use crate::clock::{ManualClock, Mock, QuantaClock};
use crate::limiter::RateLimiter;
use crate::quota::Quota;
use core::time::Duration;
use proptest::prelude::*;
use std::sync::Arc;
use std::vec::Vec;

const DAY: u64 = 86_400_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A machine's counter and its system clock. A test moves both.
struct Machine {
    clock: QuantaClock,
    counter: Arc<Mock>,
    system: ManualClock,
}

impl Machine {
    /// A machine whose clocks have both run for `nanos`.
    fn up_for(nanos: u64) -> Self {
        let system = ManualClock::new();
        let (clock, counter) = QuantaClock::patched(system.clone());
        let machine = Self { clock, counter, system };
        machine.run(nanos);
        machine
    }

    fn run(&self, nanos: u64) {
        self.counter.increment(nanos);
        self.system.advance(Duration::from_nanos(nanos));
    }

    /// Restarts the counter at `reading`.
    fn restart(&self, reading: u64) {
        self.counter.decrement(self.counter.value());
        self.counter.increment(reading);
    }

    fn limiter(&self, quota: Quota) -> RateLimiter {
        RateLimiter::builder(quota).clock(self.clock.clone()).build().unwrap()
    }
}

fn granted(limiter: &RateLimiter) -> u64 {
    limiter.check_up_to(u64::MAX).map_or(0, |grant| grant.granted())
}

/// Guards against a limiter that denied for the whole uptime of the machine, on whichever side of
/// its epoch the counter was.
#[test]
fn limiter_goes_on_where_the_counter_stood() {
    for (up, restarted) in [(DAY, 0), (DAY, DAY / 2), (SECOND, 2 * SECOND), (0, 0)] {
        let machine = Machine::up_for(up);
        let limiter = machine.limiter(Quota::per_second(10).burst(10));
        // Run as long again, in use.
        for _ in 0..100 {
            machine.run(DAY / 100);
            assert_eq!(granted(&limiter), 10);
        }
        machine.restart(restarted);
        let denied = limiter.check().unwrap_err();
        assert_eq!(denied.retry_after(), Some(Duration::from_millis(100)), "{up}, {restarted}");
        for _ in 0..50 {
            machine.run(SECOND / 10);
            assert_eq!(granted(&limiter), 1, "{up}, {restarted}");
        }
        // Restart a second time.
        machine.restart(0);
        assert_eq!(granted(&limiter), 0);
        machine.run(SECOND);
        assert_eq!(granted(&limiter), 10);
    }
}

/// Guards that a core's counter that is a little behind another's is not taken for a restart.
#[test]
fn counter_that_lags_a_little_stays_in_use() {
    for used in [0, DAY] {
        let machine = Machine::up_for(DAY);
        let limiter = machine.limiter(Quota::per_second(10).burst(10));
        machine.run(used);
        assert_eq!(granted(&limiter), 10);
        machine.counter.decrement(SECOND / 100);
        assert_eq!(granted(&limiter), 0);
        // Only the counter goes on.
        machine.counter.increment(SECOND + SECOND / 100);
        assert_eq!(granted(&limiter), 10);
    }
}

#[test]
fn places_and_quotas_outlive_a_restart() {
    let machine = Machine::up_for(DAY);
    let limiter = machine.limiter(Quota::per_second(10).burst(10));
    machine.run(DAY);
    limiter.set_quota(Quota::per_second(20).burst(10)).unwrap();
    assert_eq!(granted(&limiter), 10);
    let place = limiter.reserve(10).unwrap();
    machine.restart(7);
    assert_eq!(place.ready_in(), Duration::from_millis(500));
    limiter.set_quota(Quota::per_second(10).burst(10)).unwrap();
    machine.run(SECOND / 2);
    let left = place.ready_in();
    assert!(left <= Duration::from_millis(500), "{left:?}");
    machine.run(SECOND / 2);
    assert_eq!(place.ready_in(), Duration::ZERO);
}

#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Restart(u64),
    Ask,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..2 * SECOND).prop_map(Step::Run),
        1 => (0..DAY).prop_map(Step::Run),
        1 => prop_oneof![0..2 * SECOND, 0..3 * DAY].prop_map(Step::Restart),
        4 => Just(Step::Ask),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// A restart grants no more than has flowed by the system's clock, and withholds nothing that
    /// flows a second later, however the counter was calibrated.
    #[test]
    fn restarts_grant_nothing_extra_and_keep_nothing_back(
        up in prop_oneof![0..SECOND, 0..DAY],
        drift in 0..100_u64,
        steps in steps(),
    ) {
        let machine = Machine::up_for(up);
        let limiter = machine.limiter(Quota::per_second(10).burst(10));
        let (mut admitted, mut ran, mut latest) = (0, 0_u64, machine.counter.value());
        for step in steps {
            match step {
                Step::Run(nanos) => {
                    machine.run(nanos);
                    // The counter is too fast by `drift` millionths.
                    machine.counter.increment(nanos / 1_000_000 * drift);
                    ran += nanos + nanos / 1_000_000 * drift;
                }
                // A step forward is no restart.
                Step::Restart(reading) if reading < machine.counter.value() => {
                    machine.restart(reading);
                    admitted += granted(&limiter);
                    machine.run(SECOND);
                    ran += SECOND;
                    let then = granted(&limiter);
                    prop_assert!(then > 0, "nothing a second after {reading} of {latest}");
                    admitted += then;
                }
                Step::Restart(_) => {}
                Step::Ask => admitted += granted(&limiter),
            }
            latest = machine.counter.value();
            prop_assert!(admitted <= 10 + ran / (SECOND / 10) + 1, "{admitted} in {ran} ns");
        }
    }
}
