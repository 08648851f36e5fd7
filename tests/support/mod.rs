//! Exact models of the algorithms, in rational numbers, and checkers of the window laws.
//!
//! The models know no words, no units and no rounding. Times are whole nanoseconds since the
//! limiter was built; a time older than the latest is taken for the latest, as limiters take it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
// Each binary uses its own part of this.
#![allow(dead_code, unreachable_pub)]

mod sliding;

#[allow(unused_imports, reason = "each binary uses its own part of this")]
pub use sliding::SlidingModel;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive};
use sluicegate::Quota;
// What a prelude would bring is named: tests within the library, which has none of std's, share
// this.
use std::format;
use std::string::String;
use std::time::Duration;

pub type Exact = BigRational;

pub fn exact(n: impl Into<BigInt>) -> Exact {
    Exact::from_integer(n.into())
}

pub fn ratio(numerator: impl Into<BigInt>, denominator: impl Into<BigInt>) -> Exact {
    Exact::new(numerator.into(), denominator.into())
}

/// Rounded down to a whole number.
pub fn floor(x: &Exact) -> i128 {
    x.floor().to_integer().to_i128().expect("a figure of a test fits 128 bits")
}

/// Rounded up to a whole number.
pub fn ceil(x: &Exact) -> i128 {
    x.ceil().to_integer().to_i128().expect("a figure of a test fits 128 bits")
}

/// Saturating: a wait for 2^40 tokens at one a month is longer than 584 years.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Any quota, also one whose count is no permitted burst, which only the text form can say.
pub fn quota(count: u64, period_ns: u64, burst: u64) -> Quota {
    format!("{count}/{period_ns} ns burst {burst}").parse().expect("a permitted quota")
}

/// Tokens a nanosecond.
pub fn rate(quota: &Quota) -> Exact {
    ratio(quota.count(), nanos(quota.period()))
}

/// What a line must last for, in tokens: 30 years, a burst that is missing at their end, and room
/// for debt; six bursts are the most that a limiter may set aside for both.
fn line(quota: &Quota) -> Exact {
    let years = rate(quota) * exact(30_u128 * 31_557_600 * 1_000_000_000);
    years + exact(6) * exact(quota.burst_size()) + exact(1)
}

/// The largest that one unit of a direct limiter's token time may be, in tokens.
///
/// The line has 56 bits if a unit is then at most 250 ns of flow, and else 63 of 64 bits, of which
/// halving the unit once more would take too many. A unit is a token at most, 2^-54 at least.
pub fn unit_of_direct(quota: &Quota) -> Exact {
    let narrow = rate(quota) * exact(250);
    let wide = line(quota) / exact(1_u64 << 62);
    narrow.max(wide).max(ratio(1, 1_u64 << 54)).min(Exact::one())
}

/// The same for a batched limiter, whose line has three quarters of 56 bits whatever the quota.
pub fn unit_of_56_bits(quota: &Quota) -> Exact {
    (line(quota) / exact(3_u64 << 53)).max(ratio(1, 1_u64 << 54))
}

/// The token bucket, and the leaky bucket as a meter: tokens at a time.
#[derive(Clone, Debug)]
pub struct Model {
    pub rate: Exact,
    pub burst: Exact,
    pub tokens: Exact,
    last: u64,
}

impl Model {
    pub fn new(quota: &Quota) -> Self {
        let burst = exact(quota.burst_size());
        Self { rate: rate(quota), tokens: burst.clone(), burst, last: 0 }
    }

    /// Lets tokens flow until `now`.
    pub fn flow(&mut self, now: u64) -> &mut Self {
        let passed = exact(now.saturating_sub(self.last));
        self.last = self.last.max(now);
        self.tokens = (&self.tokens + passed * &self.rate).min(self.burst.clone());
        self
    }

    /// What would be left after `n`; below zero, `n` does not fit.
    pub fn margin(&self, n: u64) -> Exact {
        &self.tokens - exact(n)
    }

    pub fn peek(&self, n: u64) -> bool {
        n == 0 || !self.margin(n).is_negative()
    }

    pub fn take(&mut self, n: u64) -> bool {
        let fits = self.peek(n);
        if fits {
            self.tokens -= exact(n);
        }
        fits
    }

    /// How many of `n` there are, taken.
    pub fn take_up_to(&mut self, n: u64) -> u64 {
        let there = floor(&self.tokens).clamp(0, i128::from(n)) as u64;
        self.tokens -= exact(there);
        there
    }

