//! A limiter that warms up, for callers that wait.

mod builder;
mod reserve;
mod waiting;

pub use builder::WarmUpBuilder;

use crate::algorithm::{Algorithm, Layout, Terms, WarmUp};
use crate::answer::{Figures, Patience};
use crate::bucket::{Furthest, Queues, Returns, Waiting, Whose, queue};
use crate::cell::{Cell, Step};
use crate::clock::Timer;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::timeline::{Announced, Begin, Moment, Timeline};
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use crossbeam_utils::CachePadded;

/// A limiter that grants slowly at first and after it was idle, and reaches its rate within a
/// period of steady demand. It is for callers that wait for a service whose caches must fill and
/// whose connections must open before it can take the full load.
///
/// It is Guava's `SmoothWarmingUp` (see `SmoothRateLimiter` there) with its cold factor of 3. M is
/// the number of tokens that flow in the warm-up period. While no caller asks, the limiter stores
/// up to M *permits*, one for each token that flows. It starts with all M: cold. A request spends
/// permits. The lower half costs a token each. The upper half costs more, up to three at the top.
/// If `above` permits are stored beyond M/2, a request of `n` takes `a = min(n, above)` of those
/// and costs
///
/// ```text
/// n + 2a(2 above - a) / M    tokens.
/// ```
///
/// So from cold the first M/2 tokens take the whole period, and from then on they flow at the rate.
/// *The next* request waits for the cost: the first one is served at once, whatever it costs
/// itself, up to M in whole tokens (at least one), which is the limit. There is no other burst:
/// stored permits make requests dearer, not faster. A caller that comes late loses the tokens that
/// flowed meanwhile. In any window of length W the limiter admits at most limit + rate * W.
///
/// ```
/// use sluicegate::{ManualClock, Quota, WarmUpLimiter};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let builder = WarmUpLimiter::builder(Quota::per_second(2), Duration::from_secs(4));
/// let limiter = builder.clock(clock.clone()).build()?;
/// let waits = [(); 7].map(|()| {
///     let wait = limiter.reserve(1).map(|place| {
///         clock.advance(place.ready_in());
///         place.waits()
///     });
///     wait.unwrap_or_default().as_millis()
/// });
/// assert_eq!(waits, [0, 1_375, 1_125, 875, 625, 500, 500]);
/// # Ok::<(), sluicegate::QuotaError>(())
/// ```
///
/// **There is no `check`.** A caller that is denied and comes again leaves the limiter idle for the
/// time by which it comes late, and so keeps it cold while it goes on: at 10/s with a warm-up of
/// 500 ms, checks every 105 ms would be granted 3 of a second for ever. Callers that wait are
/// served one after the other, without a gap, and warm it.
///
/// ```compile_fail
/// # let limiter = sluicegate::WarmUpLimiter::new(
/// #     sluicegate::Quota::per_second(2), std::time::Duration::from_secs(4),
/// # ).unwrap();
/// limiter.check();
/// ```
///
/// [`reserve`](Self::reserve) and `acquire` read the clock once, and do 3 loads and 1
/// compare-and-swap. A reservation is bounded by [`max_waiting`](WarmUpBuilder::max_waiting). A
/// caller that leaves the queue hands its turn to the next one, and has not warmed the limiter.
/// After a grant that costs anything, `remaining` is 0; if nothing is owed it is the limit.
/// `reset_after` is the time until the debt is paid.
///
/// **Precision.** Time and permits share the word, so time is coarser than in other limiters. For a
/// warm-up period of 1 s a unit takes 25 to 51 us to flow, whatever the rate. It grows with the
/// square root of the period, and is at most one token. A window may admit one unit's flow more. M
/// is rounded down to a unit, and the cost of a request beyond its `n` up to one; the rate of a
/// warm limiter is not rounded.
pub struct WarmUpLimiter {
    /// The word, on a cache line of its own, as that of a [`RateLimiter`](crate::RateLimiter).
    cell: CachePadded<Cell>,
    /// Token time, finer than the word's, and the quota in force, with a burst of 1.
    timeline: Timeline,
    announced: Announced,
    layout: Layout,
    first: Ramp,
    period: Duration,
    /// The timeline's units in one of the word's, as a power of two.
    shift: u32,
    /// The timeline's units in a token.
    token: u64,
    waiting: Waiting,
    max_debt: u64,
    returns: Returns,
    queues: Arc<Queues>,
    /// The moment at which the last place in the queue, or one that was given up, is due.
    last_due: Furthest,
}

