//! A limiter that warms up, in rational numbers: its ramp, and its line with what was given up.

#![allow(unreachable_pub, reason = "a module of tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use super::models::{Exact, ceil, exact, floor, rate, ratio};
use num_traits::{Signed, Zero};
use sluicegate::Quota;

pub const YEAR: u64 = 31_557_600 * 1_000_000_000;

/// Guava's figure: permits to the right, what one costs upwards; one token up to the threshold,
/// three at the end.
#[derive(Clone, Debug)]
pub struct Ramp {
    pub most: Exact,
    /// The time that things are rounded to, in tokens. Zero: nothing is.
    pub unit: Exact,
}

impl Ramp {
    pub fn down(&self, x: &Exact) -> Exact {
        if self.unit.is_zero() { x.clone() } else { (x / &self.unit).floor() * &self.unit }
    }

    pub fn new(quota: &Quota, period: u64, unit: Exact) -> Self {
        let exactly = Self { most: rate(quota) * exact(period), unit };
        Self { most: exactly.down(&exactly.most), ..exactly }
    }

    /// What the `n`-th and all before cost, beginning with `stored`.
    pub fn cost(&self, stored: &Exact, n: &Exact) -> Exact {
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

    pub fn limit(&self) -> u64 {
        floor(&self.most).max(1) as u64
    }
}

/// The largest unit of which 30 years fit into three quarters of what the permits leave of 64 bits,
/// and four times what is stored into the last: a power of two, one token at most. If it can be, so
/// that eight times as much might be stored.
pub fn unit(quota: &Quota, period: u64) -> Exact {
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
pub fn unit_of_line(quota: &Quota) -> Exact {
    let line = exact(ceil(&(rate(quota) * exact(30 * u128::from(YEAR))))) + exact(6);
    let fits = |bits: &u32| &line * exact(1_u64 << bits) <= exact(3_u64 << 54);
    let finest = (0..=54_u32).take_while(fits).last();
    ratio(1, 1_u64 << finest.expect("a token at least"))
}

/// The limiter in rational numbers: when nothing is owed any more in token time, and what is stored
/// then.
#[derive(Clone, Debug)]
pub struct Warming {
    pub ramp: Ramp,
    pub rate: Exact,
    pub full: Exact,
    pub stored: Exact,
    pub now: Exact,
    /// The line's time.
    pub fine: Exact,
    pub unit_of_line: Exact,
    pub nanos: u64,
    /// Spans that were given up in front of somebody.
    pub gaps: Vec<(Exact, Exact)>,
    pub last_due: Exact,
    pub returned: Exact,
}

#[derive(Clone, Debug)]
pub struct Held {
    pub due: Exact,
    pub end: Exact,
    /// What was stored after it.
    pub stored: Exact,
    pub returned: Exact,
    pub waits: bool,
    pub n: u64,
}

impl Warming {
    pub fn new(quota: &Quota, ramp: Ramp) -> Self {
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
    pub fn flow(&mut self, nanos: u64) -> bool {
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

    pub fn owed(&self) -> Exact {
        &self.full - &self.now
    }

    pub fn wait_for(&self, full: &Exact) -> u64 {
        if full <= &self.now {
            return 0;
        }
        (ceil(&(full / &self.rate)) - i128::from(self.nanos)).max(1) as u64
    }

    pub fn wait(&self) -> u64 {
        self.wait_for(&self.full)
    }

    pub fn spend(&mut self, n: u64) -> Held {
        let due = self.full.clone();
        self.full += self.ramp.cost(&self.stored, &exact(n));
        self.stored = (&self.stored - exact(n)).max(exact(0));
        let (end, stored, returned) =
            (self.full.clone(), self.stored.clone(), self.returned.clone());
        let waits = due > self.fine;
        Held { due, end, stored, returned, waits, n }
    }

    pub fn reserve(&mut self, n: u64) -> Held {
        let held = self.spend(n);
        self.last_due = self.last_due.clone().max(held.due.clone());
        held
    }

    /// The span of the last `n` tokens of a place.
    pub fn span(&self, held: &Held, n: u64) -> (Exact, Exact) {
        if n == held.n {
            return (held.due.clone(), held.end.clone());
        }
        let before = (&held.stored + exact(held.n)).min(self.ramp.most.clone());
        let kept = &held.due + self.ramp.cost(&before, &exact(held.n - n));
        (kept.min(held.end.clone()), held.end.clone())
    }

    pub fn unspent(&mut self, n: u64) {
        self.stored = (&self.stored + exact(n)).min(self.ramp.most.clone());
    }

    pub fn cancel(&mut self, held: &Held, n: u64) -> u64 {
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
    pub fn hand_on(&mut self, mut start: Exact, mut end: Exact) {
        // One after the other: after a refund two places may lie on the same span, and each of them
        // was paid for.
        self.gaps.retain(|gap| {
            if gap.1 == start {
                start = gap.0.clone();
            } else if gap.0 == end {
                end = gap.1.clone();
            } else {
                return true;
            }
            false
        });
        start = start.max(self.fine.clone());
        if start < end && end >= self.full {
            self.take_last(start, end);
        } else if start < end {
            self.gaps.push((start, end));
            self.gaps.sort();
        }
        self.settle();
    }

    pub fn settle(&mut self) {
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
    pub fn take_last(&mut self, start: Exact, end: Exact) {
        let refunded = end > self.full;
        let back = self.take(&(end - start));
        if refunded {
            self.returned += back;
        }
    }

    /// Takes from the end of the line, in whole units.
    pub fn take(&mut self, units: &Exact) -> Exact {
        let back = self.ramp.down(units).min(self.owed());
        self.full -= &back;
        back
    }

    pub fn give_back(&mut self, units: &Exact) {
        let back = self.take(units);
        self.returned += back;
    }

    /// Sets the cost of a place right, of which `n` tokens were not used.
    pub fn undo(&mut self, held: &Held, n: u64) {
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

    pub fn refund(&mut self, n: u64) {
        if n > 0 {
            self.settle();
        }
        self.give_back(&exact(n));
    }

    pub fn available(&self) -> i128 {
        if self.owed().is_zero() { i128::from(self.ramp.limit()) } else { floor(&-self.owed()) }
    }
}
