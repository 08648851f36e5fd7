//! A proxy between clients and a server, with the faults of a network, which are switched while it
//! runs.
//!
//! Of each connection and direction one thread reads, and another passes on what was read when it
//! is due, if ever.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "each binary uses its own part of this")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Reads that wait to be passed on; then the client waits too, as before a full window of TCP.
const READS: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Requests,
    Replies,
}

/// Ended, with all of its connections, when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Scripts that clients have sent.
    scripts: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Of each direction.
    delay: Duration,
    held: bool,
    swallowed: [bool; 2],
    refusing: bool,
    /// Bytes of replies until the connection that they are on is cut.
    bytes_to_cut: Option<usize>,
    /// How often all connections were cut: those from before are dead.
    cuts: u64,
    /// Connections so far, and how many of the first of them nobody hears of any more.
    made: u64,
    abandoned: u64,
    open: Vec<TcpStream>,
    ended: bool,
}

impl Proxy {
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            scripts: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.state().ended {
                    break;
                }
                // A server that is not there is a connection that ends.
                let _ = connect(&accepting, client, server);
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `EVALSHA` and `EVAL` that clients have sent, whether they were passed on or not.
    pub fn scripts(&self) -> u64 {
        self.shared.scripts.load(Ordering::Relaxed)
    }

    /// Passes everything on so much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// Keeps everything back until it is mended, and passes it on then: a network that loses
    /// packets, which are sent again.
    pub fn hold(&self) {
        self.change(|state| state.held = true);
    }

    /// Loses everything that goes this way, and leaves the sockets open. A connection that has lost
    /// something stays so; when the proxy is mended it is cut.
    pub fn swallow(&self, way: Way) {
        self.change(|state| state.swallowed[way as usize] = true);
    }

    /// Loses everything of the connections that there are, for ever, and leaves their sockets open;
    /// new ones are sound. A machine that has vanished, and another that has taken its address.
    pub fn abandon(&self) {
        self.change(|state| state.abandoned = state.made);
    }

    /// Closes new connections at once.
    pub fn refuse(&self) {
        self.change(|state| state.refusing = true);
    }

    /// Cuts all connections after so many more bytes of replies.
    pub fn cut_after(&self, bytes: usize) {
        self.change(|state| state.bytes_to_cut = Some(bytes));
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.change(State::cut);
    }

    /// Ends all faults.
    pub fn mend(&self) {
        self.change(|state| {
            if state.swallowed.contains(&true) {
                state.cut();
            }
            let State { cuts, made, abandoned, .. } = *state;
            let open = std::mem::take(&mut state.open);
            *state = State { cuts, made, abandoned, open, ..State::default() };
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.ended = true;
            state.cut();
        });
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn cut(&mut self) {
        self.cuts += 1;
        for stream in self.open.drain(..) {
            // The other side may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream, server: u16) -> std::io::Result<()> {
    if shared.state().refusing {
        return client.shutdown(Shutdown::Both);
    }
    let server = TcpStream::connect(("127.0.0.1", server))?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (born, number) = {
        let mut state = shared.state();
        state.open.extend([client.try_clone()?, server.try_clone()?]);
        state.made += 1;
        (state.cuts, state.made)
    };
    let ways =
        [(Way::Requests, client.try_clone()?, server.try_clone()?), (Way::Replies, server, client)];
    for (way, from, to) in ways {
        let (send, reads) = sync_channel(READS);
        let (reading, writing) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || read(&reading, way, from, &send));
        thread::spawn(move || pass_on(&writing, way, to, &reads, (born, number)));
    }
    Ok(())
}

fn read(shared: &Shared, way: Way, mut from: TcpStream, send: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 4_096];
    let mut counted = Counted::default();
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if way == Way::Requests {
            shared.scripts.fetch_add(counted.scripts(&buffer[..length]), Ordering::Relaxed);
        }
        if send.send((Instant::now(), buffer[..length].to_vec())).is_err() {
            break;
        }
    }
}

fn pass_on(
    shared: &Shared,
    way: Way,
    mut to: TcpStream,
    reads: &Receiver<(Instant, Vec<u8>)>,
    (born, number): (u64, u64),
) {
    let mut dead = false;
    for (read, bytes) in reads {
        let mut state = shared.state();
        loop {
            let due = read + state.delay;
            if state.cuts > born {
                return;
            } else if state.held {
                state = shared.changed.wait(state).unwrap();
            } else if let Some(left) =
                due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                state = shared.changed.wait_timeout(state, left).unwrap().0;
            } else {
                break;
            }
        }
        dead |= state.swallowed[way as usize] || number <= state.abandoned;
        if dead {
            continue;
        }
        let mut length = bytes.len();
        let mut last = false;
        if way == Way::Replies
            && let Some(left) = &mut state.bytes_to_cut
        {
            last = *left <= length;
            length = length.min(*left);
            *left -= length;
        }
        if !last {
            drop(state);
            if to.write_all(&bytes).is_err() {
                break;
            }
            continue;
        }
        let _ = to.write_all(&bytes[..length]);
        state.bytes_to_cut = None;
        state.cut();
        drop(state);
        shared.changed.notify_all();
    }
    // What one side has ended is ended for the other.
    let _ = to.shutdown(Shutdown::Both);
}

/// Counts commands by their names, wherever reads end.
#[derive(Default)]
struct Counted {
    tail: Vec<u8>,
}

impl Counted {
    const NAMES: [&[u8]; 2] = [b"\r\n$7\r\nEVALSHA\r\n", b"\r\n$4\r\nEVAL\r\n"];

    fn scripts(&mut self, bytes: &[u8]) -> u64 {
        self.tail.extend_from_slice(bytes);
        let mut found = 0;
        let mut at = 0;
        while at < self.tail.len() {
            let rest = &self.tail[at..];
            if let Some(name) = Self::NAMES.iter().find(|name| rest.starts_with(name)) {
                found += 1;
                at += name.len();
            } else if Self::NAMES.iter().any(|name| name.starts_with(rest)) {
                break;
            } else {
                at += 1;
            }
        }
        self.tail.drain(..at);
        found
    }
}

/// The proxy itself: it must count what it is sent, however that is split.
#[test]
fn scripts_are_counted_wherever_a_read_ends() {
    let sent = b"*3\r\n$7\r\nEVALSHA\r\n$1\r\nx\r\n$1\r\n0\r\n\
        *3\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n0\r\n*2\r\n$3\r\nDEL\r\n";
    for size in 1..sent.len() {
        let mut counted = Counted::default();
        let found: u64 = sent.chunks(size).map(|chunk| counted.scripts(chunk)).sum();
        assert_eq!(found, 2, "in reads of {size}");
    }
}
