//! Who decides while Redis is away.

use crate::answer::{Denied, Grant, Source};
use crate::bucket::{Bucket, Place, Waiting, queue};
use crate::combined::Limit;
use crate::error::QuotaError;
use crate::keyed::KeyedLimiter;
use crate::quota::Quota;
use crate::redis::script::{Kernel, State};
use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::Relaxed;
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

/// What a limiter in Redis does while Redis does not answer.
///
/// A denial is an answer. So is a fault of the configuration (rights, a key that holds something else), which is returned
/// as an error whatever the policy is, since it does not pass by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fallback {
    /// A limiter in this process takes over, with this node's share of the rate and the burst
    /// ([`nodes`](crate::RedisBuilder::nodes)), and what Redis last said of each key. What it grants is charged in Redis
    /// when that is back, as far as it has not flowed since. The default.
    #[default]
    Local,
    /// Everybody is granted what fits the limit at all.
    Open,
    /// Everybody is denied, until Redis is next asked.
    Closed,
    /// There is no answer: the error is returned.
    Error,
}

/// The share of one node, in this process's memory.
#[derive(Debug)]
pub(in crate::redis) struct Local {
    /// What is left of each key's share. While Redis answers it follows that.
    share: KeyedLimiter<[u8]>,
    burst: u64,
    /// What was granted while Redis was away and has not flowed since: to be charged there.
    owed: KeyedLimiter<[u8]>,
    /// What was charged likewise, if charges are bounded: Redis bounds it then too.
    charged: Option<KeyedLimiter<[u8]>>,
    /// How far below nothing a charge takes the share.
    max_debt: u64,
    /// Whether anything is, or was: 0 or 1.
    owes: AtomicU64,
    /// Of those who charge what is owed, one does.
    paying: Mutex<()>,
}

impl Local {
    pub(in crate::redis) fn new(
        quota: &Quota,
        waiting: Waiting,
        nodes: u64,
        capacity: usize,
        max_debt: u64,
    ) -> Result<Self, QuotaError> {
        let nodes = nodes.max(1);
        let quota = share_of(quota, nodes);
        let is_bounded = max_debt < u64::MAX;
        let max_debt = if is_bounded { max_debt / nodes } else { max_debt };
        let table = || KeyedLimiter::builder(quota, capacity);
        let mut share = table().max_waiting(waiting.most / nodes).max_debt(max_debt);
        if waiting.instalments {
            share = share.instalments();
        }
        // Nobody pays what others owe.
        let debts = || table().forgetting();
        let charged = if is_bounded { Some(debts().max_debt(max_debt).build()?) } else { None };
        Ok(Self {
            share: share.build()?,
            burst: quota.burst_size(),
            owed: debts().build()?,
            charged,
            max_debt,
            owes: AtomicU64::new(0),
            paying: Mutex::new(()),
        })
    }

    /// Redis answered: the share is as full as the key's bucket there.
    pub(in crate::redis) fn learn(&self, key: &[u8], kernel: &Kernel, state: State) {
        // The limit is at most 2^51, but debt has no bound.
        let (limit, balance) = (kernel.limit().max(1), kernel.balance(state));
        let missing = (i128::from(limit) - i128::from(balance)).clamp(0, u64::MAX.into()) as u64;
        let missing = match missing.checked_mul(self.burst) {
            Some(product) => product / limit,
            None => (u128::from(missing) * u128::from(self.burst) / u128::from(limit)) as u64,
        };
        self.share.follow(key, missing);
    }

    pub(in crate::redis) fn take(&self, key: &[u8], n: u64) -> Result<Grant, Denied> {
        let answer = self.share.check_n(key, n);
        self.note(key, answer)
    }

    pub(in crate::redis) fn take_up_to(&self, key: &[u8], n: u64) -> Result<Grant, Denied> {
        let answer = self.share.check_up_to(key, n);
        self.note(key, answer)
    }

    pub(in crate::redis) fn look(&self, key: &[u8], n: u64) -> Result<Grant, Denied> {
        by(self.share.peek(key, n))
    }

    pub(in crate::redis) fn charge(&self, key: &[u8], n: u64) -> Duration {
        match self.charged {
            None => self.owe(key, n),
            // No more than the share takes of it.
            Some(_) => {
                let room = self.share.available(key).saturating_add_unsigned(self.max_debt);
                self.owe_charged(key, n.min(room.max(0) as u64));
            }
        }
        self.share.charge(key, n)
    }

    /// Of what has come back in Redis, `perhaps`, nothing comes back of what is owed there: it would be twice.
    pub(in crate::redis) fn refund(&self, key: &[u8], n: u64, perhaps: bool) {
        if !perhaps {
            let charged = self.charged.as_ref().map_or(0, |charged| charged.level(key).min(n));
            self.owed.refund(key, n - charged);
            self.charged.iter().for_each(|table| table.refund(key, charged));
        }
        self.share.refund(key, n);
    }

