//! Several limits as one, against exact models and against each limit asked alone.

use super::combined::{direct, keyed};
use crate::support::models::{
    self, Exact, Model, exact, floor, nanos, unit_of_56_bits, unit_of_direct,
};
use proptest::prelude::*;
use sluicegate::{Combined, Denied, KeyedLimiter, Limit, ManualClock, Quota, RateLimiter};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Verb {
    Wait(u64),
    Check(u64),
    UpTo(u64),
    Peek(u64),
    Charge(u64),
    Refund(u64),
    Within(u64, u64),
}

fn verbs() -> impl Strategy<Value = Vec<(usize, Verb)>> {
    let n = 0..13_u64;
    let verb = prop_oneof![
        3 => (0..400_000_000_u64).prop_map(Verb::Wait),
        1 => (0..200_000_000_000_u64).prop_map(Verb::Wait),
        6 => n.clone().prop_map(Verb::Check),
        1 => n.clone().prop_map(Verb::UpTo),
        1 => n.clone().prop_map(Verb::Peek),
        1 => n.clone().prop_map(Verb::Charge),
        1 => n.clone().prop_map(Verb::Refund),
        2 => (n, 0..300_000_000_u64).prop_map(|(n, wait)| Verb::Within(n, wait)),
    ];
    proptest::collection::vec((0..3_usize, verb), 1..80)
}

/// Whether a figure is too near to a boundary to be told apart in units.
fn near(x: &Exact, slack: &Exact) -> bool {
    x <= slack && &-x <= slack
}

proptest! {
    #![proptest_config(ProptestConfig { cases: models::cases(200), ..ProptestConfig::default() })]

    /// Per user 10 a second and 40 an hour, per tenant, for everybody.
    #[test]
    fn decisions_and_figures_equal_four_exact_models(verbs in verbs()) {
        let quotas = [
            Quota::per_second(10), Quota::per_hour(40), Quota::per_second(7).burst(15),
            Quota::per_second(13).burst(20),
        ];
        let clock = ManualClock::new();
        let (seconds, hours) = (keyed::<str>(&clock, quotas[0]), keyed::<str>(&clock, quotas[1]));
        let (tenants, all) = (keyed::<u32>(&clock, quotas[2]), direct(&clock, quotas[3]));
        let users = ["a", "b", "c"];
        let model = |i: usize| Model::new(&quotas[i]);
        let mut per_user = [(); 3].map(|()| [model(0), model(1)]);
        let mut per_tenant = [model(2), model(2)];
        let mut total = model(3);
        let mut slack = quotas.iter().map(unit_of_56_bits).chain([unit_of_direct(&quotas[3])])
            .max().unwrap();
        let unit = slack.clone();
        let mut now = 0;
        for (user, verb) in verbs {
            slack += &unit * exact(2);
            if let Verb::Wait(wait) = verb {
                now += wait;
                clock.set(Duration::from_nanos(now));
            }
            let tenant = user % 2;
            let both = Combined::new([
                seconds.as_limit(users[user]), hours.as_limit(users[user]),
                tenants.as_limit(&(tenant as u32)), all.as_limit(),
            ]);
            let [second, hour] = &mut per_user[user];
            let models = [second, hour, &mut per_tenant[tenant], &mut total];
            let mut models = models.map(|model| model.flow(now));
            let fits = |models: &[&mut Model; 4], n| models.iter().all(|model| model.peek(n));
            let unclear = |models: &[&mut Model; 4], n| {
                n > 0 && models.iter().any(|model| near(&model.margin(n), &slack))
            };
            match verb {
                Verb::Wait(_) => {}
                Verb::Check(n) | Verb::Peek(n) => {
                    if unclear(&models, n) {
                        return Ok(());
                    }
                    let take = matches!(verb, Verb::Check(_));
                    let answer = if take { both.check_n(n) } else { both.peek(n) };
                    prop_assert_eq!(answer.is_ok(), fits(&models, n), "{:?}", answer);
                    if let Err(denied) = answer {
                        told(&denied, n, &models)?;
                    } else if take {
                        models.iter_mut().for_each(|model| model.charge(n));
                    }
                }
                Verb::UpTo(n) => {
                    let floors = |slack: Exact| {
                        models.iter().map(|model| floor(&(&model.tokens + &slack))).min().unwrap()
                    };
                    let there = floors(exact(0));
                    if floors(slack.clone()) != there || floors(-slack.clone()) != there {
                        return Ok(());
                    }
                    let granted = both.check_up_to(n).map_or(0, |grant| grant.granted());
                    prop_assert_eq!(i128::from(granted), there.clamp(0, n.into()));
                    models.iter_mut().for_each(|model| model.charge(granted));
                }
                Verb::Charge(n) => {
                    let _ = both.charge(n);
                    models.iter_mut().for_each(|model| model.charge(n));
                }
                Verb::Refund(n) => {
                    both.refund(n);
                    models.iter_mut().for_each(|model| model.refund(n));
                }
                Verb::Within(n, within) => {
                    let wait = models.iter().map(|model| model.wait(n).unwrap_or(i128::MAX)).max();
                    let wait = if n == 0 { 0 } else { wait.unwrap() };
                    if unclear(&models, n) || (wait - i128::from(within)).abs() < 1_000 {
                        return Ok(());
                    }
                    let place = both.reserve_within(n, Duration::from_nanos(within));
                    prop_assert_eq!(place.is_ok(), wait <= within.into());
                    match place {
                        Err(denied) => {
                            prop_assert_eq!(denied.retry_after().is_none(), wait == i128::MAX);
                        }
                        Ok(place) => {
                            let ready = i128::from(nanos(place.ready_in()));
                            prop_assert!((ready - wait).abs() <= 1_000, "{} of {}", ready, wait);
                            // Spent if it is due at once; given up otherwise, which leaves no
                            // trace.
                            if wait == 0 {
                                models.iter_mut().for_each(|model| model.charge(n));
                            }
                        }
                    }
                }
            }
            let found = [
                seconds.available(users[user]), hours.available(users[user]),
                tenants.available(&(tenant as u32)), all.available(),
            ];
            for (found, model) in found.iter().zip(&models) {
                let there = &model.tokens;
                let (least, most) = (floor(&(there - &slack)), floor(&(there + &slack)));
                prop_assert!((least..=most).contains(&(*found).into()), "{} of {}", found, there);
            }
            prop_assert_eq!(both.available(), *found.iter().min().unwrap());
        }
    }
}

