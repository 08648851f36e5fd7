//! When periods begin, and whether what flows in one comes at once.

use crate::algorithm::Terms;
use crate::clock::{Source, Timer};
use crate::error::QuotaError;

/// A builder's choices.
#[derive(Clone, Copy, Debug, Default)]
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
        Ok(match self.aligned {
            Some(east) => timer.aligned(terms.quota.period_ns(), east),
            None => timer,
        })
    }
}
