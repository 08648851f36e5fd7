//! The builder of a direct limiter.

use super::{Mode, RateLimiter};
use crate::algorithm::{Batch, Rule, Terms};
use crate::bucket::{Options, option_setters};
use crate::error::QuotaError;
use crate::limiter::striped::Striped;
use crate::quota::Quota;
use crate::word;

/// Choices for a [`RateLimiter`], from [`RateLimiter::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RateLimiterBuilder {
    options: Options,
    initial: Option<u64>,
    batch: Option<u64>,
    stripes: Option<usize>,
}

impl RateLimiterBuilder {
    pub(super) fn new(quota: Quota) -> Self {
        Self { options: Options::new(quota), initial: None, batch: None, stripes: None }
    }

    option_setters!();

    /// Starts with `tokens` instead of a full burst.
    pub fn initial(mut self, tokens: u64) -> Self {
        self.initial = Some(tokens);
        self
    }

    /// Draws tokens in batches of `size`, so that most grants do not read the clock, at about a
    /// third of the cost.
    ///
    /// The law of the burst holds. In return, up to `size - 1` tokens of a burst are withheld
    /// (`limit()` is the rest), and the figures of most grants are bounds.
    pub fn batch(mut self, size: u64) -> Self {
        self.batch = Some(size);
        self
    }

    /// Gives every core a stripe of its own: a cache line with tokens leased from the limit.
    /// Threads then do not take turns at one word, and most grants do not read the clock.
    ///
    /// The law of the burst holds exactly, since a lease is taken out of the bucket before it is
    /// spent. A lease is large while tokens abound; when they are scarce there are no leases. A
    /// thread that finds too few tokens in its stripe and in the bucket takes from the other
    /// stripes before it denies. Threads empty the stripes that have fallen out of use. In return,
    /// up to a quarter of the burst is withheld from a single burst (`limit()` is the rest), and
    /// the figures of grants are lower bounds. A quota whose burst is under 8 is too small to
    /// share, and gets no stripes.
    #[cfg(feature = "std")]
    pub fn striped(self) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        self.stripes(cores)
    }

    /// Makes this number of stripes, rounded up to a power of two; at most 256. Use it instead of
    /// [`striped`](Self::striped) in a program that knows better how many threads will check.
    #[cfg(feature = "std")]
    pub fn stripes(mut self, stripes: usize) -> Self {
        self.stripes = Some(stripes);
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// - the quota of a window has a burst of its own, or a count that its packing cannot hold (at
    ///   1 s: 17 * 10^9 in a fixed window, 131,071 in a sliding one; more in longer windows);
    /// - `initial` is over the burst, or given to a window;
    /// - `batch` is 0, over what the word holds (255), over about half of the burst, or given to a
    ///   window;
    /// - stripes are given to a window, or together with batches;
    /// - intervals are given to anything but a token bucket; alignment to a bucket that flows
    ///   smoothly, or by more than a day;
    /// - a queue is made of anything but a leaky bucket, or `delay_free` is over its capacity or
    ///   given without a queue;
    /// - there is no clock, in a build without a default one.
    pub fn build(self) -> Result<RateLimiter, QuotaError> {
        let (quota, waiting) = self.options.shaped()?;
        let Self { options, initial, batch, stripes } = self;
        let Options { algorithm, schedule, source, max_debt, .. } = options;
        let bits = if batch.is_some() { word::VALUE_BITS } else { u64::BITS };
        let terms = Terms::new(quota, algorithm, bits)?;
        let terms = schedule.terms(terms)?;
        let timer = schedule.timer(source, &terms)?;
        let mode = match (batch, stripes, terms.rule()) {
            (Some(_), Some(_), _) => return Err(QuotaError::STRIPED_BATCH),
            (Some(size), None, rule) => Mode::Batched(Batch::new(&rule, size)?),
            (None, Some(stripes), Rule::Bucket(bucket)) => {
                Striped::new(bucket, stripes).map_or(Mode::of(&terms), Mode::Striped)
            }
            (None, Some(_), _) => return Err(QuotaError::STRIPED_WINDOW),
            (None, None, _) => Mode::of(&terms),
        };
        let assembled = RateLimiter::assemble(terms, timer, mode, waiting);
        let limiter = RateLimiter { max_debt, ..assembled };
        if let Some(tokens) = initial {
            limiter.start_with(tokens)?;
        }
        Ok(limiter)
    }
}

impl RateLimiter {
    /// Sets how many tokens are there at the start.
    fn start_with(&self, tokens: u64) -> Result<(), QuotaError> {
        if self.free.is_window() {
            return Err(QuotaError::WINDOW_INITIAL);
        }
        let limit = self.free.rule().limit();
        let missing = limit.checked_sub(tokens).ok_or(QuotaError::INITIAL)?;
        self.reset();
        self.charge(missing);
        Ok(())
    }
}
