//! A change of the quota, which begins another segment.
//!
//! Only one thread of a process changes the quota at a time: the one that holds the [`Turn`].
//!
//! ORDERING: the generation is loaded with Acquire, so that the change in force is seen whole; see
//! `timeline.rs`.

use super::{Announced, Begin, Moment, Timeline};
use crate::algorithm::Terms;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::sync::Ordering::Acquire;
use crate::sync::Turn;

/// The attempts of a thread to change the quota while another change is in progress. In a model the
/// other thread does not go on meanwhile.
const TRIES: u32 = if cfg!(sluicegate_loom) { 1 } else { 10_000 };

impl Timeline {
    /// Puts another quota in force, from the token time that `begin` computes from the moment and
    /// the next terms. Every bucket gains or loses the difference between that time and the
    /// moment's. The caller ensures that no other process changes the quota meanwhile.
    pub(crate) fn change(
        &self,
        announced: &Announced,
        quota: Quota,
        begin: impl FnOnce(&Moment, &Terms) -> Result<Begin, QuotaError>,
    ) -> Result<(), QuotaError> {
        self.first.admits(&quota)?;
        for _ in 0..TRIES {
            if let Some(_alone) = Turn::take(&self.changing) {
                return self.change_alone(announced, quota, begin);
            }
            #[cfg(feature = "std")]
            std::thread::yield_now();
            core::hint::spin_loop();
        }
        Err(QuotaError::CHANGING)
    }

    fn change_alone(
        &self,
        announced: &Announced,
        quota: Quota,
        begin: impl FnOnce(&Moment, &Terms) -> Result<Begin, QuotaError>,
    ) -> Result<(), QuotaError> {
        let generation = announced.generation.load(Acquire);
        let now = self.now(announced);
        let next = self.first.with(quota);
        let change = begin(&now, &next)?.change(&now, quota);
        let ticks = now.segment.ticks.wrapping_add(now.since);
        if !next.lasts_a_year_from(self.segment_of(&change, ticks).units) {
            return Err(QuotaError::HORIZON);
        }
        if quota != now.quota() || change.shift != 0 {
            announced.publish(generation, change);
            // Begins the segment, and caches it.
            self.now(announced);
        }
        Ok(())
    }
}
