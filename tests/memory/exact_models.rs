//! The laws of the limiter, over random quotas, costs, times and verbs, against exact models.
//!
//! A decision may differ from the model's only where the exact balance is within one unit of token
//! time of the request. A case ends there, since from then on both have admitted different things.

use crate::support::models::*;
use num_traits::Signed;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use sluicegate::{Denied, Grant, ManualClock, Quota, RateLimiter};
use std::cell::Cell;
use std::time::Duration;

const YEAR: u64 = 31_557_600 * 1_000_000_000;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() }
}

/// Rates from 1 in 30 days to 10^12 a second and bursts from 1 to 2^40, both log-uniform; every
/// other quota has a round period.
fn quotas() -> impl Strategy<Value = Quota> {
    let slowest = (1.0 / (30.0 * 86_400.0_f64)).ln();
    (slowest..1e12_f64.ln(), 0.0..1.0, 0..12_usize, 0.0..40.0).prop_map(
        |(rate, long, round, burst): (f64, f64, usize, f64)| {
            let per_ns = rate.exp() / 1e9;
            let (shortest, longest) = ((1.0 / per_ns).max(1.0).ln(), (30.0 * 86_400e9_f64).ln());
            let period: f64 = (shortest + long * (longest - shortest)).exp();
            let periods = [1e3, 1e6, 1e9, 60e9, 3_600e9, 86_400e9];
            let period = *periods.get(round).filter(|p| **p * per_ns >= 1.0).unwrap_or(&period);
            let (period, burst) = (period.round() as u64, 2_f64.powf(burst).round() as u64);
            quota(((per_ns * period as f64).round() as u64).max(1), period, burst)
        },
    )
}

/// Random numbers to be read as a verb, a cost and a step of time once the quota is known.
#[derive(Clone, Debug)]
struct Step {
    verb: u8,
    cost: (u8, u64),
    time: (u8, f64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..16_u8, (0..9_u8, any::<u64>()), (0..9_u8, 0.0..1.0))
        .prop_map(|(verb, cost, time)| Step { verb, cost, time });
    prop::collection::vec(step, 1..40)
}

impl Step {
    fn cost(&self, burst: u64) -> u64 {
        let (kind, x) = self.cost;
        match kind {
            0 => 0,
            1 | 2 => 1,
            3 => 1 + x % 10,
            4 => (burst - burst.min(3) + x % 7).max(1),
            5 => x % burst + 1,
            6 => (x % burst + 1) >> ((x >> 58) % 40),
            7 => burst.saturating_add(x >> (x % 64)),
            _ => u64::MAX,
        }
    }

    /// The next time, up to `end`; `wait` is what the last denial said.
    fn time(&self, now: u64, rate: f64, burst: u64, wait: u64, end: u64) -> u64 {
        let (kind, x) = self.time;
        let tokens = |n: f64| (n / rate).min(9e18) as u64;
        let forward = match kind {
            0 => return now - (now as f64 * x) as u64,
            1 => return now.saturating_sub(tokens(x * 3.0)),
            2 => 0,
            3 => tokens(3.0 * x),
            4 => tokens(x * burst as f64 * 1.2),
            5 => (x * 25.0).exp() as u64,
            6 => wait,
            7 => wait.saturating_sub(1),
            _ => tokens((x * (burst as f64).ln()).exp()),
        };
        now.saturating_add(forward).min(end)
    }
}

/// How far the tests let time go: a line lasts 30 years, or until half of 2^63 tokens have flowed.
fn end_of(quota: &Quota) -> u64 {
    let half = floor(&(exact(1_u64 << 61) / rate(quota)));
    u64::try_from(half).unwrap_or(u64::MAX).min(29 * YEAR)
}

fn per_ns(quota: &Quota) -> f64 {
    quota.count() as f64 / quota.period().as_nanos() as f64
}

fn on(clock: &ManualClock, quota: Quota, leaky: bool) -> RateLimiter {
    let builder = RateLimiter::builder(quota).clock(clock.clone());
    if leaky { builder.leaky_bucket() } else { builder }.build().expect("any quota fits a bucket")
}

