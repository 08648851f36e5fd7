//! The choice of what decides during an outage.

/// What a limiter in Redis does while Redis does not answer.
///
/// A denial is an answer. So is a mistake in the set-up (rights, a key that holds something else):
/// it is returned as an error whatever the fallback is, since it does not pass by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fallback {
    /// A limiter in this process decides. It has this node's share of the rate and the burst
    /// ([`nodes`](crate::RedisBuilder::nodes)), and knows what Redis last said of each key. When
    /// Redis is back, it is charged for the tokens that were granted meanwhile and have not flowed
    /// since. The default.
    #[default]
    Local,
    /// Every request is granted that fits the limit at all.
    Open,
    /// Every request is denied, until Redis is next asked.
    Closed,
    /// The error is returned.
    Error,
}