/// The warm-up under a quota.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    quota: Quota,
    rule: WarmUp,
    /// The terms of answers, whose burst is the limit.
    terms: Terms,
}

impl Ramp {
    fn new(layout: &Layout, quota: Quota) -> Result<Self, QuotaError> {
        let rule = layout.rule(&quota)?;
        let told = quota.with_burst(rule.limit());
        let terms = Terms::bucket(told, Algorithm::TokenBucket, crate::word::VALUE_BITS);
        Ok(Self { quota, rule, terms })
    }
}

/// A moment, in the timeline's and in the word's time.
#[derive(Clone, Copy, Debug)]
struct Now {
    moment: Moment,
    ramp: Ramp,
    /// Token time in the moment's units, until it stops.
    units: u64,
    /// Token time in the word's units.
    time: u64,
    /// The moment's units in one of the word's.
    unit: u64,
}

impl Now {
    fn rule(&self) -> &WarmUp {
        &self.ramp.rule
    }

    fn wait(&self, units: u64) -> Duration {
        self.moment.figures(0).wait(units)
    }

    /// Returns the units that are owed.
    fn owed(&self, state: u64) -> u64 {
        self.rule()
            .full_time(state)
            .checked_mul(self.unit)
            .map_or(u64::MAX >> 1, |full| full.saturating_sub(self.units))
    }

    /// Returns the time until nothing is owed.
    fn owes(&self, state: u64) -> Duration {
        self.wait(self.owed(state))
    }

    /// Returns the answer's figures; `retry_after` is `None` if it is of no use.
    fn figures(&self, state: u64, retry_after: Option<Duration>) -> Figures {
        let remaining = self.rule().balance(state, self.time).max(0) as u64;
        Figures::computed(self.ramp.terms, remaining, self.owes(state), retry_after)
    }

    /// Returns the longest wait of a caller, in units, and what bounds it.
    fn longest(&self, tokens: u64, within: Option<Duration>) -> (u64, Patience) {
        let (longest, patience) = self.moment.figures(0).longest(tokens, within);
        let most = self.rule().longest_wait().saturating_mul(self.unit);
        if most < longest { (most, Patience::Units(most)) } else { (longest, patience) }
    }
}

impl WarmUpLimiter {
    /// Makes a cold limiter, on the default clock, that warms up in `period`.
    ///
    /// # Errors
    ///
    /// Those of [`WarmUpBuilder::build`].
    #[cfg(feature = "std")]
    pub fn new(quota: Quota, period: Duration) -> Result<Self, QuotaError> {
        Self::builder(quota, period).build()
    }

    /// Returns a builder, which chooses the clock and the rest.
    pub fn builder(quota: Quota, period: Duration) -> WarmUpBuilder {
        WarmUpBuilder::new(quota, period)
    }

    fn assemble(
        (quota, period): (Quota, Duration),
        timer: impl FnOnce() -> Result<Timer, QuotaError>,
    ) -> Result<Self, QuotaError> {
        let terms = Terms::bucket(quota.with_burst(1), Algorithm::TokenBucket, u64::BITS);
        // Not finer than a token: token time has 64 bits.
        let finest = u32::from(terms.scale().fraction.unsigned_abs());
        let layout = Layout::new(&quota, period, finest)?;
        let first = Ramp::new(&layout, quota)?;
        let token = terms.burst_units();
        Ok(Self {
            cell: CachePadded::new(Cell::new(0)),
            timeline: Timeline::new(terms, timer()?),
            announced: Announced::new(),
            layout,
            first,
            period,
            shift: finest - layout.fraction(),
            token,
            waiting: Waiting::default(),
            max_debt: u64::MAX,
            returns: Returns::new(),
            queues: Queues::of_one_paid_after(token),
            last_due: Furthest::new(),
        })
    }

