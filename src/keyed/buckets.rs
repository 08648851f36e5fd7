//! The interface between the table and the algorithm of its buckets.

/// The time and the buckets of a table, as the limiter's algorithm defines them.
pub(crate) trait Buckets {
    /// A reading of the clock.
    type Now: Copy;
    /// Reads the clock.
    fn now(&self) -> Self::Now;
    /// Computes the value of a full bucket as of `now`.
    fn fresh(&self, now: Self::Now) -> u64;
    /// Moves `now` up to the time at which `fresh` was made, if it is earlier.
    fn not_before(&self, now: Self::Now, fresh: u64) -> Self::Now;
    /// Computes how far the bucket is from full; 0 if forgetting it loses nothing.
    fn until_full(&self, value: u64, now: Self::Now) -> u64;
    /// Computes a value that has at most the tokens of either, at any time. A floor becomes it when
    /// a bucket is forgotten, and a new bucket above a floor begins with it. Where forgotten
    /// buckets need not be remembered, it is the first value.
    fn emptier(&self, value: u64, forgotten: u64, now: Self::Now) -> u64;
}

/// The place for a first touch when none of the key's slots is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The slot of the bucket nearest to full, which is evicted.
    Evict,
    /// No place.
    None,
}

/// The refusal of a table without a slot for the key. It holds the value of the candidate that will
/// be full first, if any is live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    pub(crate) soonest: Option<u64>,
}
