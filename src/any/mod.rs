//! `AnyLimiter`: one type for the limiters of every store.

mod error;
mod reservation;
#[cfg(feature = "url")]
mod url;
mod verbs;

pub use error::AnyError;
pub use reservation::AnyReservation;

use crate::algorithm::Algorithm;
#[cfg(feature = "url")]
use crate::keyed::KeyedBuilder;
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
use crate::quota::Quota;
#[cfg(feature = "redis")]
use crate::redis::{LeasedLimiter, RedisLimiter};
use alloc::sync::Arc;
use core::fmt;
#[cfg(feature = "url")]
use url::{Options, Place, wrong};

/// A limit for each key, in this process, on this machine, or in Redis: one type for every store.
///
/// A limiter that is built becomes an `AnyLimiter` by `into()`:
/// [`KeyedLimiter<[u8]>`](KeyedLimiter) in memory or in a shared file, [`RateLimiter`] with one
/// bucket for all keys, an `Arc` of either, `RedisLimiter`, or `LeasedLimiter`. So code that takes
/// an `AnyLimiter` can be tested in memory with a [`ManualClock`](crate::ManualClock).
///
/// With the feature `url`, `open` and `builder` open the store that a URL names:
///
/// | URL | store | shared by |
/// | --- | --- | --- |
/// | `memory://` | this process's memory: a [`KeyedLimiter`] | its threads |
/// | `shm:///path` | a mapped file: `KeyedLimiter::open_shared` | the processes of a machine |
/// | `redis://[[user]:password@]host[:port][/database]` | Redis: a `RedisLimiter` | all machines |
/// | the same with `?mode=lease` | tokens leased of Redis: a `LeasedLimiter` | all machines |
///
/// A `RedisLimiter` makes one round trip for each decision. A `LeasedLimiter` decides in memory.
///
/// Options follow a `?`, joined by `&`:
///
/// | option | value | store | default |
/// | --- | --- | --- | --- |
/// | `algorithm` | a name from the list below | all | `token-bucket` |
/// | `capacity` | the most active keys | all | 100,000 |
/// | `max_debt` | how far below zero `charge` takes a balance, in tokens | all | no bound |
/// | `mode` | `exact` or `lease` | Redis | `exact` |
/// | `nodes` | the number of processes that share the limit | Redis | 1 |
/// | `prefix` | the beginning of all keys in Redis | Redis | `sluicegate` |
/// | `deadline` | the longest time of a call, such as `5ms` | Redis | 5 ms |
/// | `round_trips` | the deadline in round trips, if that is longer | Redis | 0 |
/// | `fallback` | the rule while Redis is away, from the list below | Redis | `local` |
/// | `start_away` | `true` to open, with the fallback, while Redis is away | Redis | `false` |
///
/// - The algorithms are `token-bucket`, `leaky-bucket`, `fixed-window` and `sliding-window`.
/// - The fallbacks are `local`, `open`, `closed` and `error`.
/// - With Redis, `capacity` bounds the keys that this process holds leases for, or counts while
///   Redis is away.
///
/// The verbs are those of the limiters. All are `async`. A check in memory or in a shared file
/// never waits. A check of a lease waits for one call to Redis if the lease has too few tokens, as
/// at the key's first check.
///
/// ```
/// use sluicegate::{AnyLimiter, Quota};
///
/// # #[cfg(feature = "url")]
/// # async fn example() -> Result<(), sluicegate::AnyError> {
/// let url = std::env::var("LIMITS").unwrap_or("memory://".into());
/// let limiter = AnyLimiter::open(&url, Quota::per_minute(100).burst(20)).await?;
/// match limiter.check("alice").await {
///     Ok(grant) => println!("welcome, {} left, says {:?}", grant.remaining(), grant.source()),
///     Err(error) if error.denied().is_some() => println!("{error}"),
///     Err(failure) => println!("no answer: {failure}"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// Cloning is cheap; all clones are one limiter.
#[derive(Clone)]
pub struct AnyLimiter {
    store: Store,
}

#[derive(Clone)]
enum Store {
    /// One bucket in memory for all keys.
    One(Arc<RateLimiter>),
    /// A bucket for each key, in this process's memory or in a file that processes share.
    Keyed(Arc<KeyedLimiter<[u8]>>),
    #[cfg(feature = "redis")]
    Redis(RedisLimiter),
    #[cfg(feature = "redis")]
    Leased(LeasedLimiter),
}

