//! Gaps: spans that were given up in front of something that does not move.

use super::{Order, Span, is_after};

impl<W> Order<W> {
    /// Joins the span with the gaps that touch it, which are no longer kept.
    pub(super) fn with_gaps_at(&mut self, mut span: Span) -> Span {
        self.gaps.retain(|gap| {
            if gap.end == span.start {
                span.start = gap.start;
            } else if gap.start == span.end {
                span.end = gap.end;
            } else {
                return true;
            }
            false
        });
        span
    }

    pub(super) fn keep(&mut self, span: Span) {
        let at = self.gaps.iter().position(|gap| is_after(gap.start, span.start));
        self.gaps.insert(at.unwrap_or(self.gaps.len()), span);
    }

    /// Takes `units` of the first gap that has them and no waiter behind it, if `suits` returns
    /// true for their end.
    pub(crate) fn take_gap(
        &mut self,
        units: u64,
        now: u64,
        suits: impl Fn(u64) -> bool,
    ) -> Option<Span> {
        self.trim_gaps(now);
        let fits = |gap: &Span| gap.units() >= units && !self.waits_behind(*gap);
        let at = self.gaps.iter().position(fits)?;
        let gap = &mut self.gaps[at];
        let span = Span { start: gap.start, end: gap.start.wrapping_add(units) };
        if !suits(span.end) {
            return None;
        }
        gap.start = span.end;
        if gap.start == gap.end {
            self.gaps.remove(at);
        }
        Some(span)
    }

    pub(super) fn trim_gaps(&mut self, now: u64) {
        self.gaps.retain_mut(|gap| match gap.rest(now) {
            Some(rest) => {
                *gap = rest;
                true
            }
            None => false,
        });
    }

    /// Gives gaps without a waiter behind them back to the bucket, as long as the bucket takes
    /// them: after a refund, nothing may follow them any more.
    pub(crate) fn free_last_gaps(&mut self, now: u64, take_back: &mut impl FnMut(Span) -> bool) {
        self.trim_gaps(now);
        while let Some(&gap) = self.gaps.last() {
            if self.waits_behind(gap) || !take_back(gap) {
                return;
            }
            self.gaps.pop();
        }
    }

    fn waits_behind(&self, gap: Span) -> bool {
        self.runs.back().is_some_and(|run| !is_after(gap.end, run.start))
    }

    /// Returns the units of all gaps that have not flowed by.
    pub(crate) fn units_of_gaps(&self, now: u64) -> u64 {
        let rest = self.gaps.iter().filter_map(|gap| gap.rest(now));
        rest.map(Span::units).fold(0, u64::saturating_add)
    }

    pub(crate) fn forget_gaps(&mut self) {
        self.gaps.clear();
    }

    /// Returns whether there are gaps.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }
}
