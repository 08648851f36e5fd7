//! The choices for a limiter in Redis.

use super::RedisLimiter;
use crate::algorithm::{Algorithm, Terms, algorithm_setters};
use crate::bucket::{Queue, Waiting};
use crate::quota::Quota;
use crate::redis::client::distance::Distance;
use crate::redis::client::link::Link;
use crate::redis::client::maker::ConnectOptions;
use crate::redis::error::RedisError;
use crate::redis::outage::fallback::Fallback;
use crate::redis::outage::guard::Guard;
use crate::redis::outage::share::Share;
use crate::redis::request::Requests;
use crate::redis::request::key::{self, DigestKey};
use crate::redis::request::limit::{Limit, check_group};
use crate::redis::request::turns::Turns;
use crate::redis::script;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// Longer than the hiccups of a scheduler, and far shorter than TCP's first retransmission (200
/// ms), which no caller on a hot path would wait for. A missed deadline is cheap: the fallback
/// decides.
const DEADLINE: Duration = Duration::from_millis(5);

/// As many calls as a connection holds in flight.
const MOST_PENDING: u64 = 4_096;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The choices for a [`RedisLimiter`], from [`RedisLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RedisBuilder {
    /// The first quota, and those given by [`and`](Self::and).
    quotas: Vec<Quota>,
    algorithm: Algorithm,
    prefix: String,
    deadline: Duration,
    round_trips: u32,
    start_away: bool,
    connect: ConnectOptions,
    fallback: Fallback,
    pub(crate) nodes: u64,
    capacity: usize,
    failures: u32,
    most_pending: u64,
    max_debt: u64,
    combine: bool,
    waiting: Waiting,
    queue: Queue,
}

impl RedisLimiter {
    /// Chooses the prefix, the deadline and the rest, and connects.
    pub fn builder(quota: Quota) -> RedisBuilder {
        RedisBuilder {
            quotas: Vec::from([quota]),
            algorithm: Algorithm::TokenBucket,
            prefix: "sluicegate".to_string(),
            deadline: DEADLINE,
            round_trips: 0,
            start_away: false,
            connect: ConnectOptions::new(CONNECT_TIMEOUT),
            fallback: Fallback::Local,
            nodes: 1,
            capacity: 16_384,
            failures: 5,
            most_pending: MOST_PENDING,
            max_debt: u64::MAX,
            combine: true,
            waiting: Waiting::default(),
            queue: Queue::default(),
        }
    }
}

impl RedisBuilder {
    /// Adds another limit of the same keys, up to 8 in all. A request is admitted if all limits
    /// admit it, and otherwise costs nothing of any, whatever other callers ask meanwhile. One
    /// script asks all of them, in one round trip.
    ///
    /// A grant has the figures of the limit with the least left, and a denial those of the limit
    /// with the longest wait. `which` tells the number of that limit, as with
    /// [`Combined`](crate::Combined). `available` is the least of all limits, and `level` the most.
    /// Each limit has the buckets that it would have alone.
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
        self.quotas.push(quota);
        self
    }

    /// Chooses the algorithm at run time.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    algorithm_setters!();

    /// Sets the beginning of the names of the limiter's keys in Redis; `sluicegate` unless set.
    /// Limiters with the same prefix and quota share their buckets, whatever process they are in.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the longest time that a whole call takes; 5 ms unless set. A call that is not answered
    /// by then is a [`RedisError::Timeout`], and may have been charged. Timers count milliseconds:
    /// they are set one millisecond early, and may be one late.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the deadline this many round trips to the server, if that is longer than the
    /// [`deadline`](Self::deadline) set; 0 unless set. Otherwise it must be 2 or more, since timers
    /// take a millisecond of it. The round trip is measured at connect, and by the probe that ends
    /// an outage. So a limiter needs not know how far away its server is.
    ///
    /// Without this, a server whose round trip is longer than the deadline is
    /// [`RedisError::TooFar`] at connect.
    pub fn deadline_round_trips(mut self, round_trips: u32) -> Self {
        self.round_trips = round_trips;
        self
    }

    /// Sets whether the limiter starts even if Redis is away, or too far for the deadline. Then the
    /// [`Fallback`] decides until a probe finds that Redis is there; probes are 50 ms to 5 s apart.
    /// Unless set, [`connect`](Self::connect) fails instead. A mistake that does not pass by
    /// itself, as a wrong URL or login, fails in either case.
    pub fn start_away(mut self, start: bool) -> Self {
        self.start_away = start;
        self
    }

    /// Sets the longest time that connecting takes; a second unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect.within = timeout;
        self
    }

    /// Sets the certificates to trust, in PEM, in place of Mozilla's list: those of your own
    /// authority, or the server's own if no authority signed it.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connect.trust.roots = Some(pem.into());
        self
    }

    /// Sets the certificate that identifies this client to the server, in PEM: with those up to its
    /// root, and its private key. A Redis server wants one unless its `tls-auth-clients` says
    /// otherwise.
    #[cfg(feature = "redis-tls")]
    pub fn client_certificate(
        mut self,
        certificates: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.connect.trust.identity = Some((certificates.into(), key.into()));
        self
    }

    /// Sets the policy that decides while Redis is away; [`Fallback::Local`] unless set.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// Sets the number of processes that share the limit, each with a limiter like this; 1 unless
    /// set. While Redis is away, each process admits that part of the limit, and at least a token
    /// at once. Together, all nodes can then admit the burst at once, or one token each if there
    /// are more nodes than tokens in the burst.
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes.max(1);
        self
    }

    /// Sets the most active keys that [`Fallback::Local`] keeps account of, at 48 bytes each;
    /// 16,384 unless set. If there are more, it forgets the keys that are nearest to full.
    pub fn fallback_capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// Sets after how many failures in a row Redis is taken for away; 5 unless set. Calls that are
    /// in flight at once count as one. A lasting share of failures of more than a tenth has the
    /// same effect.
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets the most requests in flight at once; 4,096 unless set. Any further request gets
    /// [`RedisError::Overloaded`], and the fallback decides it. The same happens when the names of
    /// the keys in flight take more than 512 bytes times this number: 2 MiB by default.
    pub fn max_pending(mut self, requests: u64) -> Self {
        self.most_pending = requests;
        self
    }

    /// Sets whether checks of a key that come while another is in flight share one script; they do
    /// unless set.
    pub fn combine(mut self, combine: bool) -> Self {
        self.combine = combine;
        self
    }

    /// Bounds the debt that [`charge`](RedisLimiter::charge) makes: it takes a key's balance no
    /// lower than `-tokens`, and the rest is forgotten. Unless set, debt ends at 142 years of flow.
    ///
    /// Without a bound, a caller that charges every denial as a penalty goes on deepening its key's
    /// debt while it asks, and stays denied until all of that debt has been paid off. With 0, a
    /// charge takes only the tokens that are there. The tokens that a reservation takes beyond its
    /// own when it is [settled](crate::RedisReservation::settle) are a charge. Reservations
    /// themselves are bounded by [`max_waiting`](Self::max_waiting): where they have taken the
    /// balance lower, a charge adds nothing.
    ///
    /// Each of [several](Self::and) limits has this bound. Another limiter on the same buckets has
    /// its own bound. While Redis is away, each node has its part of the bound. When Redis is back,
    /// charges made meanwhile are charged there up to the bound. Tokens granted meanwhile are
    /// charged in full.
    pub fn max_debt(mut self, tokens: u64) -> Self {
        self.max_debt = tokens;
        self
    }

    /// Bounds the debt of all callers that wait for a key: a reservation that would take it further
    /// is denied. Unless set, debt ends at 142 years of flow. While Redis is away, each node has
    /// its part of the bound.
    pub fn max_waiting(mut self, tokens: u64) -> Self {
        self.waiting.most = tokens;
        self
    }

    /// Makes each key's leaky bucket a queue (a shaper) of all machines: up to `capacity` tokens
    /// wait, and depart evenly spaced at the rate. See
    /// [`RateLimiterBuilder::queue`](crate::RateLimiterBuilder::queue).
    pub fn queue(mut self, capacity: u64) -> Self {
        self.queue.capacity = Some(capacity);
        self
    }

    /// Lets this many requests of a [queue](Self::queue)'s capacity pass without delay, as the
    /// `delay` of nginx does.
    pub fn delay_free(mut self, requests: u64) -> Self {
        self.queue.delay_free = requests;
        self
    }

    /// Connects to the server at `redis://[[user]:password@]host[:port][/database]`, or to a socket
    /// at `unix:///path`.
    ///
    /// A connection that is lost is reopened automatically; calls fail meanwhile. `rediss://` asks
    /// over TLS, in a build with the feature `redis-tls`. With `#insecure` at the end of the URL,
    /// the server's certificate is not checked.
    ///
    /// A cluster is `redis-cluster://[[user]:password@]host[:port][,host[:port]...]` with some of
    /// its nodes, or `rediss-cluster://`, in a build with the feature `redis-cluster`.
    ///
    /// A server that sentinels watch is
    /// `redis-sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/database]` with
    /// the hosts of the sentinels and the login of the server, or `rediss-sentinel://`, in a build
    /// with the feature `redis-sentinel`.
    ///
    /// # Errors
    ///
    /// - [`RedisError::Quota`]: the burst takes over 71 years to flow; a queue on another algorithm
    ///   than the leaky bucket, or one with a capacity below [`delay_free`](Self::delay_free);
    /// - [`RedisError::Configuration`]: the URL, or an option in it, which the text names; the
    ///   login, the certificates, another service at that address, braces in the prefix;
    ///   [several](Self::and) limits of which one is a queue, or two are equal, or more than 8
    ///   limits;
    /// - [`RedisError::TooFar`]: a round trip takes longer than the deadline; the error tells both;
    /// - [`RedisError::Connection`]: no server answers there, or not in time;
    /// - [`RedisError::Unavailable`], [`RedisError::Failed`]: the server answers that it cannot
    ///   serve.
    ///
    /// The last two, and a server that is too far, are no errors with
    /// [`start_away`](Self::start_away).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its time and I/O enabled.
    pub async fn connect(self, url: &str) -> Result<RedisLimiter, RedisError> {
        let (limits, waiting) = self.limits()?;
        let distance = Distance::new(self.deadline, self.round_trips);
        let (link, absent) = Link::connect(url, &self.connect, distance).await?;
        if let Some(error) = &absent
            && !self.start_away
        {
            return Err(error.clone());
        }
        let guard = Arc::new(Guard::new(link, self.failures, self.fallback, self.most_pending));
        if let Some(error) = absent {
            guard.start_away(&key::name(&limits[0].head, b""), &error);
        }
        let requests = Requests {
            limits: limits.into(),
            waiting,
            queues: Arc::default(),
            digest_key: DigestKey::of_prefix(&self.prefix),
            prefix: self.prefix,
            guard,
            turns: self.combine.then(|| Arc::new(Turns::new())),
        };
        Ok(RedisLimiter { requests: Arc::new(requests) })
    }

    fn limits(&self) -> Result<(Vec<Limit>, Waiting), RedisError> {
        let (mut quotas, mut waiting) = (self.quotas.clone(), self.waiting);
        if let Some(first) = quotas.first_mut() {
            (*first, waiting) = self.queue.shape(self.algorithm, *first, waiting)?;
        }
        if self.prefix.contains(['{', '}']) {
            let text = "a prefix must have no braces: they choose the slot of a key in a cluster";
            return Err(RedisError::Configuration(text.to_string()));
        }
        let limit = |(i, quota): (usize, &Quota)| -> Result<Limit, RedisError> {
            let scripts = script::of(quota, self.algorithm, self.max_debt)?;
            let share = || Share::new(quota, waiting, self.nodes, self.capacity, self.max_debt);
            let share = if self.fallback == Fallback::Local { Some(share()?) } else { None };
            let terms = Terms::bucket(*quota, self.algorithm, 56);
            let fingerprint = script::fingerprint(quota, self.algorithm);
            let head = alloc::format!("{}:{fingerprint}{{", self.prefix).into_bytes();
            // There are at most 8, or else they are refused below.
            Ok(Limit { which: i as u8, terms, scripts, head, share })
        };
        let limits: Vec<_> = quotas.iter().enumerate().map(limit).collect::<Result<_, _>>()?;
        check_group(&limits, waiting.queue.is_some())?;
        Ok((limits, waiting))
    }
}
