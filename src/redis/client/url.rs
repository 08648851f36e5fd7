//! Reads the URLs of servers.

#[cfg(feature = "redis-cluster")]
use super::cluster::directory::{Directory, Roster};
use super::failure::unreadable_url;
use crate::redis::error::RedisError;
use ::redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use alloc::boxed::Box;
use alloc::string::ToString;
#[cfg(feature = "redis-cluster")]
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// The time without a sign of a peer's machine after which the system gives the connection up. A
/// process that stands still on a live machine is noticed by the deadline of calls instead.
const DEAD_PEER: Duration = Duration::from_secs(5);

/// What a URL names.
pub(super) enum Address {
    Server(Box<ConnectionInfo>),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<Roster>),
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, RedisError> {
        refuse_options(url)?;
        match url.split_once("://") {
            #[cfg(feature = "redis-cluster")]
            Some((scheme @ ("redis-cluster" | "rediss-cluster"), rest)) => {
                cluster(scheme.trim_end_matches("-cluster"), &List::of(rest), url)
            }
            #[cfg(feature = "redis-sentinel")]
            Some((scheme @ ("redis-sentinel" | "rediss-sentinel"), rest)) => {
                sentinels(scheme.trim_end_matches("-sentinel"), &List::of(rest), url)
            }
            _ => Ok(Self::Server(Box::new(server(url, url)?))),
        }
    }
}

/// The options that the client library reads from the URL of a socket.
const OF_SOCKETS: [&str; 3] = ["db", "user", "pass"];

/// Fails if the URL has an option that nothing would read. A limiter's options are methods of its
/// builder.
fn refuse_options(url: &str) -> Result<(), RedisError> {
    let Some((scheme, whole)) = url.split_once("://") else { return Ok(()) };
    let wrong = |text: &str| Err(RedisError::Configuration(text.to_string()));
    let rest = whole.find(['?', '#']).map_or(whole, |end| &whole[..end]);
    let after = &whole[rest.len()..];
    let (query, fragment) = match after.split_once('#') {
        Some((query, fragment)) => (query, Some(fragment)),
        None => (after, None),
    };
    let options = form_urlencoded::parse(query.trim_start_matches('?').as_bytes());
    let of_socket = scheme.contains("unix");
    let odd =
        options.map(|(name, _)| name).find(|name| !(of_socket && OF_SOCKETS.contains(&&**name)));
    let odd_fragment = fragment.is_some_and(|text| {
        text != "insecure" || !(scheme.starts_with("rediss") || scheme == "valkeys")
    });
    if (odd.is_some() || odd_fragment) && after.contains('@') {
        // It may be a part of a password rather than an option.
        return wrong(
            "the URL has an unknown option, or its login is cut off: in a login a `?` is written \
             %3F, and a `#` %23",
        );
    }
    if let Some(name) = odd {
        let known = if of_socket { " but db, user and pass of a socket" } else { "" };
        return wrong(&alloc::format!(
            "the URL has an option {name:?}, and a builder reads none from its URL{known}: call \
             the builder's methods instead (AnyLimiter::open reads options)"
        ));
    }
    if odd_fragment {
        return wrong(
            "the URL cannot be read: only `insecure` may follow a `#`, for a server over TLS",
        );
    }
    Ok(())
}

/// The parts of a URL with several hosts.
#[cfg(feature = "redis-cluster")]
struct List<'a> {
    login: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    /// The options.
    tail: &'a str,
}

#[cfg(feature = "redis-cluster")]
impl<'a> List<'a> {
    fn of(rest: &'a str) -> Self {
        let (list, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, hosts) = list.split_at(list.rfind('@').map_or(0, |at| at + 1));
        let (path, tail) = after.split_at(after.find(['?', '#']).unwrap_or(after.len()));
        Self { login, hosts: hosts.split(',').collect(), path, tail }
    }
}

#[cfg(feature = "redis-cluster")]
fn cluster(scheme: &str, list: &List<'_>, given: &str) -> Result<Address, RedisError> {
    let List { login, hosts, path, tail } = list;
    let seeds = hosts
        .iter()
        .map(|host| server(&alloc::format!("{scheme}://{login}{host}{path}{tail}"), given));
    let seeds = seeds.collect::<Result<Vec<_>, _>>()?;
    // A cluster has one database.
    let node = seeds.first().filter(|seed| seed.redis_settings().db() == 0);
    let node = node.cloned().ok_or_else(|| unreadable_url(given))?;
    Ok(Address::Cluster(Box::new(Roster { directory: Directory::Nodes, seeds, node })))
}

/// Reads the login and the database of the server. Sentinels are asked without a login.
#[cfg(feature = "redis-sentinel")]
fn sentinels(scheme: &str, list: &List<'_>, given: &str) -> Result<Address, RedisError> {
    const PORT: u16 = 26_379;
    let List { login, hosts, path, tail } = list;
    let path = path.strip_prefix('/').unwrap_or_default();
    let (service, database) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(unreadable_url(given));
    }
    let seeds = hosts.iter().map(|host| {
        // The colons of an IPv6 address are in brackets.
        let port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = if port { "".to_string() } else { alloc::format!(":{PORT}") };
        server(&alloc::format!("{scheme}://{host}{port}{tail}"), given)
    });
    let seeds = seeds.collect::<Result<Vec<_>, _>>()?;
    let host = hosts.first().copied().unwrap_or_default();
    let node = server(&alloc::format!("{scheme}://{login}{host}/{database}{tail}"), given)?;
    let directory = Directory::Sentinels(service.to_string());
    Ok(Address::Cluster(Box::new(Roster { directory, seeds, node })))
}

/// Reads the URL of one server, and sets the options of its socket. Connections speak RESP3, so
/// that a lost one is noticed, and made anew, before the next call.
fn server(url: &str, given: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info().map_err(|_| unreadable_url(given))?;
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let keepalive = ::redis::io::tcp::socket2::TcpKeepalive::new().with_time(DEAD_PEER);
    let tcp = info.tcp_settings().clone().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(DEAD_PEER);
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp))
}

/// Writes the address without the login.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(info) => info.addr().fmt(f),
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(roster) => roster.fmt(f),
        }
    }
}
