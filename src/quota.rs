//! The quota (count, period and burst), validated, and its text form.

use crate::error::QuotaError;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// The highest rate: 2^40 (about 1.1 * 10^12) tokens a second.
const MAX_PER_SECOND: u128 = 1 << 40;
/// The longest period: 3,660 days. So even the slowest quota flows within the 30 years of token
/// time.
const MAX_PERIOD_NS: u128 = 3_660 * 86_400 * 1_000_000_000;
/// The largest burst. With it, a unit of token time is still less than a token at any permitted
/// rate of up to 57 million a second.
const MAX_BURST: u64 = 1 << 48;

/// A rate and a burst: `count` tokens flow in every `period`, and at most `burst` are saved up.
///
/// A quota is a plain value of three numbers and is always valid. The shorthands, such as
/// [`per_second`], are for numbers in source code and panic if the number is out of range.
/// [`Quota::new`] and parsing are for numbers from outside and return a [`QuotaError`].
///
/// ```
/// use sluicegate::Quota;
/// use std::time::Duration;
///
/// const API: Quota = Quota::per_second(100).burst(20);
/// let slow = Quota::new(1, Duration::from_secs(30 * 86_400))?;
/// let typed: Quota = "100/minute burst 20".parse()?;
/// assert_eq!(typed, Quota::per_minute(100).burst(20));
/// assert_eq!(typed.to_string(), "100/minute burst 20");
/// # Ok::<(), sluicegate::QuotaError>(())
/// ```
///
/// | | permitted |
/// | --- | --- |
/// | count | 1 to 2^64 - 1, the rate at most 2^40 a second |
/// | period | 1 ns to 3,660 days |
/// | burst | 1 to 2^48; the count unless set |
///
/// [`per_second`]: Quota::per_second
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    count: u64,
    period_ns: u64,
    burst: u64,
}

impl Quota {
    /// Returns a quota of `count` tokens a second. `per_second(5)` is five in a second, not one in
    /// five seconds.
    ///
    /// # Panics
    ///
    /// Panics with the text of the [`QuotaError`] that [`Quota::new`] would return.
    #[must_use]
    pub const fn per_second(count: u64) -> Self {
        Self::shorthand(count, 1)
    }

    /// Returns a quota of `count` tokens a minute.
    ///
    /// # Panics
    ///
    /// Those of [`Quota::per_second`].
    #[must_use]
    pub const fn per_minute(count: u64) -> Self {
        Self::shorthand(count, 60)
    }

    /// Returns a quota of `count` tokens an hour.
    ///
    /// # Panics
    ///
    /// Those of [`Quota::per_second`].
    #[must_use]
    pub const fn per_hour(count: u64) -> Self {
        Self::shorthand(count, 3_600)
    }

    /// Returns a quota of `count` tokens a day of 24 hours.
    ///
    /// # Panics
    ///
    /// Those of [`Quota::per_second`].
    #[must_use]
    pub const fn per_day(count: u64) -> Self {
        Self::shorthand(count, 86_400)
    }

    /// Returns a quota of `count` tokens in every `period`. The burst is the count.
    ///
    /// # Errors
    ///
    /// Names the number that is out of range, and the range (see the table above).
    pub const fn new(count: u64, period: Duration) -> Result<Self, QuotaError> {
        let period_ns = period.as_nanos();
        if count == 0 {
            return Err(QuotaError::COUNT);
        }
        if period_ns == 0 || period_ns > MAX_PERIOD_NS {
            return Err(QuotaError::PERIOD);
        }
        if count as u128 * 1_000_000_000 > MAX_PER_SECOND * period_ns {
            return Err(QuotaError::RATE);
        }
        Self { count, period_ns: period_ns as u64, burst: 1 }.try_burst(count)
    }

    /// Makes a quota from three numbers whose source may be damaged; `None` if they are not
    /// permitted.
    pub(crate) fn from_words(count: u64, period_ns: u64, burst: u64) -> Option<Self> {
        let rate = Self::new(1, Duration::from_nanos(period_ns)).ok()?;
        let slow = u128::from(count) * 1_000_000_000 <= MAX_PER_SECOND * u128::from(period_ns);
        (count > 0 && slow && 0 < burst && burst <= MAX_BURST).then_some(Self {
            count,
            burst,
            ..rate
        })
    }

    /// Makes a quota from three numbers that have been validated.
    #[inline(always)]
    pub(crate) const fn from_parts(count: u64, period_ns: u64, burst: u64) -> Self {
        Self { count, period_ns, burst }
    }

    /// Returns the same rate with a burst that is known to be permitted.
    #[inline(always)]
    pub(crate) const fn with_burst(self, burst: u64) -> Self {
        Self { burst, ..self }
    }

    /// Returns the same rate with another burst: the most tokens that are saved up, and so the
    /// largest request that can ever be granted.
    ///
    /// A caller that waits for its tokens comes back late: timers tick in milliseconds, and a busy
    /// machine wakes it later still. What flows meanwhile is saved up to the burst, and lost beyond
    /// it. **So give a limit that one caller at a time waits for a burst of at least 10 ms of its
    /// flow**: `rate / 100`, which is 100 at 10,000 a second. With a burst of 1, one task that
    /// acquires 10,000 a second one by one gets 16 % of them; see [the
    /// limits](crate::docs::limits).
    ///
    /// # Panics
    ///
    /// If [`Quota::try_burst`] would return an error.
    #[must_use]
    pub const fn burst(self, burst: u64) -> Self {
        match self.try_burst(burst) {
            Ok(quota) => quota,
            #[expect(clippy::panic, reason = "documented: a number in source code is out of range")]
            Err(error) => panic!("{}", error.text()),
        }
    }

