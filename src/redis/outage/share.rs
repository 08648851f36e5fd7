//! One node's share of a limit, which decides during outages, and the debts that it makes.

use crate::answer::{Denied, Grant, Source};
use crate::bucket::{Bucket, Place, Waiting, queue};
use crate::combined::Limit;
use crate::error::QuotaError;
use crate::keyed::KeyedLimiter;
use crate::quota::Quota;
use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::Relaxed;
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

/// One node's share of a limit, in the memory of this process.
#[derive(Debug)]
pub(crate) struct Share {
    /// The share of each key. While Redis answers, it follows what Redis says.
    limiter: KeyedLimiter<[u8]>,
    /// The burst of the whole limit.
    burst: u64,
    /// The tokens granted during outages that have not flowed since. Redis is to be charged with
    /// them.
    owed: KeyedLimiter<[u8]>,
    /// The tokens charged during outages, apart from `owed` only if charges are bounded: Redis then
    /// bounds them too.
    charged: Option<KeyedLimiter<[u8]>>,
    /// How far below zero a charge takes the share.
    max_debt: u64,
    /// Whether a key owes anything, or ever did: 0 or 1.
    owes: AtomicU64,
    /// Held while a task takes up a debt, so that no two pay the same.
    paying: Mutex<()>,
}

impl Share {
    pub(crate) fn new(
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
        // No key pays what another owes.
        let debts = || table().forgetting();
        let charged = if is_bounded { Some(debts().max_debt(max_debt).build()?) } else { None };
        Ok(Self {
            limiter: share.build()?,
            burst: quota.burst_size(),
            owed: debts().build()?,
            charged,
            max_debt,
            owes: AtomicU64::new(0),
            paying: Mutex::new(()),
        })
    }

    /// Makes the share as full as the key is in Redis, which has answered this balance.
    pub(crate) fn learn(&self, key: &[u8], limit: u64, balance: i64) {
        // The limit is at most 2^51, but a debt has no bound.
        let limit = limit.max(1);
        let missing = (i128::from(limit) - i128::from(balance)).clamp(0, u64::MAX.into()) as u64;
        let missing = match missing.checked_mul(self.burst) {
            Some(product) => product / limit,
            None => (u128::from(missing) * u128::from(self.burst) / u128::from(limit)) as u64,
        };
        self.limiter.follow(key, missing);
    }

    pub(crate) fn charge(&self, key: &[u8], n: u64) -> Duration {
        match self.charged {
            None => self.owe(key, n),
            // The debt is no more than the share takes.
            Some(_) => {
                let room = self.limiter.available(key).saturating_add_unsigned(self.max_debt);
                self.owe_charged(key, n.min(room.max(0) as u64));
            }
        }
        self.limiter.charge(key, n)
    }

    /// Gives `n` tokens back to the share, and takes them off the debt to Redis. The debt stays if
    /// Redis may have applied the refund itself, which would count twice.
    pub(crate) fn refund(&self, key: &[u8], n: u64, may_be_applied: bool) {
        if !may_be_applied {
            let charged = self.charged.as_ref().map_or(0, |charged| charged.level(key).min(n));
            self.owed.refund(key, n - charged);
            self.charged.iter().for_each(|table| table.refund(key, charged));
        }
        self.limiter.refund(key, n);
    }

    /// The share of each key, for verbs that only read it.
    pub(crate) fn limiter(&self) -> &KeyedLimiter<[u8]> {
        &self.limiter
    }

    pub(crate) fn reset(&self, key: &[u8]) {
        self.owed.reset(key);
        self.charged.iter().for_each(|table| table.reset(key));
        self.limiter.reset(key);
    }

