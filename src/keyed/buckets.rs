//! What the table asks of an algorithm, and what it is asked for.

/// How the table sees time and buckets; the limiter's algorithm behind it.
pub(crate) trait Buckets {
    /// A moment.
    type Now: Copy;
    /// Reads the clock.
    fn now(&self) -> Self::Now;
    /// The value of a full bucket as of `now`.
    fn fresh(&self, now: Self::Now) -> u64;
    /// `now`, but not before the time that `fresh` was made at.
    fn not_before(&self, now: Self::Now, fresh: u64) -> Self::Now;
    /// How far the bucket is from full; 0 if forgetting it loses nothing.
    fn until_full(&self, value: u64, now: Self::Now) -> u64;
    /// A value that has at most what either has, at any time: what a floor is after a bucket was forgotten, and
    /// what a new bucket begins with above it. Where what is forgotten need not be remembered, the first.
    fn emptier(&self, value: u64, forgotten: u64, now: Self::Now) -> u64;
}

/// Where a first touch may go when none of the key's slots is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The bucket nearest to full gives way.
    Evict,
    /// Nowhere.
    None,
}

/// No slot for the key. Holds the value of the candidate that will be full first, if any is live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    pub(crate) soonest: Option<u64>,
}