fn within(what: &str, is: Duration, exact: i128, slack: i128) -> TestCaseResult {
    let off = (is.as_nanos() as i128 - exact).abs();
    prop_assert!(off <= slack, "{what} is {is:?}, exactly {exact} ns, may be off by {slack} ns");
    Ok(())
}

/// Whole tokens in `tokens`, give or take a unit.
fn whole(what: &str, is: u64, tokens: &Exact, unit: &Exact) -> TestCaseResult {
    let [low, high] = [tokens - unit, tokens + unit].map(|t| floor(&t).max(0));
    prop_assert!((low..=high).contains(&i128::from(is)), "{what} is {is}, exactly {low}..={high}");
    Ok(())
}

/// The figures of an answer, against the model after the same request.
fn figures(model: &Model, answer: &Result<Grant, Denied>, unit: &Exact) -> TestCaseResult {
    // A unit of flow, and the whole nanosecond that a wait is rounded up to.
    let slack = ceil(&(unit / &model.rate)) + 1;
    let (limit, remaining, reset) = match answer {
        Ok(grant) => (grant.limit(), grant.remaining(), grant.reset_after()),
        Err(denied) => {
            let wait = model.wait(denied.asked());
            prop_assert_eq!(denied.retry_after().is_none(), wait.is_none());
            prop_assert_eq!(denied.is_never(), wait.is_none());
            if let (Some(is), Some(wait)) = (denied.retry_after(), wait) {
                prop_assert!(!is.is_zero(), "a denial that says to retry at once: {denied:?}");
                within("retry_after", is, wait, slack)?;
            }
            (denied.limit(), denied.remaining(), denied.reset_after())
        }
    };
    prop_assert_eq!(exact(limit), model.burst.clone());
    whole("remaining", remaining.min(limit), &model.tokens, unit)?;
    within("reset_after", reset, model.until_full(), slack)
}

/// `None` where the decision differs within a unit of the boundary: the case ends.
fn same(margin: &Exact, unit: &Exact, granted: bool) -> Result<Option<()>, TestCaseError> {
    if granted != margin.is_negative() {
        return Ok(Some(()));
    }
    prop_assert!(margin.abs() <= *unit, "granted: {granted}, but exactly {margin} are over");
    Ok(None)
}