    pub fn charge(&mut self, n: u64) {
        self.tokens -= exact(n);
    }

    pub fn refund(&mut self, n: u64) {
        self.tokens = (&self.tokens + exact(n)).min(self.burst.clone());
    }

    pub fn reset(&mut self) {
        self.tokens = self.burst.clone();
    }

    /// The first whole nanosecond from now at which `n` fit; `None` if they never do.
    pub fn wait(&self, n: u64) -> Option<i128> {
        (exact(n) <= self.burst).then(|| ceil(&(-self.margin(n) / &self.rate)).max(0))
    }

    /// The first whole nanosecond from now at which the bucket is full.
    pub fn until_full(&self) -> i128 {
        ceil(&((&self.burst - &self.tokens) / &self.rate))
    }
}

/// Fixed windows, aligned to the limiter's construction.
#[derive(Clone, Debug)]
pub struct FixedModel {
    pub count: u64,
    period: u64,
    window: u64,
    pub admitted: u64,
    last: u64,
}

impl FixedModel {
    pub fn new(quota: &Quota) -> Self {
        let period = nanos(quota.period());
        Self { count: quota.count(), period, window: 0, admitted: 0, last: 0 }
    }

    pub fn flow(&mut self, now: u64) -> &mut Self {
        self.last = self.last.max(now);
        let window = self.last / self.period;
        if window > self.window {
            (self.window, self.admitted) = (window, 0);
        }
        self
    }

    pub fn window(&self) -> u64 {
        self.window
    }

    pub fn peek(&self, n: u64) -> bool {
        n == 0 || u128::from(self.admitted) + u128::from(n) <= u128::from(self.count)
    }

    pub fn take(&mut self, n: u64) -> bool {
        let fits = self.peek(n);
        self.admitted += if fits { n } else { 0 };
        fits
    }

    pub fn take_up_to(&mut self, n: u64) -> u64 {
        let there = n.min(self.remaining());
        self.admitted += there;
        there
    }

    pub fn charge(&mut self, n: u64) {
        self.admitted += n;
    }

    pub fn refund(&mut self, n: u64) {
        self.admitted = self.admitted.saturating_sub(n);
    }

    pub fn remaining(&self) -> u64 {
        self.count.saturating_sub(self.admitted)
    }

    pub fn wait(&self, n: u64) -> Option<u64> {
        let boundary = (self.window + 1) * self.period - self.last;
        (n <= self.count).then(|| if self.peek(n) { 0 } else { boundary })
    }
}

/// How many cases a property is tried on: as many as usual, or as `SLUICEGATE_CASES` says.
pub fn cases(usual: u32) -> u32 {
    std::env::var("SLUICEGATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

/// Checks `admitted <= burst + rate * (W + slack)` for every window of a log, in one pass.
///
/// For windows from the i-th admission to the j-th: the admitted before i, less what had flowed by
/// then, is smallest where the window is worst.
#[derive(Clone, Debug)]
pub struct WindowLaw {
    quota: Quota,
    /// In tokens times the period's nanoseconds, so that whole numbers do.
    burst: i128,
    slack: i128,
    admitted: i128,
    lowest: i128,
}

impl WindowLaw {
    /// `slack` in tokens: what one unit of time weighs.
    pub fn new(quota: &Quota, burst: u64, slack: &Exact) -> Self {
        let period = i128::from(nanos(quota.period()));
        let slack = ceil(&(slack * exact(period)));
        let burst = i128::from(burst) * period;
        Self { quota: *quota, burst, slack, admitted: 0, lowest: i128::MAX }
    }

    /// Admissions in the order of their times. Says by how much the law is broken, if it is.
    pub fn admit(&mut self, at: u64, n: u64) -> Result<(), String> {
        let period = i128::from(nanos(self.quota.period()));
        let flowed = i128::from(at) * i128::from(self.quota.count());
        self.lowest = self.lowest.min(self.admitted * period - flowed);
        self.admitted += i128::from(n);
        let window = self.admitted * period - flowed - self.lowest;
        if window <= self.burst + self.slack {
            return Ok(());
        }
        let over = (window - self.burst) / period;
        Err(format!("{over} tokens too many in a window that ends at {at} ns, {:?}", self.quota))
    }
}
