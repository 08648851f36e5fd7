//! The connection of one limiter, and a call over it.

use crate::clock::{Clock, TokioClock};
use crate::redis::client::connection::{Connection, Source, Way};
use crate::redis::client::distance::Distance;
use crate::redis::error::{RedisError, is_no_script, may_be_of_handshake};
use ::redis::{Cmd, FromRedisValue, ParsingError, Script, Value};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// A script, and the digest that servers know it by.
pub(in crate::redis) struct Lua {
    pub(in crate::redis) code: &'static str,
    pub(in crate::redis) digest: LazyLock<String>,
}

impl Lua {
    pub(in crate::redis) fn digest(code: &str) -> String {
        Script::new(code).get_hash().to_string()
    }
}

/// A script of files: those that several have in common, and what is its own.
macro_rules! lua {
    ($($file:literal),+) => {{
        const CODE: &str = concat!($(include_str!($file)),+);
        $crate::redis::client::link::Lua {
            code: CODE,
            digest: std::sync::LazyLock::new(|| $crate::redis::client::link::Lua::digest(CODE)),
        }
    }};
}
pub(in crate::redis) use lua;

/// The numbers that a script answers, and how many they are: one, or a few.
pub(in crate::redis) struct Reply(pub(in crate::redis) [u64; 4], pub(in crate::redis) usize);

impl FromRedisValue for Reply {
    fn from_redis_value_ref(value: &Value) -> Result<Self, ParsingError> {
        let mut reply = Self([0; 4], 0);
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => core::slice::from_ref(value),
        };
        for (value, slot) in values.iter().zip(&mut reply.0) {
            *slot = u64::from_redis_value_ref(value)?;
            reply.1 += 1;
        }
        Ok(reply)
    }

    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Self::from_redis_value_ref(&value)
    }
}

/// A connection that has answered, and that nobody uses yet.
pub(in crate::redis) struct Fresh(Connection);

/// One connection for all of a limiter's calls, since a slow command of somebody else would hold up all that share a
/// socket with it.
#[derive(Clone)]
pub(in crate::redis) struct Link {
    managed: Arc<Mutex<Managed>>,
    source: Arc<Source>,
    distance: Arc<Distance>,
}

/// A lost connection is made anew by itself. But one whose handshake the server refuses takes that for its last word, and
/// answers with it for ever: then it is replaced.
struct Managed {
    /// None before the first, if the limiter started while its server was away.
    connection: Option<Connection>,
    /// How many there were before.
    replaced: u64,
}

impl Link {
    /// Connects, and measures how far the server is. If it is away, or too far, returns the error
    /// beside a link that has yet to [adopt](Self::adopt) a connection. Fails for what does not
    /// pass by itself.
    pub(in crate::redis) async fn connect(
        url: &str,
        way: &Way,
        distance: Distance,
    ) -> Result<(Self, Option<RedisError>), RedisError> {
        let source = Arc::new(Source::new(url, way)?);
        let opening = async {
            let mut connection = source.open().await?;
            if let Some(round_trip) = connection.round_trip(way.within, distance.patience()).await {
                distance.measured(round_trip)?;
            }
            Ok(connection)
        };
        let (connection, absent) = match opening.await {
            Ok(connection) => (Some(connection), None),
            Err(error @ RedisError::Configuration(_)) => return Err(error),
            Err(error) => (None, Some(error)),
        };
        let managed = Arc::new(Mutex::new(Managed { connection, replaced: 0 }));
        Ok((Self { managed, source, distance: Arc::new(distance) }, absent))
    }

    pub(in crate::redis) fn server(&self) -> &str {
        self.source.server()
    }

    pub(in crate::redis) fn deadline(&self) -> Duration {
        self.distance.deadline()
    }

    pub(in crate::redis) fn patience(&self) -> Duration {
        self.distance.patience()
    }

    pub(in crate::redis) fn distance(&self) -> &Distance {
        &self.distance
    }

    /// Runs a script on keys of one slot, within the deadline. A server that does not know it has not run it, and is then
    /// sent all of it, once. Whatever else went wrong may have been applied, and is not sent again.
    pub(in crate::redis) async fn run<T: FromRedisValue>(
        &self,
        script: &Lua,
        keys: &[&[u8]],
        numbers: &[u64],
    ) -> Result<T, RedisError> {
        let (mut connection, replaced) = self.current()?;
        let answer =
            timeout(self.patience(), evaluate(&mut connection, script, keys, numbers)).await;
        self.judge(&answer, replaced);
        self.in_time(answer)
    }

    /// Runs a script that others follow without waiting for its answer. They would overtake one that had to be sent once more, so
    /// all of it is sent at once.
    pub(in crate::redis) async fn run_before<T: FromRedisValue>(
        &self,
        script: &Lua,
        keys: &[&[u8]],
        numbers: &[u64],
    ) -> Result<T, RedisError> {
        let (mut connection, replaced) = self.current()?;
        let key = keys.first().copied().unwrap_or_default();
        let command = command("EVAL", script.code, keys, numbers);
        let answer = timeout(self.patience(), send(&mut connection, &command, key)).await;
        self.judge(&answer, replaced);
        self.in_time(answer)
    }

