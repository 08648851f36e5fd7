//! The connection of one limiter, and a call over it.

use super::error::{RedisError, is_no_script, may_be_of_handshake};
use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{
    Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, ProtocolVersion, Script,
};
use alloc::string::{String, ToString};
use core::time::Duration;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::time::timeout;

/// Calls that may be on their way at once before another waits for room.
const PIPELINE: usize = 4_096;

/// After so long without a sign of a peer's machine the system gives the connection up. A process that
/// stands still on a machine that does not is told by our own deadline.
const DEAD_PEER: Duration = Duration::from_secs(5);

/// A script, and the digest that servers know it by.
pub(super) struct Lua {
    pub(super) code: &'static str,
    pub(super) digest: LazyLock<String>,
}

impl Lua {
    pub(super) fn digest(code: &str) -> String {
        Script::new(code).get_hash().to_string()
    }
}

/// A connection that has answered, and that nobody uses yet.
pub(super) struct Fresh(ConnectionManager);

/// One connection for all of a limiter's calls, since a slow command of somebody else would hold up all that share a
/// socket with it.
#[derive(Clone)]
pub(super) struct Link {
    managed: Arc<Mutex<Managed>>,
    client: Client,
    config: ConnectionManagerConfig,
    server: String,
    connect_timeout: Duration,
    deadline: Duration,
}

/// The manager makes a lost connection anew. But a handshake that the server refuses it takes for its last, and answers
/// with that for ever: then it is replaced.
struct Managed {
    manager: ConnectionManager,
    /// How many there were before.
    replaced: u64,
}

impl Link {
    pub(super) async fn connect(
        url: &str,
        connect_timeout: Duration,
        deadline: Duration,
    ) -> Result<Self, RedisError> {
        let info = settings(url)?;
        let server = info.addr().to_string();
        let client = Client::open(info).map_err(|_| bad_url(url))?;
        // Who waits for a new connection waits for no second attempt: his deadline is nearer.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(connect_timeout))
            // Within the deadline, which is around everything.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        let manager = open(&client, &config, &server, connect_timeout).await?;
        let managed = Arc::new(Mutex::new(Managed { manager, replaced: 0 }));
        Ok(Self { managed, client, config, server, connect_timeout, deadline })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Runs a script, within the deadline. A server that does not know it has not run it, and is then sent all
    /// of it, once. Whatever else went wrong may have been applied, and is not sent again.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Lua,
        key: &[u8],
        numbers: &[u64],
    ) -> Result<T, RedisError> {
        self.within_deadline(async {
            let (mut manager, replaced) = self.current();
            let answer = evaluate(&mut manager, script, key, numbers).await;
            self.judge(&answer, replaced);
            answer
        })
        .await
    }

    /// Runs a script over a new connection, made within the time for that, within the deadline. The limiter's own stays what it
    /// is until this is [adopted](Self::adopt).
    #[cfg_attr(not(test), expect(dead_code, reason = "for who decides when a server is back"))]
    pub(super) async fn probe(
        &self,
        script: &Lua,
        key: &[u8],
        numbers: &[u64],
    ) -> Result<Fresh, RedisError> {
        let mut manager =
            open(&self.client, &self.config, &self.server, self.connect_timeout).await?;
        let asking = evaluate::<::redis::Value>(&mut manager, script, key, numbers);
        self.within_deadline(asking).await?;
        Ok(Fresh(manager))
    }

    /// From now on the limiter's calls go over this connection. Those on their way end where they are.
    #[cfg_attr(not(test), expect(dead_code, reason = "for who decides when a server is back"))]
    pub(super) fn adopt(&self, fresh: Fresh) {
        let mut managed = self.managed();
        *managed = Managed { manager: fresh.0, replaced: managed.replaced + 1 };
    }

    /// Deletes a key, within the deadline.
    pub(super) async fn delete(&self, key: &[u8]) -> Result<(), RedisError> {
        let mut command = Cmd::new();
        command.arg("DEL").arg(key);
        self.within_deadline(async {
            let (mut manager, replaced) = self.current();
            let answer = send(&mut manager, &command).await;
            self.judge(&answer, replaced);
            answer
        })
        .await
    }

    fn current(&self) -> (ConnectionManager, u64) {
        let managed = self.managed();
        (managed.manager.clone(), managed.replaced)
    }

    /// Replaces a manager that answers with a refused handshake for ever.
    fn judge<T>(&self, answer: &Result<T, ::redis::RedisError>, replaced: u64) {
        if answer.as_ref().is_err_and(may_be_of_handshake) {
            self.replace(replaced);
        }
    }

    /// Begins with a manager that has not failed; it connects when it is next asked. Of many who find that it is
    /// time, one does.
    fn replace(&self, seen: u64) {
        let mut managed = self.managed();
        if managed.replaced == seen
            && let Ok(manager) =
                ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone())
        {
            *managed = Managed { manager, replaced: seen + 1 };
        }
    }

    fn managed(&self) -> MutexGuard<'_, Managed> {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manager connects anew outside of its own timeouts, so this one is around everything. What is dropped
    /// stays in its place in the queue of answers, so that its answer is nobody else's.
    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<T, ::redis::RedisError>>,
    ) -> Result<T, RedisError> {
        match timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(RedisError::of_call(&error)),
            Err(_) => Err(RedisError::Timeout(self.deadline)),
        }
    }
}

async fn open(
    client: &Client,
    config: &ConnectionManagerConfig,
    server: &str,
    within: Duration,
) -> Result<ConnectionManager, RedisError> {
    let connecting = ConnectionManager::new_with_config(client.clone(), config.clone());
    match timeout(within, connecting).await {
        Ok(Ok(manager)) => Ok(manager),
        Ok(Err(error)) => Err(RedisError::of_connecting(&error, server)),
        Err(_) => Err(RedisError::Connection(alloc::format!(
            "cannot connect to {server} within {within:?}"
        ))),
    }
}

async fn evaluate<T: FromRedisValue>(
    manager: &mut ConnectionManager,
    script: &Lua,
    key: &[u8],
    numbers: &[u64],
) -> Result<T, ::redis::RedisError> {
    let command = |name: &str, script: &str| {
        let mut command = Cmd::new();
        command.arg(name).arg(script).arg(1).arg(key).arg(numbers);
        command
    };
    match send(manager, &command("EVALSHA", &script.digest)).await {
        Err(error) if is_no_script(&error) => send(manager, &command("EVAL", script.code)).await,
        answer => answer,
    }
}

async fn send<T: FromRedisValue>(
    manager: &mut ConnectionManager,
    command: &Cmd,
) -> Result<T, ::redis::RedisError> {
    let value = manager.send_packed_command(command).await?;
    Ok(::redis::from_redis_value(value.extract_error()?)?)
}

/// The settings of the socket. RESP3, so that a lost connection is noticed, and made anew, before the next call.
fn settings(url: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info().map_err(|_| bad_url(url))?;
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let keepalive = ::redis::io::tcp::socket2::TcpKeepalive::new().with_time(DEAD_PEER);
    let tcp = info.tcp_settings().clone().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(DEAD_PEER);
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp))
}

/// Says nothing of what is in the URL, which may be a password.
fn bad_url(url: &str) -> RedisError {
    let text = if url.starts_with("rediss:") {
        "a rediss:// URL needs TLS, which this build has not: enable one of the TLS features of the crate `redis`"
    } else {
        "the URL cannot be read: it must be redis://[[user]:password@]host[:port][/database], or unix:///path"
    };
    RedisError::Configuration(text.to_string())
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
