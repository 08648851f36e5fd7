//! Who decided.

/// Who gave an answer: [`Grant::source`](crate::Grant::source), [`Denied::source`](crate::Denied::source).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A limiter in this process's memory, or in that which the processes of a machine share.
    #[default]
    Memory,
    /// Redis, for all machines.
    Redis,
    /// This process, from tokens that it had fetched from Redis before.
    Lease,
    /// Redis being away: this process, by its share of the limit.
    Fallback,
    /// Redis being away: nobody. All are granted.
    FailOpen,
    /// Redis being away: nobody. All are denied.
    FailClosed,
}

impl Source {
    const ALL: [Self; 6] =
        [Self::Memory, Self::Redis, Self::Lease, Self::Fallback, Self::FailOpen, Self::FailClosed];

    /// The source that `self as u8` came from.
    pub(super) fn of_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Whether Redis was away, so that a policy decided in its place.
    #[must_use]
    pub fn is_degraded(self) -> bool {
        matches!(self, Self::Fallback | Self::FailOpen | Self::FailClosed)
    }
}
