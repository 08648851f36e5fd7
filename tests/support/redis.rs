//! A redis-server of a test's own: a child process on a free loopback port, with a directory that
//! goes with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
// Each binary uses its own part of this.
#![allow(dead_code, unreachable_pub)]

// What a prelude would bring is named: tests within the library, which has none of std's, share
// this.
use std::borrow::ToOwned;
use std::format;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::string::{String, ToString};
use std::time::{Duration, Instant};
use std::vec::Vec;
use tempfile::TempDir;

/// Stopped, and its directory deleted, when it is dropped.
pub struct Server {
    child: Child,
    dir: TempDir,
    port: u16,
    options: Vec<String>,
}

impl Server {
    /// A server with nothing in it, which answers.
    pub fn start(options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let dir = tempfile::tempdir().unwrap();
        // Between the choice of a port and its use somebody else may take it.
        for _ in 0..10 {
            let port = free_port();
            let mut child = spawn(port, &dir, &options);
            if answers(port, &mut child) {
                return Self { child, dir, port, options };
            }
            stop(&mut child);
        }
        panic!("redis-server does not start with {options:?}");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A server of a cluster: without a slot, and knowing nobody.
    pub fn start_for_cluster(options: &[&str]) -> Self {
        let bus = free_port().to_string();
        let mut all = std::vec!["--cluster-enabled", "yes", "--cluster-port", bus.as_str()];
        all.extend(options);
        Self::start(&all)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        stop(&mut self.child);
    }

    /// On the same port, with nothing in it.
    pub fn restart(&mut self) {
        for _ in 0..10 {
            self.child = spawn(self.port, &self.dir, &self.options);
            if answers(self.port, &mut self.child) {
                return;
            }
            stop(&mut self.child);
        }
        panic!("redis-server does not start again");
    }

    /// Of the next start.
    pub fn set_option(&mut self, name: &str, value: &str) {
        let at = self.options.iter().position(|option| option == name).unwrap();
        self.options[at + 1] = value.to_owned();
    }

    /// Holds the process where it is, as if its machine had too much to do, until it is let go on.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("the command `kill`").success());
    }

    /// A plain connection, for what tests do to the server.
    pub fn client(&self) -> ::redis::Connection {
        ::redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, dir: &TempDir, options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.arg("--dir").arg(dir.path()).args(options);
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => panic!(
            "these tests need a redis-server (on Debian: apt-get install redis-server), \
             which does not start: {error}"
        ),
    }
}

/// Waits until the server answers anything at all; false if it has ended instead.
fn answers(port: u16, child: &mut Child) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if ping(port).is_some_and(|answer| !answer.starts_with("-LOADING")) {
            // Of the child that is watched, and not of another that was faster at the port.
            return child.try_wait().unwrap().is_none();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn ping(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).ok()?;
    (length > 0).then(|| String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn stop(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
