//! The source of a decision.

/// The source of an answer: see [`Grant::source`](crate::Grant::source) and
/// [`Denied::source`](crate::Denied::source).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A limiter in this process's memory, or in memory that the processes of a machine share.
    #[default]
    Memory,
    /// Redis, for all machines.
    Redis,
    /// This process, from tokens that it had fetched from Redis before.
    Lease,
    /// This process, by its share of the limit, since Redis is away.
    Fallback,
    /// No limiter: Redis is away, and every request is granted.
    FailOpen,
    /// No limiter: Redis is away, and every request is denied.
    FailClosed,
}

impl Source {
    const ALL: [Self; 6] =
        [Self::Memory, Self::Redis, Self::Lease, Self::Fallback, Self::FailOpen, Self::FailClosed];

    /// Returns the source whose `source as u8` is `byte`.
    pub(super) fn of_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Returns whether Redis was away, so that a policy decided in its place.
    #[must_use]
    pub fn is_degraded(self) -> bool {
        matches!(self, Self::Fallback | Self::FailOpen | Self::FailClosed)
    }
}
