//! A server, its replica, and three sentinels that watch them, of a test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "a module of tests")]

use super::server::{Server, free_port};
use redis::Connection;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a loaded machine may take to agree on something.
const AGREED: Duration = Duration::from_secs(90);

/// All ask for it, but the sentinels.
pub const PASSWORD: &str = "hunter2";

pub struct Watched {
    /// The master, and the replica.
    pub servers: [Server; 2],
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sentinel {
    fn start(master: u16, down_after: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let place = dir.path().to_str().unwrap();
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {place}\n\
             sentinel monitor main 127.0.0.1 {master} 2\n\
             sentinel auth-pass main {PASSWORD}\n\
             sentinel down-after-milliseconds main {}\n\
             sentinel failover-timeout main 3000\n",
            down_after.as_millis()
        );
        let file = dir.path().join("sentinel.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(file).arg("--sentinel");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), port, _dir: dir }
    }

    /// What it knows of the service, field after field.
    fn knows(&self) -> Option<Vec<String>> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_connection().ok()?;
        redis::cmd("SENTINEL").arg("MASTER").arg("main").query(&mut connection).ok()
    }
}

/// Until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < AGREED, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Watched {
    /// With sentinels that take a silent server for dead after so long.
    pub fn start(down_after: Duration) -> Self {
        let login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
        let quick = ["--repl-diskless-sync-delay", "0"];
        let options = [login.as_slice(), &quick].concat();
        let master = Server::start(&options);
        let port = master.port().to_string();
        let replica =
            Server::start(&[&options, ["--replicaof", "127.0.0.1", &port].as_slice()].concat());
        let sentinels = (0..3).map(|_| Sentinel::start(master.port(), down_after)).collect();
        let watched = Self { servers: [master, replica], sentinels };
        watched.until_whole();
        watched
    }

    /// How often a master has been made.
    pub fn elections(&self) -> u64 {
        let known = self.sentinels[0].knows().unwrap();
        let epoch = known.chunks(2).find(|field| field[0] == "config-epoch").unwrap();
        epoch[1].parse().unwrap()
    }

    /// All know all, and the replica has what the master has.
    pub fn until_whole(&self) {
        until("the sentinels do not meet", || {
            self.sentinels.iter().all(|sentinel| {
                let known = sentinel.knows().unwrap_or_default();
                let says = |name: &str, value: &str| {
                    known.chunks(2).any(|field| field[0] == name && field[1] == value)
                };
                says("num-other-sentinels", "2")
                    && says("num-slaves", "1")
                    && says("flags", "master")
            })
        });
        until("there is no replica", || {
            (0..2).any(|server| self.replication(server).contains("state=online"))
        });
    }

    /// Nothing, of a server that is asked while sentinels make another thing of it.
    pub fn replication(&self, server: usize) -> String {
        let url = self.url_of(server);
        let connection = redis::Client::open(url).unwrap().get_connection();
        let told = connection
            .and_then(|mut client| redis::cmd("INFO").arg("replication").query(&mut client));
        told.unwrap_or_default()
    }

    fn url_of(&self, server: usize) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.servers[server].port())
    }

    pub fn client(&self, server: usize) -> Connection {
        redis::Client::open(self.url_of(server)).unwrap().get_connection().unwrap()
    }

    /// The sentinels, one of whom is gone.
    pub fn hosts(&self) -> String {
        let ports = self.sentinels.iter().take(2).map(|sentinel| sentinel.port);
        let hosts = ports.chain([free_port()]).map(|port| format!("127.0.0.1:{port}"));
        hosts.collect::<Vec<_>>().join(",")
    }
}