fn law_3(quota: Quota, leaky: bool, start: u64, steps: &[Step]) -> TestCaseResult {
    let clock = ManualClock::new();
    clock.set(Duration::from_nanos(start));
    let limiter = on(&clock, quota, leaky);
    let (mut model, mut now, mut wait) = (Model::new(&quota), start, 0);
    let (burst, unit, end) = (quota.burst_size(), unit_of_direct(&quota), end_of(&quota));
    for step in steps {
        now = step.time(now, per_ns(&quota), burst, wait, start + end);
        clock.set(Duration::from_nanos(now));
        model.flow(now.saturating_sub(start));
        let n = step.cost(burst);
        let margin = model.margin(n);
        match step.verb {
            verb @ 0..9 => {
                let answer = match verb {
                    0..3 => limiter.check_n(n),
                    3..6 => limiter.peek(n),
                    _ => limiter.check_n(n.min(burst)),
                };
                let n = if verb < 6 { n } else { n.min(burst) };
                let margin = if verb < 6 { margin } else { model.margin(n) };
                if n > 0 && same(&margin, &unit, answer.is_ok())?.is_none() {
                    return Ok(());
                }
                if let Err(denied) = &answer {
                    wait = denied.retry_after().map_or(0, nanos);
                }
                let taken = model.take(n);
                prop_assert_eq!(taken, answer.is_ok());
                prop_assert!(answer.is_err() || answer.as_ref().is_ok_and(|g| g.granted() == n));
                figures(&model, &answer, &unit)?;
                if (3..6).contains(&verb) && taken {
                    model.tokens += exact(n);
                }
            }
            9..11 => {
                let answer = limiter.check_up_to(n);
                let before = model.clone();
                let (is, should) = (answer.map_or(0, |g| g.granted()), model.take_up_to(n));
                if is != should {
                    whole("granted", is.min(should), &before.tokens, &unit)?;
                    return whole("granted", is.max(should), &before.tokens, &unit);
                }
                prop_assert_eq!(answer.is_ok(), should > 0 || n == 0);
                figures(&model, &answer, &unit)?;
            }
            11 | 12 => {
                // What is missing is held up to 10 years of flow; what then is another test's
                // matter.
                let decade = exact(10 * YEAR) * &model.rate;
                let room = floor(&(decade - &model.burst + &model.tokens));
                let n = n.min(burst).min(room.clamp(0, i128::from(u64::MAX)) as u64);
                let paid = limiter.charge(n);
                model.charge(n);
                let debt = model.wait(0).unwrap_or_default();
                within("debt", paid, debt, ceil(&(&unit / &model.rate)) + 1)?;
            }
            13 => {
                limiter.refund(n);
                model.refund(n);
            }
            14 => {
                let missing = ceil(&(&model.burst - &model.tokens + &unit));
                prop_assert!(i128::from(limiter.level()) <= missing);
            }
            _ if step.cost.1 % 8 == 0 => {
                limiter.reset();
                model.reset();
            }
            _ => {}
        }
        let [low, high] = [-&unit, unit.clone()].map(|u| floor(&(&model.tokens + u)));
        let is = i128::from(limiter.available());
        prop_assert!((low..=high).contains(&is), "{is} available, exactly {low}..={high}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn law_3_decisions_and_figures_equal_the_exact_model(
        quota in quotas(), leaky: bool, start in 0..YEAR, steps in steps(),
    ) {
        law_3(quota, leaky, start, &steps)?;
    }

    #[test]
    fn law_4_more_than_the_burst_is_never_and_changes_nothing(
        quota in quotas(), leaky: bool, before: u64, over: u64, later in 0..YEAR,
    ) {
        let clock = ManualClock::new();
        let limiter = on(&clock, quota, leaky);
        let burst = quota.burst_size();
        clock.set(Duration::from_nanos(later.min(end_of(&quota))));
        let _ = limiter.check_up_to(before % (burst + 1));
        let (left, state) = (limiter.available(), limiter.peek(0));
        for n in [burst + 1, burst.saturating_add(over).max(burst + 1), u64::MAX] {
            for answer in [limiter.check_n(n), limiter.peek(n)] {
                let denied = answer.expect_err("over the burst");
                prop_assert_eq!((denied.retry_after(), denied.is_never()), (None, true));
                prop_assert_eq!((denied.asked(), denied.limit()), (n, burst));
                prop_assert_eq!(denied.remaining() as i64, left);
            }
        }
        prop_assert_eq!(limiter.available(), left);
        prop_assert_eq!(limiter.peek(0), state);
    }

    #[test]
    fn law_1_no_window_admits_more_than_burst_and_flow(
        quota in quotas(), leaky: bool, batch in 0..300_u64, steps in steps(),
    ) {
        let clock = ManualClock::new();
        let mut slack = unit_of_direct(&quota);
        let mut limiter = on(&clock, quota, leaky);
        if batch > 0 {
            let built = RateLimiter::builder(quota).clock(clock.clone()).batch(batch).build();
            let fits = batch <= (quota.burst_size() / 2 + 1).min(255);
            prop_assert!(built.is_ok() || !fits || per_ns(&quota) > 0.05);
            let Ok(batched) = built else { return Ok(()) };
            if per_ns(&quota) < 0.05 {
                let limit = batched.peek(0).map_or(0, |g| g.limit());
                prop_assert_eq!(limit, quota.burst_size() - (batch - 1));
            }
            (slack, limiter) = (unit_of_56_bits(&quota), batched);
        }
        let mut law = WindowLaw::new(&quota, quota.burst_size(), &slack);
        let (mut now, mut held, mut wait) = (0, 0, 0);
        for step in &steps {
            now = step.time(now, per_ns(&quota), quota.burst_size(), wait, end_of(&quota));
            // A batch spends without reading the clock, so that nobody knows which times it saw.
            now = if batch > 0 { now.max(held) } else { now };
            clock.set(Duration::from_nanos(now));
            held = held.max(now);
            let n = step.cost(quota.burst_size());
            let answer = match step.verb {
                0..4 => limiter.check(),
                4..8 => limiter.check_n(n),
                8..12 => limiter.check_up_to(n),
                _ => limiter.check_up_to(u64::MAX),
            };
            match answer {
                Ok(grant) => law.admit(held, grant.granted()).map_err(TestCaseError::fail)?,
                Err(denied) => wait = denied.retry_after().map_or(0, nanos),
            }
        }
    }

    /// Among what is drawn ahead and what is in the bucket. Where a unit is several tokens, a wait
    /// may be a unit too long, since tokens ahead are given back in whole units: never too short.
    #[test]
    fn law_5_in_batches_waiting_retry_after_is_enough(
        quota in quotas(), batch in 1..256_u64, steps in steps(),
    ) {
        let clock = ManualClock::new();
        let built = RateLimiter::builder(quota).clock(clock.clone()).batch(batch).build();
        let Ok(limiter) = built else { return Ok(()) };
        let limit = limiter.peek(0).map_or(0, |grant| grant.limit());
        let (mut now, mut wait, end) = (0, 0, end_of(&quota));
        for step in steps {
            now = step.time(now, per_ns(&quota), limit, wait, end).max(now);
            clock.set(Duration::from_nanos(now));
            let n = step.cost(limit);
            match step.verb {
                0..5 => _ = limiter.check_n(n),
                5..9 => _ = limiter.check_up_to(n),
                9 => _ = limiter.charge(n.min(limit) / 8),
                _ => {}
            }
            let Err(denied) = limiter.peek(n) else { continue };
            prop_assert_eq!(denied.retry_after().is_none(), n > limit);
            wait = denied.retry_after().map_or(u64::MAX, nanos);
            if wait > end - now {
                continue;
            }
            prop_assert!(wait > 0, "denied, and to be retried at once");
            let at = |time: u64| {
                clock.set(Duration::from_nanos(time));
                limiter.peek(n).is_ok()
            };
            let exact = per_ns(&quota) < 0.05;
            prop_assert!(!exact || wait < 2 || !at(now + wait - 2), "{n} 2 ns early at {now}");
            prop_assert!(at(now + wait), "{n} denied {wait} after {now}");
            now += wait;
        }
    }
}

/// One nanosecond less is not enough. The slope is rounded up by up to 2^-63, so in one call of
/// about 10^5 after a day, a boundary just after a whole nanosecond falls on it: two less never
/// are.
#[test]
fn law_5_waiting_retry_after_is_enough_and_a_nanosecond_less_is_not() {
    const DAY: u64 = 86_400_000_000_000;
    let (waits, early) = (Cell::new(0), Cell::new(0));
    let cases = (quotas(), any::<bool>(), 0..YEAR, steps());
    let law = |(quota, leaky, start, steps): (Quota, bool, u64, Vec<Step>)| {
        let clock = ManualClock::new();
        clock.set(Duration::from_nanos(start));
        let limiter = on(&clock, quota, leaky);
        let (burst, end) = (quota.burst_size(), start + end_of(&quota));
        let (mut now, mut wait) = (start, 0);
        for step in steps {
            now = step.time(now, per_ns(&quota), burst, wait, end).max(now);
            clock.set(Duration::from_nanos(now));
            let n = step.cost(burst);
            match step.verb {
                0..5 => _ = limiter.check_n(n),
                5..9 => _ = limiter.check_up_to(n),
                9 => _ = limiter.charge(n.min(burst) / 8),
                _ => {}
            }
            let Err(denied) = limiter.peek(n) else { continue };
            let Some(retry) = denied.retry_after() else {
                prop_assert!(n > burst);
                continue;
            };
            wait = nanos(retry);
            if wait > end - now {
                continue;
            }
            let at = |time: u64| {
                clock.set(Duration::from_nanos(time));
                limiter.peek(n).is_ok()
            };
            prop_assert!(wait > 0, "denied, and to be retried at once");
            prop_assert!(wait < 2 || !at(now + wait - 2), "{n} granted 2 ns before {now} + {wait}");
            if now + wait - start < DAY {
                waits.set(waits.get() + 1);
                early.set(early.get() + u32::from(at(now + wait - 1)));
            }
            prop_assert!(at(now + wait), "{n} denied at {now} + {wait}");
            now += wait;
        }
        Ok(())
    };
    TestRunner::new(config()).run(&cases, law).unwrap();
    assert!(early.get() <= 1 + waits.get() / 5_000, "{} of {}", early.get(), waits.get());
}