/// The longest wait, of the first limit that has it, and the tighter of the other figures.
fn told(denied: &Denied, n: u64, models: &[&mut Model; 4]) -> Result<(), TestCaseError> {
    let denying = || models.iter().enumerate().filter(|(_, model)| !model.peek(n));
    let wait = |model: &Model| model.wait(n).unwrap_or(i128::MAX);
    let longest = denying().map(|(_, model)| wait(model)).max().unwrap();
    let its = wait(models[denied.which()]);
    prop_assert!(longest - its <= 1_000, "{} of {}", its, longest);
    let found = denied.retry_after().map_or(i128::MAX, |wait| nanos(wait).into());
    prop_assert!((found - its).abs() <= 1_000, "{} of {}", found, its);
    let reset = denying().map(|(_, model)| model.until_full()).max().unwrap();
    let found = i128::from(nanos(denied.reset_after()));
    prop_assert!((found - reset).abs() <= 1_000, "{} of {}", found, reset);
    let remaining = denying().map(|(_, model)| floor(&model.tokens).max(0)).min().unwrap();
    prop_assert!((i128::from(denied.remaining()) - remaining).abs() <= 1);
    Ok(())
}

/// One of every kind.
struct Kinds {
    exact: RateLimiter,
    leaky: RateLimiter,
    fixed: RateLimiter,
    sliding: RateLimiter,
    batched: RateLimiter,
    striped: RateLimiter,
    keyed: KeyedLimiter<str>,
    windows: KeyedLimiter<u32>,
}

impl Kinds {
    fn new(clock: &ManualClock) -> Self {
        let direct = |count| RateLimiter::builder(Quota::per_second(count)).clock(clock.clone());
        let windows = KeyedLimiter::builder(Quota::per_second(18), 100).sliding_window();
        Self {
            exact: direct(16).build().unwrap(),
            leaky: direct(17).leaky_bucket().build().unwrap(),
            fixed: direct(14).fixed_window().build().unwrap(),
            sliding: direct(15).sliding_window().build().unwrap(),
            batched: direct(24).batch(4).build().unwrap(),
            striped: direct(32).stripes(2).build().unwrap(),
            keyed: keyed(clock, Quota::per_second(15).burst(16)),
            windows: windows.clock(clock.clone()).build().unwrap(),
        }
    }

