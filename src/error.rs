//! Errors of quotas, combined limits and tiers. Nothing here imports another room.

mod tiers;

pub use tiers::{TiersError, UnknownTier};

use core::fmt;

/// An error in a quota, or in a limiter built from one: it names the number at fault, and what is
/// permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaError {
    field: &'static str,
    text: &'static str,
    number: Option<u64>,
    position: Option<usize>,
}

impl QuotaError {
    pub(crate) const COUNT: Self = Self::range("count", "count must be at least 1");
    pub(crate) const RATE: Self =
        Self::range("count", "count must be at most 2^40 (1,099,511,627,776) tokens a second");
    pub(crate) const PERIOD: Self = Self::range("period", "period must be from 1 ns to 3,660 days");
    pub(crate) const BURST: Self = Self::range(
        "burst",
        "burst must be from 1 to 2^48 (281,474,976,710,656) tokens; it is the count unless set",
    );
    pub(crate) const INITIAL: Self =
        Self::range("initial", "initial must be at most the limiter's burst");
    pub(crate) const CAPACITY: Self = Self::range(
        "capacity",
        if cfg!(target_pointer_width = "64") {
            "capacity must be from 1 to 2^40 keys"
        } else {
            "capacity must be from 1 to 2^25 - 1 (33,554,431) keys on a machine of 32 bits"
        },
    );
    #[cfg(not(feature = "std"))]
    pub(crate) const CLOCK: Self = Self::range(
        "clock",
        "clock must be given: a build without the standard library has no default",
    );
    #[cfg(not(feature = "std"))]
    pub(crate) const SEED: Self = Self::range(
        "seed",
        "seed must be given: a build without the standard library has no random one",
    );
    pub(crate) const WINDOW_BURST: Self = Self::range(
        "burst",
        "burst must be left out of a window's quota: a window admits its count",
    );
    pub(crate) const WINDOW_INITIAL: Self =
        Self::range("initial", "initial must be left out: a window starts empty");
    pub(crate) const BATCH_WINDOW: Self =
        Self::range("batch", "batch must be left out: a window has no tokens to draw ahead");
    pub(crate) const HORIZON: Self = Self::range(
        "count",
        "count must be lower: at this rate token time would end within a year (it is laid out for \
         30 years at the first rate)",
    );
    pub(crate) const LATER_BURST: Self = Self::range(
        "burst",
        "burst must be lower: the limiter's words are laid out for a much smaller one",
    );
    pub(crate) const PROPORTIONAL: Self =
        Self::range("carry", "carry: Proportional works only for direct token and leaky buckets");
    pub(crate) const CHANGING: Self =
        Self::range("quota", "another quota change is in progress; try again");
    pub(crate) const INTERVALS: Self =
        Self::range("intervals", "intervals: only a token bucket can be refilled at intervals");
    pub(crate) const ALIGNED: Self = Self::range(
        "aligned",
        "aligned: only windows and refills at intervals have boundaries to align",
    );
    pub(crate) const EAST: Self =
        Self::range("aligned", "aligned must be at most a day east or west of UTC");
    pub(crate) const QUEUE: Self =
        Self::range("queue", "queue: only a leaky bucket can be a queue");
    pub(crate) const DELAY_FREE: Self =
        Self::range("delay_free", "delay_free needs a queue, and must be at most its capacity");
    pub(crate) const STRIPED_WINDOW: Self =
        Self::range("striped", "striped must be left out: a window has no tokens to lease");
    pub(crate) const STRIPED_BATCH: Self = Self::range(
        "striped",
        "striped cannot be combined with batch: each stripe draws ahead already",
    );
    pub(crate) const WARM_UP_RATE: Self = Self::range(
        "warm_up",
        "warm_up must be left out: at this rate the limiter's word has no room for it",
    );
    pub(crate) const WARM_UP_BURST: Self =
        Self::range("burst", "burst must be left out: a limiter that warms up has no burst");
    pub(crate) const WARM_UP_LATER: Self = Self::range(
        "count",
        "count must be lower: the limiter's word is laid out for the warm-up of a lower rate",
    );
    pub(crate) const BATCH_RATE: Self = Self::range(
        "batch",
        "batch must be left out: at this rate and burst, one unit of token time is too many tokens",
    );

    #[cfg(feature = "redis")]
    pub(crate) const LEASE_BURST: Self = Self::range(
        "burst",
        "burst must be at least 4 times the number of nodes, so that a lease has 2 tokens; a \
         RedisLimiter, without leases, permits less",
    );
    #[cfg(feature = "redis")]
    pub(crate) const REDIS_BURST: Self = Self::range(
        "burst",
        "burst must refill within 71 years, the longest time that Redis can count",
    );
    #[cfg(feature = "redis")]
    pub(crate) const REDIS_WINDOW: Self = Self::range(
        "period",
        "period must be a whole number of microseconds, which the clock of Redis counts",
    );

    pub(crate) const fn window_count(most: u64) -> Self {
        let text = "count must fit the window's state: at this period it must be at most";
        Self { field: "count", text, number: Some(most), position: None }
    }

    pub(crate) const fn warm_up(most_ns: u64) -> Self {
        let text =
            "warm_up must fit the limiter's word: at this rate, in nanoseconds, it must be at most";
        Self { field: "warm_up", text, number: Some(most_ns), position: None }
    }

    pub(crate) const fn batch(most: u64) -> Self {
        let text = "batch must be at least 1, and with this burst at most";
        Self { field: "batch", text, number: Some(most), position: None }
    }

    pub(crate) const fn parse(position: usize, expected: &'static str) -> Self {
        Self { field: "text", text: expected, number: None, position: Some(position) }
    }

    const fn range(field: &'static str, text: &'static str) -> Self {
        Self { field, text, number: None, position: None }
    }

    pub(crate) const fn text(&self) -> &'static str {
        self.text
    }

    /// Returns the number at fault: `count`, `period`, `burst`, `initial`, `batch`, `striped`,
    /// `queue`, `delay_free`, `intervals`, `aligned`, `warm_up`, `instalments`, `capacity`, `seed`,
    /// `clock`, `carry`, `quota` while another change is in progress, or `text` where the text form
    /// does not parse.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the byte of the text form at which parsing failed, counted from its start.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.position
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.position, self.number) {
            (Some(at), _) => write!(f, "quota text, byte {at}: expected {}", self.text),
            (None, Some(number)) => write!(f, "{} {number}", self.text),
            (None, None) => f.write_str(self.text),
        }
    }
}

impl core::error::Error for QuotaError {}

/// An error in a list of limits to combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CombinedError {
    /// The list is empty.
    None,
    /// The list has more than 8 limits.
    TooMany,
}

impl fmt::Display for CombinedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no limits are given",
            Self::TooMany => "at most 8 limits can be combined",
        })
    }
}

impl core::error::Error for CombinedError {}