/// Choices for an [`AnyLimiter`], from [`AnyLimiter::builder`]. An option of the URL overrides the
/// builder's choice.
#[cfg(feature = "url")]
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until it opens a store"]
pub struct AnyBuilder {
    quota: Quota,
    algorithm: Algorithm,
    capacity: usize,
}

#[cfg(feature = "url")]
impl AnyBuilder {
    /// Chooses the algorithm; a token bucket unless set.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Bounds the number of active keys; 100,000 unless set.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// - [`AnyError::Url`]: the scheme or an option is unknown, or this build does not have it;
    /// - otherwise those of [`KeyedBuilder::build`](crate::KeyedBuilder::build), `open_shared` and
    ///   `RedisBuilder::connect`.
    ///
    /// # Panics
    ///
    /// A store in Redis panics outside of a tokio runtime with its time and I/O enabled.
    pub async fn open(self, url: &str) -> Result<AnyLimiter, AnyError> {
        let (place, options) = url::parse(url)?;
        let this = Self {
            algorithm: options.algorithm.unwrap_or(self.algorithm),
            capacity: options.capacity.unwrap_or(self.capacity),
            ..self
        };
        let store = match place.scheme {
            "memory" => this.memory(&place, &options)?,
            "shm" => this.shared(&place, &options)?,
            "redis" | "rediss" | "unix" | "redis+unix" | "redis-cluster" | "rediss-cluster"
            | "redis-sentinel" | "rediss-sentinel" => this.redis(&place, options).await?,
            other => {
                return Err(wrong(&alloc::format!(
                    "the URL's scheme {other:?} is none of memory, shm, redis, rediss, unix, \
                     redis-cluster, rediss-cluster, redis-sentinel, rediss-sentinel"
                )));
            }
        };
        Ok(AnyLimiter { store })
    }

    fn memory(self, place: &Place<'_>, options: &Options) -> Result<Store, AnyError> {
        if !matches!(place.rest, "" | "/") {
            return Err(wrong("memory:// takes options only: memory has no place to name"));
        }
        Ok(Store::Keyed(Arc::new(self.keyed(options).build()?)))
    }

    fn keyed(self, options: &Options) -> KeyedBuilder<[u8]> {
        let builder = KeyedLimiter::builder(self.quota, self.capacity).algorithm(self.algorithm);
        match options.max_debt {
            Some(tokens) => builder.max_debt(tokens),
            None => builder,
        }
    }

    #[cfg(all(unix, feature = "shared"))]
    fn shared(self, place: &Place<'_>, options: &Options) -> Result<Store, AnyError> {
        use std::os::unix::ffi::OsStringExt;
        if !place.rest.starts_with('/') {
            return Err(wrong(
                "shm:// takes the absolute path of a file, after three slashes, as in \
                 shm:///dev/shm/limits",
            ));
        }
        let path = percent_encoding::percent_decode_str(place.rest).collect();
        let path = std::ffi::OsString::from_vec(path);
        Ok(Store::Keyed(Arc::new(self.keyed(options).open_shared(path)?)))
    }

    #[cfg(not(all(unix, feature = "shared")))]
    fn shared(self, _: &Place<'_>, _: &Options) -> Result<Store, AnyError> {
        Err(wrong("shm:// needs Unix, and a build with the feature `shared`"))
    }

    #[cfg(feature = "redis")]
    async fn redis(self, place: &Place<'_>, options: Options) -> Result<Store, AnyError> {
        let mut builder = RedisLimiter::builder(self.quota).algorithm(self.algorithm);
        builder = builder.fallback_capacity(self.capacity);
        if let Some(tokens) = options.max_debt {
            builder = builder.max_debt(tokens);
        }
        if let Some(nodes) = options.nodes {
            builder = builder.nodes(nodes);
        }
        if let Some(prefix) = options.prefix {
            builder = builder.prefix(prefix);
        }
        if let Some(deadline) = options.deadline {
            builder = builder.deadline(deadline);
        }
        if let Some(round_trips) = options.round_trips {
            builder = builder.deadline_round_trips(round_trips);
        }
        builder = builder.start_away(options.start_away);
        if let Some(fallback) = options.fallback {
            builder = builder.fallback(fallback);
        }
        if options.lease {
            let builder = builder.leased().capacity(self.capacity);
            return Ok(Store::Leased(builder.connect(&place.url).await?));
        }
        Ok(Store::Redis(builder.connect(&place.url).await?))
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unused_async, reason = "with Redis it waits")]
    async fn redis(self, _: &Place<'_>, _: Options) -> Result<Store, AnyError> {
        Err(wrong("limits in Redis need a build with the feature `redis`"))
    }
}

