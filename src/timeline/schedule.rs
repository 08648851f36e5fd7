//! The schedule of periods: when they begin, and whether a period's tokens come at once.

use crate::algorithm::Terms;
use crate::clock::{Source, Timer};
use crate::error::QuotaError;

/// A builder's choice of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Set if all tokens of a period come at its end.
    pub(crate) intervals: bool,
    /// Periods follow a calendar, whose zone is this many seconds east of UTC.
    pub(crate) aligned: Option<i32>,
}

impl Schedule {
    pub(crate) fn terms(self, terms: Terms) -> Result<Terms, QuotaError> {
        let terms = if self.intervals { terms.at_intervals()? } else { terms };
        match self.aligned {
            Some(_) if !terms.is_window() && !terms.is_stepped() => Err(QuotaError::ALIGNED),
            Some(east) if east.unsigned_abs() > 86_400 => Err(QuotaError::EAST),
            _ => Ok(terms),
        }
    }

    pub(crate) fn timer(self, source: Option<Source>, terms: &Terms) -> Result<Timer, QuotaError> {
        let timer = Timer::with(source)?;
        let unix = if self.aligned.is_some() { timer.unix() } else { 0 };
        Ok(self.align(timer, terms, unix))
    }

    /// Returns the timer aligned to the calendar, if that was chosen. At the timer's epoch, the
    /// calendar showed `unix`.
    pub(crate) fn align(self, timer: Timer, terms: &Terms, unix: u64) -> Timer {
        match self.aligned {
            Some(east) => timer.aligned(terms.quota.period_ns(), unix, east),
            None => timer,
        }
    }

    /// Encodes the schedule in a number.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn code(self) -> u64 {
        let east = self.aligned.map_or(0, |east| 1 << 32 | u64::from(east.cast_unsigned()));
        east | u64::from(self.intervals) << 33
    }

    /// Decodes the result of [`code`](Self::code).
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn from_code(code: u64) -> Self {
        let aligned = (code >> 32 & 1 == 1).then_some((code as u32).cast_signed());
        Self { intervals: code >> 33 & 1 == 1, aligned }
    }
}
