//! What direct and keyed limiters stand on: the terms, the decisions under them, and the clock.

use crate::algorithm::{Rule, Terms};
use crate::clock::Timer;
use crate::error::Denied;
use crate::figures::{Figures, Grant};
use crate::time::{Ratio, TokenTime};

/// Read-only after construction, so every thread keeps it in its own cache.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) terms: Terms,
    pub(crate) rule: Rule,
    time: TokenTime,
    timer: Timer,
    tick: Ratio,
}

/// One reading of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Token time.
    pub(crate) units: u64,
    /// The clock's own ticks since the epoch: nanoseconds are made of them only for an answer's
    /// figures.
    pub(crate) ticks: u64,
}

impl Basis {
    pub(crate) fn new(terms: Terms, timer: Timer) -> Self {
        let tick = timer.tick();
        Self { terms, rule: terms.rule(), time: terms.time(tick), timer, tick }
    }

    /// Reads the clock once.
    #[inline(always)]
    pub(crate) fn now(&self) -> Now {
        let ticks = self.timer.ticks();
        Now { units: self.time.at(ticks), ticks }
    }

    /// `state` as an answer's figures.
    #[inline(always)]
    pub(crate) fn figures(&self, state: u64, now: Now) -> Figures {
        let nanos = self.tick.of(now.ticks);
        Figures { state, now: now.units, nanos, terms: self.terms }
    }

    #[inline(always)]
    pub(crate) fn grant(&self, granted: u64, state: u64, now: Now) -> Grant {
        Grant::new(granted, self.figures(state, now))
    }

    #[inline(always)]
    pub(crate) fn denied(&self, asked: u64, state: u64, now: Now) -> Denied {
        Denied::new(asked, self.figures(state, now))
    }
}