impl AnyLimiter {
    /// Opens the store at the URL: a token bucket for each key, unless the URL says otherwise.
    ///
    /// # Errors
    ///
    /// Those of [`AnyBuilder::open`].
    ///
    /// # Panics
    ///
    /// Those of [`AnyBuilder::open`].
    #[cfg(feature = "url")]
    pub async fn open(url: &str, quota: Quota) -> Result<Self, AnyError> {
        Self::builder(quota).open(url).await
    }

    /// Begins the choice of the algorithm and the capacity.
    #[cfg(feature = "url")]
    pub fn builder(quota: Quota) -> AnyBuilder {
        AnyBuilder { quota, algorithm: Algorithm::TokenBucket, capacity: 100_000 }
    }

    /// Gives the tokens leased of Redis back, in bounded time. A store that leases denies every
    /// request afterwards. Any other store has nothing to do.
    pub async fn shutdown(&self) {
        #[cfg(feature = "redis")]
        if let Store::Leased(limiter) = &self.store {
            limiter.shutdown().await;
        }
    }

    /// Tells whether the file of a shared table is still the one at its path: see
    /// `KeyedLimiter::is_current`. It is always true of any other store.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match &self.store {
            #[cfg(all(unix, feature = "shared"))]
            Store::Keyed(limiter) => limiter.is_current(),
            #[cfg(not(all(unix, feature = "shared")))]
            Store::Keyed(_) => true,
            Store::One(_) => true,
            #[cfg(feature = "redis")]
            Store::Redis(_) | Store::Leased(_) => true,
        }
    }

    /// The quota of each key.
    #[must_use]
    pub fn quota(&self) -> Quota {
        match &self.store {
            Store::One(limiter) => limiter.quota(),
            Store::Keyed(limiter) => limiter.quota(),
            #[cfg(feature = "redis")]
            Store::Redis(limiter) => limiter.quota(),
            #[cfg(feature = "redis")]
            Store::Leased(limiter) => limiter.quota(),
        }
    }

    /// The algorithm that decides.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.store {
            Store::One(limiter) => limiter.algorithm(),
            Store::Keyed(limiter) => limiter.algorithm(),
            #[cfg(feature = "redis")]
            Store::Redis(limiter) => limiter.algorithm(),
            #[cfg(feature = "redis")]
            Store::Leased(limiter) => limiter.algorithm(),
        }
    }
}

impl From<RateLimiter> for AnyLimiter {
    fn from(limiter: RateLimiter) -> Self {
        Arc::new(limiter).into()
    }
}

impl From<Arc<RateLimiter>> for AnyLimiter {
    fn from(limiter: Arc<RateLimiter>) -> Self {
        Self { store: Store::One(limiter) }
    }
}

impl From<KeyedLimiter<[u8]>> for AnyLimiter {
    fn from(limiter: KeyedLimiter<[u8]>) -> Self {
        Arc::new(limiter).into()
    }
}

impl From<Arc<KeyedLimiter<[u8]>>> for AnyLimiter {
    fn from(limiter: Arc<KeyedLimiter<[u8]>>) -> Self {
        Self { store: Store::Keyed(limiter) }
    }
}

#[cfg(feature = "redis")]
impl From<RedisLimiter> for AnyLimiter {
    fn from(limiter: RedisLimiter) -> Self {
        Self { store: Store::Redis(limiter) }
    }
}

#[cfg(feature = "redis")]
impl From<LeasedLimiter> for AnyLimiter {
    fn from(limiter: LeasedLimiter) -> Self {
        Self { store: Store::Leased(limiter) }
    }
}

impl fmt::Debug for AnyLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("AnyLimiter");
        match &self.store {
            Store::One(limiter) => tuple.field(limiter),
            Store::Keyed(limiter) => tuple.field(limiter),
            #[cfg(feature = "redis")]
            Store::Redis(limiter) => tuple.field(limiter),
            #[cfg(feature = "redis")]
            Store::Leased(limiter) => tuple.field(limiter),
        };
        tuple.finish()
    }
}
