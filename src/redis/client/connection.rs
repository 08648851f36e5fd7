//! A connection to what a URL names.

#[cfg(feature = "redis-cluster")]
use super::cluster::Cluster;
use super::maker::{ConnectOptions, Maker, round_trip};
use super::url::Address;
use crate::redis::error::RedisError;
use ::redis::aio::{ConnectionLike, ConnectionManager};
use ::redis::{Cmd, Value};
use alloc::string::{String, ToString};
use core::time::Duration;

/// Makes connections to one address.
pub(super) struct Connector {
    address: Address,
    maker: Maker,
    /// The address in words, without the login.
    server: String,
}

impl Connector {
    pub(super) fn new(url: &str, options: &ConnectOptions) -> Result<Self, RedisError> {
        let address = Address::parse(url)?;
        let server = address.to_string();
        Ok(Self { address, maker: Maker::new(options), server })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The longest that connecting takes.
    pub(super) fn within(&self) -> Duration {
        self.maker.within()
    }

    pub(super) async fn open(&self) -> Result<Connection, RedisError> {
        match &self.address {
            Address::Server(info) => {
                self.maker.open((**info).clone()).await.map(Connection::Server)
            }
            #[cfg(feature = "redis-cluster")]
            Address::Cluster(roster) => {
                Cluster::connect(roster, &self.maker).await.map(Connection::Cluster)
            }
        }
    }

    /// Makes a connection that connects when it is first used, in place of one whose handshake was
    /// refused. `None` of a cluster, which replaces the connection of each node by itself.
    pub(super) fn lazy(&self) -> Option<Connection> {
        match &self.address {
            Address::Server(info) => self.maker.lazy((**info).clone()).map(Connection::Server),
            #[cfg(feature = "redis-cluster")]
            Address::Cluster(_) => None,
        }
    }
}

/// A connection, which its clones share.
#[derive(Clone)]
pub(super) enum Connection {
    /// The manager makes a lost connection anew.
    Server(ConnectionManager),
    #[cfg(feature = "redis-cluster")]
    Cluster(Cluster),
}

impl Connection {
    /// Measures the [`round_trip`]; in a cluster, that of the node furthest away.
    pub(super) async fn round_trip(
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

    /// Sends a command to the server that has this key. An error of the server is an error here.
    pub(super) async fn send(
        &mut self,
        command: &Cmd,
        #[cfg_attr(not(feature = "redis-cluster"), expect(unused_variables))] key: &[u8],
    ) -> Result<Value, ::redis::RedisError> {
        match self {
            // The method that boxes its future: otherwise all of the client's future would be moved
            // at each step of a call.
            Self::Server(manager) => {
                ConnectionLike::req_packed_command(manager, command).await?.extract_error()
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(cluster) => cluster.send(command, key).await,
        }
    }
}
