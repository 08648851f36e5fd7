//! The peers of a case: a limiter, and what it is compared with, over connections of the same
//! settings.

use crate::server::Server;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, ProtocolVersion, Script};
use sluicegate::{Quota, RedisBuilder, RedisError, RedisLimiter};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// A deadline that no peer misses because the machine is busy.
const PATIENT: Duration = Duration::from_secs(10);

const PIPELINE: usize = 4_096;

const GCRA: &str = include_str!("redis_gcra.lua");

/// The peers that take part in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Sluicegate,
    /// The limiter, with each of its calls sent alone.
    Uncombined,
    /// The limiter's own call, sent by the client alone.
    Evalsha,
    /// The same call, over a connection that is not made anew when it is lost.
    Multiplexed,
    Gcra,
    /// The cheapest call, which shows the cost of a round trip.
    Get,
}

impl Who {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sluicegate => "**sluicegate**",
            Self::Uncombined => "sluicegate, uncombined",
            Self::Evalsha => "EVALSHA",
            Self::Multiplexed => "EVALSHA, no reconnecting",
            Self::Gcra => "GCRA in floats",
            Self::Get => "_GET_",
        }
    }
}

/// The limiter of a case.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) server: &'a Server,
    pub(crate) quota: Quota,
    pub(crate) prefix: &'static str,
}

impl Setup<'_> {
    pub(crate) fn builder(self, deadline: Duration) -> RedisBuilder {
        let builder = RedisLimiter::builder(self.quota).prefix(self.prefix).deadline(deadline);
        builder.connect_timeout(PATIENT)
    }

    pub(crate) async fn limiter(self, builder: RedisBuilder) -> RedisLimiter {
        builder.connect(&self.server.url()).await.expect("the server answers")
    }
}

/// A peer with its connection. Each task has a clone of its own.
#[derive(Clone)]
pub(crate) struct Peer {
    caller: Caller,
    /// The names of keys in Redis, or, for the limiter, the keys that it makes names from.
    keys: Arc<[Vec<u8>]>,
}

#[derive(Clone)]
enum Caller {
    Sluicegate(RedisLimiter),
    Evalsha(ConnectionManager, Arc<Seen>),
    Multiplexed(MultiplexedConnection, Arc<Seen>),
    Gcra(ConnectionManager, Arc<(Script, [String; 4])>),
    Get(ConnectionManager),
}

impl Peer {
    pub(crate) async fn connect(who: Who, setup: Setup<'_>, names: &[String]) -> Self {
        let Setup { server, quota, .. } = setup;
        let combine = who != Who::Uncombined;
        let ours = setup.limiter(setup.builder(PATIENT).combine(combine)).await;
        let keys: Arc<[_]> = match who {
            Who::Sluicegate | Who::Uncombined => {
                names.iter().map(|name| name.clone().into_bytes()).collect()
            }
            _ => names.iter().map(|name| ours.key(name)).collect(),
        };
        let caller = match who {
            Who::Sluicegate | Who::Uncombined => Caller::Sluicegate(ours),
            Who::Evalsha => Caller::Evalsha(manager(server).await, Seen::of(&ours, server).await),
            Who::Multiplexed => {
                Caller::Multiplexed(multiplexed(server).await, Seen::of(&ours, server).await)
            }
            Who::Gcra => {
                let mut manager = manager(server).await;
                let script = Script::new(GCRA);
                script.prepare_invoke().load_async(&mut manager).await.expect("it compiles");
                let numbers = [
                    quota.burst_size().to_string(),
                    quota.count().to_string(),
                    quota.period().as_secs_f64().to_string(),
                    "1".to_owned(),
                ];
                Caller::Gcra(manager, Arc::new((script, numbers)))
            }
            Who::Get => Caller::Get(manager(server).await),
        };
        Self { caller, keys }
    }

