//! Choices for a limiter in Redis.

use crate::algorithm::{Algorithm, Terms};
use crate::bucket::{Queue, Waiting};
use crate::quota::Quota;
use crate::redis::client::connection::Way;
use crate::redis::client::distance::Distance;
use crate::redis::client::link::Link;
use crate::redis::error::RedisError;
use crate::redis::lease::LeasedBuilder;
use crate::redis::limiter::RedisLimiter;
use crate::redis::metrics::Counters;
use crate::redis::outage::breaker::Breaker;
use crate::redis::outage::fallback::{Fallback, Local};
use crate::redis::outage::probe;
use crate::redis::request::Path;
use crate::redis::request::coalesce::Combine;
use crate::redis::request::group::{self, More};
use crate::redis::request::key;
use crate::redis::script::Kernel;
use crate::sync::plain::AtomicU64;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::Mutex;
use tokio::runtime::Handle;

/// Longer than the hiccups of a scheduler, far shorter than TCP's first retransmission (200 ms), which no caller on a
/// hot path would wait for. A miss is cheap: the fallback decides.
const DEADLINE: Duration = Duration::from_millis(5);

/// As many calls as a connection holds on their way.
const MOST_PENDING: u64 = 4_096;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Choices for a [`RedisLimiter`], from [`RedisLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RedisBuilder {
    quota: Quota,
    algorithm: Algorithm,
    prefix: String,
    deadline: Duration,
    round_trips: u32,
    start_away: bool,
    way: Way,
    fallback: Fallback,
    pub(in crate::redis) nodes: u64,
    capacity: usize,
    failures: u32,
    most_pending: u64,
    max_debt: u64,
    combine: bool,
    waiting: Waiting,
    queue: Queue,
    more: Vec<Quota>,
}

impl RedisBuilder {
    pub(in crate::redis) fn new(quota: Quota) -> Self {
        Self {
            quota,
            algorithm: Algorithm::TokenBucket,
            prefix: "sluicegate".to_string(),
            deadline: DEADLINE,
            round_trips: 0,
            start_away: false,
            way: Way::new(CONNECT_TIMEOUT),
            fallback: Fallback::Local,
            nodes: 1,
            capacity: 16_384,
            failures: 5,
            most_pending: MOST_PENDING,
            max_debt: u64::MAX,
            combine: true,
            waiting: Waiting::default(),
            queue: Queue::default(),
            more: Vec::new(),
        }
    }

    /// Another limit of the same keys, up to 8 in all: a request is admitted if all of them admit it, and otherwise costs
    /// nothing of any, whatever others ask meanwhile. All are asked by one script, in one round trip.
    ///
    /// A grant has the figures of the limit with the least left, a denial those of the one to wait longest for, and
    /// `which` tells which that is, as with [`Combined`](crate::Combined). `available` is the least there is,
    /// `level` the most. Each limit has the buckets that it would have alone.
    ///
    /// ```no_run
    /// use sluicegate::{Quota, RedisError, RedisLimiter};
    ///
    /// # async fn example() -> Result<(), RedisError> {
    /// let builder = RedisLimiter::builder(Quota::per_second(10)).and(Quota::per_hour(1_000));
    /// let users = builder.connect("redis://localhost").await?;
    /// if let Err(RedisError::Denied(denied)) = users.check("alice").await {
    ///     println!("{} denies: {denied}", users.quotas()[denied.which()]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn and(mut self, quota: Quota) -> Self {
        self.more.push(quota);
        self
    }

    /// The algorithm, chosen at run time.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// [`Algorithm::TokenBucket`], the default.
    pub fn token_bucket(mut self) -> Self {
        self.algorithm = Algorithm::TokenBucket;
        self
    }

    /// [`Algorithm::LeakyBucket`], as a meter: the burst is its capacity, the rate its leak. The same buckets, read from
    /// the other side.
    pub fn leaky_bucket(mut self) -> Self {
        self.algorithm = Algorithm::LeakyBucket;
        self
    }

    /// [`Algorithm::FixedWindow`], aligned to 1970 by the server's clock. The quota must have no burst of its own, and a period
    /// of whole microseconds.
    pub fn fixed_window(mut self) -> Self {
        self.algorithm = Algorithm::FixedWindow;
        self
    }

    /// [`Algorithm::SlidingWindow`], aligned likewise.
    pub fn sliding_window(mut self) -> Self {
        self.algorithm = Algorithm::SlidingWindow;
        self
    }

    /// What the limiter's keys in Redis begin with; `sluicegate` unless set. Limiters that have prefix and quota in
    /// common share their buckets, in whatever process they are.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The longest that a call takes, all of it; 5 ms unless set. What is not answered by then is
    /// [`RedisError::Timeout`], and may have been charged. Timers have milliseconds: it is set for one less, and may be late by as
    /// much.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the deadline so many round trips to the server, if that is longer than the
    /// [`deadline`](Self::deadline) set; 0 unless set, and else 2 or more, since timers take a
    /// millisecond of it. The round trip is what connecting measures, and after an outage the probe
    /// that ends it. So a limiter can do without knowing how far its server is.
    ///
    /// Without this, a server whose round trip is longer than the deadline is
    /// [`RedisError::TooFar`] at connect.
    pub fn deadline_round_trips(mut self, round_trips: u32) -> Self {
        self.round_trips = round_trips;
        self
    }

    /// Whether the limiter starts also if Redis is away, or too far for the deadline: then the
    /// [`Fallback`] decides until a probe finds that it is there, 50 ms to 5 s apart. Not so unless
    /// set: then [`connect`](Self::connect) fails. What does not pass by itself, a wrong URL or
    /// login, fails in either case.
    pub fn start_away(mut self, start: bool) -> Self {
        self.start_away = start;
        self
    }

    /// The longest that connecting takes; a second unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.way.within = timeout;
        self
    }

    /// Whose certificates to trust, in PEM, in place of Mozilla's list: those of your own authority, or a server's own if nobody
    /// signed it.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.way.trust.roots = Some(pem.into());
        self
    }

    /// What tells the server who asks, in PEM: a certificate, with those that lead to its root, and its key. A Redis
    /// server wants one unless its `tls-auth-clients` says otherwise.
    #[cfg(feature = "redis-tls")]
    pub fn client_certificate(
        mut self,
        certificates: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.way.trust.identity = Some((certificates.into(), key.into()));
        self
    }

    /// What decides while Redis is away; [`Fallback::Local`] unless set.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// How many processes share the limit, each with a limiter like this: while Redis is away, each admits that part of
    /// it, and a token at once at least: all together the burst, or as many tokens as there are nodes, if those are more.
    /// 1 unless set.
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes.max(1);
        self
    }

    /// The most active keys that [`Fallback::Local`] keeps account of, 48 bytes each; 16,384 unless set. More
    /// than that, and those nearest to full are forgotten.
    pub fn fallback_capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// After so many failures in a row Redis is taken for away; 5 unless set. Calls that are on their way at once count as one;
    /// more than a tenth of all calls that fail for long open it too.
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// The most requests on their way at once; 4,096 unless set. One more is [`RedisError::Overloaded`], and
    /// decided as if Redis were away. So is one more when the names of those on their way come to
    /// 512 bytes for each that there may be: 2 MiB.
    pub fn max_pending(mut self, requests: u64) -> Self {
        self.most_pending = requests;
        self
    }

    /// Whether checks of one key that come while another is on its way go together, as one script; so unless set.
    pub fn combine(mut self, combine: bool) -> Self {
        self.combine = combine;
        self
    }

    /// Bounds the debt that [`charge`](RedisLimiter::charge) makes: it takes a key's balance no
    /// lower than `-tokens`, and what is over is forgotten. Unless set, debt ends at 142 years of
    /// flow.
    ///
    /// Without it a caller that charges every denial, as a penalty, locks its key out for as long
    /// as it asks and then for what it has asked. With 0 a charge takes what is there. What a
    /// reservation takes beyond its tokens when it is [settled](crate::RedisReservation::settle) is
    /// a charge. Reservations themselves are bounded by [`max_waiting`](Self::max_waiting): where
    /// they have taken the balance lower, a charge adds nothing.
    ///
    /// Of [several](Self::and) limits each has this bound. Another limiter that shares the buckets
    /// has its own. While Redis is away, each node has its part of it; what was charged meanwhile
    /// is charged in Redis under the same bound, what was granted is charged whole.
    pub fn max_debt(mut self, tokens: u64) -> Self {
        self.max_debt = tokens;
        self
    }

    /// Bounds how many tokens all who wait for a key may be in debt for: a reservation that would take it further is
    /// denied. Unless set, debt ends at 142 years of flow. While Redis is away, each node has its part of it.
    pub fn max_waiting(mut self, tokens: u64) -> Self {
        self.waiting.most = tokens;
        self
    }

    /// Makes each key's leaky bucket a queue (a shaper) of all machines: up to `capacity` tokens wait, and depart
    /// evenly spaced at the rate. See [`Builder::queue`](crate::Builder::queue).
    pub fn queue(mut self, capacity: u64) -> Self {
        self.queue.capacity = Some(capacity);
        self
    }

    /// Of a [queue](Self::queue): so many of its capacity pass without delay, as with the `delay` of nginx.
    pub fn delay_free(mut self, requests: u64) -> Self {
        self.queue.delay_free = requests;
        self
    }

    /// Leases tokens instead of asking for each, and otherwise as chosen so far.
    pub fn leased(self) -> LeasedBuilder {
        LeasedBuilder::new(self)
    }

    /// Connects to the server at `redis://[[user]:password@]host[:port][/database]`, or a socket at `unix:///path`.
    ///
    /// A connection that is lost later is made anew without being asked for; calls fail meanwhile. `rediss://` asks over TLS,
    /// in a build with the feature `redis-tls`; with `#insecure` at its end whoever answers there is trusted.
    ///
    /// A cluster is `redis-cluster://[[user]:password@]host[:port][,host[:port]...]`, some of its nodes, or `rediss-cluster://`, in
    /// a build with the feature `redis-cluster`. A server that sentinels watch is
    /// `redis-sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/database]`, with the hosts of the sentinels and the
    /// login of the server, or `rediss-sentinel://`, in a build with the feature `redis-sentinel`.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Quota`]: the burst takes over 71 years to flow; a queue of anything but a leaky bucket, or of a
    ///   capacity less than what is free of delay;
    /// - [`RedisError::Configuration`]: the URL, or an option in it, which it names; the login, the
    ///   certificates, another service at that address, braces in the prefix, [several](Self::and)
    ///   limits that are queues, over 8, or two of them the same;
    /// - [`RedisError::TooFar`]: a round trip to it takes longer than the deadline; both are told;
    /// - [`RedisError::Connection`]: nobody answers there, or not in time;
    /// - [`RedisError::Unavailable`], [`RedisError::Failed`]: the server answers that it cannot now.
    ///
    /// The last two, and what is too far, are no errors with [`start_away`](Self::start_away).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its time and I/O enabled.
    pub async fn connect(self, url: &str) -> Result<RedisLimiter, RedisError> {
        let (quota, waiting) = self.queue.shape(self.algorithm, self.quota, self.waiting)?;
        if self.prefix.contains(['{', '}']) {
            let text = "a prefix must have no braces: they choose the slot of a key in a cluster";
            return Err(RedisError::Configuration(text.to_string()));
        }
        let limit = |quota: Quota| -> Result<More, RedisError> {
            let kernel = Kernel::new(&quota, self.algorithm)?.with_max_debt(self.max_debt);
            let share = || Local::new(&quota, waiting, self.nodes, self.capacity, self.max_debt);
            let local = if self.fallback == Fallback::Local { Some(share()?) } else { None };
            let terms = Terms::bucket(quota, self.algorithm, 56);
            let fingerprint = fingerprint(&quota, self.algorithm);
            let head = alloc::format!("{}:{fingerprint}{{", self.prefix).into_bytes();
            Ok(More { terms, kernel, head, local })
        };
        let More { terms, kernel, head, local } = limit(quota)?;
        let more: Vec<_> = self.more.iter().map(|&quota| limit(quota)).collect::<Result<_, _>>()?;
        group::can_be(&head, &more, waiting.queue.is_some())?;
        let distance = Distance::new(self.deadline, self.round_trips);
        let (link, absent) = Link::connect(url, &self.way, distance).await?;
        if let Some(error) = &absent
            && !self.start_away
        {
            return Err(error.clone());
        }
        let limiter = RedisLimiter::over(Path {
            terms,
            kernel,
            waiting,
            lines: Arc::default(),
            head,
            digest_key: key::digest_key(&self.prefix),
            prefix: self.prefix,
            link,
            breaker: Breaker::new(self.failures),
            fallback: self.fallback,
            local,
            more,
            combine: self.combine.then(|| Arc::new(Combine::new())),
            pending: AtomicU64::new(0),
            pending_bytes: AtomicU64::new(0),
            most_pending: self.most_pending,
            counters: Counters::default(),
            failed: Mutex::default(),
            runtime: Handle::current(),
        });
        if let Some(error) = absent {
            limiter.path.breaker.open();
            probe::begin(&limiter.path, &limiter.path.name(b""), &error);
        }
        Ok(limiter)
    }
}

/// Short, and readable: `b100/1m/20`. The letter says what is kept: a bucket, a fixed or a sliding window; the period is in
/// its largest whole unit.
pub(in crate::redis) fn fingerprint(quota: &Quota, algorithm: Algorithm) -> String {
    const UNITS: [(u64, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let period = quota.period_ns();
    let unit = UNITS.iter().find(|(ns, _)| period.is_multiple_of(*ns));
    let (ns, name) = unit.copied().unwrap_or((1, "ns"));
    let (count, period, burst) = (quota.count(), period / ns, quota.burst_size());
    match algorithm {
        Algorithm::TokenBucket | Algorithm::LeakyBucket => {
            alloc::format!("b{count}/{period}{name}/{burst}")
        }
        Algorithm::FixedWindow => alloc::format!("f{count}/{period}{name}"),
        Algorithm::SlidingWindow => alloc::format!("s{count}/{period}{name}"),
    }
}
