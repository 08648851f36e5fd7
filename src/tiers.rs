//! `Tiers`: a keyed limiter for each of some named quotas.

use crate::error::{QuotaError, TiersError, UnknownTier};
use crate::keyed::KeyedLimiter;
use crate::quota::Quota;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::Hash;

/// Keyed limiters under names, such as `free` and `pro`. Each call chooses one, and each quota can
/// be changed while the limiters run.
///
/// A tier is a [`KeyedLimiter`] with a table of its own, so it has all its methods: check, reserve,
/// acquire, [combine](crate::Combined), change the quota. The tier is part of a key's identity: a
/// user who goes from `free` to `pro` begins there with a full bucket, and finds the old one as it
/// was on return.
///
/// ```
/// # #[cfg(feature = "std")] {
/// use sluicegate::{Quota, Tiers};
///
/// let users = Tiers::<str>::builder()
///     .tier("free", Quota::per_minute(10), 100_000)
///     .tier("pro", Quota::per_minute(600), 10_000)
///     .build()?;
///
/// // The tier of the call: from the account, a header, a token's claim.
/// let tier = "free";
/// assert!(users.tier(tier)?.check_n("alice", 10).is_ok());
/// assert!(users.tier(tier)?.check("alice").is_err());
/// assert!(users.tier("pro")?.check("alice").is_ok());
///
/// // Twice as much for every user of the tier, from now on.
/// users.set_quota("free", Quota::per_minute(20))?;
/// assert_eq!(users.tier("free")?.available("bob"), 20);
///
/// let error = users.tier("gold").unwrap_err();
/// assert_eq!(error.to_string(), "no tier \"gold\"; there are: free, pro");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Cost.** Finding a tier compares its name with those there are, in their order: a few
/// nanoseconds for three, besides the cost of the check. A caller that asks often can keep the
/// [`KeyedLimiter`] that [`tier`](Self::tier) returns.
pub struct Tiers<K: ?Sized> {
    tiers: Box<[Tier<K>]>,
}

struct Tier<K: ?Sized> {
    name: Box<str>,
    limiter: KeyedLimiter<K>,
}

impl<K: Hash + ?Sized> Tiers<K> {
    /// Returns a builder, which names the tiers.
    pub fn builder() -> TiersBuilder<K> {
        TiersBuilder { tiers: Vec::new() }
    }
}

impl<K: ?Sized> Tiers<K> {
    /// Returns the limiter of a tier.
    ///
    /// # Errors
    ///
    /// [`UnknownTier`] if no tier has the name; it lists the names there are.
    #[inline]
    pub fn tier(&self, name: &str) -> Result<&KeyedLimiter<K>, UnknownTier> {
        match self.tiers.iter().find(|tier| *tier.name == *name) {
            Some(tier) => Ok(&tier.limiter),
            None => Err(self.unknown(name)),
        }
    }

    #[cold]
    fn unknown(&self, name: &str) -> UnknownTier {
        UnknownTier::new(name, self.names())
    }

    /// Puts another quota in force for every key of a tier: see [`KeyedLimiter::set_quota`].
    ///
    /// # Errors
    ///
    /// [`TiersError::Unknown`] if no tier has the name, or [`TiersError::Quota`] with the error of
    /// [`KeyedLimiter::set_quota`]; the old quota stays in force.
    pub fn set_quota(&self, name: &str, quota: Quota) -> Result<(), TiersError> {
        let limiter = self.tier(name).map_err(TiersError::Unknown)?;
        limiter.set_quota(quota).map_err(|error| TiersError::Quota { tier: name.into(), error })
    }

    /// Returns the tiers, in the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &KeyedLimiter<K>)> {
        self.tiers.iter().map(|tier| (&*tier.name, &tier.limiter))
    }

    /// Returns the names of the tiers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// Returns the bytes that all tiers take, all of them since their construction.
    #[must_use]
    pub fn memory(&self) -> usize {
        let names = self.iter().map(|(name, _)| size_of::<Box<str>>() + name.len());
        let tables = self.iter().map(|(_, limiter)| limiter.memory());
        size_of::<Self>() + names.sum::<usize>() + tables.sum::<usize>()
    }
}

impl<K: ?Sized> fmt::Debug for Tiers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A builder of [`Tiers`], from [`Tiers::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct TiersBuilder<K: ?Sized> {
    tiers: Vec<(String, Result<KeyedLimiter<K>, QuotaError>)>,
}

impl<K: Hash + ?Sized> TiersBuilder<K> {
    /// Adds a tier of token buckets on the default clock, tracking `capacity` active keys.
    pub fn tier(self, name: impl Into<String>, quota: Quota, capacity: usize) -> Self {
        self.add(name.into(), KeyedLimiter::builder(quota, capacity).build())
    }

    /// Adds a tier of any kind: of another algorithm or clock, or in a table that processes share.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use sluicegate::{KeyedLimiter, Quota, Tiers};
    ///
    /// let daily = KeyedLimiter::builder(Quota::per_day(1_000), 10_000).fixed_window().build()?;
    /// let users = Tiers::<str>::builder().limiter("trial", daily).build()?;
    /// assert_eq!(users.tier("trial")?.available("alice"), 1_000);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limiter(self, name: impl Into<String>, limiter: KeyedLimiter<K>) -> Self {
        self.add(name.into(), Ok(limiter))
    }

    fn add(mut self, name: String, limiter: Result<KeyedLimiter<K>, QuotaError>) -> Self {
        self.tiers.push((name, limiter));
        self
    }

    /// Builds the tiers.
    ///
    /// # Errors
    ///
    /// - no tier is named;
    /// - a name is empty, or two tiers have the same name;
    /// - a capacity is not permitted, or a clock or seed is missing in a build that has no default
    ///   one.
    pub fn build(self) -> Result<Tiers<K>, TiersError> {
        let mut tiers: Vec<Tier<K>> = Vec::with_capacity(self.tiers.len());
        for (name, limiter) in self.tiers {
            if name.is_empty() {
                return Err(TiersError::EmptyName);
            }
            if tiers.iter().any(|tier| *tier.name == *name) {
                return Err(TiersError::Duplicate(name));
            }
            match limiter {
                Ok(limiter) => tiers.push(Tier { name: name.into(), limiter }),
                Err(error) => return Err(TiersError::Quota { tier: name, error }),
            }
        }
        if tiers.is_empty() {
            return Err(TiersError::None);
        }
        Ok(Tiers { tiers: tiers.into() })
    }
}

impl<K: ?Sized> fmt::Debug for TiersBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers = self.tiers.iter().map(|(name, limiter)| (name, limiter));
        f.debug_map().entries(tiers).finish()
    }
}