    /// The names of its keys in Redis.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        match &self.caller {
            Caller::Sluicegate(limiter) => self.keys.iter().map(|key| limiter.key(key)).collect(),
            _ => self.keys.to_vec(),
        }
    }

    /// Prepares the keys before a turn: empty, or, for a peer that only reads, with the values of a
    /// limiter.
    pub(crate) fn prepare(&self, control: &mut redis::Connection) {
        redis::cmd("FLUSHALL").exec(control).expect("the server answers");
        if matches!(self.caller, Caller::Get(_)) {
            for key in self.keys.iter() {
                let set = Cmd::set(key, 1_767_225_600_000_000_u64);
                set.exec(control).expect("the server answers");
            }
        }
    }

    /// Asks for one token. Returns whether it was admitted.
    ///
    /// # Panics
    ///
    /// There is no answer.
    pub(crate) async fn ask(&mut self, key: usize) -> bool {
        let key = &self.keys[key % self.keys.len()];
        match &mut self.caller {
            Caller::Sluicegate(limiter) => match limiter.check(key).await {
                Ok(_) => true,
                Err(RedisError::Denied(_)) => false,
                Err(failure) => panic!("no answer: {failure}"),
            },
            Caller::Evalsha(connection, seen) => {
                let debt = seen.command(key).query_async(connection).await;
                seen.admits(debt.expect("an answer"))
            }
            Caller::Multiplexed(connection, seen) => {
                let debt = seen.command(key).query_async(connection).await;
                seen.admits(debt.expect("an answer"))
            }
            Caller::Gcra(connection, gcra) => {
                let mut command = Cmd::new();
                command.arg("EVALSHA").arg(gcra.0.get_hash()).arg(1).arg(key).arg(&gcra.1);
                let answer = command.query_async::<(u64, u64, f64, f64)>(connection).await;
                answer.expect("an answer").0 > 0
            }
            Caller::Get(connection) => {
                let value = Cmd::get(key).query_async::<Option<u64>>(connection).await;
                value.expect("an answer").is_some()
            }
        }
    }
}

/// The call by which a limiter takes a token, as the server saw it, so that the peer's call has the
/// same bytes.
pub(crate) struct Seen {
    digest: String,
    numbers: Vec<u64>,
}

impl Seen {
    async fn of(limiter: &RedisLimiter, server: &Server) -> Arc<Self> {
        let mut monitor = TcpStream::connect(("127.0.0.1", server.port())).expect("it answers");
        monitor.set_read_timeout(Some(PATIENT)).expect("a time limit");
        monitor.write_all(b"MONITOR\r\n").expect("it listens");
        let mut lines = BufReader::new(monitor).lines();
        // Wait for the answer, or the calls may come before the server monitors them.
        assert_eq!(lines.next().expect("a line").expect("its text"), "+OK");
        // The limiter calls the script by its digest, whether the server knows it before or not;
        // afterwards the server knows it.
        limiter.check("seen").await.expect("a full bucket");
        redis::cmd("DEL").arg(limiter.key("seen")).exec(&mut server.client()).expect("an answer");
        let mut seen = None;
        for line in lines {
            let line = line.expect("a line");
            let words: Vec<_> = line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            match words.first().map(String::as_str) {
                Some("EVALSHA") => seen = Some(words),
                Some("DEL") => break,
                _ => {}
            }
        }
        let seen = seen.expect("a limiter sends EVALSHA");
        assert_eq!(seen[3].as_bytes(), limiter.key("seen"));
        let numbers = seen[4..].iter().map(|number| number.parse().expect("a number")).collect();
        Arc::new(Self { digest: seen[1].clone(), numbers })
    }

    fn command(&self, key: &[u8]) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(&self.digest).arg(1).arg(key).arg(&self.numbers);
        command
    }

    /// Checks the debt. It works for quotas whose tokens flow in whole microseconds.
    fn admits(&self, debt: u64) -> bool {
        let [burst, cost] = self.numbers[..] else {
            panic!("not the numbers of a token: {:?}", self.numbers);
        };
        debt + cost <= burst
    }
}

/// The settings of a limiter's own connection.
fn client(server: &Server) -> Client {
    let info = server.url().into_connection_info().expect("a URL");
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Client::open(info.set_redis_settings(login).set_tcp_settings(tcp)).expect("an address")
}

async fn manager(server: &Server) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE);
    ConnectionManager::new_with_config(client(server), config).await.expect("the server answers")
}

async fn multiplexed(server: &Server) -> MultiplexedConnection {
    let config =
        AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(PIPELINE);
    let connecting = client(server).get_multiplexed_async_connection_with_config(&config).await;
    connecting.expect("the server answers")
}
