//! A part of a bucket's token time.

/// A span `(start, end]` in units of token time. Token time may wrap, so spans are compared by
/// differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Span {
    /// Makes the span of `units` before `end`.
    pub(crate) fn ending(end: u64, units: u64) -> Self {
        Self { start: end.wrapping_sub(units), end }
    }

    pub(crate) fn units(self) -> u64 {
        self.end.wrapping_sub(self.start)
    }

    /// Returns the part of the span that has not flowed by at `now`, if any.
    pub(crate) fn rest(self, now: u64) -> Option<Self> {
        let start = if is_after(now, self.start) { now } else { self.start };
        is_after(self.end, start).then_some(Self { start, end: self.end })
    }
}

/// Returns whether `a` is the later time.
pub(crate) fn is_after(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) > 0
}
