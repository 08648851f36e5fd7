//! A limiter that warms up against an exact rational model, step for step, and its law for whatever is given up.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use num_traits::{Signed, Zero};
use proptest::prelude::*;
use sluicegate::{ManualClock, Quota, Reservation, WarmUpLimiter};
use std::time::Duration;
use support::{Exact, WindowLaw, ceil, exact, floor, nanos, rate, ratio};

const YEAR: u64 = 31_557_600 * 1_000_000_000;

/// Guava's figure: permits to the right, what one costs upwards; one token up to the threshold, three at the end.
#[derive(Clone, Debug)]
struct Ramp {
    most: Exact,
    /// The time that things are rounded to, in tokens. Zero: nothing is.
    unit: Exact,
}

impl Ramp {
    fn down(&self, x: &Exact) -> Exact {
        if self.unit.is_zero() { x.clone() } else { (x / &self.unit).floor() * &self.unit }
    }

    fn new(quota: &Quota, period: u64, unit: Exact) -> Self {
        let exactly = Self { most: rate(quota) * exact(period), unit };
        Self { most: exactly.down(&exactly.most), ..exactly }
    }

    /// What the `n`-th and all before cost, beginning with `stored`.
    fn cost(&self, stored: &Exact, n: &Exact) -> Exact {
        let threshold = &self.most / exact(2);
        let above = (stored - &threshold).max(exact(0));
        let dear = above.clone().min(n.clone());
        if !dear.is_positive() {
            return n.clone();
        }
        let height = |above: &Exact| exact(1) + above / &threshold * exact(2);
        let area = &dear * (height(&above) + height(&(&above - &dear))) / exact(2);
        // Rounded up, by what is over the stable rate.
        n - self.down(&(&dear - area))
    }

    fn limit(&self) -> u64 {
        floor(&self.most).max(1) as u64
    }
}

/// The largest unit of which 30 years fit into three quarters of what the permits leave of 64 bits, and four times what
/// is stored into the last: a power of two, one token at most. If it can be, so that eight times as much might be stored.
fn unit(quota: &Quota, period: u64) -> Exact {
    let tokens = rate(quota) * exact(30 * u128::from(YEAR));
    let stored = rate(quota) * exact(period);
    let fits = |unit: &Exact, spare: u32| {
        let permits = (floor(&(&stored / unit)) as u128) << spare;
        let bits = (128 - permits.leading_zeros()).max(4);
        let quarter = exact(1) * exact(1_u128 << (62 - bits));
        let (flow, least) = (exact(ceil(&tokens)) / unit, exact(1) / unit);
        flow <= &quarter * exact(3) && exact(4) * exact(permits).max(least) <= quarter
    };
    // Nor is it finer than that of the line.
    let line = unit_of_line(quota);
    let finest = |spare| {
        let units = (0..=54_u32).take_while(|bits| ratio(1, 1_u64 << bits) >= line);
        let units = units.map(|bits| ratio(1, 1_u64 << bits));
        units.take_while(|unit| fits(unit, spare)).last()
    };
    finest(3).or_else(|| finest(0)).expect("a warm-up that fits")
}

/// The unit of the time that the line keeps besides the word's: 30 years fit three quarters of 56
/// bits.
fn unit_of_line(quota: &Quota) -> Exact {
    let line = exact(ceil(&(rate(quota) * exact(30 * u128::from(YEAR))))) + exact(6);
    let fits = |bits: &u32| &line * exact(1_u64 << bits) <= exact(3_u64 << 54);
    let finest = (0..=54_u32).take_while(fits).last();
    ratio(1, 1_u64 << finest.expect("a token at least"))
}

/// The limiter in rational numbers: when nothing is owed any more in token time, and what is stored then.
#[derive(Clone, Debug)]
struct Warming {
    ramp: Ramp,
    rate: Exact,
    full: Exact,
    stored: Exact,
    now: Exact,
    /// The line's time.
    fine: Exact,
    unit_of_line: Exact,
    nanos: u64,
    /// Spans that were given up in front of somebody.
    gaps: Vec<(Exact, Exact)>,
    last_due: Exact,
    returned: Exact,
}

