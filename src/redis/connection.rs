//! A connection, and how it is made.

use super::error::RedisError;
#[cfg(feature = "redis-tls")]
use super::tls::{Trust, is_tls};
use super::url;
use ::redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, ConnectionInfo, Value};
use alloc::string::{String, ToString};
use core::time::Duration;
use tokio::time::timeout;

/// Calls that may be on their way at once before another waits for room.
const PIPELINE: usize = 4_096;

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) within: Duration,
    #[cfg(feature = "redis-tls")]
    pub(super) trust: Trust,
}

impl Way {
    pub(super) fn new(within: Duration) -> Self {
        Self {
            within,
            #[cfg(feature = "redis-tls")]
            trust: Trust::default(),
        }
    }
}

/// What makes connections.
pub(super) struct Source {
    client: Client,
    config: ConnectionManagerConfig,
    server: String,
    within: Duration,
}

impl Source {
    pub(super) fn new(url: &str, way: &Way) -> Result<Self, RedisError> {
        let info = url::server(url)?;
        let server = info.addr().to_string();
        let within = way.within;
        // Who waits for a new connection waits for no second attempt: his deadline is nearer.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(within))
            // Within the deadline, which is around everything.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        Ok(Self { client: client(url, info, way)?, config, server, within })
    }

    /// Whom it connects to.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) async fn open(&self) -> Result<Connection, RedisError> {
        let connecting =
            ConnectionManager::new_with_config(self.client.clone(), self.config.clone());
        match timeout(self.within, connecting).await {
            Ok(Ok(manager)) => Ok(Connection(manager)),
            Ok(Err(error)) if !error.is_timeout() => {
                Err(RedisError::of_connecting(&error, &self.server))
            }
            _ => Err(self.silent()),
        }
    }

    /// One that connects when it is first asked.
    pub(super) fn lazy(&self) -> Option<Connection> {
        let manager =
            ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone());
        manager.ok().map(Connection)
    }

    fn silent(&self) -> RedisError {
        let Self { server, within, .. } = self;
        // A server in the clear waits for the end of the line that a handshake of TLS is to it.
        #[cfg(feature = "redis-tls")]
        if is_tls(self.client.get_connection_info()) {
            return RedisError::Connection(alloc::format!(
                "cannot connect to {server} within {within:?}: nobody answers, or it is a port without TLS (redis://)"
            ));
        }
        RedisError::Connection(alloc::format!(
            "cannot connect to {server} within {within:?}: nobody answers there"
        ))
    }
}

#[cfg(feature = "redis-tls")]
fn client(url: &str, info: ConnectionInfo, way: &Way) -> Result<Client, RedisError> {
    if is_tls(&info) {
        return way.trust.client(info);
    }
    if way.trust.is_given() {
        let text = "certificates are for TLS, and the URL is of a server in the clear: it must begin with rediss://";
        return Err(RedisError::Configuration(text.to_string()));
    }
    Client::open(info).map_err(|_| url::bad(url))
}

#[cfg(not(feature = "redis-tls"))]
fn client(url: &str, info: ConnectionInfo, _: &Way) -> Result<Client, RedisError> {
    Client::open(info).map_err(|_| url::bad(url))
}

/// Clones share it. The manager makes a lost connection anew.
#[derive(Clone)]
pub(super) struct Connection(ConnectionManager);

impl Connection {
    /// What the server answers, errors of its own among it.
    pub(super) async fn send(&mut self, command: &Cmd) -> Result<Value, ::redis::RedisError> {
        // The boxed one: a future that holds all of the client's would be moved at each step of a call.
        ConnectionLike::req_packed_command(&mut self.0, command).await?.extract_error()
    }
}
