//! When periods begin, and whether what flows in one comes at once.

use crate::algorithm::Terms;
use crate::clock::{Source, Timer};
use crate::error::QuotaError;

/// A builder's choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Tokens come at the end of each period.
    pub(crate) intervals: bool,
    /// Periods are those of a calendar, so many seconds east of UTC.
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

    /// A timer at whose epoch it was `unix` by the calendar.
    pub(crate) fn align(self, timer: Timer, terms: &Terms, unix: u64) -> Timer {
        match self.aligned {
            Some(east) => timer.aligned(terms.quota.period_ns(), unix, east),
            None => timer,
        }
    }

    /// All of it in a number.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn code(self) -> u64 {
        let east = self.aligned.map_or(0, |east| 1 << 32 | u64::from(east.cast_unsigned()));
        east | u64::from(self.intervals) << 33
    }

    /// What [`code`](Self::code) returned.
    #[cfg(all(unix, feature = "shared"))]
    pub(crate) fn from_code(code: u64) -> Self {
        let aligned = (code >> 32 & 1 == 1).then_some((code as u32).cast_signed());
        Self { intervals: code >> 33 & 1 == 1, aligned }
    }
}
