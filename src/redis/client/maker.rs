//! Makes connections to servers, and measures how far away those are.

use super::failure;
#[cfg(feature = "redis-tls")]
use super::tls::{Trust, is_tls};
use crate::clock::{Clock, TokioClock};
use crate::redis::error::RedisError;
use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind};
use alloc::string::ToString;
use core::time::Duration;
use tokio::time::timeout;

/// Calls that may be in flight at once before another waits for room.
const PIPELINE: usize = 4_096;

/// The most times that a round trip is measured until one is short enough. The shortest is the
/// distance, since a busy machine makes the others longer.
const MEASURED: u32 = 10;

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct ConnectOptions {
    /// The longest that connecting takes.
    pub(crate) within: Duration,
    #[cfg(feature = "redis-tls")]
    pub(crate) trust: Trust,
}

impl ConnectOptions {
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            within,
            #[cfg(feature = "redis-tls")]
            trust: Trust::default(),
        }
    }
}

/// Makes connections to servers.
#[derive(Clone)]
pub(super) struct Maker {
    config: ConnectionManagerConfig,
    options: ConnectOptions,
}

impl Maker {
    pub(super) fn new(options: &ConnectOptions) -> Self {
        // A caller that waits for a new connection waits for no second attempt: its deadline is
        // nearer.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(options.within))
            // The deadline bounds the whole call instead.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        Self { config, options: options.clone() }
    }

    pub(super) fn within(&self) -> Duration {
        self.options.within
    }

    pub(super) async fn open(&self, info: ConnectionInfo) -> Result<ConnectionManager, RedisError> {
        let address = info.addr().clone();
        let connecting =
            ConnectionManager::new_with_config(self.client(info)?, self.config.clone());
        match timeout(self.within(), connecting).await {
            Ok(Ok(manager)) => Ok(manager),
            Ok(Err(error)) if !error.is_timeout() => {
                Err(failure::of_connecting(&error, &address.to_string()))
            }
            _ => Err(self.silent(&address, "")),
        }
    }

    /// Makes a connection that connects when it is first used.
    pub(super) fn lazy(&self, info: ConnectionInfo) -> Option<ConnectionManager> {
        let client = self.client(info).ok()?;
        ConnectionManager::new_lazy_with_config(client, self.config.clone()).ok()
    }

    #[cfg(feature = "redis-tls")]
    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        if is_tls(info.addr()) {
            return self.options.trust.client(info);
        }
        if self.options.trust.is_given() {
            let text = "certificates are for TLS, and the URL is of a server in the clear: it must \
                        begin with rediss";
            return Err(RedisError::Configuration(text.to_string()));
        }
        Client::open(info).map_err(|_| failure::unreadable_url(""))
    }

    #[cfg(not(feature = "redis-tls"))]
    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        Client::open(info).map_err(|_| failure::unreadable_url(""))
    }

    /// The error of a server that has not answered. `role` says which server it is.
    pub(super) fn silent(&self, server: &ConnectionAddr, role: &str) -> RedisError {
        let within = self.within();
        // A server in the clear takes a TLS handshake for a command, and waits for its end.
        #[cfg(feature = "redis-tls")]
        if is_tls(server) {
            return RedisError::Connection(alloc::format!(
                "cannot connect to {role}{server} within {within:?}: nobody answers, or it is a \
                 port without TLS (redis://)"
            ));
        }
        RedisError::Connection(alloc::format!(
            "cannot connect to {role}{server} within {within:?}: nobody answers there"
        ))
    }
}

/// Measures how long an answer of any kind takes: the shortest of several, or the first under
/// `enough`. `None` if no answer comes in time.
pub(super) async fn round_trip(
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
    // A round trip counts if it was measured before the time is over.
    let _ = timeout(within, measuring).await;
    shortest
}