    pub(in crate::redis) fn available(&self, key: &[u8]) -> i64 {
        self.share.available(key)
    }

    pub(in crate::redis) fn level(&self, key: &[u8]) -> u64 {
        self.share.level(key)
    }

    pub(in crate::redis) fn reset(&self, key: &[u8]) {
        self.owed.reset(key);
        self.charged.iter().for_each(|table| table.reset(key));
        self.share.reset(key);
    }

    /// The share as one of several.
    pub(in crate::redis) fn limit(&self, key: &[u8]) -> Limit<'_> {
        self.share.limit(key)
    }

    /// A place in the line of the share.
    pub(in crate::redis) fn place(
        &self,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Place, Denied> {
        let (share, whose) = (&self.share, self.share.whose(key));
        let given_up = queue::from_gap(share, whose, n, within);
        let place = given_up.map_or_else(|| share.place(whose, n, within), Ok);
        let place = place.map_err(|denied| denied.by(Source::Fallback))?;
        self.owe(key, n);
        Ok(place)
    }

    /// Waits for `n` tokens of the share. They are owed when they are granted.
    pub(in crate::redis) async fn acquire(
        &self,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, Denied> {
        let answer = match within {
            Some(within) => self.share.acquire(key, n).timeout(within).await,
            None => self.share.acquire(key, n).await,
        };
        self.note(key, answer)
    }

    /// Gives up `n` tokens of a place: how many come back.
    pub(in crate::redis) fn give_up(&self, key: &[u8], place: &Place, n: u64) -> u64 {
        let back = queue::cancel(&self.share, place, n);
        self.owed.refund(key, back);
        back
    }

    /// What is owed for the key, granted and charged, which the caller now pays.
    fn debt(&self, key: &[u8]) -> (u64, u64) {
        let charged = || self.charged.as_ref().map_or(0, |charged| charged.level(key));
        if self.owes.load(Relaxed) == 0 || (self.owed.level(key) == 0 && charged() == 0) {
            return (0, 0);
        }
        let _one = self.paying.lock().unwrap_or_else(PoisonError::into_inner);
        let (granted, charged) = (self.owed.level(key), charged());
        self.owed.refund(key, granted);
        self.charged.iter().for_each(|table| table.refund(key, charged));
        (granted, charged)
    }

    pub(in crate::redis) fn owe(&self, key: &[u8], n: u64) {
        self.owes.store(1, Relaxed);
        self.owed.charge(key, n);
    }

    fn owe_charged(&self, key: &[u8], n: u64) {
        self.owes.store(1, Relaxed);
        self.charged.iter().for_each(|table| {
            table.charge(key, n);
        });
    }

    fn note(&self, key: &[u8], answer: Result<Grant, Denied>) -> Result<Grant, Denied> {
        if let Ok(grant) = answer
            && grant.granted() > 0
        {
            self.owe(key, grant.granted());
        }
        by(answer)
    }
}

/// What a key owes. It does until it has been paid: if that cannot be known it is owed still, and, charged twice, less
/// is admitted, not more.
pub(in crate::redis) struct Owed<'a> {
    local: &'a Local,
    key: &'a [u8],
    pub(in crate::redis) granted: u64,
    pub(in crate::redis) charged: u64,
}

impl<'a> Owed<'a> {
    pub(in crate::redis) fn of(local: &'a Local, key: &'a [u8]) -> Option<Self> {
        let (granted, charged) = local.debt(key);
        (granted > 0 || charged > 0).then_some(Self { local, key, granted, charged })
    }

    /// Ends it: it has been paid, or is owed no more.
    pub(in crate::redis) fn forgive(mut self) {
        (self.granted, self.charged) = (0, 0);
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if self.granted > 0 {
            self.local.owe(self.key, self.granted);
        }
        if self.charged > 0 {
            self.local.owe_charged(self.key, self.charged);
        }
    }
}

/// The share of one of so many nodes: at most that part of the rate, and of the burst, or a token
/// if that is less. Every quota has one, though its period may be longer, and its count larger
/// beside the burst, than a user can give.
pub(in crate::redis) fn share_of(quota: &Quota, nodes: u64) -> Quota {
    let burst = (quota.burst_size() / nodes).max(1);
    let period = u128::from(quota.period_ns()) * u128::from(nodes);
    let longest = u128::from(u64::MAX);
    if period <= longest {
        return Quota::from_parts(quota.count(), period as u64, burst);
    }
    // Of less than a token in 584 years none flows while a limiter's time lasts.
    let count = (u128::from(quota.count()) * longest / period).max(1);
    Quota::from_parts(count as u64, u64::MAX, burst)
}

fn by(answer: Result<Grant, Denied>) -> Result<Grant, Denied> {
    match answer {
        Ok(grant) => Ok(grant.by(Source::Fallback)),
        Err(denied) => Err(denied.by(Source::Fallback)),
    }
}
