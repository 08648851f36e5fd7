//! The connection of one limiter, and a call over it.

use super::connection::{Connection, Source, Way};
use super::error::{RedisError, is_no_script, may_be_of_handshake};
use ::redis::{Cmd, FromRedisValue, Script};
use alloc::string::{String, ToString};
use core::time::Duration;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::time::timeout;

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
pub(super) struct Fresh(Connection);

/// One connection for all of a limiter's calls, since a slow command of somebody else would hold up all that share a
/// socket with it.
#[derive(Clone)]
pub(super) struct Link {
    managed: Arc<Mutex<Managed>>,
    source: Arc<Source>,
    deadline: Duration,
}

/// A lost connection is made anew by itself. But one whose handshake the server refuses takes that for its last word, and
/// answers with it for ever: then it is replaced.
struct Managed {
    connection: Connection,
    /// How many there were before.
    replaced: u64,
}

impl Link {
    pub(super) async fn connect(
        url: &str,
        way: &Way,
        deadline: Duration,
    ) -> Result<Self, RedisError> {
        let source = Arc::new(Source::new(url, way)?);
        let connection = source.open().await?;
        let managed = Arc::new(Mutex::new(Managed { connection, replaced: 0 }));
        Ok(Self { managed, source, deadline })
    }

    pub(super) fn server(&self) -> &str {
        self.source.server()
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
            let (mut connection, replaced) = self.current();
            let answer = evaluate(&mut connection, script, key, numbers).await;
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
        let mut connection = self.source.open().await?;
        let asking = evaluate::<::redis::Value>(&mut connection, script, key, numbers);
        self.within_deadline(asking).await?;
        Ok(Fresh(connection))
    }

    /// From now on the limiter's calls go over this connection. Those on their way end where they are.
    #[cfg_attr(not(test), expect(dead_code, reason = "for who decides when a server is back"))]
    pub(super) fn adopt(&self, fresh: Fresh) {
        let mut managed = self.managed();
        *managed = Managed { connection: fresh.0, replaced: managed.replaced + 1 };
    }

    /// Deletes a key, within the deadline.
    pub(super) async fn delete(&self, key: &[u8]) -> Result<(), RedisError> {
        let mut command = Cmd::new();
        command.arg("DEL").arg(key);
        self.within_deadline(async {
            let (mut connection, replaced) = self.current();
            let answer = send(&mut connection, &command, key).await;
            self.judge(&answer, replaced);
            answer
        })
        .await
    }

    fn current(&self) -> (Connection, u64) {
        let managed = self.managed();
        (managed.connection.clone(), managed.replaced)
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
            && let Some(connection) = self.source.lazy()
        {
            *managed = Managed { connection, replaced: seen + 1 };
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

async fn evaluate<T: FromRedisValue>(
    connection: &mut Connection,
    script: &Lua,
    key: &[u8],
    numbers: &[u64],
) -> Result<T, ::redis::RedisError> {
    let command = |name: &str, script: &str| {
        let mut command = Cmd::new();
        command.arg(name).arg(script).arg(1).arg(key).arg(numbers);
        command
    };
    match send(connection, &command("EVALSHA", &script.digest), key).await {
        Err(error) if is_no_script(&error) => {
            send(connection, &command("EVAL", script.code), key).await
        }
        answer => answer,
    }
}

async fn send<T: FromRedisValue>(
    connection: &mut Connection,
    command: &Cmd,
    key: &[u8],
) -> Result<T, ::redis::RedisError> {
    Ok(::redis::from_redis_value(connection.send(command, key).await?)?)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