#[derive(Clone, Debug)]
struct Held {
    due: Exact,
    end: Exact,
    /// What was stored after it.
    stored: Exact,
    returned: Exact,
    waits: bool,
    n: u64,
}

impl Warming {
    fn new(quota: &Quota, ramp: Ramp) -> Self {
        let (stored, zero) = (ramp.most.clone(), || exact(0));
        Self {
            ramp,
            rate: rate(quota),
            full: zero(),
            stored,
            now: zero(),
            fine: zero(),
            unit_of_line: unit_of_line(quota),
            nanos: 0,
            gaps: Vec::new(),
            last_due: zero(),
            returned: zero(),
        }
    }

    /// Whether token time can be told: it is rounded up by less than a hundredth of the line's
    /// unit.
    fn flow(&mut self, nanos: u64) -> bool {
        let exactly = exact(nanos) * &self.rate;
        self.now = self.ramp.down(&exactly);
        self.fine = (&exactly / &self.unit_of_line).floor() * &self.unit_of_line;
        self.nanos = nanos;
        if self.now > self.full {
            let permits = &self.stored + &self.now - &self.full;
            self.stored = permits.min(self.ramp.most.clone());
            self.full = self.now.clone();
        }
        &self.unit_of_line - (exactly - &self.fine) > &self.unit_of_line / exact(100)
    }

    fn owed(&self) -> Exact {
        &self.full - &self.now
    }

    fn wait_for(&self, full: &Exact) -> u64 {
        if full <= &self.now {
            return 0;
        }
        (ceil(&(full / &self.rate)) - i128::from(self.nanos)).max(1) as u64
    }

    fn wait(&self) -> u64 {
        self.wait_for(&self.full)
    }

    fn spend(&mut self, n: u64) -> Held {
        let due = self.full.clone();
        self.full += self.ramp.cost(&self.stored, &exact(n));
        self.stored = (&self.stored - exact(n)).max(exact(0));
        let (end, stored, returned) =
            (self.full.clone(), self.stored.clone(), self.returned.clone());
        let waits = due > self.fine;
        Held { due, end, stored, returned, waits, n }
    }

    fn reserve(&mut self, n: u64) -> Held {
        let held = self.spend(n);
        self.last_due = self.last_due.clone().max(held.due.clone());
        held
    }

    /// The span of the last `n` tokens of a place.
    fn span(&self, held: &Held, n: u64) -> (Exact, Exact) {
        if n == held.n {
            return (held.due.clone(), held.end.clone());
        }
        let before = (&held.stored + exact(held.n)).min(self.ramp.most.clone());
        let kept = &held.due + self.ramp.cost(&before, &exact(held.n - n));
        (kept.min(held.end.clone()), held.end.clone())
    }

    fn unspent(&mut self, n: u64) {
        self.stored = (&self.stored + exact(n)).min(self.ramp.most.clone());
    }

    fn cancel(&mut self, held: &Held, n: u64) -> u64 {
        let (start, end) = self.span(held, n);
        if held.due <= self.fine || start >= end {
            return 0;
        }
        let tokens = floor(&(&end - &start)).min(i128::from(n)) as u64;
        self.unspent(n);
        self.hand_on(start, end);
        tokens
    }

    /// To the word if nothing stands behind it; otherwise it is kept.
    fn hand_on(&mut self, mut start: Exact, mut end: Exact) {
        let touching: Vec<_> =
            self.gaps.iter().filter(|gap| gap.1 == start || gap.0 == end).cloned().collect();
        self.gaps.retain(|gap| !touching.contains(gap));
        for gap in touching {
            (start, end) = (start.min(gap.0), end.max(gap.1));
        }
        start = start.max(self.fine.clone());
        if start < end && end >= self.full {
            self.take_last(start, end);
        } else if start < end {
            self.gaps.push((start, end));
            self.gaps.sort();
        }
        self.settle();
    }

