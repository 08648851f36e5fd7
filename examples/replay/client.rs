//! The client of a line: which of the words before the time names it, and one spelling of the name.

use regex::Regex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The text that syslog writes before a message: RFC 5424's header, or a date, a host and
/// `program[pid]:`.
const SYSLOG: &str = concat!(
    r"^(?:<\d{1,3}>\d{1,2} (?:\S+ ){5}(?:-|(?:\[(?:[^\]\\]|\\.)*\])+) ",
    r"|(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} +\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d+)?",
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*)\s+(?:\S+\s+)?[^\s:]+:\s)\s*",
);
/// A word, or a list of words with commas between them.
const WORD: &str = r"(?:\S+,\s+)*\S+";
/// The ports below this one are a server's. A client never connects from them.
const SERVERS: u16 = 1024;

pub(crate) struct Clients {
    syslog: Regex,
    word: Regex,
}

/// The client of a line.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) name: String,
    pub(crate) user: Option<&'a str>,
    /// Whether the name is one of a forwarded list.
    pub(crate) listed: bool,
}

impl Clients {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        Ok(Self { syslog: Regex::new(SYSLOG)?, word: Regex::new(WORD)? })
    }

    /// Finds the client and the user in the text before the time: `host ident user`, and perhaps a
    /// server's own prefix.
    ///
    /// A guess would put all clients of a server into one bucket. So words with two readings are an
    /// error, which gives the reason.
    pub(crate) fn find<'a>(&self, head: &'a str) -> Result<Client<'a>, String> {
        let head = self.syslog.find(head).map_or(head, |syslog| &head[syslog.end()..]);
        let spans: Vec<_> = self.word.find_iter(head).collect();
        let words: Vec<&str> = spans.iter().map(|span| span.as_str()).collect();
        let skipped = usize::from(begins_with_server(&words));
        let words = &words[skipped..];
        if words.len() < 3 {
            return Err("no host, ident and user before the time".into());
        }
        let (place, name, listed) = place(words)?;
        // A `-` between ident and user is a prefix, not a name.
        let user = (place + 2..words.len()).find(|word| words[*word] != "-");
        let user = user.map(|word| head[spans[skipped + word].start()..].trim_end());
        Ok(Client { name, user, listed })
    }
}

/// Tells whether the line begins with a `server:port`, as in Apache's `vhost_combined`, and a
/// client behind it.
fn begins_with_server(words: &[&str]) -> bool {
    let [server, client, _, _, ..] = words else { return false };
    let is_server = match (address(server), server.rsplit_once(':')) {
        (Some((_, port)), _) => port.is_some_and(|port| port < SERVERS),
        (None, Some((name, port))) => !name.contains(':') && port.parse::<u16>().is_ok(),
        (None, None) => false,
    };
    is_server && (list(client).is_some() || host_name(client).is_some())
}

/// Finds the word that is the client, its name, and whether it comes from a list.
fn place(words: &[&str]) -> Result<(usize, String, bool), String> {
    let mut found: Vec<(usize, String, bool)> = Vec::new();
    for (place, word) in words.iter().enumerate() {
        let Some(addresses) = list(word) else { continue };
        found.push((place, first_public(&addresses?), word.contains(',')));
    }
    let Some((_, name, _)) = found.first().cloned() else {
        return Ok((0, lone_name(words)?, false));
    };
    if let Some((_, other, _)) = found.iter().find(|(_, other, _)| *other != name) {
        return Err(format!("which is the client, {name} or {other}, is not told"));
    }
    // Ident and user follow it.
    let fits = |place: usize| match words.len() - place - 1 {
        0 | 1 => false,
        2 => true,
        _ => place == 0 || words[place + 1] == "-",
    };
    let Some(client) = found.into_iter().rfind(|(place, ..)| fits(*place)) else {
        return Err(format!("the address {name} does not stand where the client does"));
    };
    match words[..client.0].iter().find(|word| list(word).is_none() && holds_address(word)) {
        Some(word) => Err(format!(
            "which is the client, {name} or the one in {:?}, is not told",
            shortened(word)
        )),
        None => Ok(client),
    }
}

/// Reads the host's name in the first column, if the column can be nothing else.
fn lone_name(words: &[&str]) -> Result<String, String> {
    let name = host_name(words[0]).ok_or_else(|| {
        format!("{:?} is neither an address nor the name of a host", shortened(words[0]))
    })?;
    // Behind a server's name, the client's would be another name of the kind.
    if words[1] != "-" && (words.len() > 3 || words[1].contains(['.', ':'])) {
        return Err("several names before the time, and no address to tell the client by".into());
    }
    Ok(name)
}

/// Reads the addresses of a word: one, or those of a forwarded list. `None`: there is no address in
/// it. It is an error if anything else is among them.
fn list(word: &str) -> Option<Result<Vec<IpAddrIn>, String>> {
    let word = word.trim_matches('"');
    let all: Vec<_> = word.split(',').map(|part| address(part.trim())).collect();
    if all.iter().all(Option::is_none) {
        return None;
    }
    let all: Option<Vec<_>> = all.into_iter().map(|found| Some(found?.0)).collect();
    Some(all.ok_or_else(|| format!("not all of the list {:?} are addresses", shortened(word))))
}

/// An address, and the zone of one that needs it.
type IpAddrIn = (IpAddr, Option<String>);

/// Reads an address in any spelling: in brackets, with a port, an IPv4 address as IPv6.
fn address(word: &str) -> Option<(IpAddrIn, Option<u16>)> {
    let word = word.trim_matches('"');
    if let Some(rest) = word.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':')?.parse().ok()?),
        };
        return Some((plain(inner)?, port));
    }
    if let Some(inner) = word.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return Some((plain(inner)?, None));
    }
    if let Some(plain) = plain(word) {
        return Some((plain, None));
    }
    let (host, port) = word.split_once(':')?;
    Some(((host.parse::<Ipv4Addr>().ok()?.into(), None), Some(port.parse().ok()?)))
}

fn plain(word: &str) -> Option<IpAddrIn> {
    match word.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => {
            Some((address.parse::<Ipv6Addr>().ok()?.to_canonical(), Some(zone.to_owned())))
        }
        Some(_) => None,
        None => Some((word.parse::<IpAddr>().ok()?.to_canonical(), None)),
    }
}

/// Chooses the first address that is in no private network, since many clients share those. Each
/// proxy adds the address of its own client at the end.
fn first_public(addresses: &[IpAddrIn]) -> String {
    let public = addresses.iter().find(|(address, _)| !is_private(*address));
    match public.or(addresses.first()) {
        Some((address, Some(zone))) => format!("{address}%{zone}"),
        Some((address, None)) => address.to_string(),
        None => String::new(),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// Tells whether some part of a word is an address, as in `src=203.0.113.5`.
fn holds_address(word: &str) -> bool {
    let parts = word.split(|c: char| !c.is_ascii_hexdigit() && c != '.' && c != ':');
    parts
        .flat_map(|part| [part, part.rsplit(':').next().unwrap_or(part)])
        .any(|part| address(part.trim_matches('.')).is_some())
}

/// Reads the name of a host, in lower case. Its last label must not be a number, or it would be an
/// address that was cut off.
fn host_name(word: &str) -> Option<String> {
    let name = word.strip_suffix('.').unwrap_or(word);
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let last = name.rsplit('.').next()?;
    let good = name.len() <= 253 && name.split('.').all(is_label) && !is_number(last);
    good.then(|| name.to_ascii_lowercase())
}

fn shortened(word: &str) -> String {
    crate::report::shown(word)
}
