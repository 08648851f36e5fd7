//! The units in which a bucket in Redis counts, and its decisions: integers in, integers out.
//!
//! A script's numbers are doubles, exact below 2^53, and a server's clock counts microseconds. So
//! flow is counted in whole microseconds and *parts* of one. A quota flows `1000 * count / period`
//! tokens a microsecond (period in nanoseconds). Reduce that fraction to lowest terms and call it
//! `parts / token`. A microsecond is divided into `parts` parts, and one token takes `token` parts
//! to flow. So **nothing is rounded**, neither time nor tokens, as long as `parts` is at most 2^52;
//! for most quotas it is 1. Were 30 years kept as one number of parts, it would be exact only up to
//! 9 parts a microsecond.
//!
//! With counts over 4.5 * 10^12 in an odd period `parts` may be larger. Then it is set to 2^52, and
//! a token is rounded up, by less than one part in 10^9.
//!
//! ```text
//!   debt = clamp(full time - now, 0, burst)          what is missing
//!
//!   take n:    debt  ->  debt + n             if that is at most the burst
//!   up to n:   debt  ->  debt + granted       granted = min(n, the whole tokens in burst - debt)
//!   charge n:  debt  ->  debt + n             at most the bound: 142 years of flow, or less
//!   refund n:  debt  ->  max(debt - n, 0)
//! ```
//!
//! The scripts compute the same in pairs (whole microseconds, parts), of which no sum reaches 2^53.

use super::Ask;
use crate::error::QuotaError;
use crate::quota::Quota;

/// The most parts of a microsecond: two of them add up to less than 2^53.
const MOST_PARTS: u128 = 1 << 52;
/// The longest debt, in microseconds: 142 years. With today's date it stays under 2^53 until the
/// year 2112.
pub(crate) const LONGEST_DEBT: u64 = (1 << 52) - 1;
/// The longest burst, so that another can be charged on top.
const LONGEST_BURST: u128 = 1 << 51;

/// Flow as the scripts count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    /// Whole microseconds.
    pub(crate) us: u64,
    /// Parts of one.
    pub(crate) part: u64,
}

/// The outcome of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The tokens granted; `None` if the request is denied.
    pub(crate) granted: Option<u64>,
    /// The debt afterwards, in parts.
    pub(crate) debt: u128,
}

/// The bucket of one quota, in its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// The parts of a microsecond.
    parts: u64,
    /// The parts in which a token flows.
    token: u128,
    limit: u64,
    /// The largest debt that a charge makes, in parts.
    most_owed: u128,
}

impl Units {
    pub(crate) fn new(quota: &Quota) -> Result<Self, QuotaError> {
        let (flows, period) = (1_000 * u128::from(quota.count()), u128::from(quota.period_ns()));
        let common = greatest_common_divisor(flows, period);
        let (mut parts, mut token) = (flows / common, period / common);
        if parts > MOST_PARTS {
            token = (token * MOST_PARTS).div_ceil(parts);
            parts = MOST_PARTS;
        }
        let units = Self { parts: parts as u64, token, limit: quota.burst_size(), most_owed: 0 };
        if units.burst() > LONGEST_BURST * parts {
            return Err(QuotaError::REDIS_BURST);
        }
        Ok(units.with_max_debt(u64::MAX))
    }

    /// The same bucket, whose charges take its balance no lower than `-tokens`. With `u64::MAX`
    /// only the range of the numbers bounds the debt.
    pub(crate) fn with_max_debt(self, tokens: u64) -> Self {
        let longest = self.longest_debt();
        let bounded = (self.burst() + self.cost(tokens)).min(longest);
        Self { most_owed: if tokens < u64::MAX { bounded } else { longest }, ..self }
    }

    pub(crate) fn parts(&self) -> u64 {
        self.parts
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The parts that a full bucket holds.
    pub(crate) fn burst(&self) -> u128 {
        u128::from(self.limit) * self.token
    }

    /// The cost of `n` tokens, in parts, at most the longest debt.
    pub(crate) fn cost(&self, n: u64) -> u128 {
        self.token.saturating_mul(n.into()).min(self.longest_debt())
    }

    /// The largest debt that a charge makes, in parts.
    pub(crate) fn most_owed(&self) -> u128 {
        self.most_owed
    }

    pub(crate) fn longest_debt(&self) -> u128 {
        u128::from(LONGEST_DEBT) * u128::from(self.parts)
    }

    /// Parts as a script counts them.
    pub(crate) fn flow(&self, parts: u128) -> Flow {
        let one = u128::from(self.parts);
        Flow { us: (parts / one) as u64, part: (parts % one) as u64 }
    }

    /// The inverse of [`flow`](Self::flow).
    pub(crate) fn in_parts(&self, flow: Flow) -> u128 {
        u128::from(flow.us) * u128::from(self.parts) + u128::from(flow.part)
    }

    /// Decides on a bucket with this debt.
    pub(crate) fn settle(&self, debt: u128, ask: Ask) -> Settled {
        let take = |n: u64| {
            let after = debt + self.cost(n);
            if n > 0 && (n > self.limit || after > self.burst()) {
                return Settled { granted: None, debt };
            }
            Settled { granted: Some(n), debt: after }
        };
        match ask {
            Ask::Take(n) | Ask::Look(n) => take(n),
            Ask::UpTo(n) => {
                let there = self.burst().saturating_sub(debt) / self.token;
                // At most the burst's tokens are there.
                take(n.min(there as u64).max(n.min(1)))
            }
            Ask::Charge(n) => {
                // Where places have taken the debt further than that, a charge adds nothing.
                let debt = (debt + self.cost(n)).min(self.most_owed).max(debt);
                Settled { granted: Some(n), debt }
            }
            Ask::Refund(n) => Settled { granted: Some(n), debt: debt.saturating_sub(self.cost(n)) },
        }
    }

    /// Whole tokens there, rounded down; negative in debt.
    pub(crate) fn balance(&self, debt: u128) -> i64 {
        // Both are under 2^105.
        let units = self.burst() as i128 - debt as i128;
        let tokens = units.div_euclid(self.token as i128);
        i64::try_from(tokens).unwrap_or(i64::MIN)
    }

    /// Microseconds until the bucket is full, which is when the debt has flowed; rounded up.
    pub(crate) fn until_full(&self, debt: u128) -> u64 {
        debt.div_ceil(self.parts.into()) as u64
    }

    /// Microseconds until `n` tokens are there; `None` if they never are.
    pub(crate) fn until(&self, debt: u128, n: u64) -> Option<u64> {
        let over = || (debt + self.cost(n)).saturating_sub(self.burst());
        (n <= self.limit).then(|| self.until_full(over()))
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