    fn settle(&mut self) {
        for gap in &mut self.gaps {
            gap.0 = gap.0.clone().max(self.fine.clone());
        }
        self.gaps.retain(|gap| gap.0 < gap.1);
        while let Some((start, end)) = self.gaps.last().cloned()
            && end >= self.full
        {
            self.gaps.pop();
            self.take_last(start, end);
        }
        if !self.gaps.is_empty() && self.last_due <= self.fine {
            let all = self.gaps.drain(..).map(|(start, end)| end - start).sum();
            self.give_back(&all);
        }
    }

    /// A span behind which nothing stands goes back to the word.
    fn take_last(&mut self, start: Exact, end: Exact) {
        let refunded = end > self.full;
        let back = self.take(&(end - start));
        if refunded {
            self.returned += back;
        }
    }

    /// Takes from the end of the line, in whole units.
    fn take(&mut self, units: &Exact) -> Exact {
        let back = self.ramp.down(units).min(self.owed());
        self.full -= &back;
        back
    }

    fn give_back(&mut self, units: &Exact) {
        let back = self.take(units);
        self.returned += back;
    }

    /// Sets the cost of a place right, of which `n` tokens were not used.
    fn undo(&mut self, held: &Held, n: u64) {
        if held.due > self.fine {
            self.cancel(held, n);
            return;
        }
        self.settle();
        let down = &self.returned - &held.returned;
        let (start, end) = self.span(held, n);
        let (start, end) = ((start - &down).max(self.fine.clone()), end - down);
        if start >= end {
            return;
        }
        self.unspent(n);
        if self.last_due > self.fine {
            self.hand_on(start, end);
        } else {
            self.give_back(&(end - start));
        }
    }

    fn refund(&mut self, n: u64) {
        if n > 0 {
            self.settle();
        }
        self.give_back(&exact(n));
    }