    /// The share of one key, to be combined with others.
    pub(crate) fn of_key(&self, key: &[u8]) -> Limit<'_> {
        self.limiter.as_limit(key)
    }

    /// Takes a place in the waiting line of the share.
    pub(crate) fn place(
        &self,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Place, Denied> {
        let (share, whose) = (&self.limiter, self.limiter.whose(key));
        let given_up = queue::from_gap(share, whose, n, within);
        let place = given_up.map_or_else(|| share.place(whose, n, within), Ok);
        let place = place.map_err(|denied| denied.by(Source::Fallback))?;
        self.owe(key, n);
        Ok(place)
    }

    /// Waits for `n` tokens of the share. Once they are granted, they are owed.
    pub(crate) async fn acquire(
        &self,
        key: &[u8],
        n: u64,
        within: Option<Duration>,
    ) -> Result<Grant, Denied> {
        let answer = match within {
            Some(within) => self.limiter.acquire(key, n).timeout(within).await,
            None => self.limiter.acquire(key, n).await,
        };
        match answer {
            Ok(grant) => {
                self.owe(key, grant.granted());
                Ok(grant.by(Source::Fallback))
            }
            Err(denied) => Err(denied.by(Source::Fallback)),
        }
    }

    /// Gives up `n` tokens of a place. Returns how many come back.
    pub(crate) fn give_up(&self, key: &[u8], place: &Place, n: u64) -> u64 {
        let back = queue::cancel(&self.limiter, place, n);
        self.owed.refund(key, back);
        back
    }

    /// Takes up the debt of a key, granted and charged, for the caller to pay.
    fn take_debt(&self, key: &[u8]) -> (u64, u64) {
        let charged = || self.charged.as_ref().map_or(0, |charged| charged.level(key));
        if self.owes.load(Relaxed) == 0 || (self.owed.level(key) == 0 && charged() == 0) {
            return (0, 0);
        }
        let _guard = self.paying.lock().unwrap_or_else(PoisonError::into_inner);
        let (granted, charged) = (self.owed.level(key), charged());
        self.owed.refund(key, granted);
        self.charged.iter().for_each(|table| table.refund(key, charged));
        (granted, charged)
    }

    /// Notes tokens that were granted as owed.
    pub(crate) fn owe(&self, key: &[u8], n: u64) {
        if n == 0 {
            return;
        }
        self.owes.store(1, Relaxed);
        self.owed.charge(key, n);
    }

    fn owe_charged(&self, key: &[u8], n: u64) {
        self.owes.store(1, Relaxed);
        self.charged.iter().for_each(|table| {
            table.charge(key, n);
        });
    }
}

/// A debt that is being paid. When this is dropped, the key owes it again, unless it was paid. If
/// it is unknown whether Redis has charged it, it is charged again: less is admitted, not more.
pub(crate) struct Owed<'a> {
    share: &'a Share,
    key: &'a [u8],
    pub(crate) granted: u64,
    pub(crate) charged: u64,
}

impl<'a> Owed<'a> {
    pub(crate) fn of(share: &'a Share, key: &'a [u8]) -> Option<Self> {
        let (granted, charged) = share.take_debt(key);
        (granted > 0 || charged > 0).then_some(Self { share, key, granted, charged })
    }

    /// Ends the debt, since it has been paid, or is owed no more.
    pub(crate) fn forgive(mut self) {
        (self.granted, self.charged) = (0, 0);
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if self.granted > 0 {
            self.share.owe(self.key, self.granted);
        }
        if self.charged > 0 {
            self.share.owe_charged(self.key, self.charged);
        }
    }
}

/// The quota of one of `nodes` nodes: at most its part of the rate and of the burst, but at least a
/// token at once. Every quota has one, although its period may be longer, and its count larger
/// beside the burst, than a user can choose.
pub(crate) fn share_of(quota: &Quota, nodes: u64) -> Quota {
    let burst = (quota.burst_size() / nodes).max(1);
    let period = u128::from(quota.period_ns()) * u128::from(nodes);
    let longest = u128::from(u64::MAX);
    if period <= longest {
        return Quota::from_parts(quota.count(), period as u64, burst);
    }
    // A slower rate becomes a token in 584 years, of which none flows in the lifetime of a limiter.
    let count = (u128::from(quota.count()) * longest / period).max(1);
    Quota::from_parts(count as u64, u64::MAX, burst)
}
