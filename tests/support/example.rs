//! The server example, run and asked over TCP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

pub const ALLOWED: &str = r#"{"message":"Request allowed"}"#;
pub const EXCEEDED: &str = r#"{"error":"Rate limit exceeded"}"#;
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The example's binary, which `cargo test` builds with the tests.
pub fn binary() -> PathBuf {
    // .../target/debug/deps/server-0123456789abcdef
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(|deps| deps.parent()).expect("a folder of a profile");
    let name = format!("server{}", std::env::consts::EXE_SUFFIX);
    let binary = profile.join("examples").join(name);
    assert!(binary.exists(), "build it first: cargo build --example server");
    binary
}

/// A run of the example, which a test that fails leaves no trace of either.
pub struct Run(pub Child);

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Run {
    pub fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// What it says on standard error.
    pub fn errors(&mut self) -> Receiver<String> {
        lines(self.0.stderr.take().unwrap())
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    pub fn wait(&mut self) -> ExitStatus {
        until("the example ends", || self.has_ended())
    }
}

/// A pipe's lines, read all the time: a full one would stop the server.
pub fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            // A test that has ended does not listen any more.
            let _ = send.send(line.unwrap());
        }
    });
    receive
}

/// Asks now and then, until there is an answer or the end of patience.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub struct Server {
    pub run: Run,
    pub log: Receiver<String>,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(flags: &[&str]) -> Self {
        let mut run = Run::start(&[&["--listen", "127.0.0.1:0"], flags].concat());
        let log = run.errors();
        let said = lines(run.0.stdout.take().unwrap());
        let line = said.recv_timeout(PATIENCE).expect("it says where it listens");
        let address = line.split(['/', ',']).nth(2).and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { run, log, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn request(&self, method: &str, target: &str) -> Reply {
        let mut stream = self.connect();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            .unwrap();
        Reply::read(stream)
    }

    pub fn get(&self, target: &str) -> Reply {
        self.request("GET", target)
    }

    /// The user's answers until one is a denial.
    pub fn until_denied(&self, user: &str, most: usize) -> (usize, Reply) {
        for allowed in 0..most {
            let reply = self.get(&format!("/api?user={user}"));
            if reply.status == 429 {
                return (allowed, reply);
            }
            assert_eq!((reply.status, reply.body.as_str()), (200, ALLOWED));
        }
        panic!("{most} requests, and none was denied");
    }

    /// Sends the signal.
    #[cfg(unix)]
    pub fn tell(&self, signal: &str) {
        let pid = self.run.0.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for a server that was told to stop: the exit status, and the rest of the log.
    #[cfg(unix)]
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.run.wait();
        (status, self.log.iter().collect())
    }

    #[cfg(unix)]
    pub fn stop(self, signal: &str) -> (ExitStatus, Vec<String>) {
        self.tell(signal);
        self.ended()
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// All that comes until the server closes the connection.
    pub fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Self { status, head: head.to_lowercase(), body: body.into() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(header, _)| *header == name).map(|(_, value)| value).next()
    }

    /// A JSON object with an error and nothing else.
    pub fn error(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let object: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(object.as_object().unwrap().len(), 1, "{self:?}");
        object["error"].as_str().unwrap().to_owned()
    }
}