    fn available(&self) -> i128 {
        if self.owed().is_zero() { i128::from(self.ramp.limit()) } else { floor(&-self.owed()) }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// In thousandths of what makes a warm limiter cold.
    Idle(u64),
    /// Until nothing is owed, and so many nanoseconds more or less.
    Until(i8),
    /// What has to be served without a wait.
    Now(u64),
    Charge(u64),
    Refund(u64),
    Reserve(u64),
    Cancel(usize),
    Settle(usize, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // In thousandths of the limit, and single tokens.
    let n = || prop_oneof![0..4_u64, 1_000_000..1_001_200_u64, 1_000_000..1_000_200_u64];
    let op = prop_oneof![
        2 => (0..1_500_u64).prop_map(Op::Idle),
        2 => (-1..3_i8).prop_map(Op::Until),
        5 => n().prop_map(Op::Now),
        1 => n().prop_map(Op::Charge),
        1 => n().prop_map(Op::Refund),
        4 => n().prop_map(Op::Reserve),
        2 => any::<usize>().prop_map(Op::Cancel),
        1 => (any::<usize>(), n()).prop_map(|(i, n)| Op::Settle(i, n)),
    ];
    proptest::collection::vec(op, 1..60)
}

fn tokens(n: u64, limit: u64) -> u64 {
    match n.checked_sub(1_000_000) {
        Some(share) => (u128::from(limit) * u128::from(share)).div_ceil(1_000) as u64,
        None => n,
    }
}

/// A quota, and a warm-up of a thousandth of a token to ten thousand tokens, as far as the word holds them.
fn quotas() -> impl Strategy<Value = (Quota, u64)> {
    let log = |from: f64, to: f64| (from.ln()..to.ln()).prop_map(f64::exp);
    (1..40_u64, log(1e4, 1e14), log(1e-3, 1e4)).prop_map(|(count, period, stored)| {
        let quota = Quota::new(count, Duration::from_nanos(period as u64)).unwrap();
        let warm_up = (stored * period / count as f64) as u64;
        // What the limit is by the time's share of the word: the unit is at most a token.
        let a_token = period / count as f64;
        let most = (a_token / 20e3).powi(2) * 1e9;
        (quota, warm_up.min(most as u64).min(300_000_000_000_000_000))
    })
}

fn run(quota: &Quota, period: u64, ops: &[Op]) -> Result<(), TestCaseError> {
    let clock = ManualClock::new();
    let builder = WarmUpLimiter::builder(*quota, Duration::from_nanos(period));
    let limiter = builder.clock(clock.clone()).build().unwrap();
    let mut model = Warming::new(quota, Ramp::new(quota, period, unit(quota, period)));
    let limit = model.ramp.limit();
    let mut held: Vec<(Reservation<'_>, Held)> = Vec::new();
    let mut now = 0_u64;
    let horizon = 25 * YEAR;
    for op in ops {
        match *op {
            Op::Idle(share) => now += period / 1_000 * share,
            Op::Until(by) => now = (now + model.wait()).saturating_add_signed(by.into()).max(now),
            _ => {}
        }
        clock.set(Duration::from_nanos(now));
        // Nor is debt without end.
        if now > horizon || !model.flow(now) || model.wait() > 4 * YEAR {
            break;
        }
        match *op {
            Op::Idle(_) | Op::Until(_) => {}
            Op::Now(n) => {
                let n = tokens(n, limit);
                let answer = limiter.reserve_within(n, Duration::ZERO).map(|place| place.grant());
                // Who asks for something has what was given up before settled.
                if n > 0 {
                    model.settle();
                }
                let free = model.owed().is_zero();
                prop_assert_eq!(answer.is_ok(), n == 0 || n <= limit && free, "{} of {}", n, limit);
                match answer {
                    Ok(grant) => {
                        if n > 0 {
                            model.spend(n);
                        }
                        prop_assert_eq!((grant.granted(), grant.limit()), (n, limit));
                        prop_assert_eq!(i128::from(grant.remaining()), model.available().max(0));
                        prop_assert_eq!(nanos(grant.reset_after()), model.wait());
                    }
                    Err(denied) => {
                        let wait = (n <= limit).then(|| model.wait());
                        prop_assert_eq!(denied.retry_after().map(nanos), wait);
                    }
                }
            }
            Op::Charge(n) => {
                let n = tokens(n, limit);
                model.spend(n);
                prop_assert_eq!(nanos(limiter.charge(n)), model.wait());
            }
            Op::Refund(n) => {
                let n = tokens(n, limit);
                limiter.refund(n);
                model.refund(n);
            }
            Op::Reserve(n) => {
                let n = tokens(n, limit);
                if n > 0 {
                    model.settle();
                }
                let Ok(place) = limiter.reserve(n) else {
                    prop_assert!(n > limit, "{} of {} cannot be reserved", n, limit);
                    continue;
                };
                prop_assert!(n <= limit);
                if n > 0 {
                    let its = model.reserve(n);
                    prop_assert_eq!(nanos(place.ready_in()), model.wait_for(&its.due));
                    held.push((place, its));
                }
            }
            Op::Cancel(i) | Op::Settle(i, _) => {
                if held.is_empty() {
                    continue;
                }
                let (place, its) = held.remove(i % held.len());
                prop_assert_eq!(nanos(place.ready_in()), model.wait_for(&its.due));
                let Op::Settle(_, actual) = *op else {
                    let given = model.cancel(&its, its.n);
                    // A place that never was to be waited for has no part in the line.
                    if given == 0 && its.waits {
                        model.settle();
                    }
                    prop_assert_eq!(place.cancel(), given);
                    continue;
                };
                let actual = tokens(actual, limit);
                if actual > its.n {
                    model.spend(actual - its.n);
                    prop_assert_eq!(nanos(place.settle(actual)), model.wait());
                    continue;
                }
                model.undo(&its, its.n - actual);
                model.settle();
                prop_assert_eq!(place.settle(actual), Duration::ZERO);
            }
        }
        prop_assert_eq!(i128::from(limiter.available()), model.available());
    }
    held.into_iter().for_each(|(place, _)| std::mem::forget(place));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Laws 3 and 5: every answer, wait and balance is the model's, to the nanosecond.
    #[test]
    fn answers_equal_the_exact_model((quota, period) in quotas(), ops in ops()) {
        run(&quota, period, &ops)?;
    }

    /// In whatever portions it is taken, a place is due when the area under the line says, which knows no units.
    #[test]
    fn places_lie_on_the_ramp_itself(
        (quota, period) in quotas(), parts in proptest::collection::vec(0..1_000_u64, 1..30),
    ) {
        let (clock, unit) = (ManualClock::new(), unit(&quota, period));
        let builder = WarmUpLimiter::builder(quota, Duration::from_nanos(period)).clock(clock);
        let limiter = builder.build().unwrap();
        let ramp = Ramp::new(&quota, period, exact(0));
        let (mut taken, mut slack) = (exact(0), exact(0));
        for part in parts {
            let due = ramp.cost(&ramp.most, &taken) / rate(&quota);
            if due > exact(4 * YEAR) {
                break;
            }
            let place = limiter.reserve((ramp.limit() * part / 4_000).max(1)).unwrap();
            let wait = i128::from(nanos(place.ready_in()));
            // Each is rounded up by a unit at most; what is stored is less by up to one, and the threshold by half.
            let (least, most) = (&due - &unit * exact(2) / rate(&quota), &due + &slack / rate(&quota));
            prop_assert!(floor(&least) <= wait && wait <= ceil(&most), "{} of {}", wait, due);
            taken += exact(place.tokens());
            slack += &unit;
            std::mem::forget(place);
        }
    }

    /// Law 1: whoever acts when his place is due, and whoever is admitted at once, together take no more in any
    /// window than the limit and what flows, whatever places are given up and taken anew.
    #[test]
    fn no_window_takes_more_than_the_limit_and_the_flow(
        stored in 1..7_u64,
        ops in proptest::collection::vec((0..12_u8, 1..7_u64, any::<usize>(), 0..25_u64), 1..60),
    ) {
        let second = 1_000_000_000_u64;
        let (quota, clock) = (Quota::per_second(1), ManualClock::new());
        let builder = WarmUpLimiter::builder(quota, Duration::from_secs(stored));
        let limiter = builder.clock(clock.clone()).build().unwrap();
        let mut now = 0;
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut waiting: Vec<(u64, Reservation<'_>)> = Vec::new();
        for (op, n, which, steps) in ops {
            let n = n.min(stored);
            match op {
                0 => {
                    now += steps * second / 8;
                    clock.set(Duration::from_nanos(now));
                }
                2..6 if !waiting.is_empty() => {
                    let (due, place) = waiting.swap_remove(which % waiting.len());
                    if due <= now {
                        admitted.push((due, place.tokens()));
                    } else if op == 2 {
                        // Somebody who turns out to need less.
                        admitted.push((due, place.tokens() / 2));
                        let used = place.tokens() / 2;
                        let _ = place.settle(used);
                    } else {
                        let _ = place.cancel();
                    }
                }
                1 => {
                    if limiter.reserve_within(n, Duration::ZERO).is_ok() {
                        admitted.push((now, n));
                    }
                }
                _ => {
                    let place = limiter.reserve(n).unwrap();
                    waiting.push((now + nanos(place.ready_in()), place));
                }
            }
        }
        // And then somebody takes all that there is, as it comes.
        for _ in 0..400 {
            while limiter.reserve_within(1, Duration::ZERO).is_ok() {
                admitted.push((now, 1));
            }
            now += second / 4;
            clock.set(Duration::from_nanos(now));
        }
        for (due, place) in waiting {
            admitted.push((due, place.tokens()));
            std::mem::forget(place);
        }
        admitted.sort_unstable();
        let unit = unit(&quota, stored * second);
        let mut law = WindowLaw::new(&quota, stored, &(unit * exact(2)));
        for (at, n) in admitted {
            prop_assert_eq!(law.admit(at, n), Ok(()));
        }
    }
}
