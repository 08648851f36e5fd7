//! One line of a log: the time and the key of a request.

use crate::Key;
use crate::client::{Client, Clients};
use chrono::DateTime;
use regex::{Captures, Match, Regex};

/// The time in `host ident user [time] "request" status bytes`. Other brackets may come before it.
const TIME: &str = r" \[(?<time>\d{1,2}/[A-Za-z]{3}/\d{4}:[^\]]*)\]";
/// Any time, in a line that does not have that form.
const SOME_TIME: &str = r"^\S+ \S+ \S.*? \[(?<time>[^\]]*)\]";
/// The text after the time: `"request" status bytes`, and `"referer" "agent"` in the combined
/// format.
///
/// Each part is nested in the part before it, so that a line that does not parse tells how far it
/// did. In quotes a backslash escapes. A server may append text of its own.
const REST: &str = concat!(
    r#"^(?: "(?<request>(?:[^"\\]|\\.)*)""#,
    r#"(?: (?<status>\d{3}|-)(?: (?<bytes>\d+|-)(?:\s|$)"#,
    r#"(?:"(?:[^"\\]|\\.)*" "(?<agent>(?:[^"\\]|\\.)*)")?"#,
    r#")?)?)?"#,
);

pub(crate) struct Lines {
    time: Regex,
    some_time: Regex,
    rest: Regex,
    clients: Clients,
    key: Key,
}

/// A request of the log.
#[derive(Debug)]
pub(crate) struct Request {
    /// The time, in seconds since 1970.
    pub(crate) at: i64,
    pub(crate) key: String,
    /// Whether the key is one of a forwarded list.
    pub(crate) listed: bool,
}

impl Lines {
    pub(crate) fn new(key: Key) -> Result<Self, regex::Error> {
        Ok(Self {
            time: Regex::new(TIME)?,
            some_time: Regex::new(SOME_TIME)?,
            rest: Regex::new(REST)?,
            clients: Clients::new()?,
            key,
        })
    }

    /// Reads the request of a line, or says what is wrong with the line.
    pub(crate) fn parse(&self, line: &str) -> Result<Request, String> {
        let (head, time, rest) = self.around_time(line)?;
        let at = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z");
        let at = at.map_err(|why| format!("the time {time:?} does not parse: {why}"))?;
        let at = at.timestamp();
        let rest = self.rest.captures(rest);
        let part = |name| rest.as_ref().and_then(|rest| rest.name(name)).map(|part| part.as_str());
        let request = part("request").ok_or("no request in quotes after the time")?;
        part("status").ok_or("no status of three digits after the request")?;
        part("bytes").ok_or("no number of bytes after the status")?;
        let key = match self.key {
            Key::Path => path(request),
            Key::Agent => part("agent").ok_or("no user agent: not in combined format")?,
            Key::Ip | Key::User => {
                let Client { name, user, listed } = self.clients.find(head)?;
                let user = user.filter(|_| self.key == Key::User);
                let listed = listed && user.is_none();
                return Ok(Request { at, key: user.map_or(name, str::to_owned), listed });
            }
        };
        Ok(Request { at, key: key.to_owned(), listed: false })
    }

    /// Splits a line into the text before the time, the time, and the text after it. If a prefix
    /// has a time as well, the time is the one before the request.
    fn around_time<'a>(&self, line: &'a str) -> Result<(&'a str, &'a str, &'a str), String> {
        // Split without ` [` and `]`.
        let split =
            |time: Match<'a>| (&line[..time.start() - 2], time.as_str(), &line[time.end() + 1..]);
        let time = |parts: Captures<'a>| parts.name("time").map(split);
        let mut all = self.time.captures_iter(line).filter_map(time);
        let first = all.next();
        let before_request =
            first.into_iter().chain(all).find(|(_, _, rest)| rest.starts_with(" \""));
        let (head, time, rest) = before_request
            .or(first)
            .or_else(|| self.some_time.captures(line).and_then(time))
            .ok_or(NO_START)?;
        if head.split_whitespace().count() < 3 {
            return Err(NO_START.into());
        }
        Ok((head, time, rest))
    }
}

const NO_START: &str = "it does not begin with a host, two names and [a time]";

/// The second word of `GET /path?query HTTP/1.1`, up to the query. A request of another form is
/// taken whole.
fn path(request: &str) -> &str {
    let target = request.split(' ').nth(1).unwrap_or(request);
    target.split('?').next().unwrap_or(target)
}
