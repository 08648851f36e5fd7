//! A connection, and how it is made.

use crate::clock::{Clock, TokioClock};
#[cfg(feature = "redis-cluster")]
use crate::redis::client::cluster::Cluster;
#[cfg(feature = "redis-tls")]
use crate::redis::client::tls::{Trust, is_tls};
use crate::redis::client::url::{self, Place};
use crate::redis::error::RedisError;
use ::redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Value};
use alloc::string::{String, ToString};
use core::time::Duration;
use tokio::time::timeout;

/// Calls that may be on their way at once before another waits for room.
const PIPELINE: usize = 4_096;

/// The most often that a round trip is measured until one is short enough. The shortest is the
/// distance; a busy machine makes the others longer.
const MEASURED: u32 = 10;

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub(in crate::redis) struct Way {
    pub(in crate::redis) within: Duration,
    #[cfg(feature = "redis-tls")]
    pub(in crate::redis) trust: Trust,
}

impl Way {
    pub(in crate::redis) fn new(within: Duration) -> Self {
        Self {
            within,
            #[cfg(feature = "redis-tls")]
            trust: Trust::default(),
        }
    }
}

/// Makes connections to servers.
#[derive(Clone)]
pub(in crate::redis) struct Maker {
    config: ConnectionManagerConfig,
    way: Way,
}

impl Maker {
    fn new(way: &Way) -> Self {
        // Who waits for a new connection waits for no second attempt: his deadline is nearer.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(way.within))
            // Within the deadline, which is around everything.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        Self { config, way: way.clone() }
    }

    #[cfg(feature = "redis-cluster")]
    pub(in crate::redis) fn within(&self) -> Duration {
        self.way.within
    }

    pub(in crate::redis) async fn open(
        &self,
        info: ConnectionInfo,
    ) -> Result<ConnectionManager, RedisError> {
        let address = info.addr().clone();
        let connecting =
            ConnectionManager::new_with_config(self.client(info)?, self.config.clone());
        match timeout(self.way.within, connecting).await {
            Ok(Ok(manager)) => Ok(manager),
            Ok(Err(error)) if !error.is_timeout() => {
                Err(RedisError::of_connecting(&error, &address.to_string()))
            }
            _ => Err(self.silent(&address, "")),
        }
    }

    /// One that connects when it is first asked.
    pub(in crate::redis) fn lazy(&self, info: ConnectionInfo) -> Option<ConnectionManager> {
        let client = self.client(info).ok()?;
        ConnectionManager::new_lazy_with_config(client, self.config.clone()).ok()
    }

    #[cfg(feature = "redis-tls")]
    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        if is_tls(info.addr()) {
            return self.way.trust.client(info);
        }
        if self.way.trust.is_given() {
            let text = "certificates are for TLS, and the URL is of a server in the clear: it must begin with rediss";
            return Err(RedisError::Configuration(text.to_string()));
        }
        Client::open(info).map_err(|_| url::bad(""))
    }

    #[cfg(not(feature = "redis-tls"))]
    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        Client::open(info).map_err(|_| url::bad(""))
    }

    /// Nobody has answered.
    pub(in crate::redis) fn silent(&self, server: &ConnectionAddr, who: &str) -> RedisError {
        let within = self.way.within;
        // A server in the clear waits for the end of the line that a handshake of TLS is to it.
        #[cfg(feature = "redis-tls")]
        if is_tls(server) {
            return RedisError::Connection(alloc::format!(
                "cannot connect to {who}{server} within {within:?}: nobody answers, or it is a port without TLS (redis://)"
            ));
        }
        RedisError::Connection(alloc::format!(
            "cannot connect to {who}{server} within {within:?}: nobody answers there"
        ))
    }
}

/// What a URL is of, and how to connect to it.
pub(in crate::redis) struct Source {
    place: Place,
    maker: Maker,
    /// In words.
    server: String,
}

impl Source {
    pub(in crate::redis) fn new(url: &str, way: &Way) -> Result<Self, RedisError> {
        let place = url::place(url)?;
        let server = place.to_string();
        Ok(Self { place, maker: Maker::new(way), server })
    }

    /// Whom it connects to.
    pub(in crate::redis) fn server(&self) -> &str {
        &self.server
    }

    /// The longest that connecting takes.
    pub(in crate::redis) fn within(&self) -> Duration {
        self.maker.way.within
    }

    pub(in crate::redis) async fn open(&self) -> Result<Connection, RedisError> {
        match &self.place {
            Place::Server(info) => self.maker.open((**info).clone()).await.map(Connection::Server),
            #[cfg(feature = "redis-cluster")]
            Place::Cluster(roster) => {
                Cluster::connect(roster, &self.maker).await.map(Connection::Cluster)
            }
        }
    }

    /// One that connects when it is first asked, in place of one whose handshake was refused. A cluster's nodes are replaced each by
    /// itself.
    pub(in crate::redis) fn lazy(&self) -> Option<Connection> {
        match &self.place {
            Place::Server(info) => self.maker.lazy((**info).clone()).map(Connection::Server),
            #[cfg(feature = "redis-cluster")]
            Place::Cluster(_) => None,
        }
    }
}

/// Clones share it.
#[derive(Clone)]
pub(in crate::redis) enum Connection {
    /// The manager makes a lost connection anew.
    Server(ConnectionManager),
    #[cfg(feature = "redis-cluster")]
    Cluster(Cluster),
}

impl Connection {
    /// Measures how long an answer takes, of whatever kind: the shortest of several, or the first
    /// under `enough`; in a cluster, that of the node furthest away. `None` if no answer comes.
    pub(in crate::redis) async fn round_trip(
        &mut self,
        within: Duration,
        enough: Duration,
    ) -> Option<Duration> {
        match self {
            Self::Server(manager) => round_trip(manager, within, enough).await,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(cluster) => cluster.round_trip(within, enough).await,
        }
    }

    /// What the server of this key answers, its own errors among the others.
    pub(in crate::redis) async fn send(
        &mut self,
        command: &Cmd,
        #[cfg_attr(not(feature = "redis-cluster"), expect(unused_variables))] key: &[u8],
    ) -> Result<Value, ::redis::RedisError> {
        match self {
            // The boxed one: a future that holds all of the client's would be moved at each step of a call.
            Self::Server(manager) => {
                ConnectionLike::req_packed_command(manager, command).await?.extract_error()
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(cluster) => cluster.send(command, key).await,
        }
    }
}

pub(in crate::redis) async fn round_trip(
    manager: &mut ConnectionManager,
    within: Duration,
    enough: Duration,
) -> Option<Duration> {
    let mut ping = Cmd::new();
    ping.arg("PING");
    let mut shortest: Option<Duration> = None;
    let measuring = async {
        let clock = TokioClock::new();
        for _ in 0..MEASURED {
            let began = clock.nanos();
            // A refusal is an answer too.
            if let Err(error) = manager.send_packed_command(&ping).await
                && matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse)
            {
                return;
            }
            let took = Duration::from_nanos(clock.nanos() - began);
            let best = shortest.map_or(took, |shortest| shortest.min(took));
            shortest = Some(best);
            if best < enough {
                return;
            }
        }
    };
    // What was measured by then counts.
    let _ = timeout(within, measuring).await;
    shortest
}