    /// Returns the same rate with another burst, as [`Quota::burst`] does, for numbers from
    /// outside.
    ///
    /// # Errors
    ///
    /// A burst of 0 or over 2^48.
    pub const fn try_burst(self, burst: u64) -> Result<Self, QuotaError> {
        if burst == 0 || burst > MAX_BURST {
            return Err(QuotaError::BURST);
        }
        Ok(Self { burst, ..self })
    }

    /// Returns the tokens in a period.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period_ns)
    }

    /// Returns the most tokens saved up.
    #[must_use]
    pub const fn burst_size(&self) -> u64 {
        self.burst
    }

    pub(crate) const fn period_ns(&self) -> u64 {
        self.period_ns
    }

    const fn shorthand(count: u64, seconds: u64) -> Self {
        match Self::new(count, Duration::from_secs(seconds)) {
            Ok(quota) => quota,
            #[expect(clippy::panic, reason = "documented: a number in source code is out of range")]
            Err(error) => panic!("{}", error.text()),
        }
    }
}

/// The units that the text form knows, largest first: nanoseconds, the name that is printed, and
/// other names that are parsed.
const UNITS: [(u64, &str, &[&str]); 8] = [
    (604_800_000_000_000, "week", &["w", "weeks"]),
    (86_400_000_000_000, "day", &["d", "days"]),
    (3_600_000_000_000, "hour", &["h", "hr", "hrs", "hours"]),
    (60_000_000_000, "minute", &["m", "min", "mins", "minutes"]),
    (1_000_000_000, "second", &["s", "sec", "secs", "seconds"]),
    (1_000_000, "ms", &["millisecond", "milliseconds"]),
    (1_000, "us", &["microsecond", "microseconds"]),
    (1, "ns", &["nanosecond", "nanoseconds"]),
];

/// Prints the text form: `100/minute`, `100/minute burst 20`, `1/30 days`. It parses back to the
/// same quota.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(ns, ..)| self.period_ns.is_multiple_of(*ns));
        let (ns, name, _) = unit.unwrap_or(&UNITS[UNITS.len() - 1]);
        match self.period_ns / ns {
            1 => write!(f, "{}/{name}", self.count)?,
            many if name.len() > 2 => write!(f, "{}/{many} {name}s", self.count)?,
            many => write!(f, "{}/{many} {name}", self.count)?,
        }
        if self.burst != self.count {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({self})")
    }
}

/// Parses `COUNT ("/" | "per") [NUMBER] UNIT ["burst" NUMBER]`, such as `100/minute burst 20`,
/// `5 per 2 hours`, `1/30 days`. Units are `ns` to `week`, short or long, in any case; `_` may
/// group digits.
impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let mut words = Words { text, at: 0 };
        let count = words.number("a whole number of tokens, as in \"100/minute\"")?;
        if !words.symbol('/') {
            let per_at = words.at;
            if !words.word().eq_ignore_ascii_case("per") {
                words.at = per_at;
                return Err(words.expected("\"/\" or \"per\" after the count"));
            }
        }
        words.blank();
        let many = if words.starts_with_digit() {
            words.number("a number of units, as in \"5/2 hours\"")?
        } else {
            1
        };
        words.blank();
        let (unit_at, name) = (words.at, words.word());
        let unit = UNITS.iter().find(|(_, unit, others)| {
            name.eq_ignore_ascii_case(unit) || others.iter().any(|o| name.eq_ignore_ascii_case(o))
        });
        let Some((ns, ..)) = unit else {
            words.at = unit_at;
            return Err(words.expected("a unit: ns, us, ms, second, minute, hour, day or week"));
        };
        let period = many.checked_mul(*ns).ok_or(QuotaError::PERIOD)?;
        let quota = Self { count, period_ns: period, burst: 1 };
        let burst_at = words.at;
        if words.rest_is_blank() {
            return Self::new(quota.count, quota.period());
        }
        if !words.word().eq_ignore_ascii_case("burst") {
            words.at = burst_at;
            words.blank();
            return Err(words.expected("\"burst\" and a number, or the end"));
        }
        words.blank();
        let burst = words.number("a whole number of tokens after \"burst\"")?;
        if !words.rest_is_blank() {
            return Err(words.expected("the end of the quota"));
        }
        // The count need not be a permitted burst if another burst is given.
        Self::new(1, quota.period())?;
        if count == 0 {
            return Err(QuotaError::COUNT);
        }
        if u128::from(count) * 1_000_000_000 > MAX_PER_SECOND * u128::from(period) {
            return Err(QuotaError::RATE);
        }
        quota.try_burst(burst)
    }
}

/// A cursor over the text.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn blank(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn rest_is_blank(&mut self) -> bool {
        self.blank();
        self.rest().is_empty()
    }

    fn starts_with_digit(&self) -> bool {
        self.rest().starts_with(|c: char| c.is_ascii_digit())
    }

    fn symbol(&mut self, symbol: char) -> bool {
        self.blank();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len_utf8() } else { 0 };
        found
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number(&mut self, what: &'static str) -> Result<u64, QuotaError> {
        self.blank();
        if !self.starts_with_digit() {
            return Err(self.expected(what));
        }
        let start = self.at;
        let mut value = 0_u64;
        for c in self.rest().chars() {
            if let Some(digit) = c.to_digit(10) {
                let grown = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit)));
                value = grown.ok_or(QuotaError::parse(start, "a number under 2^64"))?;
            } else if c != '_' {
                break;
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn expected(&self, what: &'static str) -> QuotaError {
        QuotaError::parse(self.at, what)
    }
}
