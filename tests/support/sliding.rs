//! The exact model of a sliding window.

use super::*;
use num_traits::Zero;

/// What is known of a sliding window's admissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// How many they were.
    Count,
    /// And that less than one more was left after one of them.
    Reached,
    /// When they are gone if they go at the rate.
    Rate,
}

/// Sliding windows by two counters, aligned to the limiter's construction.
///
/// Of what the previous window admitted remains, after a part x of this one: `previous * (1 - x)`,
/// as if it had been spread evenly; but `previous - count * x` if the limit was reached in it, or
/// it came after such a window.
#[derive(Clone, Debug)]
pub struct SlidingModel {
    pub count: u64,
    period: u64,
    window: u64,
    previous: Exact,
    current: Exact,
    known: Known,
    /// Whether the word has a bit for noting that the limit was reached.
    notes: bool,
    last: u64,
}

impl SlidingModel {
    /// Of a limiter whose states have `bits` bits.
    pub fn new(quota: &Quota, bits: u32) -> Self {
        Self {
            count: quota.count(),
            period: nanos(quota.period()),
            window: 0,
            previous: exact(0),
            current: exact(0),
            known: Known::Count,
            notes: Self::notes(quota, bits),
            last: 0,
        }
    }

    /// Whether a count leaves the top bit of its field free.
    pub fn notes(quota: &Quota, bits: u32) -> bool {
        let period = u128::from(nanos(quota.period()));
        let windows = (30_u128 * 31_557_600 * 1_000_000_000).div_ceil(period);
        let bits = (bits - (u128::BITS - windows.leading_zeros())) / 2;
        quota.count() < 1 << bits.min(48) >> 1
    }

    pub fn flow(&mut self, now: u64) -> &mut Self {
        self.last = self.last.max(now);
        let window = self.last / self.period;
        for _ in self.window..window.min(self.window + 2) {
            let count = exact(self.count);
            let left = match self.known {
                Known::Rate => (&self.previous + &self.current - &count).max(exact(0)),
                _ => self.current.clone(),
            };
            let full = left.clone() + exact(1) >= count || self.known == Known::Reached;
            let full = full && self.previous <= count || left == count;
            let paced = self.known == Known::Rate || full;
            let at_rate = paced && left.is_positive() && left <= count;
            self.previous = if at_rate { left } else { left.ceil() };
            self.known = if at_rate { Known::Rate } else { Known::Count };
            self.current = exact(0);
        }
        if window > self.window + 1 {
            (self.previous, self.known) = (exact(0), Known::Count);
        }
        self.window = window;
        self
    }

    fn passed(&self) -> Exact {
        ratio(self.last % self.period, self.period)
    }

    pub fn level(&self) -> Exact {
        let goes =
            if self.known == Known::Rate { exact(self.count) } else { self.previous.clone() };
        (&self.previous - goes * self.passed()).max(exact(0)) + &self.current
    }

    /// `count - level - n`.
    pub fn margin(&self, n: u64) -> Exact {
        exact(self.count) - self.level() - exact(n)
    }

    /// The most that a unit of a window's time weighs: the line counts at least 2^61 of them in the
    /// 60 years that 30 years may be rounded up to, so one is under a nanosecond.
    pub fn unit(&self) -> Exact {
        self.previous.clone().max(exact(self.count)) / exact(self.period)
    }

    pub fn peek(&self, n: u64) -> bool {
        n == 0 || !self.margin(n).is_negative()
    }

    pub fn take(&mut self, n: u64) -> bool {
        let fits = self.peek(n);
        if fits {
            self.admit(n);
        }
        fits
    }

    pub fn take_up_to(&mut self, n: u64) -> u64 {
        let there = floor(&self.margin(0)).clamp(0, i128::from(n)) as u64;
        self.admit(there);
        there
    }

    fn admit(&mut self, n: u64) {
        self.charge(n);
        let reached = n > 0 && self.known == Known::Count && self.margin(1).is_negative();
        if self.notes && reached {
            self.known = Known::Reached;
        }
    }

    pub fn charge(&mut self, n: u64) {
        if n == 0 {
            return;
        }
        if self.known == Known::Rate && self.level().is_zero() {
            // As if it had been forgotten.
            (self.previous, self.current, self.known) = (exact(0), exact(0), Known::Count);
        }
        let empty = self.previous.is_zero() && self.current.is_zero();
        if self.known == Known::Rate {
            self.put_at_rate(&self.previous + &self.current + exact(n));
        } else if self.count == 1 && empty {
            self.put_at_rate(self.passed() + exact(n));
        } else {
            self.current += exact(n);
        }
    }

    fn put_at_rate(&mut self, sum: Exact) {
        self.previous = sum.clone().min(exact(self.count));
        self.current = sum - &self.previous;
        self.known = Known::Rate;
    }

    pub fn refund(&mut self, n: u64) {
        if n == 0 || self.level().is_zero() {
            return;
        }
        if self.known == Known::Rate {
            let sum = &self.previous + &self.current - exact(n);
            self.put_at_rate(sum.max(exact(0)));
            if self.level().is_zero() {
                (self.previous, self.current) = (exact(0), exact(0));
                self.known = Known::Count;
            }
            return;
        }
        let here = exact(n).min(self.current.clone());
        self.current -= &here;
        self.previous = (&self.previous + here - exact(n)).max(exact(0));
        if self.level().is_zero() {
            self.known = Known::Count;
        }
    }

    /// What may be charged without a debt that lasts into the next window.
    pub fn chargeable(&self) -> u64 {
        (self.count as i128 - ceil(&self.current)).max(0) as u64
    }

    /// The first whole nanosecond from now at which `n` fit, found from the definition: at most two
    /// windows ahead, in which the level only falls.
    pub fn wait(&self, n: u64) -> Option<u64> {
        if n > self.count {
            return None;
        }
        let fits = |wait: u64| self.clone().flow(self.last + wait).peek(n);
        let (mut no, mut yes) = (0, 2 * self.period);
        if fits(0) {
            return Some(0);
        }
        while yes - no > 1 {
            let middle = no + (yes - no) / 2;
            if fits(middle) { yes = middle } else { no = middle }
        }
        Some(yes)
    }
}
