//! What is not quite a Redis server: other services, and proxies that cut or reword.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "each binary uses its own part of this")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

/// Some other server, which answers this to whatever it is told first.
pub fn another(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(answer);
    });
    port
}

/// Passes everything on between clients and a server, but cuts a connection when the server has
/// answered for the n-th time, after so many bytes of the answer, for the n of `cuts`.
pub fn cutting(server: u16, cuts: &'static [usize], bytes: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answered = Arc::new(AtomicUsize::new(0));
    let pass_on = move |mut client: TcpStream, answered: &AtomicUsize| -> std::io::Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", server))?;
        let (mut asks, mut asked) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut asks, &mut asked);
            asked.shutdown(Shutdown::Both)
        });
        let mut buffer = [0; 4_096];
        while let length @ 1.. = server.read(&mut buffer)? {
            if cuts.contains(&(answered.fetch_add(1, Ordering::Relaxed) + 1)) {
                client.write_all(&buffer[..bytes.min(length)])?;
                break;
            }
            client.write_all(&buffer[..length])?;
        }
        client.shutdown(Shutdown::Both)
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answered = Arc::clone(&answered);
            // A connection that has ended on either side has ended.
            std::thread::spawn(move || pass_on(client, &answered).ok());
        }
    });
    port
}

/// A server behind a proxy that puts words of its own in front of every error, and knows no script.
/// Sends on the names of the commands that it is told.
pub fn behind_a_proxy() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, told) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut answers = stream.try_clone().unwrap();
        let mut lines = BufReader::new(stream);
        while let Some(command) = command(&mut lines) {
            let command = command.into_iter().next().unwrap_or_default();
            let answer: &[u8] = match command.as_str() {
                "HELLO" => b"%1\r\n+proto\r\n:3\r\n",
                "EVALSHA" => b"-ERR proxy: NOSCRIPT No matching script. Please use EVAL.\r\n",
                "EVAL" => b"*2\r\n:0\r\n:0\r\n",
                _ => b"+OK\r\n",
            };
            // Known before it is answered, so that whoever has the answer finds it.
            let _ = (send.send(command), answers.write_all(answer));
        }
    });
    (port, told)
}

/// What a server of [`moody`] answers, as it is written to the client.
pub type Mood = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A server that answers each command that the mood names with what it says, and else as a full
/// bucket would.
pub fn moody(mood: &Mood) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = |stream: TcpStream, mood: &Mood| -> std::io::Result<()> {
        let mut answers = stream.try_clone()?;
        let mut lines = BufReader::new(stream);
        while let Some(command) = command(&mut lines) {
            let name = command.first().map_or("", String::as_str);
            let said = mood.lock().unwrap().iter().find(|(of, _)| *of == name).cloned();
            let answer = match (said, name) {
                (Some((_, said)), _) => said + "\r\n",
                (None, "HELLO") => "%1\r\n+proto\r\n:3\r\n".to_owned(),
                (None, "EVALSHA" | "EVAL") => "*2\r\n:0\r\n:0\r\n".to_owned(),
                _ => "+OK\r\n".to_owned(),
            };
            answers.write_all(answer.as_bytes())?;
        }
        Ok(())
    };
    let mood = Arc::clone(mood);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mood = Arc::clone(&mood);
            // Who has gone has gone.
            std::thread::spawn(move || serve(client, &mood).ok());
        }
    });
    port
}

/// A sentinel that takes whatever port this holds for the master's.
pub fn sentinel(master: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = |stream: TcpStream, master: &AtomicU16| -> std::io::Result<()> {
        let mut answers = stream.try_clone()?;
        let mut lines = BufReader::new(stream);
        while let Some(command) = command(&mut lines) {
            let port = master.load(Ordering::Relaxed).to_string();
            let answer = match command.first().map_or("", String::as_str) {
                // It has no users, and is not to be told of any.
                "HELLO" if command.iter().any(|word| word == "AUTH") => "-ERR AUTH\r\n".to_owned(),
                "HELLO" => "%1\r\n+proto\r\n:3\r\n".to_owned(),
                "SENTINEL" => {
                    format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
                }
                _ => "+OK\r\n".to_owned(),
            };
            answers.write_all(answer.as_bytes())?;
        }
        Ok(())
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let master = Arc::clone(&master);
            // Who has gone has gone.
            std::thread::spawn(move || serve(client, &master).ok());
        }
    });
    port
}

/// The next command, its name first: an array of strings, each after its length.
fn command(lines: &mut impl BufRead) -> Option<Vec<String>> {
    let parts = length(lines, '*')?;
    let mut strings = Vec::new();
    for _ in 0..parts {
        let mut string = vec![0; length(lines, '$')? + 2];
        lines.read_exact(&mut string).ok()?;
        strings.push(String::from_utf8_lossy(&string).trim_end().to_owned());
    }
    Some(strings)
}

fn length(lines: &mut impl BufRead, mark: char) -> Option<usize> {
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(mark)?.parse().ok()
}