    fn limits(&self) -> [Limit<'_>; 8] {
        let Self { exact, leaky, fixed, sliding, batched, striped, keyed, windows } = self;
        [
            striped.as_limit(),
            exact.as_limit(),
            leaky.as_limit(),
            fixed.as_limit(),
            batched.as_limit(),
            sliding.as_limit(),
            keyed.as_limit("a"),
            windows.as_limit(&7),
        ]
    }

    fn alone(&self, which: usize) -> Combined<'_> {
        Combined::new([self.limits()[which]])
    }

    fn left(&self) -> [i64; 8] {
        self.limits().map(|limit| Combined::new([limit]).available())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: models::cases(600), ..ProptestConfig::default() })]

    /// Of any kinds of limiters together: admitted if each admits, and then each has as much as if
    /// it had been asked alone.
    #[test]
    fn together_is_as_each_alone(
        chosen in proptest::sample::subsequence((0..8_usize).collect::<Vec<_>>(), 1..9),
        steps in proptest::collection::vec((0..700_u64, 0..17_u64, 0..8_u8), 1..60),
    ) {
        // Of two that draw ahead only the last does.
        let mut chosen = chosen;
        if chosen.contains(&0) {
            chosen.retain(|i| *i != 4);
        }
        let clock = ManualClock::new();
        let (kinds, alone) = (Kinds::new(&clock), Kinds::new(&clock));
        let (limits, full) = (kinds.limits(), kinds.left());
        let together = Combined::from_limits(chosen.iter().map(|i| limits[*i])).unwrap();
        for (millis, n, verb) in steps {
            clock.advance(Duration::from_millis(if verb < 3 { millis } else { 0 }));
            let fits = chosen.iter().all(|i| alone.alone(*i).peek(n).is_ok());
            match verb {
                0 => {
                    let least = chosen.iter().map(|i| alone.alone(*i).available()).min().unwrap();
                    let granted = together.check_up_to(n).map_or(0, |grant| grant.granted());
                    prop_assert_eq!(granted as i64, least.clamp(0, n as i64));
                    for i in &chosen {
                        prop_assert!(alone.alone(*i).check_n(granted).is_ok());
                    }
                }
                1 => {
                    // Places that are undone before all are due leave no trace; there is one that
                    // is never at once.
                    let late = RateLimiter::builder(Quota::per_hour(1)).clock(clock.clone());
                    let late = late.build().unwrap();
                    assert!(late.check().is_ok());
                    // A window's place that is not due yet begins its window, even if it is given
                    // up.
                    let windows = chosen.iter().filter(|i| [3, 5, 7].contains(*i));
                    let mut at_once = windows.map(|i| alone.alone(*i).peek(n.min(1)).is_ok());
                    if chosen.len() < 8 && at_once.all(|fits| fits) {
                        let limits = chosen.iter().map(|i| limits[*i]).chain([late.as_limit()]);
                        let place = Combined::from_limits(limits).unwrap().reserve(n.min(1));
                        drop(place.unwrap());
                        prop_assert_eq!(late.available(), 0);
                    }
                }
                2 => {
                    let _ = together.charge(n);
                    let _ = chosen.iter().map(|i| alone.alone(*i).charge(n)).max();
                }
                3 => {
                    // No more than was taken: of more, a limiter that draws ahead keeps what is
                    // drawn.
                    let left = alone.left();
                    let taken = chosen.iter().map(|i| (full[*i] - left[*i]) as u64).min();
                    let n = n.min(taken.unwrap());
                    together.refund(n);
                    chosen.iter().for_each(|i| alone.alone(*i).refund(n));
                }
                _ => {
                    let answer = together.check_n(n);
                    prop_assert_eq!(answer.is_ok(), fits, "{:?}", answer);
                    prop_assert_eq!(answer.is_ok() && n > 0, fits && n > 0);
                    for i in chosen.iter().filter(|_| fits) {
                        prop_assert!(alone.alone(*i).check_n(n).is_ok());
                    }
                }
            }
            prop_assert_eq!(kinds.left(), alone.left());
        }
    }
}