    /// Runs a script over a new connection, made within the time for that, twice: a server that is
    /// coming back may answer once, and no more. A server that answers both times, but too late, is
    /// told apart from one that does not answer. The limiter's own connection stays until this one
    /// is [adopted](Self::adopt).
    pub(in crate::redis) async fn probe(
        &self,
        script: &Lua,
        key: &[u8],
        numbers: &[u64],
    ) -> Result<Fresh, RedisError> {
        let mut connection = self.source.open().await?;
        let (keys, clock) = ([key], TokioClock::new());
        let mut took = [0; 2];
        for time in &mut took {
            let began = clock.nanos();
            let asking = evaluate::<Value>(&mut connection, script, &keys, numbers);
            self.in_time(timeout(self.source.within().max(self.patience()), asking).await)?;
            *time = clock.nanos() - began;
        }
        let [first, second] = took.map(Duration::from_nanos);
        self.distance.measured(first.min(second))?;
        if first.max(second) > self.patience() {
            return Err(RedisError::Timeout(self.deadline()));
        }
        Ok(Fresh(connection))
    }

    /// From now on the limiter's calls go over this connection. Those on their way end where they are.
    pub(in crate::redis) fn adopt(&self, fresh: Fresh) {
        let mut managed = self.managed();
        *managed = Managed { connection: Some(fresh.0), replaced: managed.replaced + 1 };
    }

    /// Deletes a key, within the deadline.
    pub(in crate::redis) async fn delete(&self, key: &[u8]) -> Result<(), RedisError> {
        let mut command = Cmd::new();
        command.arg("DEL").arg(key);
        let (mut connection, replaced) = self.current()?;
        let answer = timeout(self.patience(), send(&mut connection, &command, key)).await;
        self.judge(&answer, replaced);
        self.in_time(answer)
    }

    fn current(&self) -> Result<(Connection, u64), RedisError> {
        let managed = self.managed();
        let connection = managed.connection.clone().ok_or(RedisError::Away)?;
        Ok((connection, managed.replaced))
    }

    /// Replaces a manager that answers with a refused handshake for ever.
    fn judge<T>(&self, answer: &InTime<T>, replaced: u64) {
        if let Ok(Err(error)) = answer
            && may_be_of_handshake(error)
        {
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
            *managed = Managed { connection: Some(connection), replaced: seen + 1 };
        }
    }

    fn managed(&self) -> MutexGuard<'_, Managed> {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manager connects anew outside of its own timeouts, so the deadline is around everything. What is dropped
    /// stays in its place in the queue of answers, so that its answer is nobody else's.
    fn in_time<T>(&self, answer: InTime<T>) -> Result<T, RedisError> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(RedisError::of_call(&error)),
            Err(_) => Err(RedisError::Timeout(self.deadline())),
        }
    }
}

/// An answer, or none within the deadline.
type InTime<T> = Result<Result<T, ::redis::RedisError>, Elapsed>;

async fn evaluate<T: FromRedisValue>(
    connection: &mut Connection,
    script: &Lua,
    keys: &[&[u8]],
    numbers: &[u64],
) -> Result<T, ::redis::RedisError> {
    // All are of one slot. A script without keys goes to any server.
    let key = keys.first().copied().unwrap_or_default();
    match send(connection, &command("EVALSHA", &script.digest, keys, numbers), key).await {
        // Rare, and so not a part of every call's future.
        Err(error) if is_no_script(&error) => {
            let whole = command("EVAL", script.code, keys, numbers);
            Box::pin(async { send(connection, &whole, key).await }).await
        }
        answer => answer,
    }
}

fn command(name: &str, script: &str, keys: &[&[u8]], numbers: &[u64]) -> Cmd {
    // At most 20 digits each.
    let names = keys.iter().map(|key| key.len()).sum::<usize>();
    let size = name.len() + script.len() + 1 + names + 20 * numbers.len();
    let mut command = Cmd::with_capacity(3 + keys.len() + numbers.len(), size);
    command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(numbers);
    command
}

async fn send<T: FromRedisValue>(
    connection: &mut Connection,
    command: &Cmd,
    key: &[u8],
) -> Result<T, ::redis::RedisError> {
    Ok(::redis::from_redis_value(connection.send(command, key).await?)?)
}

/// What comes of the second, unless the first fails. They are sent in this order, and neither waits for the other's answer.
pub(in crate::redis) async fn both<T>(
    first: impl Future<Output = Result<(), RedisError>>,
    second: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut paid, mut answer) = (None, None);
    poll_fn(|context| {
        if paid.is_none()
            && let Poll::Ready(said) = first.as_mut().poll(context)
        {
            paid = Some(said);
        }
        if answer.is_none()
            && let Poll::Ready(said) = second.as_mut().poll(context)
        {
            answer = Some(said);
        }
        if paid.is_none() || answer.is_none() {
            return Poll::Pending;
        }
        let said = paid.take().zip(answer.take());
        Poll::Ready(said.map_or(Err(RedisError::odd_answer()), |(paid, answer)| paid.and(answer)))
    })
    .await
}
