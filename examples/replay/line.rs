//! One line of a log: when, and whose request.

use crate::Key;
use chrono::DateTime;
use regex::{Captures, Regex};

/// `host ident user [time] "request" status bytes`, and `"referer" "agent"` in the combined format.
///
/// Each part stands in the part before it, so that a line that does not parse tells how far it did. In
/// quotes a backslash escapes; a user's name may have blanks; what follows is a server's own.
const LINE: &str = concat!(
    r#"^(?<host>\S+) \S+ (?<user>\S.*?) \[(?<time>[^\]]*)\]"#,
    r#"(?: "(?<request>(?:[^"\\]|\\.)*)""#,
    r#"(?: (?<status>\d{3}|-)(?: (?<bytes>\d+|-)(?:\s|$)"#,
    r#"(?:"(?:[^"\\]|\\.)*" "(?<agent>(?:[^"\\]|\\.)*)")?"#,
    r#")?)?)?"#,
);

pub(crate) struct Lines {
    line: Regex,
    key: Key,
}

impl Lines {
    pub(crate) fn new(key: Key) -> Result<Self, regex::Error> {
        Ok(Self { line: Regex::new(LINE)?, key })
    }

    /// The second of the request since 1970, and its key; or what is wrong with the line.
    pub(crate) fn parse(&self, line: &str) -> Result<(i64, String), String> {
        let parts = self.line.captures(line);
        let parts = parts.ok_or("it does not begin with a host, two names and [a time]")?;
        let time = &parts["time"];
        let at = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z");
        let at = at.map_err(|why| format!("the time {time:?} does not parse: {why}"))?;
        let part = |name| parts.name(name).map(|part| part.as_str());
        let request = part("request").ok_or("no request in quotes after the time")?;
        part("status").ok_or("no status of three digits after the request")?;
        part("bytes").ok_or("no number of bytes after the status")?;
        Ok((at.timestamp(), self.key(&parts, request)?.to_owned()))
    }

    fn key<'a>(&self, parts: &'a Captures<'_>, request: &'a str) -> Result<&'a str, String> {
        Ok(match self.key {
            Key::Ip => &parts["host"],
            Key::User if &parts["user"] != "-" => &parts["user"],
            Key::User => &parts["host"],
            Key::Path => path(request),
            Key::Agent => {
                parts.name("agent").ok_or("no user agent: not in combined format")?.as_str()
            }
        })
    }
}

/// The second word of `GET /path?query HTTP/1.1`, up to the query. Of a request that is no such thing,
/// all of it.
fn path(request: &str) -> &str {
    let target = request.split(' ').nth(1).unwrap_or(request);
    target.split('?').next().unwrap_or(target)
}