    /// Converts a time of the word's to the timeline's units. Neither ends before the word's time
    /// does.
    fn units(&self, time: u64) -> u64 {
        time.saturating_mul(1 << self.shift)
    }

    /// Returns the warm-up under a quota in force.
    fn ramp(&self, quota: Quota) -> Ramp {
        match self.first.quota == quota {
            true => self.first,
            // It was found to fit when it was set.
            false => Ramp::new(&self.layout, quota).unwrap_or(self.first),
        }
    }

    /// Reads the clock once.
    fn now(&self) -> Now {
        self.at(self.timeline.now(&self.announced))
    }

    fn at(&self, moment: Moment) -> Now {
        let quota = moment.quota();
        let ramp = self.ramp(quota.with_burst(quota.count()));
        let end = ramp.rule.end();
        let time = (moment.units >> self.shift).min(end);
        Now { moment, ramp, units: moment.units.min(self.units(end)), time, unit: 1 << self.shift }
    }

    /// Returns the limit if nothing is owed, and otherwise the debt as a negative number: whole
    /// tokens, rounded down.
    #[must_use]
    pub fn available(&self) -> i64 {
        let now = self.now();
        now.rule().balance(self.cell.load(), now.time)
    }

    /// Spends `n` tokens however large the debt is, for a cost that is known only afterwards.
    /// Returns the time until it is paid.
    ///
    /// Debt ends at [`max_debt`](WarmUpBuilder::max_debt), if that is chosen, and otherwise at 10
    /// years of flow or more; the excess is forgotten.
    pub fn charge(&self, n: u64) -> Duration {
        let now = self.now();
        self.cell.update(|seen| {
            let charged = now.rule().charge(seen, now.time, n, self.max_debt);
            Step::Put(charged, now.owes(charged))
        })
    }

    /// Gives back `n` tokens of the debt, at the price of a warm limiter. It stays as warm as it
    /// is.
    ///
    /// While callers wait the tokens go to the first of them, and with it all others come earlier.
    pub fn refund(&self, n: u64) {
        if queue::refund(self, Whose::default(), n) {
            return;
        }
        self.give_back(self.token.saturating_mul(n), &self.now());
    }

    /// Makes the limiter cold, and forgets the debt, as if no caller had ever asked. Waiting
    /// callers are served from then on in their order; reservations keep their times.
    pub fn reset(&self) {
        self.queues.reset(self, Whose::default(), || {
            let now = self.now();
            let cold = now.rule().cold(now.time);
            self.returns.reset(|| self.cell.update(|_| Step::Put(cold, ())));
        });
    }

    /// Returns the quota in force.
    #[must_use]
    pub fn quota(&self) -> Quota {
        let quota = self.timeline.terms(&self.announced).quota;
        quota.with_burst(quota.count())
    }

    /// Returns the time that a warm-up takes.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Puts another quota in force, which warms up in the same period. The debt, and how warm the
    /// limiter is, stay as they are in tokens, and places in the queue move with the rate.
    ///
    /// # Errors
    ///
    /// The old quota stays in force if
    ///
    /// - the new one has a burst of its own;
    /// - its rate is too high for the word that was laid out for the first: there is room for 8
    ///   times that, unless the period is nearly the longest there can be;
    /// - token time would end within a year;
    /// - another change has been in progress for some milliseconds.
    pub fn set_quota(&self, quota: Quota) -> Result<(), QuotaError> {
        self.layout.rule(&quota)?;
        self.timeline.change(&self.announced, quota.with_burst(1), |moment, _| {
            let lasts = self.layout.lasts_a_year_from(&quota, moment.units >> self.shift);
            lasts.then(|| Begin::at(moment.units)).ok_or(QuotaError::HORIZON)
        })?;
        // Waiting callers are due at other moments now.
        if self.queues.is_busy(Whose::default()) {
            self.queues.requote(&self.timeline.now(&self.announced), 0);
        }
        Ok(())
    }
}

impl fmt::Debug for WarmUpLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmUpLimiter")
            .field("quota", &self.quota())
            .field("period", &self.period)
            .field("available", &self.available())
            .finish()
    }
}
