//! The connection of one limiter, and the calls over it.

use super::connection::{Connection, Connector};
use super::distance::Distance;
use super::failure;
use super::lua::{Call, Lua};
use super::maker::ConnectOptions;
use crate::clock::{Clock, TokioClock};
use crate::redis::error::RedisError;
use ::redis::{Cmd, FromRedisValue, Value};
use alloc::boxed::Box;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// A connection that has answered, and that nothing uses yet.
pub(crate) struct Fresh(Connection);

/// One connection for all calls of a limiter, since a slow command of another user would hold up
/// all that share a socket with it.
#[derive(Clone)]
pub(crate) struct Link {
    managed: Arc<Mutex<Managed>>,
    connector: Arc<Connector>,
    distance: Arc<Distance>,
}

/// The present connection. A lost one is made anew by its manager. But a manager whose handshake
/// the server refuses answers with that refusal for ever, and is replaced here.
struct Managed {
    /// `None` before the first, if the limiter started while its server was away.
    connection: Option<Connection>,
    /// The number of connections before this one.
    replaced: u64,
}

impl Link {
    /// Connects, and measures how far away the server is. If it does not answer, or is too far, the
    /// result holds that error beside a link that has yet to [adopt](Self::adopt) a connection.
    ///
    /// Fails for what does not pass by itself.
    pub(crate) async fn connect(
        url: &str,
        options: &ConnectOptions,
        distance: Distance,
    ) -> Result<(Self, Option<RedisError>), RedisError> {
        let connector = Arc::new(Connector::new(url, options)?);
        let opening = async {
            let mut connection = connector.open().await?;
            let enough = distance.patience();
            if let Some(round_trip) = connection.round_trip(options.within, enough).await {
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
        Ok((Self { managed, connector, distance: Arc::new(distance) }, absent))
    }

    pub(crate) fn server(&self) -> &str {
        self.connector.server()
    }

    pub(crate) fn distance(&self) -> &Distance {
        &self.distance
    }

    /// Runs a script on keys of one slot, within the deadline. A server that does not know the
    /// script has not run it; it is then sent the whole script, once. After any other failure the
    /// server may have run it, and it is not sent again.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        call: &Call,
        keys: &[&[u8]],
    ) -> Result<T, RedisError> {
        let (mut connection, replaced) = self.current()?;
        let answer = timeout(self.distance.patience(), evaluate(&mut connection, call, keys)).await;
        self.judge(&answer, replaced);
        self.in_time(answer)
    }

    /// Runs a script that other calls follow without waiting for its answer. The whole script is
    /// sent at once, since those calls would overtake one that had to be sent a second time.
    pub(crate) async fn run_before<T: FromRedisValue>(
        &self,
        call: &Call,
        keys: &[&[u8]],
    ) -> Result<T, RedisError> {
        let (mut connection, replaced) = self.current()?;
        let answer =
            timeout(self.distance.patience(), send_whole(&mut connection, call, keys)).await;
        self.judge(&answer, replaced);
        self.in_time(answer)
    }

    /// Runs a script over a new connection twice, since a server that is coming back may answer
    /// once and no more. Measures how far away the server is, which tells one that answers too late
    /// from one that does not answer. The limiter keeps its connection until this one is
    /// [adopted](Self::adopt).
    pub(crate) async fn probe(&self, call: &Call, key: &[u8]) -> Result<Fresh, RedisError> {
        let mut connection = self.connector.open().await?;
        let (keys, clock) = ([key], TokioClock::new());
        let patience = self.connector.within().max(self.distance.patience());
        let mut took = [0; 2];
        for time in &mut took {
            let began = clock.nanos();
            let asking = evaluate::<Value>(&mut connection, call, &keys);
            self.in_time(timeout(patience, asking).await)?;
            *time = clock.nanos() - began;
        }
        let [first, second] = took.map(Duration::from_nanos);
        self.distance.measured(first.min(second))?;
        if first.max(second) > self.distance.patience() {
            return Err(RedisError::Timeout(self.distance.deadline()));
        }
        Ok(Fresh(connection))
    }

    /// Sends all later calls over this connection. Calls in flight end on the old connection.
    pub(crate) fn adopt(&self, fresh: Fresh) {
        let mut managed = self.managed();
        *managed = Managed { connection: Some(fresh.0), replaced: managed.replaced + 1 };
    }

    fn current(&self) -> Result<(Connection, u64), RedisError> {
        let managed = self.managed();
        let connection = managed.connection.clone().ok_or(RedisError::Away)?;
        Ok((connection, managed.replaced))
    }

    /// Replaces a manager that answers with a refused handshake for ever.
    fn judge<T>(&self, answer: &InTime<T>, replaced: u64) {
        if let Ok(Err(error)) = answer
            && failure::may_be_of_handshake(error)
        {
            self.replace(replaced);
        }
    }

    /// Begins with a manager that has not failed, and connects when it is next used. If many calls
    /// find the old connection refused, only one of them replaces it.
    fn replace(&self, seen: u64) {
        let mut managed = self.managed();
        if managed.replaced == seen
            && let Some(connection) = self.connector.lazy()
        {
            *managed = Managed { connection: Some(connection), replaced: seen + 1 };
        }
    }

    fn managed(&self) -> MutexGuard<'_, Managed> {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deadline bounds the whole call, since the manager connects anew outside of its own
    /// timeouts. A call that is dropped keeps its place in the queue of answers, so its answer goes
    /// to no other call.
    fn in_time<T>(&self, answer: InTime<T>) -> Result<T, RedisError> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure::of_call(&error)),
            Err(_) => Err(RedisError::Timeout(self.distance.deadline())),
        }
    }
}

/// An answer, or none within the deadline.
type InTime<T> = Result<Result<T, ::redis::RedisError>, Elapsed>;

async fn evaluate<T: FromRedisValue>(
    connection: &mut Connection,
    call: &Call,
    keys: &[&[u8]],
) -> Result<T, ::redis::RedisError> {
    let command = command("EVALSHA", Lua::digest(call.script), call, keys);
    match send(connection, &command, keys).await {
        // Rare, and so not a part of every call's future.
        Err(error) if failure::is_no_script(&error) => {
            Box::pin(send_whole(connection, call, keys)).await
        }
        answer => answer,
    }
}

async fn send_whole<T: FromRedisValue>(
    connection: &mut Connection,
    call: &Call,
    keys: &[&[u8]],
) -> Result<T, ::redis::RedisError> {
    send(connection, &command("EVAL", call.script.code, call, keys), keys).await
}

fn command(name: &str, script: &str, call: &Call, keys: &[&[u8]]) -> Cmd {
    let Call { verb, numbers, .. } = call;
    // A number has at most 20 digits.
    let names = keys.iter().map(|key| key.len()).sum::<usize>();
    let size =
        name.len() + script.len() + 1 + names + verb.map_or(0, str::len) + 20 * numbers.len();
    let mut command = Cmd::with_capacity(4 + keys.len() + numbers.len(), size);
    command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(*verb).arg(numbers);
    command
}

async fn send<T: FromRedisValue>(
    connection: &mut Connection,
    command: &Cmd,
    keys: &[&[u8]],
) -> Result<T, ::redis::RedisError> {
    // All keys are in one slot. A script without keys goes to any server.
    let key = keys.first().copied().unwrap_or_default();
    Ok(::redis::from_redis_value(connection.send(command, key).await?)?)
}

/// Runs two calls, which are sent in this order without waiting for each other's answer. Returns
/// the second's answer, unless the first fails.
pub(crate) async fn both<T>(
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
