//! Another line from now on.
//!
//! A thread that changes the quota is the only one of its process that does, by a [`Turn`].
//!
//! ORDERING: the generation is loaded with Acquire, so that the change that is in force is seen whole; see `timeline.rs`.

use super::{Announced, Begin, Moment, Timeline};
use crate::algorithm::Terms;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::sync::Ordering::Acquire;
use crate::sync::Turn;

/// How often a change of the quota tries while another one is under way. In a model the other one does not go on meanwhile.
const TRIES: u32 = if cfg!(sluicegate_loom) { 1 } else { 10_000 };

impl Timeline {
    /// Puts another quota in force, from that token time on which `begin` makes of the moment and of the next
    /// terms: what it is more or less than the moment's is what every bucket gains or loses.
    /// The caller sees to it that no other process does so meanwhile.
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
            // The line begins, and is cached.
            self.now(announced);
        }
        Ok(())
    }
}
